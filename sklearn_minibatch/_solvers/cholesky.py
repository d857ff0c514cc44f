"""The closed form from second moments: one read of the rows, one Cholesky factor.

The factor also gives a bound on rounding errors. If it is too large, conjugate gradients refine the
solution with gradients from the rows. If products are numerically collinear, or if the bound is too
large for rows in single precision, the rows are read once more for their triangular factor.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .._statistics.factor import Factored
from .._statistics.linalg import EPS, dot
from .._statistics.second_moments import Standardized, standardized
from .._statistics.threads import blas_threads_to_solve
from . import qr
from .closed_form import NOISE_OF_PRODUCTS, ROUNDING, ClosedForm, of_all_targets, out_of_digits
from .conjugate_gradients import Quadratic, minimise
from .penalty import Penalty, alike, least_of, least_of_targets
from .preconditioner import LEAST_EIGENVALUE, Full, Spectral, of_gram
from .problem import Monitor, Parameters, Problem, Settings, Solution

# With more targets than this, refinement takes long. It is then skipped if the norm of the inverse
# of H, for columns of unit length, is below NO_CORRECTION: one solve is accurate to 12 digits.
MANY_TARGETS = 64
NO_CORRECTION = 1e3
# Steps of iterative refinement; each removes most of the remaining rounding error.
MOST_CORRECTIONS = 5
# If the norm of the inverse of H is smaller, refinement stops when a step gains little.
WELL_CONDITIONED = 1e6


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F, from the second moments alone if they have enough digits."""
    penalty = settings.penalty
    with blas_threads_to_solve(*start[0].shape):
        products = standardized(problem.statistics, problem.scaling)
        closed = closed_form(products, penalty)
    is_exact = closed.is_exact_enough(least_of(penalty), settings.tol)
    # Gradients from the rows have twice the digits of products, unless in single precision.
    needs_factor = not closed.is_unique or not (is_exact or problem.rows.dtype == float)
    if needs_factor:
        closed = qr.closed_form(problem.rotated, penalty, start[0])
    monitor.begin_epoch()
    solution = closed.solution(problem.statistics.x.n_rows, settings.tol)
    stop = monitor(solution, *solution.last, closed.loss, closed.rounding)
    if stop or is_exact or settings.tol is None:
        return solution
    if needs_factor or settings.max_iter == 1:
        warning = None if solution.converged else out_of_digits(closed, settings.tol)
        return replace(solution, warning=warning)
    P = of_gram(products.zz, least_of_targets(penalty))
    assert isinstance(P, Factored), "the closed form is unique"
    full = Full(P, LEAST_EIGENVALUE)
    quadratic = Quadratic(problem.rows, penalty, full, problem.lengths)
    solution = minimise(quadratic, closed.beta, settings, monitor)
    return replace(solution, n_steps=solution.n_steps + 1)


def closed_form(products: Standardized, penalty: Penalty) -> ClosedForm:
    """Return (Z'WZ / W + penalty)^-1 Z'Wv / W, or the solution of least norm."""
    zz, zv, vv = products
    parts = [
        (targets, of_one_penalty(Standardized(zz, zv[:, targets], vv[targets]), one))
        for targets, one in alike(penalty)
    ]
    return of_all_targets(parts, zv.shape)


def of_one_penalty(products: Standardized, penalty: Penalty) -> ClosedForm:
    """Return the closed form of targets with the same penalty."""
    P = of_gram(products.zz, penalty)
    beta, residual = solved(products.zz, products.zv, penalty, P)
    norm = penalty * dot(beta, beta) if np.ndim(penalty) == 0 else dot(penalty * beta, beta)
    explained = dot(beta, products.zv)
    if residual is not None:
        explained += dot(beta, residual)
    loss = (np.maximum(products.vv - explained - norm, 0.0) + norm) / 2
    rounding = rounding_cost(beta, P)
    is_unique = isinstance(P, Factored)
    if not is_unique:
        # Directions left out of P could explain the whole residual.
        rounding = rounding + np.sqrt(2 * loss)
    return ClosedForm(beta, loss, rounding, P.inverse_norm, NOISE_OF_PRODUCTS, is_unique)


def solved(
    gram: np.ndarray, right: np.ndarray, penalty: Penalty, P: Factored | Spectral
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x with (gram + penalty) x = right, and its residual, by a decomposition P.

    Iterative refinement recovers the digits that one solve loses. It is skipped, and the residual
    is None, if there are many targets and one solve is known to lose few digits.
    """
    x = P.solve(right)
    if x.shape[1] > MANY_TARGETS and P.inverse_norm < NO_CORRECTION:
        return x, None
    residual = right - gram @ x - penalty * x
    step = P.solve(residual)
    distance = dot(residual, step)
    # The rounding errors of the residual itself contribute about this much to `distance`. If H is
    # ill-conditioned, even smaller residuals matter for the coefficients.
    is_well_conditioned = P.inverse_norm < WELL_CONDITIONED
    enough = (len(x) if is_well_conditioned else 1) * EPS**2
    least_gain = 4 if is_well_conditioned else 1
    for _ in range(MOST_CORRECTIONS):
        if np.all(distance <= enough):
            break
        candidate = x + step
        left = right - gram @ candidate - penalty * candidate
        next_step = P.solve(left)
        shorter = dot(left, next_step)
        better = shorter < distance
        gains = bool(np.any(shorter < distance / least_gain))
        x = np.where(better, candidate, x)
        residual = np.where(better, left, residual)
        step = np.where(better, next_step, step)
        distance = np.where(better, shorter, distance)
        if not gains:
            break
    return x, residual


def rounding_cost(beta: np.ndarray, P: Factored | Spectral) -> np.ndarray:
    """Bound the effect of rounding errors E of the products on the predictions.

    The bound is an RMS per target, in std(y). E moves the solution by H^-1 E beta and the
    predictions by ||H^(-1/2) E beta||. This is at most about eps (1 + ||D beta||) / sqrt(the least
    eigenvalue of D^-1 H D^-1), where D^-1 scales columns to unit length.
    """
    unit = P.D * beta
    length = np.sqrt(dot(unit, unit))
    return ROUNDING * (1 + length) * np.sqrt(P.inverse_norm)
