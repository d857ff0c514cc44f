"""Ridge regression for many alphas, and its error on held-out samples, from statistics alone.

One decomposition of the training samples in scaled units serves all alphas. In its basis V the
coefficients are b(alpha) = c / (l + alpha), and the mean squared error on held-out samples is

    mse = var_v - 2 b' C_zv + b' C_zz b + (mean_v - mean_z b)^2

with their C_zz, C_zv and mean_z in the same basis. If products have too few digits, it is the mean
square of the residuals of their triangular factor. The training statistics of a fold are merged
from the other folds, because subtracting a fold from the total would lose digits.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from .._statistics.linalg import EPS, TINY
from .._statistics.moments import LEAST_VAR, offset_of_means
from .._statistics.scaling import Scaling
from .._statistics.second_moments import merge, standardized
from .._statistics.triangular_factor import TriangularFactor, rotated_rows
from .closed_form import ROUNDING
from .exact import closed_form_of
from .penalty import Penalty
from .preconditioner import LARGEST_INVERSE

# If the terms of a mean squared error cancel to less than this fraction, products leave it fewer
# than 8 digits.
CANCELLED = 1e-7
# Rounding errors of predictions above this fraction of their RMS error may change its eighth digit.
CERTAIN = 1e-9
# The default grid: at its ends the strongest direction keeps 1 % of its length, and the weakest
# loses 1 %, but no alpha is below WIDEST times the largest eigenvalue.
SHRUNK = 100.0
WIDEST = 1e-10
# The number of coefficients, of several alphas, that are in memory at once.
COEFFICIENTS = 2**20


class Fold(NamedTuple):
    """The statistics of the training samples and of the held-out samples."""

    training: Any
    held_out: Any


# A basis (d, k) of the columns, as factors: their product would take longer than to use them.
Basis: TypeAlias = tuple[np.ndarray, ...]


def in_basis(rows: np.ndarray, V: Basis) -> np.ndarray:
    """Return rows (m, d) in a basis."""
    return reduce(np.matmul, V, rows)


def combined(V: Basis, inside: np.ndarray) -> np.ndarray:
    """Return the coefficients (d, ...) for coordinates (k, ...) in a basis."""
    for factor in reversed(V):
        inside = np.tensordot(factor, inside, 1)
    return inside


class Spectrum(NamedTuple):
    """A decomposition that gives the coefficients for all alphas, V c / (l + alpha)."""

    V: Basis
    eigenvalues: np.ndarray  # (k,)
    c: np.ndarray  # (k, t)
    noise: float  # smaller eigenvalues are rounding errors
    size: float | None = None  # the norm of ZZ', where V is Z'U divided by `lengths`
    U: np.ndarray | None = None  # (m, k), left singular vectors of the rows of a triangular factor
    q: np.ndarray | None = None  # (k, t), the targets in this basis

    @property
    def lengths(self) -> np.ndarray:
        """The singular values (k,), bounded below by the level of rounding errors."""
        return np.sqrt(np.maximum(self.eigenvalues, self.noise))

    def inverses(self, alphas: np.ndarray) -> np.ndarray:
        """Return 1 / (l + alpha) (k, n_alphas).

        If alpha is tiny, it is 0 for directions that rounding errors hide, so that coefficients
        have the least norm.
        """
        kept = (self.eigenvalues[:, None] > self.noise) | (alphas >= 1 / LARGEST_INVERSE)
        penalised = np.maximum(self.eigenvalues, 0.0)[:, None] + alphas
        kept &= penalised > 0
        return np.divide(1.0, penalised, out=np.zeros_like(penalised), where=kept)

    def inside(self, alphas: np.ndarray) -> np.ndarray:
        """Return the coefficients (k, n_alphas, t) in the basis V."""
        return self.inverses(alphas)[:, :, None] * self.c[:, None, :]

    def rounding(self, alphas: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Bound the effect of rounding errors of products on predictions (n_alphas,), in std(y).

        Errors E of ZZ' move predictions by at most ||E|| ||a||, where the coefficients are Z'a.
        Directions that are left out add what they could explain of the targets.
        """
        if self.size is not None:
            a = inside / self.lengths[:, None, None]
            left_out = np.where(inside == 0, (self.c / self.lengths[:, None])[:, None, :], 0.0)
            length, lost = [np.sqrt((each**2).sum(axis=0).max(axis=1)) for each in (a, left_out)]
            return ROUNDING * (1 + self.size * length) + lost
        least = np.maximum(self.eigenvalues.min(initial=np.inf), 0.0) + alphas
        length = np.sqrt((inside**2).sum(axis=0).max(axis=1))
        with np.errstate(divide="ignore"):
            return ROUNDING * (1 + length) / np.sqrt(least)


class HeldOut(Protocol):
    """Statistics of held-out samples that give the error of coefficients in some basis."""

    def mean_square(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the residuals (n_alphas, t), and of the terms that cancel."""


class HeldOutProducts(NamedTuple):
    """Products of the held-out samples, in the basis and the units of the training samples."""

    zz: np.ndarray  # (k, k)
    zv: np.ndarray  # (k, t)
    vv: np.ndarray  # (t,)
    z_mean: np.ndarray  # (k,)
    v_mean: np.ndarray  # (t,)

    def mean_square(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the residuals (n_alphas, t), and of the terms that cancel."""
        product = np.tensordot(self.zz, inside, 1)
        explained = np.einsum("kat,kat->at", inside, product)
        crossed = np.einsum("kat,kt->at", inside, self.zv)
        bias = self.v_mean - np.tensordot(self.z_mean, inside, 1)
        variance = np.maximum(self.vv - 2 * crossed + explained, 0.0)
        return variance + bias**2, self.vv + np.maximum(explained, 0.0)


class HeldOutRows(NamedTuple):
    """Rows with the products of the held-out samples, in the basis of the training samples."""

    R: np.ndarray  # (m, k)
    Q: np.ndarray  # (m, t)
    rest: np.ndarray  # (t,)

    def mean_square(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the residuals (n_alphas, t), twice."""
        residual = np.tensordot(self.R, inside, 1) - self.Q[:, None, :]
        square = np.einsum("mat,mat->at", residual, residual) + self.rest
        return square, square


def all_but_one(parts: Sequence[Any]) -> Iterator[Any]:
    """Yield, for each of the parts, the statistics of all others.

    With K parts this takes K log K merges and holds few results at a time.
    """
    yield from _outside(parts, None)


def _outside(parts: Sequence[Any], others: Any) -> Iterator[Any]:
    if len(parts) == 1:
        assert others is not None, "one part has no others"
        yield others
        return
    half = len(parts) // 2
    for inside, outside in ((parts[:half], parts[half:]), (parts[half:], parts[:half])):
        with_outside = reduce(merge, outside) if others is None else reduce(merge, outside, others)
        yield from _outside(inside, with_outside)


def spectrum(training: Any, scaling: Scaling, all_digits: bool = False) -> Spectrum:
    """Return the decomposition of training samples whose scaled columns have unit length.

    If a triangular factor has fewer rows than columns, the products of its rows are decomposed,
    unless `all_digits` are needed.
    """
    if isinstance(training, TriangularFactor):
        R, Q, _ = rotated_rows(training, scaling)
        if len(R) < R.shape[1] and not all_digits:
            eigenvalues, U = np.linalg.eigh(R @ R.T)
            largest = eigenvalues.max(initial=TINY)
            noise = 10 * len(eigenvalues) * EPS * largest
            size = np.sqrt(len(eigenvalues)) * largest
            q = U.T @ Q
            path = Spectrum((), eigenvalues, q, noise, size, U, q)
            return path._replace(V=(R.T, U / path.lengths), c=path.lengths[:, None] * q)
        live = np.abs(R).max(axis=0) > 0
        U, s, Vt = np.linalg.svd(R[:, live], full_matrices=False)
        noise = max(R.shape) * EPS * s.max(initial=0.0)
        q = U.T @ Q
        return Spectrum((spread(Vt.T, live),), s**2, s[:, None] * q, noise**2, None, U, q)
    zz, zv, _ = standardized(training, scaling)
    live = np.diag(zz) >= LEAST_VAR
    eigenvalues, V = np.linalg.eigh(zz[np.ix_(live, live)])
    noise = 10 * len(eigenvalues) * EPS * eigenvalues.max(initial=0.0)
    return Spectrum((spread(V, live),), eigenvalues, V.T @ zv[live], noise)


def spread(V: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Return V with rows of 0 for constant columns, whose coefficients are exactly 0."""
    rows = np.zeros((len(live), V.shape[1]))
    rows[live] = V
    return rows


def held_out_in(held_out: Any, training: Any, scaling: Scaling, V: Basis) -> HeldOut:
    """Return the statistics of the held-out samples in the basis V."""
    if isinstance(held_out, TriangularFactor):
        R, Q, rest = rotated_rows(held_out, scaling, training)
        return HeldOutRows(in_basis(R, V), Q, rest)
    zz = held_out.xx / scaling.x_scale
    zz /= scaling.x_scale[:, None]
    zv = held_out.xy / scaling.x_scale[:, None] / scaling.y_scale
    vv = held_out.y.var / scaling.y_scale / scaling.y_scale
    z_mean = offset_of_means(held_out.x, training.x, scaling.x_mean) / scaling.x_scale
    v_mean = offset_of_means(held_out.y, training.y, scaling.y_mean) / scaling.y_scale
    for factor in V:
        zz, zv, z_mean = factor.T @ zz @ factor, factor.T @ zv, factor.T @ z_mean
    return HeldOutProducts(zz, zv, vv, z_mean, v_mean)


def error_path(
    fold: Fold,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    positive: np.ndarray | None,
    all_digits: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squared errors (n_alphas, t) on held-out samples, in squared units of y.

    Also return a mask (n_alphas,) of the alphas for which products leave fewer than 8 digits.
    `scaling` is that of the training samples. One decomposition serves all alphas, unless
    `penalties` are given for each: columns of different lengths would lose digits in it.
    """
    t = len(fold.held_out.y.mean)
    path = spectrum(fold.training, scaling, all_digits) if penalties is None else None
    held_out = held_out_in(fold.held_out, fold.training, scaling, () if path is None else path.V)
    by_products = path is not None and path.size is not None
    is_exact = isinstance(fold.training, TriangularFactor) and not by_products
    mse = np.empty((len(alphas), t))
    uncertain = np.zeros(len(alphas), dtype=bool)
    at_once = max(1, COEFFICIENTS // (len(scaling.x_mean) * t))
    for start in range(0, len(alphas), at_once):
        part = slice(start, start + at_once)
        if path is None:
            assert penalties is not None
            closed = [
                closed_form_of(fold.training, scaling, each, positive) for each in penalties[part]
            ]
            inside = np.stack([each.beta for each in closed], axis=1)
            rounding = np.array([each.rounding.max() for each in closed])
        else:
            inside = path.inside(alphas[part])
            rounding = path.rounding(alphas[part], inside)
        square, whole = held_out.mean_square(inside)
        mse[part] = square
        if not is_exact:
            uncertain[part] = has_few_digits(square, whole, rounding)
            if by_products and uncertain.any():
                return error_path(fold, scaling, alphas, penalties, positive, all_digits=True)
    return mse * scaling.y_scale**2, uncertain


def has_few_digits(square: np.ndarray, whole: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Return a mask (n_alphas,) of mean squares (n_alphas, t) with fewer than 8 digits.

    Digits are lost by cancellation in `whole` (n_alphas, t), and by `rounding` errors (n_alphas,)
    of the predictions.
    """
    least = np.maximum(CANCELLED * whole, (rounding[:, None] / CERTAIN) ** 2)
    return np.any(square < least, axis=1)


def coefficient_path(
    statistics: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    positive: np.ndarray | None,
) -> np.ndarray:
    """Return the closed forms (d, n_alphas, t) in scaled units."""
    if penalties is None:
        path = spectrum(statistics, scaling, all_digits=True)
        return combined(path.V, path.inside(alphas))
    closed = [closed_form_of(statistics, scaling, each, positive) for each in penalties]
    return np.stack([each.beta for each in closed], axis=1)


def closed_form_in(path: Spectrum, alphas: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the closed form (d, t) for alphas (t,) of the targets, and its rounding errors."""
    inside = path.inverses(alphas) * path.c
    rounding = path.rounding(alphas.min(keepdims=True), inside[:, None, :])
    return combined(path.V, inside), float(rounding[0])


def default_alphas(
    statistics: Any, scaling: Scaling, count: int, path: Spectrum | None
) -> np.ndarray:
    """Return a grid of alphas, largest first, for the eigenvalues of Z'WZ / W.

    It reaches from about 99 % shrinkage of the strongest direction to about 1 % of the weakest, but
    spans at most SHRUNK / WIDEST.
    """
    if path is not None:
        eigenvalues = path.eigenvalues
    elif isinstance(statistics, TriangularFactor):
        R = rotated_rows(statistics, scaling).R
        eigenvalues = np.linalg.eigvalsh(R @ R.T if len(R) < R.shape[1] else R.T @ R)
    else:
        eigenvalues = np.linalg.eigvalsh(standardized(statistics, scaling).zz)
    noise = 10 * len(eigenvalues) * EPS * eigenvalues.max()
    above = eigenvalues[eigenvalues > max(noise, LEAST_VAR)]
    least, largest = (above.min(), above.max()) if len(above) else (1.0, 1.0)
    return np.geomspace(SHRUNK * largest, max(least / SHRUNK, WIDEST * largest), count)
