"""Products of the rows, K = ZZ': the smaller Gram matrix if there are fewer rows than columns.

Z has columns in scaled units, and its rows are multiplied by sqrt(w / W). A block of columns is
centred, scaled and multiplied while it is in cache.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .arrays import like, matmul, minus, pass_elements, to_numpy
from .blocks import in_threads, large_blocks
from .linalg import plus_outer, sparse_product
from .moments import Moments, centred_where_full, column_moments, moments_of_block, shares

# Adding the product of a narrower block to the sum takes longer than computing it.
LEAST_COLUMNS = 256


class RowProducts(NamedTuple):
    """The moments of x and y, and the products of the scaled rows."""

    x: Moments
    y: Moments
    K: np.ndarray  # (n, n)
    root: np.ndarray  # (n,), sqrt(w / W)

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite


class Units(NamedTuple):
    """Whether columns are centred and scaled, and a further divisor of each column."""

    centred: bool
    scaled: bool
    divisor: np.ndarray | float = 1.0  # (d,)

    def of(self, x: Moments, columns: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return the offsets and the divisors of columns with these moments."""
        zeros = np.zeros(len(x.mean))
        scale = x.scale if self.scaled else zeros + 1.0
        by = self.divisor if isinstance(self.divisor, float) else self.divisor[columns]
        return x.mean if self.centred else zeros, scale * by


def row_products(X: Any, y: Any, weight: Any, units: Units, n_jobs: int = 1) -> RowProducts:
    """Return the products of the rows of X (n, d), dense or CSR; y is (n, t).

    The weights are (n,) or None.
    """
    y_moments = column_moments(y, weight)
    root = np.sqrt(shares(weight, X.shape[0]))
    if sparse.issparse(X):
        x, K = sparse_products(X, weight, root, units)
    else:
        x, K = dense_products(X, weight, root, units, n_jobs)
    return RowProducts(x, y_moments, K, root)


def dense_products(
    X: Any, weight: Any, root: np.ndarray, units: Units, n_jobs: int
) -> tuple[Moments, np.ndarray]:
    """Compute the moments of the columns and K in one read of X, in blocks of columns."""
    n_rows, d = X.shape
    width = max(LEAST_COLUMNS, n_rows // 2, pass_elements(X) // n_rows)

    def of_columns(block: tuple[int, int]) -> tuple[list[Moments], Any]:
        first, count = block
        parts, K, product = [], None, None
        for start in range(first, first + count, width):
            columns = slice(start, min(start + width, first + count))
            x = moments_of_block(X[:, columns], weight)
            parts.append(x)
            mean, scale = units.of(x, columns)
            Z = minus(X[:, columns], mean)
            Z /= like(scale, Z)
            product = matmul(Z, Z.T, out=product)
            if K is None:
                K, product = product, None
            else:
                K += product
        return parts, K

    moments, K = [], None
    # A product takes longer than the other passes over a block, so that blocks may be smaller.
    blocks = large_blocks(d, 4 * n_rows, least=max(LEAST_COLUMNS, n_rows // 2))
    for parts, product in in_threads(of_columns, blocks, n_jobs):
        moments += parts
        if K is None:
            K = product
        else:
            K += product
    K = to_numpy(K)
    K *= root
    K *= root[:, None]
    return joined_columns(moments), K


def joined_columns(parts: list[Moments]) -> Moments:
    """Return the moments of the columns of several blocks of the same rows."""
    mean = np.concatenate([each.mean for each in parts])
    var = np.concatenate([each.var for each in parts])
    rest = np.concatenate([np.broadcast_to(each.rest, len(each.mean)) for each in parts])
    return Moments(parts[0].n_rows, parts[0].weight, mean, var, rest)


def sparse_products(
    X: Any, weight: Any, root: np.ndarray, units: Units
) -> tuple[Moments, np.ndarray]:
    """Compute the moments and K of CSR rows; only columns without zeros are centred first."""
    x = column_moments(X, weight)
    mean, scale = units.of(x)
    T, offset = centred_where_full(X, mean)
    entries = T.data / scale[T.indices] * np.repeat(root, np.diff(T.indptr))
    Z = sparse.csr_array((entries, T.indices, T.indptr), shape=T.shape)
    K = sparse_product(Z, Z.T)
    offset = offset / scale
    # (Z - s o')(Z - s o')' = ZZ' - s c' - c s' with c = Z o - s o'o / 2.
    crossed = Z @ offset - offset @ offset / 2 * root
    K = plus_outer(plus_outer(K, -root, crossed), -crossed, root)
    return x, K
