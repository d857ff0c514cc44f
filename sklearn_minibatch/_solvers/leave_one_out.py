"""Errors of samples left out one at a time, from a single fit of all samples.

With r_i the residual of a sample in the fit of all, and h_i its leverage, its residual in the fit
of the others is r_i / (1 - h_i); the penalty and the scale of the columns are those of all samples.
Generalised cross-validation (Golub, Heath and Wahba, 1979) puts the mean of the leverages in the
place of each, so that no sample is needed again: (RSS / W) / (1 - df / n)^2.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._rows.chunk import Chunk
from .._statistics.arrays import to_numpy
from .._statistics.blocks import row_blocks
from .._statistics.linalg import dot
from .._statistics.scaling import Scaling
from .._statistics.triangular_factor import TriangularFactor
from .covariance import in_scaled_units, tall_inverse
from .exact import closed_form_of
from .penalty import Penalty, of_features
from .ridge_path import CERTAIN, Fold, Spectrum, error_path, spectrum


class Fit(NamedTuple):
    """The fits of all samples with some alphas, in a basis of the columns."""

    V: np.ndarray  # (d, k), the basis
    inside: np.ndarray  # (k, n_alphas, t), coefficients in it
    roots: Sequence[np.ndarray]  # of each alpha, (k,) or (k, k): leverages are ||z V root||^2 w / W
    freedom: np.ndarray  # (n_alphas,), the sum of these leverages
    rounding: np.ndarray  # (n_alphas,), RMS error of the predictions in std(y)


def fits(
    total: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    all_digits: bool = False,
) -> Fit:
    """Return the fits with all alphas: from one decomposition, unless `penalties` are given."""
    if penalties is None:
        path = spectrum(total, scaling, all_digits)
        inside = path.inside(alphas)
        shrinkage = inverses(path, alphas)
        freedom = np.maximum(path.eigenvalues, 0.0) @ shrinkage
        return Fit(
            path.V, inside, list(np.sqrt(shrinkage).T), freedom, path.rounding(alphas, inside)
        )
    closed = [closed_form_of(total, scaling, each) for each in penalties]
    scaled = in_scaled_units(total, scaling)
    d = len(scaling.x_scale)
    roots, freedom = [], []
    for each in penalties:
        # Any penalty serves for columns that are left out, which are 0.
        penalty = np.where(np.isinf(scaling.x_scale), 1.0, of_features(each, d))
        inverse, _ = tall_inverse(scaled, penalty)
        is_lost = not np.isfinite(inverse.error)
        roots.append(np.full((d, d), np.nan) if is_lost else inverse.root)
        freedom.append(np.nan if is_lost else d - float(penalty @ inverse.diagonal))
    inside = np.stack([each.beta for each in closed], axis=1)
    rounding = np.array([each.rounding.max() for each in closed])
    return Fit(np.eye(d), inside, roots, np.array(freedom), rounding)


def inverses(path: Spectrum, alphas: np.ndarray) -> np.ndarray:
    """Return 1 / (l + alpha) (k, n_alphas), and 0 for directions that are left out."""
    ones = path._replace(c=np.ones((len(path.eigenvalues), 1)))
    return ones.inside(alphas)[:, :, 0]


def generalized_errors(
    total: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    fit_intercept: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors (n_alphas, t) of generalised cross-validation, in the units of y.

    With them comes a mask (n_alphas,) of the alphas for which products leave too few digits.
    """
    mse, uncertain = error_path(Fold(total, total), scaling, alphas, penalties, None)
    freedom = fits(total, scaling, alphas, penalties).freedom
    left = 1 - (fit_intercept + freedom) / total.x.n_rows
    return over_square(mse, left[:, None]), uncertain | np.isnan(left)


def leave_one_out_errors(
    rows: Chunk,
    total: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    fit_intercept: bool,
    all_digits: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squared errors (n_alphas, t) of samples that are left out one at a time."""
    fit = fits(total, scaling, alphas, penalties, all_digits)
    n, width = rows.X.shape[0], sum(fit.inside.shape[::2])
    w = np.ones(n) if rows.w is None else to_numpy(rows.w)
    share = w / w.sum()
    mse = np.zeros((len(alphas), rows.y.shape[1]))
    for block in row_blocks(n, width):
        X = rows.X[block, :].toarray() if sparse.issparse(rows.X) else to_numpy(rows.X[block, :])
        T = ((X - scaling.x_mean) / scaling.x_scale) @ fit.V
        v = (to_numpy(rows.y[block, :]) - scaling.y_mean) / scaling.y_scale
        for number, root in enumerate(fit.roots):
            U = (T @ root if root.ndim == 2 else T * root).T
            left = 1 - share[block] * (fit_intercept + dot(U, U))
            square = over_square((v - T @ fit.inside[:, number]) ** 2, left[:, None])
            mse[number] += share[block] @ square
    uncertain = np.any(~(mse >= (fit.rounding[:, None] / CERTAIN) ** 2), axis=1)
    if isinstance(total, TriangularFactor) and uncertain.any() and not all_digits:
        return leave_one_out_errors(
            rows, total, scaling, alphas, penalties, fit_intercept, all_digits=True
        )
    return mse * scaling.y_scale**2, uncertain


def over_square(square: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return square / left^2, and infinity where nothing is left."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0, square / left**2, np.inf)
