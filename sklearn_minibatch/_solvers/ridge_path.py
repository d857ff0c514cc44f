"""Ridge regression for many alphas, and its error on samples held out, from statistics alone.

All alphas come from one decomposition of the training samples in their scaled units. In its basis V
the coefficients are b(alpha) = c / (l + alpha), and the mean squared error on samples held out is

    mse = var_v - 2 b' C_zv + b' C_zz b + (mean_v - mean_z b)^2

with C_zz, C_zv and mean_z theirs in the same basis; or the mean square of the residuals of their
triangular factor, where products have too few digits. Training samples of a fold are merged from
the other folds, never the difference of a total and a fold, which would lose digits.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol

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

# Where the terms of a mean squared error cancel to less than this fraction, products leave it fewer
# than 8 digits.
CANCELLED = 1e-7
# Rounding errors of predictions that are a larger part of their errors may change the eighth digit.
CERTAIN = 1e-9
# The default grid: at its ends the strongest direction keeps 1 % of its length, and the weakest
# loses 1 %; at most so wide.
SHRUNK = 100.0
WIDEST = 1e-10
# So many numbers, coefficients of several alphas, are in memory at once.
COEFFICIENTS = 2**20


class Fold(NamedTuple):
    """The statistics of the samples to train on and of those held out."""

    training: Any
    held_out: Any


class Spectrum(NamedTuple):
    """Coefficients for all alphas: V c / (l + alpha)."""

    V: np.ndarray  # (d, k)
    eigenvalues: np.ndarray  # (k,)
    c: np.ndarray  # (k, t)
    noise: float  # smaller eigenvalues are rounding errors
    size: float | None = None  # the norm of ZZ', where V is Z'U divided by `lengths`

    @property
    def lengths(self) -> np.ndarray:
        """The singular values (k,), and at least what rounding errors make of 0."""
        return np.sqrt(np.maximum(self.eigenvalues, self.noise))

    def inside(self, alphas: np.ndarray) -> np.ndarray:
        """Return the coefficients (k, n_alphas, t) in the basis V.

        Where alpha is next to nothing they are of least norm: directions that rounding errors hide
        are left out.
        """
        kept = (self.eigenvalues[:, None] > self.noise) | (alphas >= 1 / LARGEST_INVERSE)
        penalised = np.maximum(self.eigenvalues, 0.0)[:, None] + alphas
        kept &= penalised > 0
        inverse = np.divide(1.0, penalised, out=np.zeros_like(penalised), where=kept)
        return inverse[:, :, None] * self.c[:, None, :]

    def rounding(self, alphas: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Bound what rounding errors of products have cost predictions (n_alphas,), in std(y).

        Errors E of ZZ' move them by no more than ||E|| ||a||, where the coefficients are Z'a.
        """
        if self.size is not None:
            a = inside / self.lengths[:, None, None]
            return ROUNDING * (1 + self.size * np.sqrt((a**2).sum(axis=0).max(axis=1)))
        least = np.maximum(self.eigenvalues.min(initial=np.inf), 0.0) + alphas
        length = np.sqrt((inside**2).sum(axis=0).max(axis=1))
        with np.errstate(divide="ignore"):
            return ROUNDING * (1 + length) / np.sqrt(least)


class HeldOut(Protocol):
    """What the samples held out tell of coefficients in some basis."""

    def mean_square(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the residuals (n_alphas, t), and of what it is the rest."""


class HeldOutProducts(NamedTuple):
    """Products of the samples held out, in the basis and the units of the training samples."""

    zz: np.ndarray  # (k, k)
    zv: np.ndarray  # (k, t)
    vv: np.ndarray  # (t,)
    z_mean: np.ndarray  # (k,)
    v_mean: np.ndarray  # (t,)

    def mean_square(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean square of the residuals (n_alphas, t), and of what it is the rest."""
        product = np.tensordot(self.zz, inside, 1)
        explained = np.einsum("kat,kat->at", inside, product)
        crossed = np.einsum("kat,kt->at", inside, self.zv)
        bias = self.v_mean - np.tensordot(self.z_mean, inside, 1)
        variance = np.maximum(self.vv - 2 * crossed + explained, 0.0)
        return variance + bias**2, self.vv + np.maximum(explained, 0.0)


class HeldOutRows(NamedTuple):
    """Rows that have all products of the samples held out, in the basis of the training samples."""

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

    It takes K log K merges and holds few results at a time.
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
    """Return the decomposition of training samples whose columns have unit length.

    Of rows that are fewer than the columns it is that of their products, unless `all_digits` of the
    rows are needed.
    """
    if isinstance(training, TriangularFactor):
        R, Q, _ = rotated_rows(training, scaling)
        if len(R) < R.shape[1] and not all_digits:
            eigenvalues, U = np.linalg.eigh(R @ R.T)
            largest = eigenvalues.max(initial=TINY)
            noise = 10 * len(eigenvalues) * EPS * largest
            size = np.sqrt(len(eigenvalues)) * largest
            path = Spectrum(np.empty((0, 0)), eigenvalues, U.T @ Q, noise, size)
            return path._replace(V=R.T @ (U / path.lengths), c=path.c * path.lengths[:, None])
        live = np.abs(R).max(axis=0) > 0
        U, s, Vt = np.linalg.svd(R[:, live], full_matrices=False)
        noise = max(R.shape) * EPS * s.max(initial=0.0)
        return Spectrum(spread(Vt.T, live), s**2, s[:, None] * (U.T @ Q), noise**2)
    zz, zv, _ = standardized(training, scaling)
    live = np.diag(zz) >= LEAST_VAR
    eigenvalues, V = np.linalg.eigh(zz[np.ix_(live, live)])
    noise = 10 * len(eigenvalues) * EPS * eigenvalues.max(initial=0.0)
    return Spectrum(spread(V, live), eigenvalues, V.T @ zv[live], noise)


def spread(V: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Return V with rows of 0 for columns that never vary, whose coefficients are exactly 0."""
    rows = np.zeros((len(live), V.shape[1]))
    rows[live] = V
    return rows


def held_out_in(held_out: Any, training: Any, scaling: Scaling, V: np.ndarray | None) -> HeldOut:
    """Return what the samples held out tell in the basis V, or of the coefficients themselves."""
    if isinstance(held_out, TriangularFactor):
        R, Q, rest = rotated_rows(held_out, scaling, training)
        return HeldOutRows(R if V is None else R @ V, Q, rest)
    zz = held_out.xx / scaling.x_scale
    zz /= scaling.x_scale[:, None]
    zv = held_out.xy / scaling.x_scale[:, None] / scaling.y_scale
    vv = held_out.y.var / scaling.y_scale / scaling.y_scale
    z_mean = offset_of_means(held_out.x, training.x, scaling.x_mean) / scaling.x_scale
    v_mean = offset_of_means(held_out.y, training.y, scaling.y_mean) / scaling.y_scale
    if V is not None:
        zz, zv, z_mean = V.T @ zz @ V, V.T @ zv, V.T @ z_mean
    return HeldOutProducts(zz, zv, vv, z_mean, v_mean)


def error_path(
    fold: Fold,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    positive: np.ndarray | None,
    all_digits: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squared errors (n_alphas, t) on the samples held out, in the units of y.

    `scaling` is that of the training samples. With it comes a mask (n_alphas,) of the alphas for
    which products leave fewer than 8 digits. One decomposition serves all alphas, unless
    `penalties` are given for each: columns of unlike lengths would lose digits in it.
    """
    t = len(fold.held_out.y.mean)
    path = spectrum(fold.training, scaling, all_digits) if penalties is None else None
    held_out = held_out_in(fold.held_out, fold.training, scaling, None if path is None else path.V)
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
            few = square < np.maximum(CANCELLED * whole, (rounding[:, None] / CERTAIN) ** 2)
            uncertain[part] = few.any(axis=1)
            if by_products and uncertain.any():
                return error_path(fold, scaling, alphas, penalties, positive, all_digits=True)
    return mse * scaling.y_scale**2, uncertain


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
        return np.tensordot(path.V, path.inside(alphas), 1)
    closed = [closed_form_of(statistics, scaling, each, positive) for each in penalties]
    return np.stack([each.beta for each in closed], axis=1)


def default_alphas(statistics: Any, scaling: Scaling, count: int) -> np.ndarray:
    """Return a grid of alphas, largest first, for the eigenvalues of Z'WZ / W.

    It reaches from about 99 % shrinkage of the strongest direction to at most 1 % of the weakest.
    """
    if isinstance(statistics, TriangularFactor):
        R = rotated_rows(statistics, scaling).R
        eigenvalues = np.linalg.eigvalsh(R @ R.T if len(R) < R.shape[1] else R.T @ R)
    else:
        eigenvalues = np.linalg.eigvalsh(standardized(statistics, scaling).zz)
    noise = 10 * len(eigenvalues) * EPS * eigenvalues[-1]
    above = eigenvalues[eigenvalues > max(noise, LEAST_VAR)]
    if len(above) == 0:
        above = np.ones(1)
    return np.geomspace(SHRUNK * above[-1], max(above[0] / SHRUNK, WIDEST * above[-1]), count)
