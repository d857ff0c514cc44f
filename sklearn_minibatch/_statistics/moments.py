"""Weighted means and variances of columns, computed block by block and merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from .arrays import as_float64, columns_of, minus, namespace, ones, pass_elements, to_numpy
from .blocks import in_threads, large_blocks, row_blocks

# The least variance that is represented with full precision. A column with a smaller variance that
# is not constant is given the variance UNDERFLOWED, which is positive.
LEAST_VAR = np.finfo(float).tiny
UNDERFLOWED = 2.0**-1064
# A smaller sum of weights may have lost precision.
TINY_WEIGHT = LEAST_VAR / np.finfo(float).eps
# The bound on rounding errors assumes that at most this many rows are summed one by one. This is
# rarely exceeded, because the moments of blocks are merged.
SUMMED_ROWS = 2**20
# The squares of numbers up to this one can be summed over many rows without overflow.
LARGEST = 1e151


@dataclass(frozen=True)
class Moments:
    """Weighted mean and population variance of the columns of the rows seen so far."""

    n_rows: int
    weight: float
    mean: np.ndarray
    var: np.ndarray
    # The rounding error of the mean. It keeps differences of means accurate if columns lie far
    # from 0.
    rest: np.ndarray | float = 0.0

    def faded(self, share: float) -> Moments:
        """Return the moments with all weights multiplied by `share`."""
        return replace(self, weight=self.weight * share)

    def __getstate__(self) -> dict[str, Any]:
        # Cached properties are not saved.
        return {name: getattr(self, name) for name in self.__match_args__}

    @property
    def is_unweighted(self) -> bool:
        """Whether all rows have weight 1, up to the rounding of large numbers."""
        return self.weight == float(self.n_rows)

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.var).all())

    @cached_property
    def scale(self) -> np.ndarray:
        """Standard deviations (d,), and 1 for constant columns."""
        return np.where(self.is_constant, 1.0, np.sqrt(self.var))

    @cached_property
    def largest(self) -> float:
        """The size of the data: the largest absolute mean plus the largest standard deviation."""
        return float(np.abs(self.mean).max() + np.sqrt(self.var.max()))

    @cached_property
    def least_scale(self) -> float:
        """The least of the scales."""
        return float(self.scale.min())

    @property
    def is_constant(self) -> np.ndarray:
        """Mask (d,) of the columns that are constant up to rounding errors.

        The bound is that of Chan, Golub and LeVeque (1983), in the form of scikit-learn's
        StandardScaler.
        """
        error = min(self.n_rows, SUMMED_ROWS) * np.finfo(float).eps
        return (self.var <= error * self.var + (error * self.mean) ** 2) | self.is_underflowed

    @property
    def is_underflowed(self) -> np.ndarray:
        """Mask (d,) of the columns that are not constant but whose variance underflows."""
        return (self.var > 0) & (self.var < LEAST_VAR)


class Statistics(Protocol):
    """The attributes that all statistics of samples have."""

    @property
    def x(self) -> Moments:
        """The moments of the columns of X."""

    @property
    def y(self) -> Moments:
        """The moments of the targets."""

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""


def no_moments(n_columns: int) -> Moments:
    """Return the moments of no rows."""
    return Moments(0, 0.0, np.zeros(n_columns), np.zeros(n_columns))


def merge_columns(a: Moments, b: Moments) -> Moments:
    """Return the moments of the rows of `a` and `b` together (Chan, Golub and LeVeque, 1983)."""
    # The part of smaller weight is merged into the larger one, which keeps its precision.
    if b.weight > a.weight:
        a, b = b, a
    if b.weight == 0:
        return a
    return merge_larger(a, b, difference_of_means(b, a))


def merge_larger(a: Moments, b: Moments, delta: np.ndarray) -> Moments:
    """Merge `b` into `a` of at least its weight; `delta` is the mean of `b` minus that of `a`."""
    n_rows = a.n_rows + b.n_rows
    # The integer counts exactly even if adding 1 to a float no longer changes it.
    weight = float(n_rows) if a.is_unweighted and b.is_unweighted else a.weight + b.weight
    share = b.weight / weight
    with np.errstate(over="ignore", invalid="ignore"):
        mean, rest = rounded_sum(a.mean, a.rest + share * delta)
        var = a.var + share * (b.var - a.var + (1 - share) * delta**2)
    if var.min() < LEAST_VAR:
        varies = (a.var > 0) | (b.var > 0) | (delta != 0)
        var[(var < LEAST_VAR) & varies] = UNDERFLOWED
    return Moments(n_rows, weight, mean, var, rest)


def difference_of_means(a: Moments, b: Moments) -> np.ndarray:
    """Return the mean of `a` minus that of `b`, including the rounding errors of both means."""
    return (a.mean - b.mean) + (a.rest - b.rest)


def offset_of_means(a: Moments, b: Moments, origin: np.ndarray) -> np.ndarray:
    """Return the mean of `a` minus an origin, which is the mean of `b` or 0.

    The rounding errors of the means are taken into account.
    """
    return a.mean - origin + (a.rest - np.where(origin == b.mean, b.rest, 0.0))


def rounded_sum(origin: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return origin + offset in float64 and its rounding error (Dekker, 1971)."""
    total = origin + offset
    return total, offset - (total - origin)


def column_moments(X: Any, weight: Any = None, n_jobs: int = 1) -> Moments:
    """Return the moments of the columns of `X` (n, d), dense or CSR, with weights (n,) or None."""
    n_rows = X.shape[0]
    if sparse.issparse(X):
        total = total_weight(X, weight)
        count = np.bincount(X.indices, minlength=X.shape[1])
        # The first row is subtracted, as for dense rows, so that the mean of a constant column is
        # exact.
        origin = np.where(count == n_rows, X[[0]].toarray()[0], 0.0)
        shifted, _ = centred_where_full(X, origin)
        mean, var = mean_variance_axis(
            shifted, axis=0, weights=None if weight is None else rescaled_weights(weight)
        )
        mean = origin + mean.astype(float)
        # Rounding may make the variance of a constant column negative. Columns without entries are
        # constant and need not be examined; there may be many.
        var = flag_underflow(np.maximum(var.astype(float), 0.0), X, among=count > 0)
        return Moments(n_rows, total, mean, var)

    def of_block(block: tuple[int, int]) -> Moments:
        first, n = block
        parts = row_blocks(n, X.shape[1], first, elements=pass_elements(X))
        return reduce(
            merge_columns,
            [
                moments_of_block(X[rows, :], None if weight is None else weight[rows])
                for rows in parts
            ],
        )

    return reduce(merge_columns, in_threads(of_block, large_blocks(*X.shape), n_jobs))


def moments_of_block(X: Any, weight: Any) -> Moments:
    """Return the moments of the columns of a dense block, which fits in cache."""
    n_rows, n_columns = X.shape
    total = total_weight(X, weight)
    if n_rows == 1:
        return Moments(1, total, to_numpy(X)[0].astype(float), np.zeros(n_columns))
    largest = 0 if weight is None else int(namespace(weight).argmax(weight))
    # The caller checks for overflow. Threads do not inherit this setting.
    with np.errstate(over="ignore", invalid="ignore"):
        # A row is subtracted, so that the mean of a constant column is exact and its variance is
        # exactly 0. The row of the largest weight is close to the mean.
        origin = to_numpy(X[largest : largest + 1, :])[0].astype(float)
        shifted = minus(X, origin)
        w = ones(n_rows, shifted) if weight is None else rescaled_weights(weight)
        total_w = float(namespace(w).sum(w))
        offset = w @ shifted / total_w
        shifted -= offset
        residual = to_numpy(w @ shifted) / total_w
        shifted *= shifted
        var = np.maximum(to_numpy(w @ shifted) / total_w - residual**2, 0.0)
        mean, rest = rounded_sum(origin, to_numpy(offset) + residual)
        return Moments(n_rows, total, mean, flag_underflow(var, X), rest)


def centred_where_full(X: Any, mean: np.ndarray) -> tuple[Any, np.ndarray]:
    """Subtract the mean (d,) from the columns of a CSR matrix that have an entry in every row.

    Return the matrix and the mean that is still to be subtracted from the other columns. Centring
    a full column adds no entries, and avoids the cancellation that products of uncentred columns
    suffer if the column is far from 0 or constant.
    """
    if not mean.any():
        return X, mean
    full = np.bincount(X.indices, minlength=X.shape[1]) == X.shape[0]
    if not mean[full].any():
        return X, mean
    X = X.copy()
    X.data -= np.where(full, mean, 0.0)[X.indices]
    return X, np.where(full, 0.0, mean)


def total_weight(X: Any, weight: Any) -> float:
    """Return the sum of the weights (n,), or the number of rows of X if there are no weights.

    The sum is infinity if it overflows.
    """
    with np.errstate(over="ignore"):
        if weight is None:
            return float(X.shape[0])
        weight = as_float64(weight)
        return float(namespace(weight).sum(weight))


def rescaled_weights(weight: Any) -> Any:
    """Return the weights (n,) times a power of 2 that makes the largest less than 1.

    Their products with squares then neither overflow nor underflow because of the weights.
    """
    weight = as_float64(weight)
    exponent = -int(np.frexp(float(namespace(weight).max(weight)))[1])
    # The power itself may overflow.
    half = exponent // 2
    return weight * 2.0**half * 2.0 ** (exponent - half)


def shares(weight: Any, n_rows: int) -> np.ndarray:
    """Return the weights (n,) divided by their sum."""
    if weight is None:
        return np.full(n_rows, 1 / n_rows)
    w = to_numpy(rescaled_weights(weight))
    return w / w.sum()


def flag_underflow(var: np.ndarray, X: Any, among: np.ndarray | bool = True) -> np.ndarray:
    """Set the variances (d,) that underflow to UNDERFLOWED, and those of constant columns to 0.

    Only columns of X in the mask `among` are examined. `var` is changed in place and returned.
    """
    small = np.flatnonzero((var < LEAST_VAR) & among)
    if len(small):
        columns = columns_of(X, small)
        extremes = [of(axis=0) for of in (columns.min, columns.max)]
        least, most = [np.ravel(row.toarray()) if sparse.issparse(row) else row for row in extremes]
        var[small] = np.where(least < most, UNDERFLOWED, 0.0)
    return var
