"""Products of the rows, K = ZZ': the small Gram matrix where there are fewer rows than columns.

Z has the columns in scaled units, and its rows multiplied by sqrt(w / W). It is made a block of
columns at a time, which is centred, scaled and multiplied while it is in cache.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .arrays import as_float64, like, matmul, minus, pass_elements, to_numpy
from .moments import Moments, centred_where_full, column_moments, moments_of_block, rescaled_weights

# A product of narrower blocks takes longer to add to the sum than to compute.
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


def row_products(X: Any, y: Any, weight: Any, centred: bool, scaled: bool) -> RowProducts:
    """Return the products of the rows of X (n, d), dense or CSR; y is (n, t).

    The weights are (n,) or None. Columns are centred and divided by their standard deviations if
    the last two arguments say so.
    """
    n_rows = X.shape[0]
    y_moments = column_moments(y, weight)
    root = np.full(n_rows, np.sqrt(1 / n_rows))
    if weight is not None:
        w = to_numpy(rescaled_weights(weight))
        root = np.sqrt(w / w.sum())
    if sparse.issparse(X):
        x, K = sparse_products(X, weight, root, centred, scaled)
    else:
        x, K = dense_products(X, weight, root, centred, scaled)
    return RowProducts(x, y_moments, K, root)


def dense_products(
    X: Any, weight: Any, root: np.ndarray, centred: bool, scaled: bool
) -> tuple[Moments, np.ndarray]:
    """Compute the moments of the columns and K, from one read of X in blocks of columns."""
    n_rows, d = X.shape
    width = max(LEAST_COLUMNS, pass_elements(X) // n_rows)
    parts, K, product = [], None, None
    s = like(root, as_float64(X[:1, :1]))[:, None]
    for start in range(0, d, width):
        block = X[:, start : start + width]
        x = moments_of_block(block, weight)
        parts.append(x)
        Z = minus(block, x.mean if centred else np.zeros(len(x.mean)))
        Z *= s
        if scaled:
            Z /= like(x.scale, Z)
        product = matmul(Z, Z.T, out=product)
        if K is None:
            K, product = product, None
        else:
            K += product
    return joined_columns(parts), to_numpy(K)


def joined_columns(parts: list[Moments]) -> Moments:
    """Return the moments of the columns of several blocks of the same rows."""
    mean = np.concatenate([each.mean for each in parts])
    var = np.concatenate([each.var for each in parts])
    rest = np.concatenate([np.broadcast_to(each.rest, len(each.mean)) for each in parts])
    return Moments(parts[0].n_rows, parts[0].weight, mean, var, rest)


def sparse_products(
    X: Any, weight: Any, root: np.ndarray, centred: bool, scaled: bool
) -> tuple[Moments, np.ndarray]:
    """Compute the same of CSR rows, from products about 0 of columns that have zeros."""
    x = column_moments(X, weight)
    mean = x.mean if centred else np.zeros(len(x.mean))
    scale = x.scale if scaled else np.ones(len(x.mean))
    T, offset = centred_where_full(X, mean)
    entries = T.data / scale[T.indices] * np.repeat(root, np.diff(T.indptr))
    Z = sparse.csr_array((entries, T.indices, T.indptr), shape=T.shape)
    K = (Z @ Z.T).toarray()
    offset = offset / scale
    crossed = np.multiply.outer(root, Z @ offset)
    K -= crossed
    K -= crossed.T
    K += offset @ offset * np.multiply.outer(root, root)
    return x, K
