"""Standard errors of a closed form: the covariance of its coefficients, and the noise of y.

In scaled units, with weights whose mean is 1, the targets are v_i = z_i . beta + e_i, where the
noise e_i has the variance s2 / w_i. The penalty is a prior on beta with the covariance s2 (n P)^-1,
P = diag(penalty). Then beta has the posterior covariance s2/n H^-1, with H = G + P and
G = Z'WZ / W. If beta is fixed, its estimate has the covariance s2/n H^-1 G H^-1 over repeated
samples.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from scipy.linalg import blas, lapack

from .._rows.wide import KeptRows
from .._statistics.arrays import as_array, minus
from .._statistics.blocks import in_threads, large_blocks, row_blocks
from .._statistics.linalg import dot
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling, to_scaled
from .._statistics.second_moments import (
    EXACT_FEATURES,
    ColumnMoments,
    SecondMoments,
    Standardized,
    standardized,
)
from .._statistics.triangular_factor import Rotated, centred_rows, rotated_rows
from .closed_form import ROUNDING
from .penalty import Penalty, alike, of_features
from .problem import UnitSettings, standard_units

Kind: TypeAlias = Literal["bayesian", "sampling"]

# The largest rounding error that is allowed, as a fraction of a standard error.
MOST_ERROR = 1e-3
# The largest shift of a coefficient by rounding errors that is allowed, in standard errors.
MOST_SHIFT = 0.1
# The least number of degrees of freedom from which the noise can be estimated.
LEAST_FREEDOM = 1.0
# With fewer multiplications, a full product takes less time than a triangular one by BLAS.
FEW_MULTIPLICATIONS = 2**18

BY_STEPS = (
    "Standard errors belong to the closed form, and solver={!r} has not come to it. Fit with "
    "solver='cholesky'."
)
NOT_KEPT = (
    "Standard errors need the second moments of all samples, which were not kept. Fit with "
    "solver='cholesky'."
)
TOO_MANY = (
    f"Standard errors need second moments, which are kept of up to {EXACT_FEATURES} features; "
    "X has {}. Select features, or bootstrap the model."
)
AGED = (
    "With half_life, older samples count less, and no number of samples remains that standard "
    "errors could follow from. Fit recent samples with half_life=None."
)
SIGNED = (
    "Coefficients with positive={} have no standard errors: where they are held at 0, the usual "
    "theory fails. Fit with positive=False, or bootstrap the model."
)
DEPENDENT = (
    "Column {} of X is constant, or follows from others up to rounding errors, so that its "
    "coefficient has no standard error. Set a larger alpha, drop the column{}."
)
SATURATED = (
    "The coefficients take {:.4g} of {} degrees of freedom, which leaves too few to estimate the "
    "noise of y from. Give more samples, or set a larger alpha."
)
NO_NOISE = (
    "y follows so closely from the columns (target {}) that rounding errors hide its noise. Set a "
    "larger alpha{}."
)
OF_QR = ", or fit MiniBatchRidgeSGD with solver='qr', which has twice the digits"


class Objective(UnitSettings, Protocol):
    """The parameters of the objective other than alpha."""

    @property
    def half_life(self) -> float | None:
        """The number of samples after which a sample counts half."""

    @property
    def positive(self) -> np.ndarray | None:
        """The mask (d,) of the coefficients that must not be negative."""


class Inverse(NamedTuple):
    """H^-1 = diag(own)^2 + sign root root', and the effect of rounding errors on it."""

    own: np.ndarray  # (d,)
    root: np.ndarray  # (d, k), upper triangular if the sign is 1
    sign: int
    error: float  # the relative error of standard errors
    gain: float  # the factor by which coefficients amplify rounding errors

    @property
    def diagonal(self) -> np.ndarray:
        """The diagonal (d,)."""
        return self.own**2 + self.sign * np.einsum("ij,ij->i", self.root, self.root)

    def product(self, C: np.ndarray) -> np.ndarray:
        """Return H^-1 C (d, m)."""
        return self.own[:, None] ** 2 * C + self.sign * (self.root @ (self.root.T @ C))

    def squares(self, C: np.ndarray, overwrite: bool = False) -> np.ndarray:
        """Return c'H^-1 c (m,) for the columns c of C (d, m), which may be overwritten."""
        if self.sign == 1 and self.root.size * C.shape[1] > FEW_MULTIPLICATIONS:
            # This takes half the multiplications of a product with a full matrix.
            U = blas.dtrmm(1.0, self.root, C, trans_a=1, overwrite_b=overwrite)
            return dot(U, U)
        U, own = self.root.T @ C, self.own[:, None] * C
        return dot(own, own) + self.sign * dot(U, U)


@dataclass(frozen=True)
class Uncertainty:
    """The covariance of the parameters of a closed form, and the noise of its targets."""

    scaled: Standardized | Rotated
    scaling: Scaling
    n_rows: int
    fit_intercept: bool
    inverses: list[Inverse]  # one for each penalty
    of_target: np.ndarray  # (t,), the index of the inverse
    freedom: np.ndarray  # (t,), n - df
    noise: np.ndarray  # (t,), standard deviations, in the units of y

    def std_errors(self, kind: Kind) -> np.ndarray:
        """Return the standard errors of intercept and coefficients (1 + d, t), in original units.

        Without an intercept, return those of the coefficients (d, t).
        """
        centre = self.scaling.x_mean / self.scaling.x_scale
        parts = [self._variances(inverse, kind, centre) for inverse in self.inverses]
        errors = np.sqrt(np.maximum(parts, 0.0)) / np.append(1.0, self.scaling.x_scale)
        errors = errors[self.of_target].T * (self.noise / np.sqrt(self.n_rows))
        return errors if self.fit_intercept else errors[1:]

    def _variances(self, inverse: Inverse, kind: Kind, centre: np.ndarray) -> np.ndarray:
        """Return the variances (1 + d,) of the parameters in scaled units, divided by s2/n."""
        if kind == "bayesian":
            return np.append(1 + inverse.squares(centre[:, None]), inverse.diagonal)
        U = inverse.product(np.column_stack([centre, np.eye(len(centre))]))
        squares = squares_in(self.scaled, U)
        squares[0] += 1
        return squares

    def of_predictions(self, X: Any, n_jobs: int) -> np.ndarray:
        """Return the standard deviations (m, t) of the predicted targets of rows X (m, d)."""
        overwrite = len(self.inverses) == 1

        def squares_of(large: tuple[int, int]) -> np.ndarray:
            first, count = large
            squares = np.empty((len(self.inverses), count))
            blocks = row_blocks(count, X.shape[1], first)
            buffer = np.empty((blocks[0].stop - first if blocks else 0, X.shape[1]))
            for rows in blocks:
                C = minus(as_array(X[rows, :]), self.scaling.x_mean, out=buffer).T
                here = slice(rows.start - first, rows.stop - first)
                for number, inverse in enumerate(self.in_original_units):
                    squares[number, here] = inverse.squares(C, overwrite)
            return squares

        squares = np.hstack(list(in_threads(squares_of, large_blocks(*X.shape), n_jobs)))
        deviations = np.sqrt(1 + (self.fit_intercept + squares) / self.n_rows)
        return deviations[self.of_target].T * self.noise

    @cached_property
    def in_original_units(self) -> list[Inverse]:
        """The inverses for columns that are centred, but not scaled."""
        scale = self.scaling.x_scale
        return [
            each._replace(own=each.own / scale, root=each.root / scale[:, None])
            for each in self.inverses
        ]


def uncertainty_of(
    statistics: Any, objective: Objective, penalty: Penalty, coef: np.ndarray
) -> Uncertainty:
    """Return the uncertainty of the minimiser, coefficients (d, t) in original units.

    Raise ValueError if it does not follow from the statistics, or if rounding errors hide it.
    """
    check_known(statistics, objective)
    n, fit_intercept = statistics.x.n_rows, objective.fit_intercept
    scaling = standard_units(statistics.x, statistics.y, objective)
    scaled = in_scaled_units(statistics, scaling)
    constant = statistics.x.is_constant & fit_intercept
    of_target, freedom = np.empty(coef.shape[1], dtype=int), np.empty(coef.shape[1])
    inverses: list[Inverse] = []
    for targets, one in alike(penalty):
        # A penalty of 1 on columns that are left out, which are 0, keeps H invertible.
        penalties = np.where(np.isinf(scaling.x_scale), 1.0, of_features(one, len(coef)))
        of_target[targets] = len(inverses)
        inverse, freedom[targets] = inverse_of(scaled, penalties, constant, n - fit_intercept)
        inverses.append(inverse)
    beta, _ = to_scaled(coef, np.zeros(coef.shape[1]), scaling)
    rms = np.sqrt(np.maximum(mean_squares(scaled, beta), 0.0))
    size = lengths(statistics.y, scaling.y_mean, scaling.y_scale)
    each = lengths(statistics.x, scaling.x_mean, scaling.x_scale)[:, None] * beta
    size += np.sqrt(dot(each, each))
    error, gain = np.array([(each.error, each.gain) for each in inverses])[of_target].T
    check_noise(scaled, rms, size, np.sqrt(n) * error, np.sqrt(n) * gain)
    noise = rms * np.sqrt(n / freedom) * scaling.y_scale
    return Uncertainty(scaled, scaling, n, fit_intercept, inverses, of_target, freedom, noise)


def check_known(statistics: Any, objective: Objective) -> None:
    """Raise ValueError if no standard errors follow from the statistics."""
    if objective.positive is not None:
        raise ValueError(SIGNED.format("True" if objective.positive.all() else "(a mask)"))
    if objective.half_life is not None:
        raise ValueError(AGED)
    if isinstance(statistics, ColumnMoments):
        d = len(statistics.x.mean)
        raise ValueError(NOT_KEPT if d <= EXACT_FEATURES else TOO_MANY.format(d))


def in_scaled_units(statistics: Any, scaling: Scaling) -> Standardized | Rotated:
    """Return second moments, a triangular factor or kept rows in scaled units."""
    if isinstance(statistics, SecondMoments):
        return standardized(statistics, scaling)
    if isinstance(statistics, KeptRows):
        statistics = centred_rows(*statistics.chunk[1:])
    return rotated_rows(statistics, scaling)


def inverse_of(
    scaled: Standardized | Rotated, penalty: np.ndarray, constant: np.ndarray, n: int
) -> tuple[Inverse, float]:
    """Return H^-1 and the degrees of freedom of the residuals, n - tr(G H^-1).

    Raise ValueError if these are too few, or if H is singular up to rounding errors.
    """
    free = penalty == 0
    check_freedom(int(free.sum()), n)
    cure = OF_QR if isinstance(scaled, Standardized) else ""
    if np.any(constant & free):
        raise ValueError(DEPENDENT.format(np.argmax(constant & free), cure))
    is_wide = isinstance(scaled, Rotated) and len(scaled.R) < len(penalty) and not free.any()
    inverse, column = (wide_inverse if is_wide else tall_inverse)(scaled, penalty)
    if not inverse.error <= MOST_ERROR:
        raise ValueError(DEPENDENT.format(column, cure))
    taken = len(penalty) - float(penalty @ inverse.diagonal)
    check_freedom(taken, n)
    return inverse, n - taken


def check_freedom(taken: float, n: int) -> None:
    """Raise ValueError if too few of n degrees of freedom are left."""
    if n - taken < LEAST_FREEDOM:
        raise ValueError(SATURATED.format(taken, n))


def tall_inverse(scaled: Standardized | Rotated, penalty: np.ndarray) -> tuple[Inverse, int]:
    """Return H^-1 and the column that the others explain best.

    H^-1 is computed from a triangular T with T'T = H for columns of unit length: the Cholesky
    factor of products, or the QR factor of [R; sqrt(P)].
    """
    if isinstance(scaled, Standardized):
        diagonal = np.diag(scaled.zz) + penalty
        D = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        A = scaled.zz / D / D[:, None]
        np.fill_diagonal(A, diagonal / D / D)
        T, failed = lapack.dpotrf(A.T, lower=0, overwrite_a=1)
    else:
        A = np.vstack([scaled.R, np.diag(np.sqrt(penalty))])
        D = np.sqrt(dot(A, A))
        D[D == 0] = 1.0
        T, failed = np.triu(lapack.dgeqrf(np.asfortranarray(A / D))[0][: len(D)]), 0
    if not failed:
        T, failed = lapack.dtrtri(T, overwrite_c=1)
    if failed:
        return Inverse(D, T, 1, np.inf, np.inf), failed - 1
    explained = np.einsum("ij,ij->i", T, T)
    # The trace of the inverse bounds its norm.
    norm = float(explained.sum())
    T /= D[:, None]
    column = int(np.argmax(explained))
    if isinstance(scaled, Standardized):
        return Inverse(np.zeros(len(D)), T, 1, ROUNDING * norm / 2, np.sqrt(norm)), column
    return Inverse(np.zeros(len(D)), T, 1, ROUNDING * np.sqrt(norm), 1.0), column


def wide_inverse(rotated: Any, penalty: np.ndarray) -> tuple[Inverse, int]:
    """Return H^-1 and the column that the others explain best.

    With fewer rows than columns, H^-1 = P^-1/2 (I - Z'(ZZ' + I)^-1 Z) P^-1/2 with Z = R P^-1/2.
    """
    own = 1 / np.sqrt(penalty)
    Z = rotated.R * own
    K = Z @ Z.T
    np.fill_diagonal(K, np.diag(K) + 1)
    size = float(np.abs(K).sum(axis=0).max())
    F = lapack.dtrtrs(lapack.dpotrf(K, lower=1)[0], Z, lower=1)[0]
    explained = dot(F, F)
    column = int(np.argmax(explained))
    error = ROUNDING * size * explained[column] / max(1 - explained[column], ROUNDING)
    return Inverse(own, (F * own).T, -1, error, 1.0), column


def squares_in(scaled: Standardized | Rotated, U: np.ndarray) -> np.ndarray:
    """Return u'Gu (m,) for the columns u of U (d, m)."""
    if isinstance(scaled, Standardized):
        return dot(U, scaled.zz @ U)
    product = scaled.R @ U
    return dot(product, product)


def mean_squares(scaled: Standardized | Rotated, beta: np.ndarray) -> np.ndarray:
    """Return the mean squared residuals (t,) for beta (d, t)."""
    if isinstance(scaled, Standardized):
        return scaled.vv - dot(beta, 2 * scaled.zv - scaled.zz @ beta)
    residual = scaled.Q - scaled.R @ beta
    return dot(residual, residual) + scaled.rest


def lengths(columns: Moments, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the root mean squares of columns in scaled units."""
    return np.sqrt(columns.var + (columns.mean - mean) ** 2) / scale


def check_noise(
    scaled: Standardized | Rotated,
    rms: np.ndarray,
    size: np.ndarray,
    error: np.ndarray,
    gain: np.ndarray,
) -> None:
    """Raise ValueError if rounding errors may have changed the residuals, or the coefficients.

    All arrays are (t,): `rms` is the length of the residuals, which are differences of vectors of
    length `size`; `error` and `gain` are those of the inverses, times sqrt(n).
    """
    of_products = isinstance(scaled, Standardized)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = ROUNDING * size / rms
        lost_squares = lost * size / rms if of_products else 2 * lost
        shift = gain * lost + error
    hidden = ((lost_squares > MOST_ERROR) | (shift > MOST_SHIFT)) & (size > 0)
    if hidden.any():
        raise ValueError(NO_NOISE.format(np.argmax(hidden), OF_QR if of_products else ""))
