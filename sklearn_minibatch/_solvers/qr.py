"""The closed form from the triangular factor of the rows: twice the digits of their products."""

import numpy as np
from scipy.linalg import lapack

from .._statistics.linalg import EPS, dot
from .._statistics.triangular_factor import Rotated
from .closed_form import MOST_NOISE, ROUNDING, ClosedForm

# With a smaller reciprocal condition number, for columns of unit length, the singular values tell
# which directions the rows have at all.
LEAST_RCOND = 1e-12
WELL_CONDITIONED = 1e-8


def closed_form(rotated: Rotated, alpha: float, start: np.ndarray | None = None) -> ClosedForm:
    """Return (R'R + alpha I)^-1 R'Q by least squares on [R; sqrt(alpha) I].

    Where columns are dependent to the last digits of the rows, it is the solution nearest to
    `start` (d, t), or to 0. The bound on rounding errors is that of least squares by orthogonal
    transformations (Golub and Van Loan, "Matrix Computations", section 5.3).
    """
    if rotated.R.shape[0] < rotated.R.shape[1]:
        return wide_closed_form(rotated, alpha, start)
    # The coefficient of a column that never varies is exactly 0.
    live = np.any(rotated.R, axis=0)
    R = rotated.R[:, live]
    d = R.shape[1]
    beta = np.zeros((rotated.R.shape[1], rotated.Q.shape[1]))
    A = np.vstack([R, np.sqrt(alpha) * np.eye(d)]) if alpha else R
    b = np.vstack([rotated.Q, np.zeros((d, beta.shape[1]))]) if alpha else rotated.Q
    D = np.sqrt(dot(A, A))
    x, least, V = least_squares(A / D, b)
    solved = x / D[:, None]
    if V is not None:
        # Of all minimisers the nearest differs from the start by combinations of the rows.
        basis = np.linalg.qr(V * D[:, None])[0]
        away = solved if start is None else solved - start[live]
        solved = basis @ (basis.T @ away) + (0.0 if start is None else start[live])
    beta[live] = solved
    residual = A @ solved - b
    loss = (dot(residual, residual) + rotated.rest) / 2
    rounding = ROUNDING * (1 + np.sqrt(dot(x, x)) + np.sqrt(2 * loss) / least)
    return ClosedForm(beta, loss, rounding, 1 / least**2, MOST_NOISE, True)


def wide_closed_form(rotated: Rotated, alpha: float, start: np.ndarray | None) -> ClosedForm:
    """Return the same for fewer rows than columns: a combination of the rows, and the start."""
    R, Q, rest = rotated
    basis, T = np.linalg.qr(R.T)
    n = len(T)
    A = np.vstack([T.T, np.sqrt(alpha) * np.eye(n)]) if alpha else T.T
    b = np.vstack([Q, np.zeros((n, Q.shape[1]))]) if alpha else Q
    size = float(np.linalg.norm(A, 2)) or 1.0
    x, least, V = least_squares(A / size, b)
    beta = basis @ (x / size)
    if start is not None and V is not None:
        kept = basis @ V
        beta += start - kept @ (kept.T @ start)
    residual = A @ (x / size) - b
    loss = (dot(residual, residual) + rest) / 2
    rounding = ROUNDING * (1 + np.sqrt(dot(x, x)) + np.sqrt(2 * loss) / least)
    return ClosedForm(beta, loss, rounding, 1 / least**2, MOST_NOISE, True)


def least_squares(A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Return the x (d, t) that minimises ||A x - b||, for A (k, d) with columns of like lengths.

    Return with it about the least singular value of A that is no rounding error and, if others
    are, the right singular vectors (d, r) of those that are not.
    """
    k, d = A.shape
    if d == 0:
        return np.zeros((0, b.shape[1])), 1.0, None
    if k >= d:
        qr, tau, _, _ = lapack.dgeqrf(np.asfortranarray(A))
        rcond, _ = lapack.dtrcon(qr[:d], norm="1", uplo="U")
        if rcond > LEAST_RCOND:
            c = np.asfortranarray(b)
            size = int(lapack.dormqr("L", "T", qr, tau, c, -1)[1][0])
            c = lapack.dormqr("L", "T", qr, tau, c, size)[0]
            least = rcond
            if rcond < WELL_CONDITIONED:
                # The estimate is too low by a factor of up to d, which counts here.
                least = float(np.linalg.svd(np.triu(qr[:d]), compute_uv=False)[-1])
            return lapack.dtrtrs(qr[:d], c[:d])[0], least, None
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    kept = s > max(k, d) * EPS * s.max(initial=0.0)
    x = Vt[kept].T @ ((U[:, kept].T @ b) / s[kept, None])
    return x, float(s[kept].min(initial=1.0)), None if kept.sum() == d else Vt[kept].T
