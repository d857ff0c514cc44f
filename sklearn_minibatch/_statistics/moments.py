"""Weighted moments of columns, merged block by block."""

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from .blocks import in_threads, large_blocks, row_blocks

# The least variance that keeps its digits. A column that varies by less has the variance LOST,
# never that of a constant.
LEAST_VAR = np.finfo(float).tiny
UNDERFLOWED = 2.0**-1064
# Smaller sums of weights may have lost digits.
TINY_WEIGHT = LEAST_VAR / np.finfo(float).eps
# Rounding errors are bounded as if so many rows were summed one by one. Moments of blocks are
# merged, so it is rarely more.
SUMMED_ROWS = 2**20
# Squares of such numbers can be added up over many rows.
LARGEST = 1e151


@dataclass(frozen=True)
class Moments:
    """Weighted mean and population variance of the columns of the rows seen so far."""

    n_rows: int
    weight: float
    mean: np.ndarray
    var: np.ndarray
    # What rounding took from the mean: where columns lie far from 0, differences of means keep
    # their digits by it.
    rest: np.ndarray | float = 0.0

    @property
    def is_unweighted(self):
        """Whether, but for the rounding of large numbers, all rows have weight 1."""
        return self.weight == float(self.n_rows)

    @cached_property
    def scale(self):
        """Standard deviations, with 1 for a constant column."""
        return np.where(self.is_constant, 1.0, np.sqrt(self.var))

    @property
    def is_constant(self):
        """Mask (d,) of the columns that rounding cannot tell from a constant.

        The bound is that of Chan, Golub and LeVeque (1983), in the form of scikit-learn's
        StandardScaler.
        """
        error = min(self.n_rows, SUMMED_ROWS) * np.finfo(float).eps
        return (self.var <= error * self.var + (error * self.mean) ** 2) | self.is_underflowed

    @property
    def is_underflowed(self):
        """Mask (d,) of the columns that vary, but by less than a variance can tell."""
        return (self.var > 0) & (self.var < LEAST_VAR)


def no_moments(n_columns):
    return Moments(0, 0.0, np.zeros(n_columns), np.zeros(n_columns))


def merge_columns(a, b):
    """Moments of the rows of `a` and `b` together (Chan, Golub and LeVeque, 1983)."""
    if b.weight > a.weight:
        # The smaller part is merged into the larger one, so that the larger one keeps its digits.
        a, b = b, a
    if b.weight == 0:
        return a
    return merge_larger(a, b, difference_of_means(b, a))


def merge_larger(a: Moments, b: Moments, delta: np.ndarray) -> Moments:
    """The same for `b` of no more weight than `a`, whose mean is less by `delta`."""
    n_rows = a.n_rows + b.n_rows
    # An integer goes on counting where adding 1 to a float no longer changes it.
    weight = float(n_rows) if a.is_unweighted and b.is_unweighted else a.weight + b.weight
    share = b.weight / weight
    with np.errstate(over="ignore", invalid="ignore"):
        mean, rest = rounded_sum(a.mean, a.rest + share * delta)
        var = a.var + share * (b.var - a.var + (1 - share) * delta**2)
    small = var < LEAST_VAR
    if small.any():
        varies = (a.var > 0) | (b.var > 0) | (delta != 0)
        var[small & varies] = UNDERFLOWED
    return Moments(n_rows, weight, mean, var, rest)


def difference_of_means(a: Moments, b: Moments) -> np.ndarray:
    """The mean of `a` less that of `b`, with the digits that neither has alone."""
    return (a.mean - b.mean) + (a.rest - b.rest)


def rounded_sum(origin: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """origin + offset as a float64, and what rounding took from it (Dekker, 1971)."""
    total = origin + offset
    return total, offset - (total - origin)


def column_moments(X, weight=None, n_jobs=1):
    """Moments of the columns of `X`, (n, d) dense or CSR, with row weights (n,) or none."""
    n_rows = X.shape[0]
    if sparse.issparse(X):
        total = total_weight(X, weight)
        # Distances to the first row, as for dense rows: the mean of a constant column is then
        # exact.
        origin = np.where(is_full(X), X[[0]].toarray()[0], 0.0)
        shifted, _ = centred_where_full(X, origin)
        mean, var = mean_variance_axis(
            shifted, axis=0, weights=None if weight is None else rescaled_weights(weight)
        )
        mean = origin + mean.astype(float)
        # Rounding can take the variance of a constant column below 0. One of zeros only is
        # constant.
        var = flag_underflow(np.maximum(var.astype(float), 0.0), X, among=mean != 0)
        return Moments(n_rows, total, mean, var)

    def of_block(block):
        first, n = block
        parts = row_blocks(n, X.shape[1], first)
        return reduce(
            merge_columns,
            [_dense_moments(X[rows], None if weight is None else weight[rows]) for rows in parts],
        )

    return reduce(merge_columns, in_threads(of_block, large_blocks(*X.shape), n_jobs))


def _dense_moments(X, weight):
    total = total_weight(X, weight)
    if len(X) == 1:
        return Moments(1, total, X[0].astype(float), np.zeros(X.shape[1]))
    w = np.ones(len(X)) if weight is None else rescaled_weights(weight)
    # Who uses what overflowed has to look. Threads do not inherit this setting.
    with np.errstate(over="ignore", invalid="ignore"):
        # Distances to a row: the mean of a constant column is then exact and its variance exactly
        # 0. One of great weight is not far from the mean.
        origin = X[w.argmax()]
        shifted = np.subtract(X, origin, dtype=float)
        offset = w @ shifted / w.sum()
        shifted -= offset
        residual = w @ shifted / w.sum()
        np.square(shifted, out=shifted)
        var = np.maximum(w @ shifted / w.sum() - residual**2, 0.0)
        mean, rest = rounded_sum(origin.astype(float), offset + residual)
        return Moments(len(X), total, mean, flag_underflow(var, X), rest)


def is_full(X):
    """Mask (d,) of the columns of a CSR matrix that have an entry in every row."""
    return np.bincount(X.indices, minlength=X.shape[1]) == X.shape[0]


def centred_where_full(X, mean):
    """CSR rows less the mean in those columns that have an entry in every row, and the mean that is still to subtract.

    There it fills nothing in, and a column far from 0, or constant, loses no digits in a difference
    of products.
    """
    full = is_full(X)
    if not mean[full].any():
        return X, mean
    X = X.copy()
    X.data -= np.where(full, mean, 0.0)[X.indices]
    return X, np.where(full, 0.0, mean)


def total_weight(X, weight):
    """Sum of the weights (n,), infinity if it overflows, or the number of rows of X."""
    with np.errstate(over="ignore"):
        return float(X.shape[0] if weight is None else weight.sum())


def rescaled_weights(weight):
    """The weights (n,) times a power of two: their products with squares keep clear of the bounds of float64."""
    return np.ldexp(weight, -np.frexp(weight.max())[1])


def flag_underflow(var, X, among=True):
    """Variances (d,) of the columns of X, and LOST where one of those `among` varies by less than they can tell."""
    small = np.flatnonzero((var < LEAST_VAR) & among)
    if len(small):
        extremes = [of(axis=0) for of in (X[:, small].min, X[:, small].max)]
        least, most = [np.ravel(row.toarray()) if sparse.issparse(row) else row for row in extremes]
        var[small] = np.where(least < most, UNDERFLOWED, 0.0)
    return var
