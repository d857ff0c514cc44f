"""Preconditioners P close to the Hessian H = Z'Z/n + alpha I, each with `solve(g)` = P^-1 g."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from ._targets import norm

# Beyond this many columns a dense d x d matrix costs more than it saves.
DENSE_FEATURES = 3000
NYSTROM_RANK = 100
# A column of which others leave so little, as a fraction of its variance, is lost in the rounding errors of a Gram matrix.
NEARLY_SINGULAR = 1e-8


class Identity(NamedTuple):
    """P = I: plain gradient steps."""

    def solve(self, g):
        return g


class Diagonal(NamedTuple):
    """P = diag(D): the columns have their own scales, and no more is known of them."""

    D: np.ndarray  # (d, 1)

    def solve(self, g):
        return g / self.D


class Factored(NamedTuple):
    """P = D L L' D with D the square root of P's diagonal, so that unlike scales of columns do no harm."""

    L: np.ndarray  # (d, d)
    D: np.ndarray  # (d, 1)

    def solve(self, g):
        x, _ = lapack.dpotrs(self.L, g / self.D, lower=1)
        return x / self.D

    @property
    def root(self):
        """Rows whose Gram matrix is P."""
        return np.tril(self.L).T * self.D[:, 0]

    @property
    def is_nearly_singular(self):
        """Whether a column all but follows from those before it."""
        return np.diag(self.L).min() ** 2 < NEARLY_SINGULAR


class Spectral(NamedTuple):
    """P = D U diag(l) U' D with D as above, where columns follow from others: what no row reaches is left out.

    No step leads out of the span of the rows, R, so that of all minimisers the one nearest to the start is found.
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


class Nystrom(NamedTuple):
    """P = U diag(l) U' + rho (I - UU'): right on the leading directions, flat on the rest."""

    U: np.ndarray
    eigenvalues: np.ndarray
    rho: float

    def solve(self, g):
        inner = self.U.T @ g
        return (g + self.U @ ((self.rho / self.eigenvalues - 1)[:, None] * inner)) / self.rho


def n_buckets(n_features):
    """Rows of the sketch: eight a column keep the eigenvalues of P^-1 H within about [0.5, 2.4].

    Four a column keep them within [0.4, 4] at half the price, which is that of a (4 d, d) Gram matrix.
    """
    return max(1000, (8 if n_features <= 1000 else 4) * n_features)


def check_finite(products):
    """Raise ValueError where sums of products of rows have overflowed."""
    if not np.isfinite(products).all():
        raise ValueError("X is too large: sums of products of its columns overflow. Divide the columns by constants.")


def factored(gram, penalty):
    """P = gram + diag(penalty) for a (d, d) Gram matrix of rows or of a sketch of rows; `penalty` (d,) or a number."""
    d = len(gram)
    P = gram + penalty * np.eye(d)
    D = np.sqrt(np.maximum(np.diag(P), np.finfo(float).tiny))
    P /= D * D[:, None]
    # Reference LAPACK would refuse it with any jitter.
    check_finite(P)
    jitter = 10 * d * np.finfo(float).eps
    while True:
        L, failed = lapack.dpotrf(P + jitter * np.eye(d), lower=1)
        if not failed:
            return Factored(L, D[:, None])
        jitter *= 10


def of_rows(rows, alpha, dtype):
    """P = rows' rows + alpha I for rows that were rounded to `dtype`."""
    P = factored(rows.T @ rows, alpha)
    return spectral(rows, alpha, P.D, dtype) if P.is_nearly_singular else P


def spectral(rows, alpha, D, dtype):
    """The same where columns follow from others: the rows' singular values have twice the digits of their Gram matrix's."""
    _, singular, Vt = np.linalg.svd(rows / D[:, 0], full_matrices=False)
    noise = max(max(rows.shape) * np.finfo(float).eps, 4 * np.finfo(dtype).eps)
    kept = singular > noise * singular[0]
    U = Vt[kept].T
    eigenvalues = singular[kept] ** 2 + alpha * ((U / D) ** 2).sum(axis=0)
    return Spectral(U, eigenvalues[:, None], D, np.linalg.qr(U * D)[0])


def root(gram):
    """Rows whose Gram matrix is `gram`, (d, d)."""
    P = factored(gram, 0.0)
    if not P.is_nearly_singular:
        return P.root
    eigenvalues, U = np.linalg.eigh(gram / (P.D * P.D[:, 0]))
    eigenvalues[eigenvalues < 10 * len(gram) * np.finfo(float).eps * eigenvalues[-1]] = 0.0
    return (U * P.D).T * np.sqrt(eigenvalues)[:, None]


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
    if choice == "auto" and not rows.affords_dense():
        return Diagonal(np.maximum(rows.diagonal() + alpha, np.finfo(float).tiny)[:, None])
    if choice == "auto" and d > DENSE_FEATURES:
        choice = rows.n_rows if rows.n_rows <= 5 * NYSTROM_RANK else NYSTROM_RANK
    if choice != "auto" and (choice < d or d > DENSE_FEATURES):
        return nystrom(rows.curvature, d, min(choice, d), alpha, rng)
    return of_rows(rows.sketch(n_buckets(d), rng), alpha, rows.dtype)
