"""Leave-one-out and generalised cross-validation errors, from a single fit of all samples.

A sample with residual r_i and leverage h_i in the fit of all samples has the residual
r_i / (1 - h_i) in the fit of the others, with the penalty and the column scales of all samples.
Generalised cross-validation (Golub, Heath and Wahba, 1979) replaces each leverage by their mean, so
that no sample is needed again: (RSS / W) / (1 - df / n)^2.

With fewer samples than columns both r_i and 1 - h_i may be close to 0. With K the products of the
rows, times sqrt(w_i w_j) / W, they are alpha G v and alpha diag(G), where G is (K + alpha I)^-1
without the direction of the intercept. So alpha cancels in their ratio.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from .._rows.chunk import Chunk
from .._statistics.arrays import as_array, to_numpy
from .._statistics.blocks import row_blocks
from .._statistics.linalg import dot
from .._statistics.moments import shares
from .._statistics.scaling import Scaling
from .._statistics.triangular_factor import TriangularFactor
from .closed_form import ROUNDING
from .covariance import in_scaled_units, tall_inverse
from .exact import closed_form_of
from .penalty import Penalty, of_features
from .ridge_path import (
    CERTAIN,
    Basis,
    Spectrum,
    has_few_digits,
    held_out_in,
    in_basis,
    spectrum,
)

# Rounding errors of products above this fraction of their least eigenvalue leave fewer than 8
# digits.
DIGITS = 1e-8
# A unit eigenvector is dropped if its part orthogonal to the intercept has a smaller square.
NOTHING = 1e-8


class Fit(NamedTuple):
    """The fits of all samples with some alphas, in a basis of the columns."""

    V: Basis  # (d, k)
    inside: np.ndarray  # (k, n_alphas, t), coefficients in this basis
    roots: Sequence[np.ndarray]  # of each alpha, (k,) or (k, k): leverages are ||z V root||^2 w / W
    freedom: np.ndarray  # (n_alphas,), the sum of these leverages
    rounding: np.ndarray  # (n_alphas,), RMS error of the predictions in std(y)


def fits(
    total: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    path: Spectrum | None,
) -> Fit:
    """Return the fits with all alphas: from one decomposition, or by one solve for each penalty."""
    if path is not None:
        inside = path.inside(alphas)
        shrinkage = path.inverses(alphas)
        freedom = np.maximum(path.eigenvalues, 0.0) @ shrinkage
        return Fit(
            path.V, inside, list(np.sqrt(shrinkage).T), freedom, path.rounding(alphas, inside)
        )
    assert penalties is not None
    closed = [closed_form_of(total, scaling, each) for each in penalties]
    scaled = in_scaled_units(total, scaling)
    d = len(scaling.x_scale)
    roots, freedom = [], []
    for each in penalties:
        # A penalty of 1 on columns that are left out, which are 0, keeps H invertible.
        penalty = np.where(np.isinf(scaling.x_scale), 1.0, of_features(each, d))
        inverse, _ = tall_inverse(scaled, penalty)
        is_lost = not np.isfinite(inverse.error)
        roots.append(np.full((d, d), np.nan) if is_lost else inverse.root)
        freedom.append(np.nan if is_lost else d - float(penalty @ inverse.diagonal))
    inside = np.stack([each.beta for each in closed], axis=1)
    rounding = np.array([each.rounding.max() for each in closed])
    return Fit((), inside, roots, np.array(freedom), rounding)


def one_fit_errors(
    rows: Chunk | None,
    total: Any,
    scaling: Scaling,
    alphas: np.ndarray,
    penalties: Sequence[Penalty] | None,
    fit_intercept: bool,
    one_by_one: bool,
    path: Spectrum | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean squared errors (n_alphas, t), in squared units of y.

    They are those of leave-one-out if `one_by_one`, else of generalised cross-validation. Also
    return a mask (n_alphas,) of the alphas for which products leave too few digits. `path` is the
    decomposition of the samples, if it is known.
    """
    if path is None and penalties is None:
        path = spectrum(total, scaling)
    share = None if rows is None else shares(rows.w, rows.n_rows)
    if path is not None and share is not None and are_rows(path, total, share):
        mse, uncertain = dual_errors(path, alphas, share[share > 0], fit_intercept, one_by_one)
    elif one_by_one:
        fit = fits(total, scaling, alphas, penalties, path)
        mse, uncertain = leave_one_out_errors(rows, share, scaling, fit, fit_intercept)
    else:
        fit = fits(total, scaling, alphas, penalties, path)
        mse, uncertain = generalized_errors(total, scaling, fit, fit_intercept)
    if path is not None and path.size is not None and uncertain.any():
        path = spectrum(total, scaling, all_digits=True)
        return one_fit_errors(
            rows, total, scaling, alphas, penalties, fit_intercept, one_by_one, path
        )
    return mse * scaling.y_scale**2, uncertain & (not isinstance(total, TriangularFactor))


def are_rows(path: Spectrum, total: Any, share: np.ndarray) -> bool:
    """Whether the decomposition is of rows that are the samples of positive weight."""
    is_square = path.U is not None and path.U.shape[0] == path.U.shape[1]
    return is_square and len(total.R) == total.x.n_rows == np.count_nonzero(share)


def dual_errors(
    path: Spectrum, alphas: np.ndarray, share: np.ndarray, fit_intercept: bool, one_by_one: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors from the decomposition of the products of the rows."""
    root, q = np.sqrt(share), cast(np.ndarray, path.q)
    T, mean = np.split(cast(np.ndarray, path.U), [len(root)])
    # Centred rows have no part along the roots. Without an intercept, the mean is one more row of
    # U, which is this part.
    if fit_intercept or len(mean):
        T = T + np.outer(root, mean.sum(axis=0) - root @ T)
    kept = dot(T, T) > NOTHING
    T, q, eigenvalues = T[:, kept], q[kept], path.eigenvalues[kept]
    penalised = np.maximum(eigenvalues, path.noise)[:, None] + alphas
    inverses = penalised.min(axis=0, initial=np.inf) / penalised
    G = T**2 @ inverses
    if not one_by_one:
        G[:] = G.mean(axis=0)
    mse = [
        np.sum((T @ (inverse[:, None] * q) / g[:, None]) ** 2, axis=0)
        for inverse, g in zip(inverses.T, G.T, strict=True)
    ]
    least = np.maximum(eigenvalues.min(initial=np.inf), 0.0) + alphas
    return np.array(mse), ROUNDING * (path.size or 0.0) > DIGITS * least


def generalized_errors(
    total: Any, scaling: Scaling, fit: Fit, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of generalised cross-validation, from the statistics alone."""
    square, whole = held_out_in(total, total, scaling, fit.V).mean_square(fit.inside)
    left = 1 - (fit_intercept + fit.freedom) / total.x.n_rows
    uncertain = has_few_digits(square, whole, fit.rounding) | np.isnan(left)
    return over_square(square, left[:, None]), uncertain


def leave_one_out_errors(
    rows: Any, share: Any, scaling: Scaling, fit: Fit, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the leave-one-out errors, in one pass over the samples."""
    mse = np.zeros((len(fit.rounding), rows.y.shape[1]))
    for block in row_blocks(len(share), sum(fit.inside.shape[::2])):
        T = in_basis((as_array(rows.X[block, :]) - scaling.x_mean) / scaling.x_scale, fit.V)
        v = (to_numpy(rows.y[block, :]) - scaling.y_mean) / scaling.y_scale
        for number, root in enumerate(fit.roots):
            U = (T @ root if root.ndim == 2 else T * root).T
            left = 1 - share[block] * (fit_intercept + dot(U, U))
            square = over_square((v - T @ fit.inside[:, number]) ** 2, left[:, None])
            mse[number] += share[block] @ square
    return mse, np.any(~(mse >= (fit.rounding[:, None] / CERTAIN) ** 2), axis=1)


def over_square(square: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return square / left^2, or infinity where `left` is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > 0, square / left**2, np.inf)
