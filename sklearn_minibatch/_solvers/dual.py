"""The closed form from products of the rows, if there are fewer rows than columns.

The minimiser is beta = Z'a with (ZZ' + alpha I) a = v, for rows multiplied by sqrt(w / W). If an
intercept is fitted, ZZ' has the null vector s = sqrt(w / W), to which v is orthogonal, so that
adding a multiple of ss' changes no solution and makes the matrix positive definite.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.wide import WideRows
from .._statistics.factor import Factored
from .._statistics.linalg import EPS, dot, plus_outer
from .._statistics.row_products import RowProducts
from .._statistics.threads import blas_threads_for, blas_threads_to_solve
from . import qr
from .cholesky import solved
from .closed_form import NOISE_OF_PRODUCTS, ROUNDING, ClosedForm, of_all_targets, out_of_digits
from .penalty import alike, least_of, penalty_of
from .preconditioner import Spectral, of_gram
from .problem import Monitor, Parameters, Problem, Settings, Solution


class System(NamedTuple):
    """The equations (K + alpha I) a = v of targets with one alpha."""

    v: np.ndarray  # (n, t)
    K: np.ndarray  # (n, n)
    alpha: float
    P: Factored | Spectral  # K + alpha I


class Found(NamedTuple):
    """Dual coefficients, and the closed form that they give."""

    a: np.ndarray  # (n, t)
    residual: np.ndarray | None  # (n, t), v - ZZ'a - alpha a from the rows, if it was computed
    closed: ClosedForm


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F, from the products of the rows if they have enough digits."""
    products: Any = problem.statistics
    rows: Any = problem.rows
    # In these units all features have one penalty.
    penalty = penalty_of(settings.alpha, None)
    K = positive_definite(products, settings.fit_intercept)
    with blas_threads_to_solve(*rows.v.shape):
        systems = [
            System(rows.v[:, targets], K, least_of(one), of_gram(K, one))
            for targets, one in alike(penalty)
        ]
    indices = [targets for targets, _ in alike(penalty)]
    with blas_threads_for(rows.v.size * len(problem.scaling.x_scale)):
        found = [from_products(rows, system) for system in systems]
    shape = (len(problem.scaling.x_scale), rows.v.shape[1])
    closed = of_all_targets(
        [(t, each.closed) for t, each in zip(indices, found, strict=True)], shape
    )
    if not closed.is_unique:
        # The rows have twice the digits of their products.
        closed = qr.closed_form(problem.rotated, penalty, start[0])
        systems = []
    while True:
        monitor.begin_epoch()
        solution = closed.solution(products.x.n_rows, settings.tol)
        solution = replace(solution, n_steps=monitor.n_epochs + 1)
        stop = monitor(solution, *solution.last, closed.loss, closed.rounding)
        if stop or closed.is_exact_enough(least_of(penalty), settings.tol):
            return solution
        if monitor.n_epochs >= settings.max_iter or not systems:
            break
        found = [refined(rows, *each) for each in zip(systems, found, strict=True)]
        better = of_all_targets(
            [(t, each.closed) for t, each in zip(indices, found, strict=True)], shape
        )
        if not np.any(better.rounding < closed.rounding / 2):
            break
        closed = better
    assert settings.tol is not None
    warning = None if solution.converged else out_of_digits(closed, settings.tol)
    return replace(solution, warning=warning)


def positive_definite(products: RowProducts, fit_intercept: bool) -> np.ndarray:
    """Return K, with a multiple of ss' added if s is in its null space."""
    K, root = products.K, products.root
    if not fit_intercept:
        return K
    size = float(np.mean(np.diag(K))) or 1.0
    return plus_outer(K.copy(), size * root, root)


def from_products(rows: WideRows, system: System) -> Found:
    """Return the closed form from the products alone.

    Rounding errors E of K move the predictions by alpha (K + alpha I)^-1 E a, whose length is at
    most ||E|| ||a||.
    """
    v, K, alpha, P = system
    a, _ = solved(K, v, alpha, P)
    beta = rows.combined(a)
    # Since (K + alpha I) a = v, the residual v - K a is alpha a.
    rest = v - K @ a if alpha < EPS or not isinstance(P, Factored) else alpha * a
    loss = (dot(rest, rest) + alpha * dot(beta, beta)) / 2
    size = float(np.abs(K).sum(axis=0).max(initial=0.0))
    rounding = ROUNDING * (1 + size * np.sqrt(dot(a, a)))
    is_unique = isinstance(P, Factored)
    closed = ClosedForm(beta, loss, rounding, P.inverse_norm, NOISE_OF_PRODUCTS, is_unique)
    return Found(a, None, closed)


def refined(rows: WideRows, system: System, found: Found) -> Found:
    """Return the closed form after a correction by a residual from the rows.

    The eigenvalues of K (K + alpha I)^-1 are at most 1, so the length of the residual bounds the
    distance of the predictions from those of the minimiser.
    """
    v, _, alpha, P = system
    a, residual, closed = found
    if residual is None:
        residual = v - rows.product(closed.beta) - alpha * a
    a = a + P.solve(residual)
    beta = rows.combined(a)
    rest = v - rows.product(beta)
    residual = rest - alpha * a
    loss = (dot(rest, rest) + alpha * dot(beta, beta)) / 2
    rounding = ROUNDING * (1 + np.sqrt(dot(beta, beta))) + np.sqrt(dot(residual, residual))
    return Found(a, residual, closed._replace(beta=beta, loss=loss, rounding=rounding))
