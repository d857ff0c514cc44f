"""Preconditioners P close to the Hessian H = Z'Z/n + alpha I, each with `solve(g)` = P^-1 g."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.linalg import lapack

from .._rows.protocol import Rows
from .._statistics.factor import Factored, check_finite, factored
from .._statistics.linalg import EPS, TINY, norm
from .._statistics.sketch import DENSE_FEATURES, n_buckets

NYSTROM_RANK = 100
# The rows have twice the digits of a Gram matrix of unit columns, and are asked where its inverse
# is as large as this.
LARGEST_INVERSE = 1e10
# With fewer rows than columns, the eigenvalues that count are those of ZZ', and columns of one
# length do not bring them together. Then only columns are scaled whose mean square is more than so
# many times the mean of all, such as frequent words: to the root of that ratio.
FREQUENT = 4


class Identity(NamedTuple):
    """P = I, for plain gradient steps."""

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return g (d, t)."""
        return g


class Diagonal(NamedTuple):
    """P = diag(D), which knows the lengths of the columns, or a part of them, and no more."""

    D: np.ndarray  # (d, 1)
    of_hessian: np.ndarray  # (d, 1), the diagonal of H, which D may be

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""
        return g / self.D


class Spectral(NamedTuple):
    """P = D U diag(l) U' D on the span R of the rows, for columns that follow from others.

    D holds the lengths of the columns. No step leads out of R, so that of all minimisers the one
    nearest to the start is found.
    """

    U: np.ndarray  # (d, k)
    eigenvalues: np.ndarray  # (k, 1)
    D: np.ndarray  # (d, 1)
    R: np.ndarray  # (d, k)

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return the pseudo-inverse of P times g (d, t)."""
        x = self.U @ (self.U.T @ (g / self.D) / self.eigenvalues) / self.D
        return self.R @ (self.R.T @ x)

    @property
    def root(self) -> np.ndarray:
        """Rows whose Gram matrix is P."""
        return (self.U * self.D).T * np.sqrt(self.eigenvalues)

    @property
    def inverse_norm(self) -> float:
        """The inverse of the least of the eigenvalues."""
        return float(np.max(1 / self.eigenvalues, initial=1.0))


class Nystrom(NamedTuple):
    """P = U diag(l) U' + rho (I - UU'), exact in the leading directions and flat in the rest."""

    U: np.ndarray
    eigenvalues: np.ndarray
    rho: float

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""
        inner = self.U.T @ g
        return (g + self.U @ ((self.rho / self.eigenvalues - 1)[:, None] * inner)) / self.rho


Preconditioner: TypeAlias = Identity | Diagonal | Factored | Spectral | Nystrom


def of_rows(rows: np.ndarray, alpha: float, dtype: np.dtype) -> Factored | Spectral:
    """Return P = rows' rows + alpha I for rows that were rounded to `dtype`."""
    P = factored(rows.T @ rows, alpha)
    return spectral(rows, alpha, P.D, dtype) if P.is_nearly_singular else P


def spectral(rows: np.ndarray, alpha: float, D: np.ndarray, dtype: np.dtype) -> Spectral:
    """Return the same for columns that follow from others.

    The singular values of the rows have twice the digits of the eigenvalues of their Gram matrix.
    """
    scaled = rows / D[:, 0]
    _, singular, Vt = np.linalg.svd(scaled, full_matrices=False)
    noise = max(max(rows.shape) * EPS, 4 * float(np.finfo(dtype).eps))
    kept = singular > noise * singular[0]
    dead = np.abs(scaled).max(axis=0) <= noise
    return spectral_of(Vt[kept].T, singular[kept] ** 2, alpha, D, dead)


def spectral_of(
    V: np.ndarray, eigenvalues: np.ndarray, alpha: float, D: np.ndarray, dead: np.ndarray
) -> Spectral:
    """Return P of eigenvectors V (d, k), to which alpha is added; 0 for columns in the mask `dead`.

    The coefficient of a column that never varies is then exactly 0.
    """
    U = np.where(dead[:, None], 0.0, V)
    penalised = eigenvalues + alpha * ((U / D) ** 2).sum(axis=0)
    R = np.linalg.qr(U * D)[0]
    R[dead] = 0.0
    return Spectral(U, penalised[:, None], D, R)


def of_gram(gram: np.ndarray, alpha: float) -> Factored | Spectral:
    """Return P = gram + alpha I for the exact Gram matrix (d, d) of rows.

    If it is singular, P leaves out the directions that its rounding errors hide.
    """
    P = factored(gram, alpha)
    if P.inverse_norm < LARGEST_INVERSE:
        return P
    eigenvalues, V = np.linalg.eigh(gram / P.D / P.D[:, 0])
    kept = eigenvalues > 10 * len(gram) * EPS * eigenvalues[-1]
    return spectral_of(V[:, kept], eigenvalues[kept], alpha, P.D, np.diag(gram) == 0)


def nystrom(
    hessian_product: Callable[[np.ndarray], np.ndarray],
    n_features: int,
    rank: int,
    alpha: float,
    rng: Any,
) -> Nystrom:
    """Return the randomised Nystrom approximation of H, from Z'Z/n times `rank` random directions.

    Algorithm 2.1 of Frangella, Tropp and Udell (2023), "Randomized Nystrom preconditioning".
    """
    omega = np.linalg.qr(rng.standard_normal((n_features, rank)))[0]
    Y = hessian_product(omega)
    check_finite(Y)
    shift = EPS * norm(Y) + TINY
    while True:
        C, failed = lapack.dpotrf(omega.T @ (Y + shift * omega), lower=1)
        if not failed:
            break
        shift *= 10
    B = np.linalg.solve(C, (Y + shift * omega).T)
    U, singular, _ = np.linalg.svd(B.T, full_matrices=False)
    eigenvalues = np.maximum(singular**2 - shift, 0.0)
    floor = rank * EPS * eigenvalues[0] + TINY
    eigenvalues = np.maximum(eigenvalues + alpha, floor)
    return Nystrom(U, eigenvalues, eigenvalues[-1])


def levelled(D: np.ndarray) -> np.ndarray:
    """Return a diagonal (d, 1) for fewer rows than columns, from that of the Hessian."""
    # The sum of very large elements would overflow.
    typical = D.max() * np.mean(D / D.max())
    return typical * np.sqrt(np.maximum(D / typical / FREQUENT, 1))


def preconditioner(rows: Rows, alpha: float, choice: int | str | None, rng: Any) -> Preconditioner:
    """Return P by the parameter `choice`: "auto", None, or the rank of a Nystrom approximation."""
    d = rows.n_features
    if choice is None:
        return Identity()
    diagonal = rows.diagonal_instead() if choice == "auto" else None
    if diagonal is not None:
        of_hessian = np.maximum(diagonal + alpha, TINY)[:, None]
        return Diagonal(of_hessian if rows.n_rows >= d else levelled(of_hessian), of_hessian)
    if choice == "auto" and d > DENSE_FEATURES:
        choice = rows.n_rows if rows.n_rows <= 5 * NYSTROM_RANK else NYSTROM_RANK
    if not isinstance(choice, str) and (choice < d or d > DENSE_FEATURES):
        return nystrom(rows.hessian_product, d, min(choice, d), alpha, rng)
    gram = rows.gram()
    if gram is not None:
        P = of_gram(gram, alpha)
        if isinstance(P, Factored):
            return P
    return of_rows(rows.sketch(n_buckets(d), rng), alpha, rows.dtype)
