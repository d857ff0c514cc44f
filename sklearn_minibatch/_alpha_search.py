"""The choice of alpha by cross-validation, and the closed form of all samples with it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ._data.folds import GCV, LOO, FoldData
from ._solvers.closed_form import out_of_digits
from ._solvers.covariance import Uncertainty, uncertainty_of
from ._solvers.exact import closed_form_of
from ._solvers.leave_one_out import one_fit_errors
from ._solvers.penalty import Penalty, least_of, penalty_of
from ._solvers.problem import standard_units
from ._solvers.ridge_path import (
    Fold,
    Spectrum,
    closed_form_in,
    coefficient_path,
    default_alphas,
    error_path,
    spectrum,
)
from ._solvers.state import Answer, FittedState
from ._statistics.linalg import EPS
from ._statistics.scaling import Scaling, to_original
from ._statistics.second_moments import SecondMoments, merge
from ._statistics.triangular_factor import TriangularFactor

# Alphas of the default grid.
GRID = 50
# The default `tol` of `MiniBatchRidgeSGD`.
TOL = 1e-6
UNCERTAIN = (
    "Columns nearly follow from others, or y from the columns: rounding errors may have changed "
    "the scores, and the samples cannot be read again. Use larger alphas, or fit(X, y)."
)


class Search(NamedTuple):
    """The parameters of the estimator that define the objective and the choice of alpha."""

    alphas: Any
    penalty_factor: np.ndarray | None  # (d,)
    positive: np.ndarray | None  # (d,), a mask
    cv: Any
    scoring: str | None
    alpha_per_target: bool
    one_standard_error: bool
    fit_intercept: bool
    standardize: bool
    half_life: float | None
    verbose: int


@dataclass(frozen=True)
class CVState(FittedState):
    """A model with the chosen alpha, and the moments of the folds."""

    answer: Answer
    moments: SecondMoments
    settings: Search
    alpha: np.ndarray  # (t,) or (1,)
    alphas: np.ndarray  # (n_alphas,)
    mse: np.ndarray  # (n_alphas, n_folds, t)
    best_score: np.ndarray  # (t,) or (1,)
    cells: tuple[SecondMoments, ...]  # empty after folds that `partial_fit` cannot add to
    n_dealt: int  # samples assigned to folds, whose weight may have decayed
    seed: int | None
    n_passes: int | None

    @property
    def statistics(self) -> SecondMoments:
        """The moments of all samples."""
        return self.moments

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """The covariance of the parameters."""
        penalty = penalty_of(self.alpha, self.settings.penalty_factor)
        return uncertainty_of(self.moments, self.settings, penalty, self.answer.predicting[0])

    @property
    def scale(self) -> np.ndarray:
        """The standard deviations (d,) of the columns, and 1 for constant ones."""
        return self.moments.x.scale

    @property
    def path(self) -> np.ndarray:
        """The coefficients (d, n_alphas, t) of all samples for each alpha, in original units."""
        scaling = standard_units(self.moments.x, self.moments.y, self.settings)
        penalties = penalties_of(self.alphas, self.settings)
        positive = self.settings.positive
        path = coefficient_path(self.moments, scaling, self.alphas, penalties, positive)
        return path * scaling.y_scale / scaling.x_scale[:, None, None]


class Errors(NamedTuple):
    """Mean squared errors on the held-out samples."""

    mse: np.ndarray  # (n_alphas, n_folds, t), NaN for folds without an error
    uncertain: np.ndarray  # (n_alphas, n_folds), a mask of those that rounding may have changed
    variances: np.ndarray  # (n_folds, t), of the targets held out


def choose_alpha(data: FoldData, search: Search, single_target: bool) -> CVState:
    """Return the model of all samples with the alpha of the best score."""
    moments = data.total
    cells = data.cells if data.training is None and search.cv != LOO else ()
    scaling = standard_units(moments.x, moments.y, search)
    path = spectrum(moments, scaling) if is_wide(moments, search) else None
    alphas = GRID if search.alphas is None else search.alphas
    if isinstance(alphas, Integral):
        alphas = default_alphas(moments, scaling, int(alphas), path)
    alphas = np.array(alphas, dtype=float)
    errors = errors_of(data, alphas, search, path)
    if errors.uncertain.any() and data.read_factors is not None:
        data = replace(data, cells=data.read_factors())
        errors = errors_of(data, alphas, search, None)
    alpha, best_score = best_alphas(scores_of(errors, search), alphas, search)
    answer = closed_forms(data, alpha, scaling, search, path)
    if errors.uncertain.any() and answer.warning is None:
        answer = answer._replace(warning=UNCERTAIN)
    return CVState(
        single_target,
        data.place(np.empty(0)),
        answer,
        moments,
        search,
        alpha,
        alphas,
        errors.mse,
        best_score,
        cells,
        data.n_dealt,
        data.seed,
        n_passes=None if data.chunks is None else data.chunks.n_passes,
    )


def is_wide(total: Any, search: Search) -> bool:
    """Whether one decomposition of fewer rows than columns serves all alphas."""
    is_factor = isinstance(total, TriangularFactor) and len(total.R) < len(total.x.mean)
    return is_factor and penalties_of((), search) is None


def penalties_of(alphas: Iterable[float], search: Search) -> list[Penalty] | None:
    """Return the penalty of each alpha, unless one decomposition serves all."""
    if search.standardize and search.penalty_factor is None and search.positive is None:
        return None
    return [penalty_of(alpha, search.penalty_factor) for alpha in alphas]


def errors_of(data: FoldData, alphas: np.ndarray, search: Search, path: Spectrum | None) -> Errors:
    """Return the errors of all folds, or of a single one for "loo" and "gcv".

    `path` is the decomposition of all samples, if it is known.
    """
    if search.cv in (LOO, GCV):
        total, penalties = data.total, penalties_of(alphas, search)
        scaling = standard_units(total.x, total.y, search)
        known = data.rows, total, scaling, alphas, penalties, search.fit_intercept
        mse, uncertain = one_fit_errors(*known, search.cv == LOO, path)
        return Errors(mse[:, None], uncertain[:, None], total.y.var[None])
    folds = [errors_of_fold(fold, alphas, search) for fold in data.folds()]
    mse, uncertain, variances = zip(*folds, strict=True)
    return Errors(np.stack(mse, axis=1), np.stack(uncertain, axis=1), np.stack(variances))


def errors_of_fold(fold: Fold, alphas: np.ndarray, search: Search) -> Errors:
    """Return the errors of one fold, without the fold axis.

    They are NaN if one of its sets is empty, or, for R^2, if fewer than 2 samples are held out.
    """
    training, held_out = fold
    least = 2 if search.scoring == "r2" else 1
    if training.x.n_rows == 0 or held_out.x.n_rows < least:
        nothing = np.full((len(alphas), len(held_out.y.mean)), np.nan)
        return Errors(nothing, np.zeros(len(alphas), dtype=bool), held_out.y.var)
    scaling = standard_units(training.x, training.y, search)
    penalties = penalties_of(alphas, search)
    return Errors(*error_path(fold, scaling, alphas, penalties, search.positive), held_out.y.var)


def scores_of(errors: Errors, search: Search) -> np.ndarray:
    """Return the scores (n_alphas, n_folds, t or 1) of folds with an error: the larger the better.

    They are means over the targets unless each has an alpha of its own.
    """
    used = ~np.isnan(errors.mse).any(axis=(0, 2))
    mse, variances = errors.mse[:, used], errors.variances[used]
    scores = -mse
    if search.scoring == "r2":
        # As r2_score of scikit-learn: R^2 of a constant target is 1 for exact predictions, else 0.
        constant = np.where(mse > 0, 0.0, 1.0)
        varies = variances > 0
        scores = np.where(varies, 1 - mse / np.where(varies, variances, 1.0), constant)
    return scores if search.alpha_per_target else scores.mean(axis=2, keepdims=True)


def best_alphas(
    scores: np.ndarray, alphas: np.ndarray, search: Search
) -> tuple[np.ndarray, np.ndarray]:
    """Return the alpha and its mean score for each column of the scores (n_alphas, n_folds, m).

    Without folds the largest alpha is taken, and the mean scores are NaN.
    """
    n_folds = scores.shape[1]
    if n_folds == 0:
        return np.full(scores.shape[2], alphas.max()), np.full(scores.shape[2], np.nan)
    mean = scores.mean(axis=1)
    error = scores.std(axis=1, ddof=1) / np.sqrt(n_folds) if n_folds > 1 else np.zeros_like(mean)
    if search.verbose:
        for alpha, of_targets, errors in zip(alphas, mean, error, strict=True):
            print(
                f"alpha {alpha:.3e}  score {of_targets.mean():.6g}  "
                f"standard error {errors.mean():.2g}"
            )
    best = mean.argmax(axis=0)
    columns = np.arange(len(best))
    least = mean[best, columns] - (error[best, columns] if search.one_standard_error else 0.0)
    chosen = np.where(mean >= least, alphas[:, None], -1.0).argmax(axis=0)
    return alphas[chosen], mean[chosen, columns]


def closed_forms(
    data: FoldData, alpha: np.ndarray, scaling: Scaling, search: Search, path: Spectrum | None
) -> Answer:
    """Return the closed form of all samples, each target with its alpha, in original units."""
    total, positive = data.total, search.positive
    alphas = np.broadcast_to(alpha, total.y.mean.shape)
    if path is not None and alphas.min() > EPS:
        beta, rounding = closed_form_in(path, alphas)
        # The limit is strict because the rows, used below, have more digits than their products.
        if rounding <= TOL / 1000:
            parameters = to_original(beta, np.zeros(len(alphas)), scaling)
            return Answer(parameters, parameters, True)
    penalty = penalty_of(alphas, search.penalty_factor)
    closed = closed_form_of(total, scaling, penalty, positive)
    exact = closed.is_exact_enough(least_of(penalty), TOL)
    if not exact and data.read_factors is not None and isinstance(total, SecondMoments):
        factor = reduce(merge, data.read_factors())
        closed = closed_form_of(factor, scaling, penalty, positive)
    parameters = to_original(closed.beta, np.zeros(len(alphas)), scaling)
    converged = closed.is_within(TOL)
    warning = None if converged else out_of_digits(closed, TOL)
    return Answer(parameters, parameters, converged, warning)
