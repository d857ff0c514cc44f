"""`MiniBatchRidgeSGDCV`: alpha chosen by cross-validation, from one read of the rows."""

from collections.abc import Iterable
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._data.folds import Dealer, FoldData, load_folds, number_of_folds
from ._data.validation import check_moments, look_if_not_finite, validated
from ._estimator import MiniBatchRidgeSGD
from ._linear_model import Floats, Rows, ScaledLinearModel, checking_parameters
from ._rows.chunk import Chunk
from ._run.rollback import AllOrNothing
from ._solvers.cholesky import closed_form
from ._solvers.ridge_path import Fold, coefficient_path, default_alphas, error_path
from ._statistics.arrays import Place, place_of, to_numpy
from ._statistics.fold_moments import FoldMoments, merge_folds
from ._statistics.scaling import Scaling, scaling_of, to_original
from ._statistics.second_moments import SecondMoments, standardized

# Alphas of the default grid.
GRID = 50
SCORINGS = ("neg_mean_squared_error", "r2")


class MiniBatchRidgeSGDCV(ScaledLinearModel):
    """Ridge regression with alpha chosen by cross-validation, in one read of the rows.

    One read leaves the second moments of each fold. Those of a fold's training rows are merged from
    the other folds'; from them follow the coefficients for all alphas, and with the moments of the
    rows held out their mean squared errors. Each fold has the scaler of its own training rows.
    Scores are those of ``GridSearchCV(MiniBatchRidgeSGD(), {"alpha": alphas})``, which fits once
    for each alpha and fold.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Strengths of the penalty to choose from, each as `alpha` of :class:`MiniBatchRidgeSGD`. None
        takes 50 from the data, evenly spaced in logarithms, from one that shrinks all but nothing
        remains down to one that shrinks next to nothing.
    cv : int, cross-validation generator or iterable, default=None
        Folds. None means 5. A number K means, for rows in memory,
        :class:`~sklearn.model_selection.KFold` without shuffling; where rows come in chunks, each K
        rows in turn are dealt to the K folds in random order, the same however the rows are cut
        into chunks. A splitter, or an iterable of (training rows, test rows), needs all rows in
        memory, and test sets that are disjoint, or few.
    scoring : {"neg_mean_squared_error", "r2"}, default=None
        What to choose alpha by: its mean over the folds. None means "neg_mean_squared_error".
    alpha_per_target : bool, default=False
        Whether each target has an alpha of its own. If not, scores are averaged over the targets.
    one_standard_error : bool, default=False
        Whether to take the largest alpha whose score is within one standard error, over the folds,
        of the best.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, columns are scaled but not
        centred.
    standardize : bool, default=True
        Whether to divide columns by their standard deviation. If not, the penalty is on the
        original coefficients.
    random_state : int, RandomState instance or None, default=None
        For dealing rows to folds where they come in chunks.
    n_jobs : int or None, default=None
        Threads that share out the folds of rows in memory; -1 takes all cores. It changes no bit of
        the result.
    verbose : int, default=0
        1 prints a line for each alpha: alpha, mean score, standard error over the folds.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The alpha chosen; one for each target with `alpha_per_target`.
    alphas_ : ndarray of shape (n_alphas,)
        The alphas to choose from.
    mse_path_ : ndarray of shape (n_alphas, n_folds) or (n_alphas, n_folds, n_targets)
        Mean squared error on the rows held out; NaN for a fold in which no row has weight.
    best_score_ : float or ndarray of shape (n_targets,)
        Mean score of `alpha_` over the folds; one for each target with `alpha_per_target`.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units, of all rows, with `alpha_`.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    coef_path_ : ndarray of shape (n_alphas, n_features) or (n_alphas, n_targets, n_features)
        Coefficients in original units, of all rows, for each of `alphas_`; computed when it is
        asked for.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the columns, over all rows trained on.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the rows came in chunks: 1.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has string names.

    See Also
    --------
    MiniBatchRidgeSGD : The same regression for one alpha.
    sklearn.linear_model.RidgeCV : Leave-one-out or a grid search, in memory.

    Notes
    -----
    Weights count in the fit and in the scores. A weight of 2 is the row twice in the same fold;
    where the folds are dealt, two copies of a row fall into different folds. A weight of 0 is the
    row left out: it takes no part in the dealing.

    The means over the folds are plain ones, as those of
    :class:`~sklearn.model_selection.GridSearchCV`. Of alphas with equal scores the largest is
    taken.

    Scores come from moments, which leave a mean squared error fewer than 8 digits where it is less
    than about 1e-7 of the variance of y. Rows in memory are then looked at once more; those of
    chunks are not.

    References
    ----------
    Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", for the merging
    of moments.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import MiniBatchRidgeSGDCV
    >>> X, y = load_diabetes(return_X_y=True, scaled=False)
    >>> model = MiniBatchRidgeSGDCV(scoring="r2").fit(X, y)
    >>> print(f"alpha {model.alpha_:.1e}, R^2 {model.best_score_:.4f} on rows held out")
    alpha 4.1e-04, R^2 0.4823 on rows held out
    """

    alpha_: float | Floats
    alphas_: Floats
    mse_path_: Floats
    best_score_: float | Floats
    n_passes_: int

    _fitted = (
        *("alpha_", "alphas_", "mse_path_", "best_score_", "coef_", "intercept_", "n_features_in_"),
        *("_single_target", "_predicting", "_moments", "_folds", "_seed", "_n_dealt"),
    )
    # The moments of each fold, to which `partial_fit` adds rows; empty after folds that it cannot
    # add to.
    _folds: list[SecondMoments]
    _n_dealt: int

    _parameter_constraints = {
        "alphas": ["array-like", None],
        "cv": ["cv_object"],
        # Others are refused with the reason.
        "scoring": [str, callable, list, tuple, dict, set, None],
        "alpha_per_target": ["boolean"],
        "one_standard_error": ["boolean"],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": MiniBatchRidgeSGD._parameter_constraints["n_jobs"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        alphas: ArrayLike | None = None,
        *,
        cv: Any = None,
        scoring: Literal["neg_mean_squared_error", "r2"] | None = None,
        alpha_per_target: bool = False,
        one_standard_error: bool = False,
        fit_intercept: bool = True,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @checking_parameters
    def fit(
        self,
        X: Rows | Iterable[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Choose alpha, and fit to all rows of X with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Rows, of up to 1000 columns. A large `numpy.memmap` is read in chunks. Dask arrays and
            dataframes, together with `y`, stay on their workers: one round; their rows are dealt to
            folds by the number of their partition and by their number in it. With `y` left out, a
            :class:`ChunkSource`, or another object that can be iterated over chunks ``(X, y)`` or
            ``(X, y, sample_weight)``, once.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0.

        Returns
        -------
        self : MiniBatchRidgeSGDCV
            Fitted.

        Raises
        ------
        ValueError
            If X, y, the weights or the parameters are not as above; the estimator is then as it
            was.
        TypeError
            If chunks are no tables; the estimator is then as it was.
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            # Numbers that overflow on the way raise no warning: what comes out is looked at.
            self._check_choices()
            seed = check_random_state(self.random_state).randint(2**31)
            data = load_folds(self, X, y, sample_weight, seed)
            total = data.total
            check_moments(total)
            mse, variances = self._errors(data, total)
            if np.isnan(mse).all():
                raise ValueError(
                    "No fold has rows both to train on and to be held out "
                    f"({total.x.n_rows} rows of positive weight in {mse.shape[1]} folds). "
                    "Give more rows, or fewer folds by cv."
                )
            self._choose(mse, variances, total, data.place)
            self._folds = list(data.cells) if data.training is None else []
            self._seed = seed
            self._n_dealt = total.x.n_rows
            self.__dict__.pop("n_passes_", None)
            if data.n_passes is not None:
                self.n_passes_ = data.n_passes
        return self

    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows, and choose alpha anew; the rows may then be forgotten.

        Rows are dealt to folds as `fit` deals those of chunks, by their number in all calls. The
        model is that of all rows so far, however they are cut into chunks. As long as no fold has
        rows to train on and rows held out, the largest alpha is taken. May be the first call,
        follow others, or follow `fit` with a number of folds.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0.

        Returns
        -------
        self : MiniBatchRidgeSGDCV
            With what it knew, and the chunk.

        Raises
        ------
        ValueError
            If X, y, the weights or the parameters do not fit what came before; the estimator is
            then as it was.
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            self._validate_params()
            self._check_choices()
            n_folds = number_of_folds(self.cv)
            first = not hasattr(self, "coef_")
            rows = validated(self, X, y, sample_weight, reset=first, finite=False)
            if first:
                self._seed = check_random_state(self.random_state).randint(2**31)
                self._n_dealt = 0
            elif len(self._folds) != n_folds:
                raise ValueError(
                    f"cv={self.cv!r} means {n_folds} folds, and the rows so far are in "
                    f"{len(self._folds) or 'other'} folds. Go on with as many, or fit anew."
                )
            dealer = Dealer(n_folds, self._seed, self._n_dealt)
            folds = dealer(Chunk(1, rows.X, rows.y, rows.w))
            look_if_not_finite(self, FoldData(folds.parts).total, X, y)
            if not first:
                folds = merge_folds(FoldMoments(tuple(self._folds)), folds)
            data = FoldData(folds.parts)
            total = data.total
            check_moments(total)
            self._choose(*self._errors(data, total), total, place_of(rows.X))
            self._folds = list(folds.parts)
            self._n_dealt = dealer.n_dealt
        return self

    @property
    def coef_path_(self) -> Floats:
        """Coefficients of all rows for each of `alphas_`."""
        check_is_fitted(self, "coef_")
        scaling = self._scaling(self._moments)
        path = coefficient_path(
            standardized(self._moments, scaling), to_numpy(self.alphas_), self.standardize
        )
        path = path * scaling.y_scale / scaling.x_scale[:, None, None]
        place = place_of(self.coef_)
        if self._single_target:
            return place(path[:, :, 0].T.copy())
        return place(path.transpose(1, 2, 0).copy())

    def _check_choices(self) -> None:
        """Raise ValueError for parameters that scikit-learn's checks do not know."""
        if self.scoring is not None and self.scoring not in SCORINGS:
            raise ValueError(
                f"scoring={self.scoring!r} cannot be computed from second moments, which is all "
                f"that is kept of the rows: they hold {' and '.join(map(repr, SCORINGS))}. For "
                "others, use GridSearchCV(MiniBatchRidgeSGD(), ...)."
            )
        if self.alphas is not None:
            alphas = np.asarray(self.alphas, dtype=float)
            if (
                alphas.ndim != 1
                or len(alphas) == 0
                or not np.all((alphas >= 0) & np.isfinite(alphas))
            ):
                raise ValueError(
                    "alphas must be one or more finite numbers, each at least 0, in a list; "
                    f"got {self.alphas!r}."
                )

    def _scaling(self, moments: SecondMoments) -> Scaling:
        return scaling_of(moments.x, moments.y, self.fit_intercept, self.standardize)

    def _errors(self, data: FoldData, total: SecondMoments) -> tuple[Floats, Floats]:
        """Return the mean squared errors (n_alphas, n_folds, t).

        The variances (n_folds, t) of the targets held out come second.
        """
        alphas = self.alphas
        if alphas is None:
            zz = standardized(total, self._scaling(total)).zz
            assert zz is not None
            alphas = default_alphas(zz, GRID)
        self.alphas_ = np.array(alphas, dtype=float)
        folds = [(self._error_of(fold), fold.held_out.y.var) for fold in data.folds()]
        return np.stack([mse for mse, _ in folds], axis=1), np.stack([var for _, var in folds])

    def _error_of(self, fold: Fold) -> Floats:
        """Return the mean squared errors (n_alphas, t) of a fold.

        They are NaN if one of its sets is empty, or has no R^2 to choose by.
        """
        least = 2 if self.scoring == "r2" else 1
        if fold.training.x.n_rows == 0 or fold.held_out.x.n_rows < least:
            return np.full((len(self.alphas_), len(fold.held_out.y.mean)), np.nan)
        return error_path(fold, self._scaling(fold.training), self.alphas_, self.standardize)

    def _choose(self, mse: Floats, variances: Floats, total: SecondMoments, place: Place) -> None:
        """Choose alpha by the errors, and publish the closed form of all rows."""
        used = ~np.isnan(mse).any(axis=(0, 2))
        scores = self._scores(mse[:, used], variances[used])
        if not self.alpha_per_target:
            scores = scores.mean(axis=2, keepdims=True)
        chosen, best = chosen_alphas(scores, self.alphas_, self.one_standard_error, self.verbose)
        per_target = self.alpha_per_target and not self._single_target
        self.alpha_ = place(chosen) if per_target else float(chosen[0])
        self.best_score_ = place(best) if per_target else float(best[0])
        self.mse_path_ = place(mse[:, :, 0] if self._single_target else mse)
        scaling = self._scaling(total)
        products = standardized(total, scaling)
        t = mse.shape[2]
        beta = np.empty((len(total.x.mean), t))
        for alpha in np.unique(chosen):
            targets = np.broadcast_to(chosen == alpha, t)
            beta[:, targets] = closed_form(products, alpha).beta[:, targets]
        self._show(to_original(beta, np.zeros(t), scaling), total, place)
        self.alphas_ = place(self.alphas_)

    def _scores(self, mse: Floats, variances: Floats) -> Floats:
        """Scores (n_alphas, n_folds, t), the larger the better."""
        if self.scoring != "r2":
            return -mse
        # As scikit-learn's r2_score has it for a target that is constant.
        constant = np.where(mse > 0, 0.0, 1.0)
        return np.where(variances > 0, 1 - mse / np.where(variances > 0, variances, 1.0), constant)


def chosen_alphas(
    scores: Floats, alphas: Floats, one_standard_error: bool, verbose: int
) -> tuple[Floats, Floats]:
    """Choose the alpha of each column of the scores (n_alphas, n_folds, m).

    The mean scores come second. Without folds the largest alpha is taken.
    """
    n_folds = scores.shape[1]
    if n_folds == 0:
        return np.full(scores.shape[2], alphas.max()), np.full(scores.shape[2], np.nan)
    mean = scores.mean(axis=1)
    error = scores.std(axis=1, ddof=1) / np.sqrt(n_folds) if n_folds > 1 else np.zeros_like(mean)
    if verbose:
        for alpha, of_targets, errors in zip(alphas, mean, error, strict=True):
            print(
                f"alpha {alpha:.3e}  score {of_targets.mean():.6g}  "
                f"standard error {errors.mean():.2g}"
            )
    best = mean.argmax(axis=0)
    columns = np.arange(len(best))
    least = mean[best, columns] - (error[best, columns] if one_standard_error else 0.0)
    chosen = np.where(mean >= least, alphas[:, None], -1.0).argmax(axis=0)
    return alphas[chosen], mean[chosen, columns]
