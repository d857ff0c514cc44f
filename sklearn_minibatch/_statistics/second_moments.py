"""Second moments of rows [x, y]: gathered in one read, merged in any order, enough for the closed form.

Means and centred products, never sums of raw squares: they lose no digits where columns lie far
from 0 or where chunks drift (Chan, Golub and LeVeque, 1983; in matrix form Pebay, 2008).
"""

from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import blas

from .blocks import in_threads, large_blocks, row_blocks
from .moments import (
    Moments,
    centred_where_full,
    column_moments,
    difference_of_means,
    flag_underflow,
    is_full,
    merge_larger,
    no_moments,
    rescaled_weights,
    rounded_sum,
    total_weight,
)
from .scaling import Scaling
from .sketch import Sketch

# Where rows come in chunks their number is not known beforehand; up to so many columns, d^2 numbers
# are worth it.
FEW_FEATURES = 1000
# A squared distance of this many variances, between mean and origin, costs the variance about one
# digit.
FAR = 10.0
# A product of fewer rows than these would take longer to add to the others than to form.
PRODUCT_ROWS = 2048
# One product of dense matrices costs about as much as this fraction of one of the entries of sparse
# matrices.
DENSE_COST = 0.02


class SecondMoments(NamedTuple):
    """What one read of the rows leaves: moments of x and y, and their centred products divided by the weight.

    The products of x with itself are either exact, or stand in the Gram matrix of a sketch where
    the columns are many, or were not asked for; `xy` is None only if there are neither.
    """

    x: Moments
    y: Moments
    xy: np.ndarray | None = None  # (d, t)
    xx: np.ndarray | None = None  # (d, d)
    sketch: Sketch | None = None


class Standardized(NamedTuple):
    """Mean products of the rows in scaled units: Z'WZ / W, Z'Wv / W and, per target, v'Wv / W."""

    zz: np.ndarray | None  # (d, d)
    zv: np.ndarray  # (d, t)
    vv: np.ndarray  # (t,)


def no_second_moments(n_features: int, n_targets: int) -> SecondMoments:
    """Those of no rows."""
    xy = np.zeros((n_features, n_targets))
    return SecondMoments(
        no_moments(n_features), no_moments(n_targets), xy, np.zeros((n_features, n_features))
    )


def is_finite(moments: SecondMoments) -> bool:
    """Whether no mean and no variance is infinite or NaN."""
    parts = (moments.x.mean, moments.x.var, moments.y.mean, moments.y.var)
    return all(bool(np.isfinite(part).all()) for part in parts)


def merge(a: SecondMoments, b: SecondMoments) -> SecondMoments:
    """Second moments of the rows of `a` and `b` together."""
    if b.x.weight > a.x.weight:
        # The smaller part is merged into the larger one, so that the larger one keeps its digits.
        a, b = b, a
    if b.x.weight == 0:
        return a
    dx = difference_of_means(b.x, a.x)
    dy = difference_of_means(b.y, a.y)
    x = merge_larger(a.x, b.x, dx)
    y = merge_larger(a.y, b.y, dy)
    share = b.x.weight / x.weight
    xy = None if a.xy is None or b.xy is None else merged_products(a.xy, b.xy, dx, dy, share)
    xx = None if a.xx is None or b.xx is None else merged_products(a.xx, b.xx, dx, dx, share)
    sketch = None if a.sketch is None or b.sketch is None else a.sketch.merged(b.sketch, share)
    return SecondMoments(x, y, xy, xx, sketch)


def merged_products(
    a: np.ndarray, b: np.ndarray, dx: np.ndarray, dy: np.ndarray, share: float
) -> np.ndarray:
    """Centred products of both parts, `share` being that of b in the weight: a + s (b - a) + s (1 - s) dx dy'."""
    merged = np.subtract(b, a, out=np.empty(a.shape))
    merged *= share
    merged += a
    return plus_outer(merged, share * (1 - share) * dx, dy)


def plus_outer(A: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return A + x y' for a contiguous A (n, m), which is overwritten in one pass."""
    return blas.dger(1.0, y, x, a=A.T, overwrite_a=1).T


def second_moments(
    X: Any, y: np.ndarray, weight: np.ndarray | None, n_jobs: int = 1
) -> SecondMoments:
    """Those of rows X (n, d), dense or CSR, with targets y (n, t) and weights (n,) or None; in one read, without a copy."""
    if sparse.issparse(X) and products_are_sparse(X):
        return sparse_second_moments(X, y, weight)

    def of_block(block: tuple[int, int]) -> SecondMoments:
        rows = slice(block[0], block[0] + block[1])
        w = None if weight is None else weight[rows]
        return dense_second_moments(X[rows], y[rows], w)

    # A block has so many rows for each column that its products take no time to merge, and little
    # memory.
    n, d = X.shape
    blocks = large_blocks(n, d, least=8 * (d + y.shape[1]))
    return reduce(merge, in_threads(of_block, blocks, n_jobs))


def without_products(
    X: Any, y: np.ndarray, weight: np.ndarray | None, n_jobs: int = 1
) -> SecondMoments:
    """The moments of the columns alone."""
    return SecondMoments(column_moments(X, weight, n_jobs), column_moments(y, weight))


def dense_second_moments(X: Any, y: np.ndarray, weight: np.ndarray | None) -> SecondMoments:
    """The same of rows that are dense, or dense enough, in one thread."""
    if X.shape[0] == 1:
        return of_one_row(as_array(X)[0].astype(float), y[0], total_weight(X, weight))
    w = None if weight is None else rescaled_weights(weight)
    origin = origin_near(X, y, w)
    moments = centred_products(X, y, w, origin)
    offset = np.concatenate([moments.x.mean, moments.y.mean]) - origin
    var = np.concatenate([moments.x.var, moments.y.var])
    far = (offset**2 > FAR * var) & (var > 0)
    if far.any():
        moments = centred_products(X, y, w, np.where(far, origin + offset, origin))
    total = total_weight(X, weight)
    x_moments = replace(moments.x, weight=total, var=flag_underflow(moments.x.var, X))
    y_moments = replace(moments.y, weight=total, var=flag_underflow(moments.y.var, y))
    return moments._replace(x=x_moments, y=y_moments)


def of_one_row(x: np.ndarray, y: np.ndarray, weight: float) -> SecondMoments:
    """Those of a single row, which is its own mean."""
    d, t = len(x), len(y)
    x_moments = Moments(1, weight, x, np.zeros(d))
    y_moments = Moments(1, weight, y.astype(float), np.zeros(t))
    return SecondMoments(x_moments, y_moments, np.zeros((d, t)), np.zeros((d, d)))


def as_array(X: Any) -> np.ndarray:
    """Dense or sparse rows as an array."""
    return X.toarray() if sparse.issparse(X) else X


def origin_near(X: Any, y: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    """A point (d + t,) among the rows: the distances of a constant column to it are exactly 0.

    A row of the largest weight is not far from the mean; where all weigh the same, the medians of a
    few rows are not.
    """
    rows = (
        slice(15)
        if w is None or w.min() == w.max()
        else slice(int(w.argmax()), int(w.argmax()) + 1)
    )
    few = np.hstack([as_array(X[rows]), y[rows]]).astype(float, copy=False)
    few = few[: len(few) - 1 + len(few) % 2]
    return few[0] if len(few) == 1 else np.sort(few, axis=0)[len(few) // 2]


def centred_products(
    X: Any, y: np.ndarray, w: np.ndarray | None, origin: np.ndarray
) -> SecondMoments:
    """Means, variances and centred products, from blocks of rows sqrt(w) [x - origin, 1, y - origin]."""
    (n, d), t = X.shape, y.shape[1]
    root = None if w is None else np.sqrt(w)[:, None]
    blocks = row_blocks(n, d + 1 + t, least=PRODUCT_ROWS)
    buffer = np.empty((blocks[0].stop, d + 1 + t))
    products: np.ndarray | None = None
    product = None
    squares = np.zeros(t)
    for rows in blocks:
        T = buffer[: rows.stop - rows.start]
        np.subtract(as_array(X[rows]), origin[:d], out=T[:, :d])
        T[:, d] = 1.0
        np.subtract(y[rows], origin[d:], out=T[:, d + 1 :])
        if root is not None:
            T *= root[rows]
        # NumPy forms the product of a matrix with its own transpose in half the time.
        left = T if is_narrow(d, t) else T[:, : d + 1]
        if products is None:
            products = left.T @ T
        else:
            product = np.matmul(left.T, T, out=product)
            products += product
        if not is_narrow(d, t):
            squares += np.einsum("ij,ij->j", T[:, d + 1 :], T[:, d + 1 :])
    assert products is not None
    if is_narrow(d, t):
        squares = np.diag(products)[d + 1 :].copy()
    return about_means(products, squares, n, origin)


def is_narrow(d: int, t: int) -> bool:
    """Whether the products of the targets with one another cost little."""
    return t <= max(4, d // 4)


def about_means(
    products: np.ndarray, squares: np.ndarray, n_rows: int, origin: np.ndarray
) -> SecondMoments:
    """The sums of products about an origin, (d + 1, d + 1 + t), in place as means of products about the mean."""
    t = len(squares)
    d = products.shape[1] - 1 - t
    weight = float(products[d, d])
    products /= weight
    offset = products[d].copy()
    x_offset = offset[:d]
    y_offset = offset[d + 1 :]
    products = plus_outer(products, -products[:, d], offset)
    xx = products[:d, :d]
    xy = products[:d, d + 1 :].copy()
    x_var = np.maximum(np.diag(xx), 0.0)
    y_var = np.maximum(squares / weight - y_offset**2, 0.0)
    x_mean, x_rest = rounded_sum(origin[:d], x_offset)
    y_mean, y_rest = rounded_sum(origin[d:], y_offset)
    x = Moments(n_rows, weight, x_mean, x_var, x_rest)
    y = Moments(n_rows, weight, y_mean, y_var, y_rest)
    return SecondMoments(x, y, xy, xx)


def products_are_sparse(X: Any) -> bool:
    """Whether products of the entries of CSR rows cost less than those of the dense rows, and lose no digits."""
    per_row = np.diff(X.indptr).astype(float)
    return bool(per_row @ per_row < DENSE_COST * X.shape[0] * float(X.shape[1]) ** 2)


def sparse_second_moments(X: Any, y: np.ndarray, weight: np.ndarray | None) -> SecondMoments:
    """Those of CSR rows with few entries, about 0 but in columns without zeros."""
    n = X.shape[0]
    x = column_moments(X, weight)
    y_moments = column_moments(y, weight)
    full = is_full(X)
    T, _ = centred_where_full(X, np.where(full, x.mean, 0.0))
    offset = np.where(full, 0.0, x.mean)
    if np.any((offset**2 > FAR * x.var) & ~x.is_constant):
        return dense_second_moments(X, y, weight)
    share = (
        np.full(n, 1 / n)
        if weight is None
        else rescaled_weights(weight) / rescaled_weights(weight).sum()
    )
    weighted = T.copy()
    weighted.data *= np.repeat(share, np.diff(T.indptr))
    v = y - y_moments.mean
    residue = np.ravel(weighted.sum(axis=0)) - offset
    xx = (T.T @ weighted).toarray() - np.multiply.outer(offset, offset)
    xy = weighted.T @ v - np.multiply.outer(offset + residue, share @ v)
    np.fill_diagonal(xx, x.var)
    constant = x.var == 0
    xx[constant] = 0.0
    xx[:, constant] = 0.0
    xy[constant] = 0.0
    return SecondMoments(x, y_moments, xy, xx)


def standardized(moments: SecondMoments, scaling: Scaling) -> Standardized:
    """The products in scaled units; those of z with itself are None where `moments` has only a sketch of them."""
    assert moments.xy is not None
    x_offset = (moments.x.mean - scaling.x_mean) / scaling.x_scale
    y_offset = (moments.y.mean - scaling.y_mean) / scaling.y_scale
    zv = moments.xy / scaling.x_scale[:, None] / scaling.y_scale
    zv += np.multiply.outer(x_offset, y_offset)
    vv = moments.y.var / scaling.y_scale / scaling.y_scale + y_offset**2
    if moments.xx is None:
        return Standardized(None, zv, vv)
    zz = moments.xx / scaling.x_scale
    zz /= scaling.x_scale[:, None]
    if x_offset.any():
        zz += np.multiply.outer(x_offset, x_offset)
    return Standardized(zz, zv, vv)
