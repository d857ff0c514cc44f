"""The closed form from second moments: one read of the rows, one Cholesky factor.

How many digits rounding may have cost follows from the factor. Where that is too many, gradients
from the rows refine the solution, as "svrg" does with P = H.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._statistics.factor import Factored
from .._statistics.linalg import EPS, dot
from .._statistics.scaling import scaling_of, to_original
from .._statistics.second_moments import SecondMoments, Standardized, standardized
from . import svrg
from .preconditioner import Spectral, of_gram
from .problem import ModelState, Parameters, Problem, Settings, Solution

# Products of unit columns over many blocks of rows are wrong by about so much.
ROUNDING = 20 * EPS
# Coefficients of least squares that may be wrong by more are refined.
LEAST_SQUARES = 1e-12
# Corrections by the residual on the matrix; each takes most of what rounding has left.
MOST_CORRECTIONS = 5
# If the inverse of H is smaller, for columns of unit length, corrections end when they gain little.
WELL_CONDITIONED = 1e6


class ClosedForm(NamedTuple):
    """The minimiser of F by its normal equations, in scaled units."""

    beta: np.ndarray  # (d, t)
    loss: np.ndarray  # (t,)
    rounding: (
        np.ndarray
    )  # (t,), the RMS distance of predictions that rounding errors may have cost, in std(y)
    P: Factored | Spectral


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Any
) -> Solution:
    """Minimise F: from the moments alone, where they carry enough digits."""
    closed = closed_form(standardized(problem.moments, problem.scaling), settings.alpha)
    if isinstance(closed.P, Spectral):
        # Columns follow from others, up to rounding. Rows have twice the digits of their products.
        return svrg.solve(problem, start, settings, rng, monitor)
    monitor.begin_epoch()
    n_rows = problem.moments.x.n_rows
    solution = exact_solution(closed, n_rows, settings.tol)
    stop = monitor(solution, *solution.last, closed.loss, closed.rounding)
    if stop or is_exact_enough(closed, settings):
        return solution
    if settings.max_iter == 1:
        return replace(solution, warning=svrg.unfinished(closed.rounding, settings))
    return svrg.refined(problem.rows, closed.beta, closed.P, settings, monitor)


def learn(
    chunk: Chunk, before: ModelState, moments: SecondMoments, settings: Settings
) -> ModelState:
    """Return the state after a chunk of a stream.

    `moments` are those of all rows so far, the chunk included.
    """
    return state_of(moments, before, settings)


def state_of(moments: SecondMoments, before: ModelState, settings: Settings) -> ModelState:
    """The closed form of all rows with these moments, as one more step of a model."""
    scaling = scaling_of(moments.x, moments.y, settings.fit_intercept, settings.standardize)
    closed = closed_form(standardized(moments, scaling), settings.alpha)
    solution = exact_solution(closed, moments.x.n_rows, settings.tol)
    last = to_original(*solution.last, scaling)
    return replace(
        before,
        n_chunks=before.n_chunks + 1,
        last=last,
        predicting=last,
        moments=moments,
        n_steps=before.n_steps + 1,
        lr=solution.lr,
        batch_size=solution.batch_size,
        converged=solution.converged,
        curvature=None,
    )


def is_exact_enough(closed: ClosedForm, settings: Settings) -> bool:
    """Whether rounding errors of the products may be left as they are.

    Without a penalty, or with one below rounding errors, it is the coefficients that are wanted,
    and they lose more digits than the predictions.
    """
    if settings.tol is None:
        return True
    predictions = bool(np.all(closed.rounding <= settings.tol / 10))
    return predictions and (
        settings.alpha > EPS or ROUNDING * closed.P.inverse_norm <= LEAST_SQUARES
    )


def exact_solution(closed: ClosedForm, n_rows: int, tol: float | None) -> Solution:
    """The closed form as a `Solution`: one step over all rows, of length 1 in units of H."""
    last = (closed.beta, np.zeros(closed.beta.shape[1]))
    converged = tol is not None and bool(np.all(closed.rounding <= tol))
    return Solution(last, last, 1, 1.0, n_rows, converged, closed.P)


def closed_form(products: Standardized, alpha: float) -> ClosedForm:
    """(Z'WZ / W + alpha I)^-1 Z'Wv / W, of least norm where there are several."""
    assert products.zz is not None
    P = of_gram(products.zz, alpha)
    beta = P.solve(products.zv)
    residual = remainder(products, beta, alpha)
    step = P.solve(residual)
    distance = dot(residual, step)
    # The residual itself has rounding errors of about this square. If H is ill-conditioned, even
    # less than that counts in the coefficients.
    is_well_conditioned = P.inverse_norm < WELL_CONDITIONED
    enough = (len(beta) if is_well_conditioned else 1) * EPS**2
    least_gain = 4 if is_well_conditioned else 1
    for _ in range(MOST_CORRECTIONS):
        if np.all(distance <= enough):
            break
        candidate = beta + step
        left = remainder(products, candidate, alpha)
        next_step = P.solve(left)
        shorter = dot(left, next_step)
        better = shorter < distance
        gains = bool(np.any(shorter < distance / least_gain))
        beta = np.where(better, candidate, beta)
        residual = np.where(better, left, residual)
        step = np.where(better, next_step, step)
        distance = np.where(better, shorter, distance)
        if not gains:
            break
    loss = np.maximum(products.vv - dot(beta, products.zv + residual + alpha * beta), 0.0) / 2
    loss += alpha / 2 * dot(beta, beta)
    return ClosedForm(beta, loss, rounding_cost(beta, P), P)


def remainder(products: Standardized, beta: np.ndarray, alpha: float) -> np.ndarray:
    """Z'Wv / W - (Z'WZ / W + alpha I) beta: minus the gradient of F."""
    assert products.zz is not None
    return products.zv - products.zz @ beta - alpha * beta


def rounding_cost(beta: np.ndarray, P: Factored | Spectral) -> np.ndarray:
    """Bound what rounding errors E of the products cost the predictions.

    The bound is a root mean square per target, in std(y). The errors move the solution by H^-1 E
    beta, and its predictions by the length of H^(-1/2) E beta: at most about eps (1 + ||D beta||) /
    sqrt(the least eigenvalue of D^-1 H D^-1), the columns being brought to unit length by D.
    """
    length = np.sqrt(dot(P.D * beta, P.D * beta))
    return ROUNDING * (1 + length) * np.sqrt(P.inverse_norm)
