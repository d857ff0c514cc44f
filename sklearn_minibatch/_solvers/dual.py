"""The closed form from products of the rows, where there are fewer rows than columns.

The minimiser is beta = Z'a with (ZZ' + alpha I) a = v, all rows multiplied by sqrt(w / W). If an
intercept is fitted, ZZ' has the null vector s = sqrt(w / W), to which v is orthogonal, so that
adding a multiple of ss' changes no solution and makes the matrix positive definite.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.wide import WideRows
from .._statistics.factor import Factored
from .._statistics.linalg import EPS, dot
from .._statistics.row_products import RowProducts
from . import qr
from .cholesky import solved
from .closed_form import NOISE_OF_PRODUCTS, ROUNDING, ClosedForm, out_of_digits
from .preconditioner import Spectral, of_gram
from .problem import Monitor, Parameters, Problem, Settings, Solution


class Found(NamedTuple):
    """Dual coefficients, and the closed form that they make."""

    a: np.ndarray  # (n, t)
    residual: np.ndarray | None  # (n, t), v - ZZ'a - alpha a from the rows, if it was computed
    closed: ClosedForm


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F: from the products of the rows, where they carry enough digits."""
    alpha, tol = settings.alpha, settings.tol
    products: Any = problem.moments
    rows: Any = problem.rows
    K = positive_definite(products, settings.fit_intercept)
    P = of_gram(K, alpha)
    found = from_products(rows, K, alpha, P)
    if not isinstance(P, Factored):
        # The rows have twice the digits of their products.
        found = found._replace(closed=qr.closed_form(problem.rotated, alpha, start[0]))
    while True:
        monitor.begin_epoch()
        closed = found.closed
        solution = replace(closed.solution(products.x.n_rows, tol), n_steps=monitor.n_epochs + 1)
        stop = monitor(solution, *solution.last, closed.loss, closed.rounding)
        if stop or closed.is_exact_enough(alpha, tol):
            return solution
        if monitor.n_epochs >= settings.max_iter or not isinstance(P, Factored):
            break
        better = refined(rows, found, alpha, P)
        if not np.any(better.closed.rounding < closed.rounding / 2):
            break
        found = better
    assert tol is not None
    return replace(solution, warning=None if solution.converged else out_of_digits(closed, tol))


def positive_definite(products: RowProducts, fit_intercept: bool) -> np.ndarray:
    """Return K, with a multiple of ss' added if s is in its null space."""
    K, root = products.K, products.root
    if not fit_intercept:
        return K
    size = float(np.mean(np.diag(K))) or 1.0
    return K + size * np.multiply.outer(root, root)


def from_products(rows: WideRows, K: np.ndarray, alpha: float, P: Factored | Spectral) -> Found:
    """Return the closed form from the products alone.

    Rounding errors E of K move the predictions by alpha (K + alpha I)^-1 E a, which is no longer
    than ||E|| ||a||.
    """
    a, _ = solved(K, rows.v, alpha, P)
    beta = rows.combined(a)
    # (K + alpha I) a = v, so that alpha a is what the predictions leave of v.
    rest = rows.v - K @ a if alpha < EPS or not isinstance(P, Factored) else alpha * a
    loss = (dot(rest, rest) + alpha * dot(beta, beta)) / 2
    size = float(np.abs(K).sum(axis=0).max(initial=0.0))
    rounding = ROUNDING * (1 + size * np.sqrt(dot(a, a)))
    closed = ClosedForm(
        beta, loss, rounding, P.inverse_norm, NOISE_OF_PRODUCTS, isinstance(P, Factored)
    )
    return Found(a, None, closed)


def refined(rows: WideRows, found: Found, alpha: float, P: Factored) -> Found:
    """Return the closed form after a correction by a residual from the rows.

    No eigenvalue of K (K + alpha I)^-1 is more than 1, so that the predictions are no farther from
    those of the minimiser than the residual is long.
    """
    a, residual, closed = found
    if residual is None:
        residual = rows.v - rows.product(closed.beta) - alpha * a
    a = a + P.solve(residual)
    beta = rows.combined(a)
    rest = rows.v - rows.product(beta)
    residual = rest - alpha * a
    loss = (dot(rest, rest) + alpha * dot(beta, beta)) / 2
    rounding = ROUNDING * (1 + np.sqrt(dot(beta, beta))) + np.sqrt(dot(residual, residual))
    return Found(a, residual, closed._replace(beta=beta, loss=loss, rounding=rounding))
