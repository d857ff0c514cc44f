"""Weighted moments of columns, and the change of units between scaled and original coefficients."""

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from ._blocks import in_threads, large_blocks, row_blocks

# Squares of such numbers can be added up over many rows.
LARGEST = 1e151


@dataclass(frozen=True)
class Moments:
    """Weighted mean and population variance of the columns of the rows seen so far."""

    n_rows: int
    weight: float
    mean: np.ndarray
    var: np.ndarray

    @property
    def constant(self):
        """Whether rounding cannot tell a column from a constant.

        The bound is that of Chan, Golub and LeVeque (1983), in the form of scikit-learn's StandardScaler.
        """
        eps = np.finfo(float).eps
        return self.var <= self.n_rows * eps * self.var + (self.n_rows * eps * self.mean) ** 2

    @cached_property
    def scale(self):
        """Standard deviations, with 1 for a constant column."""
        return np.where(self.constant, 1.0, np.sqrt(self.var))


def no_moments(n_columns):
    return Moments(0, 0.0, np.zeros(n_columns), np.zeros(n_columns))


def merge(a, b):
    """Moments of the rows of `a` and `b` together (Chan, Golub and LeVeque, 1983)."""
    if a.weight == 0:
        return b
    weight = a.weight + b.weight
    share = b.weight / weight
    delta = b.mean - a.mean
    mean = a.mean + share * delta
    var = a.var + share * (b.var - a.var + (1 - share) * delta**2)
    return Moments(a.n_rows + b.n_rows, weight, mean, var)


def column_moments(X, weight=None, n_jobs=1):
    """Moments of the columns of `X`, (n, d) dense or CSR, with row weights (n,) or none."""
    if weight is not None:
        # Products with numbers next to 0 must not become 0; a power of 2 changes no digit.
        unit = power_of_2(weight)
        found = _moments(X, weight / unit, n_jobs)
        return replace(found, weight=found.weight * unit)
    return _moments(X, None, n_jobs)


def power_of_2(values):
    """The least power of 2 above all of the values."""
    return float(np.ldexp(1.0, np.frexp(np.max(values))[1]))


def _moments(X, weight, n_jobs):
    n_rows = X.shape[0]
    if sparse.issparse(X):
        total = float(n_rows) if weight is None else float(weight.sum())
        mean, var = mean_variance_axis(X, axis=0, weights=weight)
        # Rounding can take the variance of a constant column below 0.
        return Moments(n_rows, total, mean.astype(float), np.maximum(var.astype(float), 0.0))

    def of_block(block):
        first, n = block
        parts = row_blocks(n, X.shape[1], first)
        return reduce(merge, [_dense_moments(X[rows], None if weight is None else weight[rows]) for rows in parts])

    return reduce(merge, in_threads(of_block, large_blocks(*X.shape), n_jobs))


def _dense_moments(X, weight):
    total = float(len(X)) if weight is None else float(weight.sum())
    if len(X) == 1:
        return Moments(1, total, X[0].astype(float), np.zeros(X.shape[1]))
    # Distances to the first row: the mean of a constant column is then exact and its variance exactly 0.
    shifted = np.subtract(X, X[0], dtype=float)
    w = np.ones(len(X)) if weight is None else weight
    offset = w @ shifted / total
    shifted -= offset
    residual = w @ shifted / total
    np.square(shifted, out=shifted)
    var = np.maximum(w @ shifted / total - residual**2, 0.0)
    return Moments(len(X), total, X[0] + (offset + residual), var)


def check_magnitudes(x, y):
    """Raise ValueError where columns of X, or targets, leave the range in which squares can be added up."""
    for name, moments in (("X: column", x), ("y: target", y)):
        too_large = np.flatnonzero(~(moments.var + moments.mean**2 <= LARGEST**2))
        if len(too_large):
            raise ValueError(
                f"{name} {too_large[0]} is too large: the root mean square of its values is beyond {LARGEST:.0e}, and sums of "
                "their squares would overflow. Divide it by a constant."
            )
    too_small = np.flatnonzero((y.var + y.mean**2 < 1 / LARGEST**2) & ((y.var > 0) | (y.mean != 0)))
    if len(too_small):
        raise ValueError(
            f"y: target {too_small[0]} is too small: the root mean square of its values is below {1 / LARGEST:.0e}, and "
            "their squares would vanish. Multiply it by a constant."
        )


class Units(NamedTuple):
    """The change of variables z = (x - x_mean) / x_scale, v = (y - y_mean) / y_scale that a solver works in."""

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray


def to_scaled(coef, intercept, units):
    """Parameters for z, v that predict what `coef` (d, t), `intercept` (t,) predict for x, y."""
    beta = coef * units.x_scale[:, None] / units.y_scale
    return beta, (intercept + units.x_mean @ coef - units.y_mean) / units.y_scale


def to_original(beta, b, units):
    """Parameters for x, y that predict what `beta` (d, t), `b` (t,) predict for z, v."""
    coef = beta * units.y_scale / units.x_scale[:, None]
    return coef, units.y_mean + b * units.y_scale - units.x_mean @ coef
