"""Ridge regression for many alphas, and its error on rows held out, from second moments.

With B (d, n_alphas) from one eigendecomposition of the training rows, all in their scaled units,

    mse = var_v - 2 B' C_zv + diag(B' C_zz B) + (mean_v - mean_z B)^2

in the moments of the rows held out. Rows of the training set are in it by their moments too: merged
from those of the folds, never the difference of a total and a fold, which would lose digits.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from .._statistics.moments import LEAST_VAR, Moments
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments, Standardized, merge, standardized
from .cholesky import closed_form
from .preconditioner import LARGEST_INVERSE

# Where the terms of a mean squared error cancel to less than this fraction, moments leave it fewer
# than 8 digits.
CANCELLED = 1e-7
# The default grid: at its ends the strongest direction keeps 1 % of its length, and the weakest
# loses 1 %; at most so wide.
SHRUNK = 100.0
WIDEST = 1e-10

# The mean square of the residuals (n_alphas, t), in scaled units, of coefficients (d, n_alphas, t)
# on rows held out.
FromRows = Callable[[Scaling, np.ndarray], np.ndarray]


class Fold(NamedTuple):
    """Moments of the rows to train on and of those held out.

    The rows held out are there too, if they are in memory.
    """

    training: SecondMoments
    held_out: SecondMoments
    from_rows: FromRows | None = None


def all_but_one(parts: Sequence[SecondMoments]) -> Iterator[SecondMoments]:
    """Yield, for each of the parts, the moments of all others.

    It takes K log K merges and holds few results at a time.
    """
    yield from _outside(parts, None)


def _outside(
    parts: Sequence[SecondMoments], others: SecondMoments | None
) -> Iterator[SecondMoments]:
    if len(parts) == 1:
        assert others is not None, "one part has no others"
        yield others
        return
    half = len(parts) // 2
    for inside, outside in ((parts[:half], parts[half:]), (parts[half:], parts[:half])):
        with_outside = reduce(merge, outside) if others is None else reduce(merge, outside, others)
        yield from _outside(inside, with_outside)


def coefficient_path(products: Standardized, alphas: np.ndarray, unit_columns: bool) -> np.ndarray:
    """Return the closed forms (d, n_alphas, t).

    They are of least norm if columns follow from others and alpha is next to nothing.

    One eigendecomposition serves all alphas where the columns have unit length. Columns of unlike
    lengths would lose digits in it, and have a Cholesky factor for each alpha.
    """
    assert products.zz is not None
    if not unit_columns:
        return np.stack([closed_form(products, alpha).beta for alpha in alphas], axis=1)
    eigenvalues, V = np.linalg.eigh(products.zz)
    # The coefficient of a column that never varies is exactly 0.
    V[np.diag(products.zz) < LEAST_VAR] = 0.0
    noise = 10 * len(eigenvalues) * np.finfo(float).eps * eigenvalues[-1]
    # What rounding errors hide is left out, as in `of_gram`.
    kept = (eigenvalues[:, None] > noise) | (alphas >= 1 / LARGEST_INVERSE)
    penalised = np.maximum(eigenvalues, 0.0)[:, None] + alphas
    inverse = np.divide(1.0, penalised, out=np.zeros_like(penalised), where=kept & (penalised > 0))

    def solved(g: np.ndarray) -> np.ndarray:
        return by_matrix(V, inverse[:, :, None] * by_matrix(V.T, g))

    beta = solved(products.zv[:, None, :])
    # One correction by the residual takes back what rounding took in the eigendecomposition.
    residual = products.zv[:, None, :] - by_matrix(products.zz, beta) - alphas[:, None] * beta
    return beta + solved(residual)


def by_matrix(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A @ B for A (d, d) and B (d, m, t), along the first axis."""
    return (A @ B.reshape(len(B), -1)).reshape(-1, *B.shape[1:])


def default_alphas(zz: np.ndarray, count: int) -> np.ndarray:
    """Return a grid of alphas, largest first, for Z'WZ / W.

    The largest shrinks all coefficients to nearly nothing, the least shrinks next to nothing.
    """
    eigenvalues = np.linalg.eigvalsh(zz)
    noise = 10 * len(eigenvalues) * np.finfo(float).eps * eigenvalues[-1]
    above = eigenvalues[eigenvalues > max(noise, LEAST_VAR)]
    if len(above) == 0:
        above = np.ones(1)
    return np.geomspace(SHRUNK * above[-1], max(above[0] / SHRUNK, WIDEST * above[-1]), count)


def error_path(fold: Fold, scaling: Scaling, alphas: np.ndarray, unit_columns: bool) -> np.ndarray:
    """Return the mean squared errors (n_alphas, t) on the rows held out, in the units of y.

    `scaling` is that of the training rows.
    """
    beta = coefficient_path(standardized(fold.training, scaling), alphas, unit_columns)
    out = fold.held_out
    assert out.xx is not None
    assert out.xy is not None
    zz = out.xx / scaling.x_scale
    zz /= scaling.x_scale[:, None]
    zv = out.xy / scaling.x_scale[:, None] / scaling.y_scale
    vv = out.y.var / scaling.y_scale / scaling.y_scale
    square = np.einsum("jat,jat->at", beta, by_matrix(zz, beta))
    variance = vv - 2 * np.einsum("jat,jt->at", beta, zv) + square
    z_mean = offset(out.x, fold.training.x, scaling.x_mean) / scaling.x_scale
    v_mean = offset(out.y, fold.training.y, scaling.y_mean) / scaling.y_scale
    bias = v_mean - np.tensordot(z_mean, beta, 1)
    mse = np.maximum(variance, 0.0) + bias**2
    # No entry of a covariance is larger than the product of two standard deviations.
    bound = np.tensordot(np.sqrt(np.maximum(np.diag(zz), 0.0)), np.abs(beta), 1) ** 2 + vv
    cancelled = (mse < CANCELLED * bound).any(axis=1)
    if fold.from_rows is not None and cancelled.any():
        mse[cancelled] = fold.from_rows(scaling, beta[:, cancelled])
    return mse * scaling.y_scale**2


def offset(held_out: Moments, training: Moments, origin: np.ndarray) -> np.ndarray:
    """Return the mean of the rows held out, less the origin of the scaled units.

    It has the digits that rounding took from the mean.
    """
    rest = np.where(origin == training.mean, training.rest, 0.0)
    return held_out.mean - origin + (held_out.rest - rest)
