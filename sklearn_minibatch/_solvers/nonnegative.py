"""The closed form with coefficients that must not be negative.

Up to a constant F is ||A beta - b||^2 / 2, where A'A is the Hessian. Once the features of free sign
are eliminated, this is a nonnegative least squares problem (Lawson and Hanson, 1974, "Solving Least
Squares Problems", chapter 23). Its solution tells which coefficients are 0; the others are then
solved for with all digits.
"""

from typing import Any

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import nnls

from .._statistics.factor import factored
from .._statistics.linalg import dot, norm
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments, Standardized, standardized
from .._statistics.triangular_factor import Rotated, TriangularFactor, rotated_rows
from . import cholesky, qr
from .closed_form import NOISE_OF_PRODUCTS, ROUNDING, ClosedForm, of_all_targets, one_epoch
from .penalty import Penalty, alike, of_features
from .problem import Monitor, Parameters, Problem, Settings, Solution


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F with the coefficients in the mask `positive` at least 0."""
    positive, tol = settings.positive, settings.tol
    assert positive is not None
    closed = closed_form(problem.statistics, problem.scaling, settings.penalty, positive)
    if not closed.is_within(tol) and isinstance(problem.statistics, SecondMoments):
        # The samples have twice the digits of their products.
        factor = problem.samples.gather("factor")
        closed = closed_form(factor, problem.scaling, settings.penalty, positive)
    return one_epoch(closed, problem.statistics.x.n_rows, tol, monitor)


def closed_form(
    statistics: Any, scaling: Scaling, penalty: Penalty, positive: np.ndarray
) -> ClosedForm:
    """Return the minimiser in scaled units, target by target."""
    d, t = len(scaling.x_scale), len(scaling.y_scale)
    is_factor = isinstance(statistics, TriangularFactor)
    of_samples: Any = (rotated_rows if is_factor else standardized)(statistics, scaling)
    parts = []
    for targets, one in alike(penalty):
        penalties = of_features(one, d)
        for target in np.arange(t)[targets]:
            rows = (of_factor if is_factor else of_products)(of_samples, penalties, target)
            kept = support(*rows, positive)
            closed = restricted(of_samples, penalties, target, kept)
            parts.append(([target], feasible(closed, *rows, positive)))
    return of_all_targets(parts, (d, t))


def of_products(
    products: Standardized, penalties: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return A (d, d) and b (d,) with A'A = Z'WZ / W + penalty and A'b = Z'Wv / W."""
    P = factored(products.zz, penalties)
    b, _ = lapack.dtrtrs(P.L, products.zv[:, target] / P.D[:, 0], lower=1)
    return P.root, b


def of_factor(
    rotated: Rotated, penalties: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return A (k + d, d) and b (k + d,) as `of_products` does, from a triangular factor."""
    zeros = np.zeros(len(penalties))
    A = np.vstack([rotated.R, np.diag(np.sqrt(penalties))])
    return A, np.concatenate([rotated.Q[:, target], zeros])


def support(A: np.ndarray, b: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the mask (d,) of the coefficients that are not held at 0."""
    length = np.sqrt(dot(A, A))
    A = A / np.where(length > 0, length, 1.0)
    free = np.linalg.qr(A[:, ~positive])[0]
    bounded = A[:, positive]
    bounded = bounded - free @ (free.T @ bounded)
    x, _ = nnls(bounded, b - free @ (free.T @ b))
    kept = ~positive
    kept[positive] = x > 0
    return kept


def restricted(of_samples: Any, penalties: np.ndarray, target: int, kept: np.ndarray) -> ClosedForm:
    """Return the closed form of one target with the coefficients outside `kept` held at 0."""
    one = [target]
    penalty = penalties[kept, None]
    if not kept.any():
        return nothing_explained(of_samples, target)
    if isinstance(of_samples, Rotated):
        some: Any = Rotated(of_samples.R[:, kept], of_samples.Q[:, one], of_samples.rest[one])
        closed = qr.tall_closed_form(some, penalty, None)
    else:
        zz, zv, vv = of_samples
        some = Standardized(zz[np.ix_(kept, kept)], zv[kept][:, one], vv[one])
        closed = cholesky.of_one_penalty(some, penalty)
    beta = np.zeros((len(kept), 1))
    beta[kept] = closed.beta
    return closed._replace(beta=beta)


def nothing_explained(of_samples: Any, target: int) -> ClosedForm:
    """Return the closed form of one target whose coefficients are all 0."""
    if isinstance(of_samples, Rotated):
        square = np.sum(of_samples.Q[:, target] ** 2) + of_samples.rest[target]
    else:
        square = of_samples.vv[target]
    beta = np.zeros((len(of_samples[0].T), 1))
    loss, rounding = np.array([square / 2]), np.array([ROUNDING])
    return ClosedForm(beta, loss, rounding, 1.0, NOISE_OF_PRODUCTS, True)


def feasible(closed: ClosedForm, A: np.ndarray, b: np.ndarray, positive: np.ndarray) -> ClosedForm:
    """Return the closed form with coefficients that rounding has made negative set to 0.

    Their size is added to the bound on rounding errors, and so is the effect of the gradients g
    along which F would fall at coefficients of 0: it falls by at most g'H^-1 g / 2.
    """
    beta = closed.beta[:, 0]
    negative = np.where(positive, np.minimum(beta, 0), 0)
    beta = beta - negative
    length = np.sqrt(dot(A, A))
    length[length == 0] = 1.0
    gradient = A.T @ (A @ beta - b) / length
    falls = np.where(positive & (beta == 0), np.minimum(gradient, 0), 0)
    distance = np.abs(length * negative).sum() + norm(falls) * np.sqrt(closed.inverse_norm)
    return closed._replace(beta=beta[:, None], rounding=closed.rounding + distance)
