"""Preconditioners P close to the Hessian H = Z'Z/n + alpha I, each with `solve(g)` = P^-1 g."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from .._statistics.factor import Factored, check_finite, factored
from .._statistics.linalg import norm
from .._statistics.sketch import DENSE_FEATURES, n_buckets

NYSTROM_RANK = 100
# The rows have twice the digits of a Gram matrix of unit columns, and are asked where its inverse
# is as large as this.
LARGEST_INVERSE = 1e10


class Identity(NamedTuple):
    """P = I: plain gradient steps."""

    def solve(self, g):
        return g


class Diagonal(NamedTuple):
    """P = diag(D): the columns have their own scales, and no more is known of them."""

    D: np.ndarray  # (d, 1)

    def solve(self, g):
        return g / self.D


class Spectral(NamedTuple):
    """P = D U diag(l) U' D with D as above, where columns follow from others: what no row reaches is left out.

    No step leads out of the span of the rows, R, so that of all minimisers the one nearest to the
    start is found.
    """

    U: np.ndarray  # (d, k)
    eigenvalues: np.ndarray  # (k, 1)
    D: np.ndarray  # (d, 1)
    R: np.ndarray  # (d, k)

    def solve(self, g):
        x = self.U @ (self.U.T @ (g / self.D) / self.eigenvalues) / self.D
        return self.R @ (self.R.T @ x)

    @property
    def root(self):
        """Rows whose Gram matrix is P."""
        return (self.U * self.D).T * np.sqrt(self.eigenvalues)

    @property
    def inverse_norm(self) -> float:
        """The inverse of the least of the eigenvalues."""
        return float(np.max(1 / self.eigenvalues, initial=1.0))


class Nystrom(NamedTuple):
    """P = U diag(l) U' + rho (I - UU'): right on the leading directions, flat on the rest."""

    U: np.ndarray
    eigenvalues: np.ndarray
    rho: float

    def solve(self, g):
        inner = self.U.T @ g
        return (g + self.U @ ((self.rho / self.eigenvalues - 1)[:, None] * inner)) / self.rho


def of_rows(rows, alpha, dtype):
    """P = rows' rows + alpha I for rows that were rounded to `dtype`."""
    P = factored(rows.T @ rows, alpha)
    return spectral(rows, alpha, P.D, dtype) if P.is_nearly_singular else P


def spectral(rows, alpha, D, dtype):
    """The same where columns follow from others: the rows' singular values have twice the digits of their Gram matrix's."""
    scaled = rows / D[:, 0]
    _, singular, Vt = np.linalg.svd(scaled, full_matrices=False)
    noise = max(max(rows.shape) * np.finfo(float).eps, 4 * np.finfo(dtype).eps)
    kept = singular > noise * singular[0]
    U = Vt[kept].T
    # The coefficient of a column that never varies is exactly 0.
    dead = np.abs(scaled).max(axis=0) <= noise
    U[dead] = 0.0
    eigenvalues = singular[kept] ** 2 + alpha * ((U / D) ** 2).sum(axis=0)
    R = np.linalg.qr(U * D)[0]
    R[dead] = 0.0
    return Spectral(U, eigenvalues[:, None], D, R)


def of_gram(gram: np.ndarray, alpha: float) -> Factored | Spectral:
    """P = gram + alpha I for the exact Gram matrix of rows; without what its rounding errors hide where it is singular."""
    P = factored(gram, alpha)
    if P.inverse_norm < LARGEST_INVERSE:
        return P
    noise = 10 * len(gram) * np.finfo(float).eps
    eigenvalues, V = np.linalg.eigh(gram / P.D / P.D[:, 0])
    kept = eigenvalues > noise * eigenvalues[-1]
    U = V[:, kept]
    U[np.diag(gram) == 0] = 0.0
    penalised = eigenvalues[kept] + alpha * ((U / P.D) ** 2).sum(axis=0)
    R = np.linalg.qr(U * P.D)[0]
    R[np.diag(gram) == 0] = 0.0
    return Spectral(U, penalised[:, None], P.D, R)


def nystrom(curvature, n_features, rank, alpha, rng):
    """Randomised Nystrom approximation of H from one product of Z'Z/n with `rank` random directions.

    Algorithm 2.1 of Frangella, Tropp and Udell (2023), "Randomized Nystrom preconditioning".
    """
    omega = np.linalg.qr(rng.standard_normal((n_features, rank)))[0]
    Y = curvature(omega)
    check_finite(Y)
    shift = np.finfo(float).eps * norm(Y) + np.finfo(float).tiny
    while True:
        C, failed = lapack.dpotrf(omega.T @ (Y + shift * omega), lower=1)
        if not failed:
            break
        shift *= 10
    B = np.linalg.solve(C, (Y + shift * omega).T)
    U, singular, _ = np.linalg.svd(B.T, full_matrices=False)
    eigenvalues = np.maximum(singular**2 - shift, 0.0)
    floor = rank * np.finfo(float).eps * eigenvalues[0] + np.finfo(float).tiny
    eigenvalues = np.maximum(eigenvalues + alpha, floor)
    return Nystrom(U, eigenvalues, eigenvalues[-1])


def preconditioner(rows, alpha, choice, rng):
    """P for `rows` by the parameter `choice`: "auto", None, or the rank of a Nystrom approximation."""
    d = rows.n_features
    if choice is None:
        return Identity()
    diagonal = rows.diagonal_instead() if choice == "auto" else None
    if diagonal is not None:
        return Diagonal(np.maximum(diagonal + alpha, np.finfo(float).tiny)[:, None])
    if choice == "auto" and d > DENSE_FEATURES:
        choice = rows.n_rows if rows.n_rows <= 5 * NYSTROM_RANK else NYSTROM_RANK
    if choice != "auto" and (choice < d or d > DENSE_FEATURES):
        return nystrom(rows.hessian_product, d, min(choice, d), alpha, rng)
    gram = rows.gram()
    if gram is not None:
        P = of_gram(gram, alpha)
        if isinstance(P, Factored):
            return P
    return of_rows(rows.sketch(n_buckets(d), rng), alpha, rows.dtype)
