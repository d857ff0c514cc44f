"""The triangular factor R of centred rows, R'R = C, which keeps all the digits of the rows.

Products of columns have half as many digits as the rows: if columns are nearly collinear, products
lose what distinguishes them. A QR factorization of the rows keeps it. Two factors are merged by
factoring one stacked on the other, with one more row for the difference of the means (Golub and Van
Loan, "Matrix Computations", section 5.2).
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from .arrays import as_array, as_float64, minus, to_numpy
from .blocks import row_blocks
from .linalg import dot
from .moments import (
    Moments,
    column_moments,
    no_moments,
    offset_of_means,
    shares,
)
from .scaling import Scaling
from .second_moments import SecondMoments, heavier_first, merge, merged_columns

# A block has at least this many rows per column, so that merging costs little in comparison.
ROWS_PER_COLUMN = 4


class TriangularFactor(NamedTuple):
    """The moments of x and y, and rows with the products of the centred rows, divided by W.

    R'R is the covariance of x, R'Q that of x with y, and diag(Q'Q) + rest is the variance of y.
    """

    x: Moments
    y: Moments
    R: np.ndarray  # (k, d); `reduced` makes it upper triangular if k > d
    Q: np.ndarray  # (k, t)
    rest: np.ndarray  # (t,), the variance that no combination of the columns explains

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite

    @property
    def products(self) -> SecondMoments:
        """The second moments of the rows."""
        return SecondMoments(self.x, self.y, self.R.T @ self.Q, self.R.T @ self.R)

    def faded(self, share: float) -> TriangularFactor:
        """Return the factor with all weights multiplied by `share`."""
        return self._replace(x=self.x.faded(share), y=self.y.faded(share))

    def merged(self, other: TriangularFactor) -> TriangularFactor:
        """Return the factor of the rows of both together."""
        a, b = heavier_first(self, other)
        if b.x.weight == 0:
            return a
        x, y, dx, dy, share = merged_columns(a, b)
        roots = np.sqrt([1 - share, share, share * (1 - share)])
        R = np.vstack([roots[0] * a.R, roots[1] * b.R, roots[2] * dx])
        Q = np.vstack([roots[0] * a.Q, roots[1] * b.Q, roots[2] * dy])
        rest = (1 - share) * a.rest + share * b.rest
        return reduced(TriangularFactor(x, y, R, Q, rest))


class Rotated(NamedTuple):
    """Rows R (k, d) and targets Q (k, t) with the same products as all rows in scaled units."""

    R: np.ndarray
    Q: np.ndarray
    rest: np.ndarray  # (t,)


def no_triangular_factor(n_features: int, n_targets: int) -> TriangularFactor:
    """Return the factor of no rows."""
    R, Q = np.zeros((0, n_features)), np.zeros((0, n_targets))
    x, y = no_moments(n_features), no_moments(n_targets)
    return TriangularFactor(x, y, R, Q, np.zeros(n_targets))


def triangular_factor(X: Any, y: Any, weight: Any, n_jobs: int = 1) -> TriangularFactor:
    """Return the factor of rows X (n, d), dense or CSR, y (n, t), with weights (n,) or None."""
    n_rows, d = X.shape
    blocks = row_blocks(n_rows, d + y.shape[1], least=ROWS_PER_COLUMN * d)
    parts = (
        centred_rows(X[rows, :], y[rows, :], None if weight is None else weight[rows])
        for rows in blocks
    )
    first = reduced(next(parts))
    return reduce(merge, parts, first)


def centred_rows(X: Any, y: Any, weight: Any) -> TriangularFactor:
    """Return the rows themselves as a factor: centred, and multiplied by sqrt(w / W)."""
    dense = as_array(X)
    targets = to_numpy(as_float64(y))
    w = None if weight is None else to_numpy(as_float64(weight))
    x_moments = column_moments(dense, w)
    y_moments = column_moments(targets, w)
    root = np.sqrt(shares(w, len(targets)))[:, None]
    R = (minus(dense, x_moments.mean) - x_moments.rest) * root
    Q = (minus(targets, y_moments.mean) - y_moments.rest) * root
    return TriangularFactor(x_moments, y_moments, R, Q, np.zeros(Q.shape[1]))


def reduced(factor: TriangularFactor) -> TriangularFactor:
    """Return the factor with R upper triangular, if it has more rows than columns.

    This is done by Householder reflections. A factor of at most d rows is returned unchanged.
    """
    x, y, R, Q, rest = factor
    d = R.shape[1]
    if len(R) <= d:
        return factor
    qr, tau, _, _ = lapack.dgeqrf(np.asfortranarray(R))
    rotated = np.asfortranarray(Q)
    size = int(lapack.dormqr("L", "T", qr[:, : len(tau)], tau, rotated, -1)[1][0])
    rotated = lapack.dormqr("L", "T", qr[:, : len(tau)], tau, rotated, size, overwrite_c=1)[0]
    below = rotated[d:]
    return TriangularFactor(x, y, np.triu(qr[:d]), rotated[:d], rest + dot(below, below))


def rotated_rows(
    factor: TriangularFactor, scaling: Scaling, training: TriangularFactor | None = None
) -> Rotated:
    """Return the factor in scaled units: those of the factor `training` if it is given."""
    of_units = factor if training is None else training
    R = factor.R / scaling.x_scale
    Q = factor.Q / scaling.y_scale
    x_offset = offset_of_means(factor.x, of_units.x, scaling.x_mean) / scaling.x_scale
    y_offset = offset_of_means(factor.y, of_units.y, scaling.y_mean) / scaling.y_scale
    if x_offset.any() or y_offset.any():
        R = np.vstack([R, x_offset])
        Q = np.vstack([Q, y_offset])
    return Rotated(R, Q, factor.rest / scaling.y_scale / scaling.y_scale)
