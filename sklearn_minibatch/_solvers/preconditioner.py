"""Preconditioners P close to the Hessian H = Z'Z/n + alpha I, each with `solve(g)` = P^-1 g."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

from .._rows.protocol import Rows, RowsInMemory
from .._statistics.factor import Factored, check_finite, factored
from .._statistics.linalg import EPS, TINY, norm
from .._statistics.second_moments import EXACT_FEATURES, SecondMoments, standardized
from .penalty import Penalty, least_of, least_of_targets, of_features
from .problem import Problem, Settings

NYSTROM_RANK = 100
# The bound `least` if P is the exact Hessian: 1, less rounding errors.
LEAST_EIGENVALUE = 0.9
# A dense preconditioner of this many columns takes a tenth of a second, for any number of rows.
FEW_FEATURES = 500
# With more columns, it saves about this many passes over sparse rows.
PASSES_SAVED = 1000
# If the inverse of a Gram matrix of unit columns is as large as this, its Cholesky factor is not
# used.
LARGEST_INVERSE = 1e10
# With fewer rows than columns, the relevant eigenvalues are those of ZZ', and scaling all columns
# to one length does not cluster them. Then only columns are scaled whose mean square exceeds this
# multiple of the mean, such as frequent words: P grows with the root of the excess.
FREQUENT = 4


class Identity(NamedTuple):
    """P = I, for plain gradient steps."""

    least: float  # a lower bound on the eigenvalues of P^-1 H
    inverse_norm: float = 1.0  # the norm of P^-1, for columns of unit length

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return g (d, t)."""
        return g


class Diagonal(NamedTuple):
    """P = diag(D), which scales all columns, or only the longest of them."""

    D: np.ndarray  # (d, 1)
    least: float
    inverse_norm: float = 1.0

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""
        return g / self.D


class Full(NamedTuple):
    """The Cholesky factor of P = Z_S'Z_S + alpha I, for rows Z_S that represent all rows."""

    factor: Factored
    least: float

    @property
    def inverse_norm(self) -> float:
        """The norm of P^-1, for columns of unit length."""
        return self.factor.inverse_norm

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""
        return self.factor.solve(g)


class Spectral(NamedTuple):
    """P = D U diag(l) U' D on the span R of the rows, for numerically collinear columns.

    D holds the lengths of the columns. No step leaves R, so the minimiser nearest to the start is
    found.
    """

    U: np.ndarray  # (d, k)
    eigenvalues: np.ndarray  # (k, 1)
    D: np.ndarray  # (d, 1)
    R: np.ndarray  # (d, k)
    least: float

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return the pseudo-inverse of P times g (d, t)."""
        x = self.U @ (self.U.T @ (g / self.D) / self.eigenvalues) / self.D
        return self.R @ (self.R.T @ x)

    @property
    def inverse_norm(self) -> float:
        """The inverse of the least of the eigenvalues."""
        return float(np.max(1 / self.eigenvalues, initial=1.0))


class Nystrom(NamedTuple):
    """P = U diag(l) U' + rho (I - UU'), accurate in the leading directions, flat in the rest."""

    U: np.ndarray
    eigenvalues: np.ndarray
    rho: float
    least: float

    @property
    def inverse_norm(self) -> float:
        """The norm of P^-1."""
        return 1 / self.rho

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""
        inner = self.U.T @ g
        return (g + self.U @ ((self.rho / self.eigenvalues - 1)[:, None] * inner)) / self.rho


class Preconditioner(Protocol):
    """The interface of P for conjugate gradients."""

    @property
    def least(self) -> float:
        """A lower bound on the eigenvalues of P^-1 H; 0 if none is known."""

    @property
    def inverse_norm(self) -> float:
        """The norm of P^-1, for columns of unit length."""

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g (d, t)."""


def of_rows(rows: np.ndarray, penalty: Penalty, load: int, dtype: np.dtype) -> Full | Spectral:
    """Return P = rows' rows + penalty for rows that were rounded to `dtype`.

    Each is a sum of at most `load` rows, so rows' rows <= load Z'Z / n: the square of a sum of
    `load` numbers is at most `load` times the sum of their squares.
    """
    P = factored(rows.T @ rows, of_features(penalty, rows.shape[1]))
    if P.inverse_norm < LARGEST_INVERSE:
        return Full(P, 1 / load)
    return spectral(rows, penalty, P.D, load, dtype)


def spectral(
    rows: np.ndarray, penalty: Penalty, D: np.ndarray, load: int, dtype: np.dtype
) -> Spectral:
    """Return P = rows' rows + penalty for numerically collinear columns.

    The singular values of the rows have twice the digits of the eigenvalues of their Gram matrix.
    """
    scaled = rows / D[:, 0]
    _, singular, Vt = np.linalg.svd(scaled, full_matrices=False)
    in_double = max(rows.shape) * EPS
    noise = max(in_double, 4 * float(np.finfo(dtype).eps))
    kept = singular > noise * singular[0]
    dead = np.abs(scaled).max(axis=0) <= noise
    P = spectral_of(Vt[kept].T, singular[kept] ** 2, penalty, D, dead, load)
    # The rows have a direction that their precision cannot resolve.
    is_lost = np.any(singular[~kept] > in_double * singular[0])
    return P._replace(least=0.0) if is_lost else P


def spectral_of(
    V: np.ndarray,
    eigenvalues: np.ndarray,
    penalty: Penalty,
    D: np.ndarray,
    dead: np.ndarray,
    load: int = 1,
) -> Spectral:
    """Return P with eigenvectors V (d, k) and these eigenvalues, plus the penalty.

    It is 0 for columns in the mask `dead`, so that the coefficient of a constant column is exactly
    0.
    """
    U = np.where(dead[:, None], 0.0, V)
    penalised = eigenvalues + (penalty * (U / D) ** 2).sum(axis=0)
    R = np.linalg.qr(U * D)[0]
    R[dead] = 0.0
    # Only the diagonal of the penalty in this basis is added.
    least = float(np.min(eigenvalues / penalised, initial=1.0)) / load
    return Spectral(U, penalised[:, None], D, R, least)


def of_gram(gram: np.ndarray, penalty: Penalty) -> Factored | Spectral:
    """Return P = gram + penalty for the exact Gram matrix (d, d) of rows.

    If P is numerically singular, the directions that rounding errors hide are left out.
    """
    P = factored(gram, of_features(penalty, len(gram)))
    if P.inverse_norm < LARGEST_INVERSE:
        return P
    eigenvalues, V = np.linalg.eigh(gram / P.D / P.D[:, 0])
    kept = eigenvalues > 10 * len(gram) * EPS * eigenvalues[-1]
    return spectral_of(V[:, kept], eigenvalues[kept], penalty, P.D, np.diag(gram) == 0)


def nystrom(rows: Rows, rank: int, alpha: float, rng: Any) -> Nystrom:
    """Return the randomised Nystrom approximation of H, from Z'Z/n times `rank` random directions.

    Algorithm 2.1 of Frangella, Tropp and Udell (2023), "Randomized Nystrom preconditioning".
    """
    omega = np.linalg.qr(rng.standard_normal((rows.n_features, rank)))[0]
    Y = rows.hessian_product(omega)
    check_finite(Y)
    eps = float(np.finfo(rows.dtype).eps)
    shift = eps * norm(Y) + TINY
    while True:
        C, failed = lapack.dpotrf(omega.T @ (Y + shift * omega), lower=1)
        if not failed:
            break
        shift *= 10
    B = np.linalg.solve(C, (Y + shift * omega).T)
    U, singular, _ = np.linalg.svd(B.T, full_matrices=False)
    eigenvalues = np.maximum(singular**2 - shift, 0.0)
    # The part of g outside U may consist of rounding errors, which 1 / rho amplifies.
    floor = max(rank * eps, 1 / LARGEST_INVERSE) * eigenvalues[0] + TINY
    eigenvalues = np.maximum(eigenvalues + alpha, floor)
    rho = float(eigenvalues[-1])
    # The approximation is at most Z'Z/n + shift I, so P exceeds H by at most rho + shift. Every
    # penalty is at least alpha.
    return Nystrom(U, eigenvalues, rho, alpha / (rho + shift + alpha))


def dense_costs_more(rows: RowsInMemory) -> bool:
    """Whether a dense (d, d) preconditioner costs more than the passes that it saves.

    Mini-batches need a dense one: with a diagonal preconditioner only steps over all rows give good
    directions.
    """
    d = rows.n_features
    is_dense = rows.n_entries == rows.n_rows * d
    return not is_dense and d > FEW_FEATURES and d**3 > PASSES_SAVED * rows.n_entries


def n_buckets(n_features: int) -> int:
    """Return the number of rows of a sketch.

    With eight rows per column, the eigenvalues of P^-1 H are within about [0.5, 2.4]. With four,
    they are within [0.4, 4] at half the cost, which is that of a (4 d, d) Gram matrix.
    """
    return max(1000, (8 if n_features <= 1000 else 4) * n_features)


def levelled(D: np.ndarray) -> np.ndarray:
    """Return a diagonal (d, 1) for fewer rows than columns, from that of the Hessian."""
    # The sum of very large elements would overflow.
    typical = D.max() * np.mean(D / D.max())
    return typical * np.sqrt(np.maximum(D / typical / FREQUENT, 1))


def preconditioner(problem: Problem, settings: Settings, rng: Any) -> Preconditioner:
    """Return P by the parameter `preconditioner`: "auto", None, or the rank of an approximation."""
    rows, choice = problem.rows, settings.preconditioner
    penalty = least_of_targets(settings.penalty)
    alpha = least_of(penalty)
    d = rows.n_features
    if choice is None:
        return Identity(alpha)
    if choice != "auto" and choice < d:
        return nystrom(rows, choice, alpha, rng)
    if isinstance(problem.statistics, SecondMoments):
        P = of_gram(standardized(problem.statistics, problem.scaling).zz, penalty)
        if isinstance(P, Factored):
            return Full(P, LEAST_EIGENVALUE)
        return of_rows(problem.rotated.R, penalty, 1, np.dtype(float))
    if isinstance(rows, RowsInMemory) and choice == "auto" and dense_costs_more(rows):
        penalties = of_features(penalty, d)[:, None]
        of_hessian = np.maximum(rows.diagonal()[:, None] + penalties, TINY)
        D = of_hessian if rows.n_rows >= d else levelled(of_hessian)
        return Diagonal(D, float(np.min(penalties / D)))
    if d > EXACT_FEATURES:
        rank = rows.n_rows if rows.n_rows <= 5 * NYSTROM_RANK else NYSTROM_RANK
        return nystrom(rows, min(rank, d), alpha, rng)
    assert isinstance(rows, RowsInMemory), "the first pass over chunks leaves second moments"
    n_sums = n_buckets(d)
    load = -(-rows.n_rows // n_sums)
    sketched = of_rows(rows.sketch(n_sums, rng), penalty, load, rows.dtype)
    if isinstance(sketched, Spectral) and (load > 1 or rows.dtype != float):
        # The sketch may have lost a direction, by cancellation of rows or by rounding.
        return of_rows(problem.rotated.R, penalty, 1, rows.dtype)
    return sketched
