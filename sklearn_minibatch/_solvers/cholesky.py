"""The closed form from second moments: one read of the rows, one Cholesky factor.

How many digits rounding may have cost follows from the factor. Where that is too many, conjugate
gradients with gradients from the rows refine the solution. Where products of columns cannot tell a
column from a combination of others, the rows are read once more for their triangular factor.
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

# For so many targets, corrections take long; a solve is good to 12 digits if the inverse of H is
# smaller than this, for columns of unit length.
MANY_TARGETS = 64
NO_CORRECTION = 1e3
# Corrections by the residual on the matrix; each takes most of what rounding has left.
MOST_CORRECTIONS = 5
# If the inverse of H is smaller, for columns of unit length, corrections end when they gain little.
WELL_CONDITIONED = 1e6


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F: from the moments alone, where they carry enough digits."""
    penalty = settings.penalty
    with blas_threads_to_solve(*start[0].shape):
        products = standardized(problem.statistics, problem.scaling)
        closed = closed_form(products, penalty)
    is_exact = closed.is_exact_enough(least_of(penalty), settings.tol)
    # The samples have twice the digits of their products, unless they are in single precision.
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
    """(Z'WZ / W + penalty)^-1 Z'Wv / W, of least norm where there are several."""
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
        # Directions that P has left out could explain all that is left of the targets.
        rounding = rounding + np.sqrt(2 * loss)
    return ClosedForm(beta, loss, rounding, P.inverse_norm, NOISE_OF_PRODUCTS, is_unique)


def solved(
    gram: np.ndarray, right: np.ndarray, penalty: Penalty, P: Factored | Spectral
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the solution x of (gram + penalty) x = right, for P of this matrix, and the residual.

    Where one solve has lost digits, corrections by the residual take them back. If they are many,
    and one solve is known to lose few, the residual is None.
    """
    x = P.solve(right)
    if x.shape[1] > MANY_TARGETS and P.inverse_norm < NO_CORRECTION:
        return x, None
    residual = right - gram @ x - penalty * x
    step = P.solve(residual)
    distance = dot(residual, step)
    # The residual itself has rounding errors of about this square. If H is ill-conditioned, even
    # less than that counts in the coefficients.
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
    """Bound what rounding errors E of the products cost the predictions.

    The bound is a root mean square per target, in std(y). The errors move the solution by H^-1 E
    beta, and its predictions by the length of H^(-1/2) E beta: at most about eps (1 + ||D beta||) /
    sqrt(the least eigenvalue of D^-1 H D^-1), the columns being brought to unit length by D.
    """
    unit = P.D * beta
    length = np.sqrt(dot(unit, unit))
    return ROUNDING * (1 + length) * np.sqrt(P.inverse_norm)
