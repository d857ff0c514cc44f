"""The closed form from the triangular factor of the rows, with twice the digits of products."""

from typing import Any

import numpy as np
from scipy.linalg import lapack

from .._statistics.linalg import EPS, dot
from .._statistics.moments import LEAST_VAR
from .._statistics.threads import blas_threads_to_solve
from .._statistics.triangular_factor import Rotated, rotated_rows
from .closed_form import MOST_NOISE, ROUNDING, ClosedForm, of_all_targets, one_epoch
from .penalty import Penalty, alike, least_of, of_features
from .problem import Monitor, Parameters, Problem, Settings, Solution

# If the reciprocal condition number, for columns of unit length, is below LEAST_RCOND, the singular
# values determine the rank. Below WELL_CONDITIONED, the least of them is computed exactly.
LEAST_RCOND = 1e-12
WELL_CONDITIONED = 1e-8


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F from the triangular factor of the samples."""
    with blas_threads_to_solve(*start[0].shape):
        rotated = rotated_rows(problem.statistics, problem.scaling)
        closed = closed_form(rotated, settings.penalty, start[0])
    return one_epoch(closed, problem.statistics.x.n_rows, settings.tol, monitor)


def closed_form(rotated: Rotated, penalty: Penalty, start: np.ndarray | None = None) -> ClosedForm:
    """Return (R'R + penalty)^-1 R'Q by least squares on [R; sqrt(penalty)].

    If the columns are numerically collinear, it is the solution nearest to `start` (d, t), or to 0.
    The bound on rounding errors is that of least squares by orthogonal transformations (Golub and
    Van Loan, "Matrix Computations", section 5.3).
    """
    R, Q, rest = rotated
    parts = []
    for targets, one in alike(penalty):
        some = Rotated(R, Q[:, targets], rest[targets])
        from_here = None if start is None else start[:, targets]
        is_wide = R.shape[0] < R.shape[1] and np.size(one) == 1
        solved = wide_closed_form if is_wide else tall_closed_form
        parts.append((targets, solved(some, one, from_here)))
    return of_all_targets(parts, (R.shape[1], Q.shape[1]))


def tall_closed_form(rotated: Rotated, penalty: Penalty, start: np.ndarray | None) -> ClosedForm:
    """Return the closed form of targets with the same penalty."""
    live = dot(rotated.R, rotated.R) >= LEAST_VAR
    R = rotated.R[:, live]
    d = R.shape[1]
    beta = before_any_rows(rotated, penalty, start)
    A, b = R, rotated.Q
    if d and np.any(penalty):
        root = np.sqrt(of_features(penalty, len(live))[live])
        A, b = np.vstack([A, np.diag(root)]), np.vstack([b, np.zeros((d, b.shape[1]))])
        # Householder reflections keep the digits of short rows only if these are below long ones
        # (Higham, "Accuracy and Stability of Numerical Algorithms", section 19.4).
        order = np.argsort(-np.abs(A).max(axis=1), kind="stable")
        A, b = A[order], b[order]
    D = np.sqrt(dot(A, A))
    x, least, null = least_squares(A / D, b)
    if null is not None:
        # Of all minimisers, which predict the same, take the one nearest to the start.
        away = x if start is None else x - start[live] * D[:, None]
        x = x - null @ np.linalg.lstsq(null / D[:, None], away / D[:, None], rcond=None)[0]
    solved = x / D[:, None]
    beta[live] = solved
    residual = A @ solved - b
    loss = (dot(residual, residual) + rotated.rest) / 2
    rounding = ROUNDING * (1 + np.sqrt(dot(x, x)) + np.sqrt(2 * loss) / least)
    return ClosedForm(beta, loss, rounding, 1 / least**2, MOST_NOISE, True)


def wide_closed_form(rotated: Rotated, penalty: Penalty, start: np.ndarray | None) -> ClosedForm:
    """Return the closed form for fewer rows than columns, as a combination of rows and start."""
    live = dot(rotated.R, rotated.R) >= LEAST_VAR
    R, Q, rest = rotated.R[:, live], rotated.Q, rotated.rest
    alpha = least_of(penalty)
    basis, T = np.linalg.qr(R.T)
    A = np.vstack([T.T, np.sqrt(alpha) * np.eye(len(T))]) if alpha else T.T
    b = np.vstack([Q, np.zeros((len(T), Q.shape[1]))]) if alpha else Q
    size = float(np.linalg.norm(A, 2)) if A.size else 1.0
    size = size or 1.0
    x, least, null = least_squares(A / size, b)
    solved = basis @ (x / size)
    kept = np.zeros_like(solved)
    if start is not None and not alpha:
        # The part of the start that is orthogonal to the rows is kept.
        kept = start[live] - basis @ (basis.T @ start[live])
        if null is not None:
            lost = basis @ null
            kept += lost @ (lost.T @ start[live])
    solved += kept
    beta = before_any_rows(rotated, penalty, start)
    beta[live] = solved
    residual = A @ (x / size) - b
    loss = (dot(residual, residual) + rest) / 2
    length = np.sqrt(dot(x, x)) + size * np.sqrt(dot(kept, kept))
    rounding = ROUNDING * (1 + length + np.sqrt(2 * loss) / least)
    return ClosedForm(beta, loss, rounding, 1 / least**2, MOST_NOISE, True)


def before_any_rows(rotated: Rotated, penalty: Penalty, start: np.ndarray | None) -> np.ndarray:
    """Return coefficients (d, t) with the right values for columns of zeros.

    These are exactly 0, or the values of `start` if there is no penalty.
    """
    d, t = rotated.R.shape[1], rotated.Q.shape[1]
    if start is None:
        return np.zeros((d, t))
    return np.where(of_features(penalty, d)[:, None] == 0, start, 0.0)


def least_squares(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Return the x (d, t) that minimises ||A x - b||, for A (k, d) with columns of similar length.

    Also return about the least singular value of A above rounding errors and, if there are others,
    their right singular vectors (d, r).
    """
    k, d = A.shape
    if d == 0:
        return np.zeros((0, b.shape[1])), 1.0, None
    if k >= d:
        qr, tau, _, _ = lapack.dgeqrf(np.asfortranarray(A))
        # The reciprocal condition number of R'R is at most the square of the least singular value.
        of_gram, _ = lapack.dpocon(qr[:d], 1.0, uplo="U")
        rcond = np.sqrt(of_gram)
        if rcond > LEAST_RCOND:
            c = np.asfortranarray(b)
            size = int(lapack.dormqr("L", "T", qr, tau, c, -1)[1][0])
            c = lapack.dormqr("L", "T", qr, tau, c, size)[0]
            least = rcond
            if rcond < WELL_CONDITIONED:
                # The estimate is too low by a factor of up to sqrt(d), which matters here.
                least = float(np.linalg.svd(np.triu(qr[:d]), compute_uv=False)[-1])
            return lapack.dtrtrs(qr[:d], c[:d])[0], least, None
    U, s, Vt = np.linalg.svd(A, full_matrices=k < d)
    n_kept = int(np.sum(s > max(k, d) * EPS * s.max(initial=0.0)))
    s = s[:n_kept]
    x = Vt[:n_kept].T @ ((U[:, :n_kept].T @ b) / s[:, None])
    return x, float(s.min(initial=1.0)), None if n_kept == d else Vt[n_kept:].T
