"""The closed form of second moments and a few more rows, which are not added to the moments.

In original units the normal equations are H beta = c, where H is the covariance of the columns plus
the penalty. For all rows H = k P + U'U - m m' + E: P is the matrix H of the moments, and k their
share of the weight; U are the few rows minus the old means, times the roots of their shares; m is
the change of the means; and the diagonal E is the penalty that k P lacks. So H is at least k P.

P is factored once, which also bounds the condition number of H. With few columns H is factored too.
With many, P preconditions conjugate gradients, which take a few steps of d^2 operations, while a
factorization takes d^3 / 3.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from .._rows.chunk import Chunk
from .._statistics.factor import Factored, factored
from .._statistics.linalg import EPS, divide, dot
from .._statistics.moments import LEAST_VAR
from .._statistics.second_moments import SecondMoments
from .._statistics.threads import blas_threads_to_solve
from .cholesky import WELL_CONDITIONED
from .closed_form import NOISE_OF_PRODUCTS, ROUNDING
from .problem import Parameters, Settings

# With more columns than this, a factorization takes longer than the steps.
MANY_COLUMNS = 150
# More steps would take longer than a factorization.
MOST_STEPS = 30
# If the moments are of fewer rows per column, a few more rows change H in many directions.
ROWS_PER_COLUMN = 2
# Rows farther from the mean, in standard deviations, would cost the other rows digits.
FAR = 1e3


class Prior(NamedTuple):
    """The normal equations of the moments, and their solution."""

    moments: SecondMoments
    center: np.ndarray  # (d + t,), the means
    rest: np.ndarray  # (d + t,), the rounding errors of the means
    var: np.ndarray  # (d + t,)
    P: Factored
    penalty: np.ndarray  # (d, 1)
    beta: np.ndarray  # (d, t)


class Before:
    """The normal equations of second moments, solved when first needed."""

    def __init__(self, moments: Any, settings: Settings) -> None:
        self.moments = moments
        self.settings = settings

    @cached_property
    def prior(self) -> Prior | None:
        """The solution, or None if a few more rows cannot be added accurately."""
        moments, settings = self.moments, self.settings
        if not (isinstance(moments, SecondMoments) and is_usual(settings)):
            return None
        x, y, xy, xx = moments
        if x.n_rows < ROWS_PER_COLUMN * len(xx) or x.is_constant.any() or y.var.min() < LEAST_VAR:
            return None
        penalty = np.full(len(xx), settings.alpha, dtype=float)
        if settings.standardize:
            penalty *= x.var
        with blas_threads_to_solve(*xy.shape):
            # In units of the standard deviations, scaling columns by powers of 2 changes no digit.
            unit = factored(xx / x.scale / x.scale[:, None], penalty / x.var)
            P = Factored(unit.L, unit.D * x.scale[:, None])
            if not P.inverse_norm < WELL_CONDITIONED:
                return None
        center, var = np.concatenate([x.mean, y.mean]), np.concatenate([x.var, y.var])
        rest = np.concatenate([x.rest + 0 * x.mean, y.rest + 0 * y.mean])
        return Prior(moments, center, rest, var, P, penalty[:, None], P.solve(xy))


def is_usual(settings: Settings) -> bool:
    """Whether the objective has one alpha, an intercept, and no further options."""
    return (
        np.ndim(settings.alpha) == 0
        and settings.penalty_factor is None
        and settings.positive is None
        and settings.fit_intercept
    )


class Change(NamedTuple):
    """What a few more rows add to the normal equations: H - k P, as an operator."""

    U: np.ndarray  # (n, d)
    m: np.ndarray  # (d,)
    E: np.ndarray  # (d, 1)

    def times(self, p: np.ndarray) -> np.ndarray:
        """Return (H - k P) p for p (d, t)."""
        return self.U.T @ (self.U @ p) - self.m[:, None] * (self.m @ p) + self.E * p


def parameters(prior: Prior, rows: Chunk, fading: float, settings: Settings) -> Parameters | None:
    """Return coefficients and intercept for all rows; None if these need a complete solution.

    The weights of the moments are multiplied by `fading`.
    """
    moments, center, rest, old_var, P, _, _ = prior
    d = len(moments.xx)
    added = np.empty((rows.n_rows, len(center)))
    np.concatenate([rows.X, rows.y], axis=1, out=added)
    added -= center
    added -= rest
    w = np.ones(len(added)) if rows.w is None else rows.w
    weight = moments.x.weight * fading
    total = weight + w.sum()
    kept = weight / total
    if kept < 1 / 2 or not np.all(np.abs(added) <= FAR * np.sqrt(old_var)):
        return None
    shift = w @ added / total
    added *= np.sqrt(w / total)[:, None]
    var = kept * old_var + dot(added, added) - shift**2
    E = np.full((d, 1), (1 - kept) * settings.alpha)
    if settings.standardize:
        E = settings.alpha * (var - kept * old_var)[:d, None]
    change = Change(added[:, :d], shift[:d], E)
    c = kept * moments.xy + change.U.T @ added[:, d:] - np.multiply.outer(shift[:d], shift[d:])
    if d > MANY_COLUMNS:
        beta = by_steps(prior, kept, change, c, var[d:])
    else:
        beta = by_factor(prior, kept, change, c)
    if beta is None:
        return None
    square = var[:d, None] + kept * prior.penalty + E
    inverse_norm = P.inverse_norm * float(np.max(square / P.D**2)) / kept
    length = np.sqrt(dot(beta, square * beta) / var[d:])
    rounding = ROUNDING * (1 + length) * np.sqrt(inverse_norm)
    if not np.all(rounding <= max(settings.tol or 0.0, NOISE_OF_PRODUCTS)):
        return None
    mean = center + (rest + shift)
    return beta, mean[d:] - mean[:d] @ beta


def by_factor(prior: Prior, kept: float, change: Change, c: np.ndarray) -> np.ndarray | None:
    """Return H^-1 c by a Cholesky factor and one step of refinement; None if there is no factor."""
    H = kept * prior.moments.xx
    H += change.U.T @ change.U
    H -= np.multiply.outer(change.m, change.m)
    H.ravel()[:: len(H) + 1] += (kept * prior.penalty + change.E)[:, 0]
    L, failed = lapack.dpotrf(H.T, lower=1, clean=0)
    if failed:
        return None
    factor = Factored(L, np.ones((1, 1)))
    beta = factor.solve(c)
    return beta + factor.solve(c - H @ beta)


def by_steps(
    prior: Prior, kept: float, change: Change, c: np.ndarray, var: np.ndarray
) -> np.ndarray | None:
    """Return H^-1 c by conjugate gradients from the previous solution; None if they take long."""
    xx, beta = prior.moments.xx, prior.beta
    # The first run gains about half of the digits. The second computes the gradient anew, since
    # the factor is not exact.
    for enough in (EPS, len(c) * EPS**2):
        left = c - kept * (xx @ beta + prior.penalty * beta) - change.times(beta)
        step = conjugate_gradients(prior.P, kept, change, left, enough * var)
        if step is None:
            return None
        beta = beta + step
    return beta


def conjugate_gradients(
    P: Factored, kept: float, change: Change, g: np.ndarray, enough: np.ndarray
) -> np.ndarray | None:
    """Return H^-1 g for g (d, t), with g'P^-1 g reduced to `enough` (t,); None if it takes long."""
    x, p, Pp = np.zeros((3, *g.shape))
    square = np.zeros(g.shape[1])
    for _ in range(MOST_STEPS):
        Pg = P.solve(g)
        last, square = square, dot(g, Pg)
        if np.all(square <= enough):
            return x
        share = divide(square, last)
        # P p follows from P (P^-1 g) = g, without a product.
        p, Pp = Pg + share * p, g + share * Pp
        Hp = kept * Pp + change.times(p)
        step = divide(square, dot(p, Hp))
        x = x + step * p
        g = g - step * Hp
    return None
