"""Second moments of rows [x, y], from which the closed form is computed.

Those of chunks can be merged in any order, so one pass is enough. They are means and centred
products, not sums of squares, because centred products stay accurate if columns lie far from 0 or
if the means of chunks differ (Chan, Golub and LeVeque, 1983; in matrix form Pebay, 2008).
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .arrays import (
    as_array,
    as_float64,
    empty,
    is_numpy,
    like,
    matmul,
    minus,
    namespace,
    numpy_dtype,
    pass_elements,
    to_numpy,
)
from .blocks import PASS_ELEMENTS, in_threads, large_blocks, row_blocks
from .linalg import dot, plus_outer, sparse_product
from .moments import (
    LEAST_VAR,
    Moments,
    centred_where_full,
    column_moments,
    difference_of_means,
    flag_underflow,
    merge_columns,
    merge_larger,
    no_moments,
    rescaled_weights,
    rounded_sum,
    shares,
    total_weight,
)
from .scaling import Scaling

# Second moments, which are d^2 numbers, are computed for up to this many columns.
EXACT_FEATURES = 3000
# If the squared distance between mean and origin is this many variances, the variance loses about
# one digit.
FAR = 10.0
# Adding the product of fewer rows to the sum takes long, compared with computing it.
PRODUCT_ROWS = 2048
# Blocks for threads have at least this many rows, and at least half as many rows as columns.
SHARED_ROWS = 512
# Up to this many columns of sparse rows are multiplied as dense columns, if they lie far from 0.
MOST_APART = 32
# The cost of a multiplication in a dense matrix product, relative to one in a sparse product.
DENSE_COST = 0.02
# Up to this many rows stay in cache while they are centred.
FEW_ROWS = 256


class ColumnMoments(NamedTuple):
    """The moments of x and y."""

    x: Moments
    y: Moments

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite

    def merged(self, other: ColumnMoments) -> ColumnMoments:
        """Return the moments of the rows of both."""
        return ColumnMoments(merge_columns(self.x, other.x), merge_columns(self.y, other.y))


class CrossMoments(NamedTuple):
    """The moments of x and y, and the centred products of x with y, divided by the weight."""

    x: Moments
    y: Moments
    xy: np.ndarray  # (d, t)

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite

    def merged(self, other: CrossMoments) -> CrossMoments:
        """Return the moments of the rows of both."""
        a, b = heavier_first(self, other)
        if b.x.weight == 0:
            return a
        x, y, dx, dy, share = merged_columns(a, b)
        return CrossMoments(x, y, merged_products(a.xy, b.xy, dx, dy, share))


class SecondMoments(NamedTuple):
    """The moments of x and y, and the centred products of x with y and x, divided by the weight."""

    x: Moments
    y: Moments
    xy: np.ndarray  # (d, t)
    xx: np.ndarray  # (d, d)

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite

    def faded(self, share: float) -> SecondMoments:
        """Return the moments with all weights multiplied by `share`."""
        return self._replace(x=self.x.faded(share), y=self.y.faded(share))

    def merged(self, other: SecondMoments) -> SecondMoments:
        """Return the moments of the rows of both."""
        a, b = heavier_first(self, other)
        if b.x.weight == 0:
            return a
        x, y, dx, dy, share = merged_columns(a, b)
        xy = merged_products(a.xy, b.xy, dx, dy, share)
        return SecondMoments(x, y, xy, merged_products(a.xx, b.xx, dx, dx, share))


class Standardized(NamedTuple):
    """Mean products of the scaled rows: Z'WZ / W, Z'Wv / W and, for each target, v'Wv / W."""

    zz: np.ndarray  # (d, d)
    zv: np.ndarray  # (d, t)
    vv: np.ndarray  # (t,)


def no_column_moments(n_features: int, n_targets: int) -> ColumnMoments:
    """Return the moments of no rows."""
    return ColumnMoments(no_moments(n_features), no_moments(n_targets))


def no_second_moments(n_features: int, n_targets: int) -> SecondMoments:
    """Return the second moments of no rows."""
    xy, xx = np.zeros((n_features, n_targets)), np.zeros((n_features, n_features))
    return SecondMoments(*no_column_moments(n_features, n_targets), xy, xx)


def merge(a: Any, b: Any) -> Any:
    """Return the statistics, of whatever kind, of the rows of `a` and `b` together."""
    return a.merged(b)


def heavier_first(a: Any, b: Any) -> tuple[Any, Any]:
    """Return both statistics, those of larger weight first.

    The part of smaller weight is merged into the larger one, which keeps its precision.
    """
    return (b, a) if b.x.weight > a.x.weight else (a, b)


def merged_columns(a: Any, b: Any) -> tuple[Moments, Moments, np.ndarray, np.ndarray, float]:
    """Return the merged moments of x and y, the differences of means, and the share of `b`."""
    dx = difference_of_means(b.x, a.x)
    dy = difference_of_means(b.y, a.y)
    x = merge_larger(a.x, b.x, dx)
    return x, merge_larger(a.y, b.y, dy), dx, dy, b.x.weight / x.weight


def merged_products(
    a: np.ndarray, b: np.ndarray, dx: np.ndarray, dy: np.ndarray, share: float
) -> np.ndarray:
    """Return the centred products of both parts together: a + s (b - a) + s (1 - s) dx dy'.

    `share`, s in the formula, is the weight of b divided by the total weight.
    """
    merged = np.subtract(b, a, out=np.empty(a.shape))
    merged *= share
    merged += a
    return plus_outer(merged, share * (1 - share) * dx, dy)


def second_moments(X: Any, y: Any, weight: Any, n_jobs: int = 1) -> SecondMoments:
    """Return the second moments of X (n, d), dense or CSR, and y (n, t).

    The weights are (n,) or None. Dense rows are copied as a whole only if they are few.
    """
    if isinstance(X, np.ndarray) and len(X) <= FEW_ROWS:
        return of_few_rows(X, y, weight)
    if sparse.issparse(X) and products_are_sparse(X):
        moments = sparse_second_moments(X, y, weight)
        if moments is not None:
            return moments
    return of_dense_rows(X, y, weight, n_jobs, with_products=True)


def cross_moments(X: Any, y: Any, weight: Any, n_jobs: int = 1) -> CrossMoments:
    """Return moments and products of x with y, for the arguments of `second_moments`."""
    if sparse.issparse(X):
        return sparse_cross_moments(X, y, weight)
    return of_dense_rows(X, y, weight, n_jobs, with_products=False)


def of_dense_rows(X: Any, y: Any, weight: Any, n_jobs: int, with_products: bool) -> Any:
    """Compute second or cross moments in threads; sparse rows are made dense block by block."""

    w = None if weight is None else rescaled_weights(weight)
    origin = origin_near(X, y, w)
    moments = about_origin(X, y, w, origin, n_jobs, with_products)
    offset = np.concatenate([moments.x.mean, moments.y.mean]) - origin
    var = np.concatenate([moments.x.var, moments.y.var])
    far = (offset**2 > FAR * var) & (var > 0)
    if far.any():
        better = np.where(far, origin + offset, origin)
        moments = about_origin(X, y, w, better, n_jobs, with_products)
    total = total_weight(X, weight)
    x_moments = replace(moments.x, weight=total, var=flag_underflow(moments.x.var, X))
    y_moments = replace(moments.y, weight=total, var=flag_underflow(moments.y.var, y))
    return moments._replace(x=x_moments, y=y_moments)


def of_few_rows(X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> SecondMoments:
    """Return the second moments of rows that stay in cache while they are centred."""
    n, d = X.shape
    rows = np.empty((n, d + y.shape[1]))
    np.concatenate([X, y], axis=1, out=rows)
    # Minus a row, a constant column is exactly 0. The row of largest weight is close to the mean.
    origin = rows[0 if weight is None else np.argmax(weight)]
    centred = rows - origin
    share = shares(weight, n)
    offset = share @ centred
    centred -= offset
    centred *= np.sqrt(share)[:, None]
    Z, v = centred[:, :d], centred[:, d:]
    var = dot(centred, centred)
    if var.min() < LEAST_VAR:
        var = flag_underflow(var, rows)
    mean, rest = rounded_sum(origin, offset)
    total = total_weight(X, weight)
    x = Moments(n, total, mean[:d], var[:d], rest[:d])
    y_moments = Moments(n, total, mean[d:], var[d:], rest[d:])
    return SecondMoments(x, y_moments, Z.T @ v, Z.T @ Z)


def origin_near(X: Any, y: Any, w: Any) -> np.ndarray:
    """Return a point (d + t,) close to the rows, with the exact values of constant columns.

    It is the row of the largest weight, which is close to the mean, or the medians of a few rows
    if all weights are equal.
    """
    rows = slice(min(15, X.shape[0]))
    if w is not None:
        xp = namespace(w)
        heaviest = int(xp.argmax(w))
        if xp.min(w) != w[heaviest]:
            rows = slice(heaviest, heaviest + 1)
    few = np.hstack([as_array(X[rows, :]), to_numpy(y[rows, :])]).astype(float, copy=False)
    few = few[: len(few) - 1 + len(few) % 2]
    if len(few) == 1:
        return few[0]
    origin = np.sort(few, axis=0)[len(few) // 2]
    d = X.shape[1]
    if w is None and np.all(origin[:d] ** 2 <= 4 * few[:, :d].var(axis=0)):
        # Columns that lie about 0 need not be shifted, which may save a copy of them.
        origin[:d] = 0.0
    return origin


def is_plain(X: Any, w: Any) -> bool:
    """Return whether products of the rows can be formed without a copy of them."""
    if w is not None or sparse.issparse(X) or numpy_dtype(X) != np.float64:
        return False
    return not is_numpy(X) or X.flags.c_contiguous


class Sums(NamedTuple):
    """Weighted sums of products about an origin; `right` stands for [1, y]."""

    xx: np.ndarray  # (d, d), or (d,) for squares only
    x_right: np.ndarray  # (d, 1 + t)
    right: np.ndarray  # (1 + t,), the sum of the weights and the sums of y
    yy: np.ndarray  # (t,)

    def added(self, other: Sums) -> Sums:
        """Add the sums of other rows in place, and return the result."""
        for total, part in zip(self, other, strict=True):
            total += part
        return self


def about_origin(
    X: Any, y: Any, w: Any, origin: np.ndarray, n_jobs: int, with_products: bool
) -> Any:
    """Compute means, variances and centred products from sums about an origin (d + t,)."""

    def of_block(block: tuple[int, int]) -> Sums:
        rows = slice(block[0], block[0] + block[1])
        weight = None if w is None else w[rows]
        return sums_of_products(X[rows, :], y[rows, :], weight, origin, with_products)

    n, d = X.shape
    least = max(SHARED_ROWS, d // 2) if with_products else 1
    blocks = large_blocks(n, d + y.shape[1], least)
    return about_means(reduce(Sums.added, in_threads(of_block, blocks, n_jobs)), n, origin)


def sums_of_products(X: Any, y: Any, w: Any, origin: np.ndarray, with_products: bool) -> Sums:
    """Return the sums of products of rows sqrt(w) [x - origin, 1, y - origin], in one thread."""
    n, d = X.shape
    t = y.shape[1]
    root = None if w is None else namespace(w).sqrt(w)[:, None]
    blocks = row_blocks(n, d + 1 + t, least=PRODUCT_ROWS, elements=pass_elements(X))
    as_they_are = is_plain(X, w) and not origin[:d].any()
    buffer = None if as_they_are or not is_numpy(X) else np.empty((blocks[0].stop, d))
    accurate = as_float64(y[:1, :])
    ones_and_targets = empty((blocks[0].stop, 1 + t), accurate)
    y_origin = like(origin[d:], accurate)
    product, sums = None, None
    for rows in blocks:
        right = ones_and_targets[: rows.stop - rows.start, :]
        right[:, 0] = 1.0
        right[:, 1:] = as_float64(y[rows, :]) - y_origin
        left = X[rows, :]
        if not as_they_are:
            left = minus(left.toarray() if sparse.issparse(X) else left, origin[:d], out=buffer)
        if root is not None:
            left *= root[rows, :]
            right *= root[rows, :]
        # NumPy computes the product of a matrix with its own transpose in half the time, and lets
        # other threads run meanwhile, which functions of BLAS in SciPy do not.
        product = matmul(left.T, left, out=product) if with_products else dot(left, left)
        xy = left.T @ right
        parts = Sums(product, xy, right[:, 0] @ right, dot(right[:, 1:], right[:, 1:]))
        if sums is None:
            sums, product = parts, None
        else:
            sums = sums.added(parts)
    assert sums is not None
    return Sums(*map(to_numpy, sums))


def about_means(sums: Sums, n_rows: int, origin: np.ndarray) -> Any:
    """Convert sums of products about an origin (d + t,) to means of products about the mean.

    The sums are overwritten.
    """
    d = len(sums.xx)
    weight = float(sums.right[0])
    x_offset = sums.x_right[:, 0] / weight
    y_offset = sums.right[1:] / weight
    xx = np.divide(sums.xx, weight, out=sums.xx)
    xx = plus_outer(xx, -x_offset, x_offset) if xx.ndim == 2 else xx - x_offset**2
    xy = plus_outer(sums.x_right[:, 1:] / weight, -x_offset, y_offset)
    x_var = np.maximum(np.diag(xx) if xx.ndim == 2 else xx, 0.0)
    y_var = np.maximum(sums.yy / weight - y_offset**2, 0.0)
    x_mean, x_rest = rounded_sum(origin[:d], x_offset)
    y_mean, y_rest = rounded_sum(origin[d:], y_offset)
    x = Moments(n_rows, weight, x_mean, x_var, x_rest)
    y = Moments(n_rows, weight, y_mean, y_var, y_rest)
    return SecondMoments(x, y, xy, xx) if xx.ndim == 2 else CrossMoments(x, y, xy)


def products_are_sparse(X: Any) -> bool:
    """Return whether products of CSR rows cost less in sparse than in dense form."""
    per_row = np.diff(X.indptr).astype(float)
    return bool(per_row @ per_row < DENSE_COST * X.shape[0] * float(X.shape[1]) ** 2)


def sparse_cross_moments(X: Any, y: np.ndarray, weight: np.ndarray | None) -> CrossMoments:
    """Compute `cross_moments` of CSR rows.

    Only columns without zeros are centred before they are multiplied.
    """
    x = column_moments(X, weight)
    y_moments = column_moments(y, weight)
    T, offset = centred_where_full(X, x.mean)
    share = shares(weight, X.shape[0])
    v = y - y_moments.mean
    # The mean of v is 0 up to rounding, which matters if the columns or y are far from 0.
    xy = T.T @ (share[:, None] * v) - np.multiply.outer(offset, share @ v)
    return CrossMoments(x, y_moments, xy)


def sparse_gram(T: Any, weighted: Any) -> np.ndarray:
    """Return T'WT of CSR rows T, in blocks if there are many; `weighted` is WT.

    For every column all rows are looked up, which takes half the time if they are in cache.
    """
    n, d = T.shape
    elements = max(2 * PASS_ELEMENTS, d * d // 2)
    if T.nnz < 4 * elements:
        return sparse_product(T.T, weighted)
    blocks = row_blocks(n, -(-T.nnz // n), elements=elements)
    products = (sparse_product(T[rows].T, weighted[rows]) for rows in blocks)
    return reduce(np.ndarray.__iadd__, products)


def sparse_second_moments(X: Any, y: np.ndarray, weight: np.ndarray | None) -> SecondMoments | None:
    """Compute `second_moments` of CSR rows with few entries.

    Columns without zeros are centred first. Other columns are not, unless they lie so far from 0
    that products would lose digits: these are centred as dense columns. Return None if they are
    more than `MOST_APART`.
    """
    x = column_moments(X, weight)
    y_moments = column_moments(y, weight)
    T, offset = centred_where_full(X, x.mean)
    apart = (offset**2 > FAR * x.var) & ~x.is_constant
    if apart.sum() > MOST_APART:
        return None
    share = shares(weight, X.shape[0])
    v = y - y_moments.mean
    dense = v
    if apart.any():
        centred = T[:, apart].toarray() - offset[apart]
        var = x.var.copy()
        var[apart] = share @ centred**2
        x = replace(x, var=var)
        dense = np.hstack([v, centred])
        T = T.copy()
        T.data[apart[T.indices]] = 0.0
    weighted = T.copy()
    weighted.data *= np.repeat(share, np.diff(T.indptr))
    # The offset, or in centred columns the rounding error of their means.
    mean = np.ravel(weighted.sum(axis=0))
    xx = plus_outer(sparse_gram(T, weighted), -mean, mean)
    xy = weighted.T @ dense - np.multiply.outer(mean, share @ dense)
    if apart.any():
        t = v.shape[1]
        xy[apart] = dense[:, t:].T @ (share[:, None] * dense)
        xx[:, apart] = xy[:, t:]
        xx[apart] = xy[:, t:].T
        xy = xy[:, :t]
    np.fill_diagonal(xx, x.var)
    constant = x.var == 0
    xx[constant] = 0.0
    xx[:, constant] = 0.0
    xy[constant] = 0.0
    return SecondMoments(x, y_moments, xy, xx)


def standardized(moments: SecondMoments, scaling: Scaling) -> Standardized:
    """Return the products of the scaled rows."""
    x_offset = (moments.x.mean - scaling.x_mean) / scaling.x_scale
    zv, vv = standardized_targets(moments, scaling)
    zz = moments.xx / scaling.x_scale
    zz /= scaling.x_scale[:, None]
    if x_offset.any():
        zz += np.multiply.outer(x_offset, x_offset)
    return Standardized(zz, zv, vv)


def standardized_targets(
    moments: CrossMoments | SecondMoments, scaling: Scaling
) -> tuple[np.ndarray, np.ndarray]:
    """Return Z'Wv / W (d, t) and v'Wv / W (t,) of the scaled rows."""
    x_offset = (moments.x.mean - scaling.x_mean) / scaling.x_scale
    y_offset = (moments.y.mean - scaling.y_mean) / scaling.y_scale
    zv = moments.xy / scaling.x_scale[:, None]
    zv /= scaling.y_scale
    if x_offset.any():
        zv += np.multiply.outer(x_offset, y_offset)
    return zv, moments.y.var / scaling.y_scale / scaling.y_scale + y_offset**2
