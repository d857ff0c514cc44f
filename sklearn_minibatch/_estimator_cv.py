"""`MiniBatchRidgeSGDCV`: alpha chosen by cross-validation, from one read of the rows."""

import warnings
from collections.abc import Iterable, Sequence
from copy import copy
from functools import reduce
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ._alpha_search import CVState, Search, choose_alpha
from ._data.folds import GCV, LOO, FoldData, check_few_features, deal, load_folds, number_of_folds
from ._data.given import given_folds
from ._data.validation import (
    check_can_learn,
    check_mergeable,
    check_moments,
    factors_of_features,
    look_if_not_finite,
    mask_of_features,
    validated,
)
from ._estimator import MiniBatchRidgeSGD
from ._linear_model import Floats, Rows, ScaledLinearModel, check_parameters, checking_parameters
from ._run.rollback import AllOrNothing
from ._solvers.state import of_kind
from ._statistics.arrays import place_of
from ._statistics.fold_moments import FoldStatistics
from ._statistics.second_moments import merge
from ._statistics.threads import blas_threads_to_solve

SCORINGS = ("neg_mean_squared_error", "r2")


class MiniBatchRidgeSGDCV(ScaledLinearModel):
    """Ridge regression with alpha chosen by cross-validation, in one read of the samples.

    The second moments of each fold are computed in one read. Merged over the training folds, they
    give the coefficients for all alphas; those of the held-out fold then give the mean squared
    errors. Features are scaled by the training samples of each split. Scores are those of
    ``GridSearchCV(MiniBatchRidgeSGD(), {"alpha": alphas})``, which fits once for each alpha and
    fold.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,) or int, default=None
        Strengths of the penalty to choose from, each as `alpha` of :class:`MiniBatchRidgeSGD`. An
        int is the number of alphas, derived from the data and log-spaced from about 99 % shrinkage
        to at most 1 %. None means 50.
    penalty_factor : array-like of shape (n_features,), dict or None, default=None
        Factors by which alpha is multiplied, as in :class:`MiniBatchRidgeSGD`.
    positive : bool or array-like of shape (n_features,), default=False
        Whether coefficients must not be negative: all, or those in a mask.
    cv : int, "loo", "gcv", cross-validation generator or iterable, default=None
        Folds. "loo" leaves out each sample in turn and needs all samples in memory; "gcv",
        generalised cross-validation, approximates it from the moments alone. Both need a single
        fit, and scale features by all samples. None means 5. A number K means, for samples in
        memory, :class:`~sklearn.model_selection.KFold` without shuffling. If samples come in
        chunks, each K consecutive samples are assigned to the K folds in random order,
        independently of the sizes of the chunks. A splitter, or an iterable of (training samples,
        test samples), needs all samples in memory, and disjoint or few test sets.
    scoring : {"neg_mean_squared_error", "r2"}, default=None
        The score whose mean over the folds is maximised. None means "neg_mean_squared_error".
    alpha_per_target : bool, default=False
        Whether to choose an alpha for each target. If not, scores are averaged over the targets.
    one_standard_error : bool, default=False
        Whether to take the largest alpha whose score is within one standard error, over the folds,
        of the best.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, features are scaled but not
        centred.
    standardize : bool, default=True
        Whether to divide features by their standard deviation. If not, the penalty is on the
        original coefficients.
    half_life : float or None, default=None
        Number of samples after which a sample counts half, as in :class:`MiniBatchRidgeSGD`.
    random_state : int, RandomState instance or None, default=None
        For assigning samples to folds if they come in chunks.
    n_jobs : int or None, default=None
        Threads that share the folds of samples in memory. None takes as many as BLAS would, or one
        inside a joblib worker; -1 takes all cores. The result does not depend on it.
    verbose : int, default=0
        1 prints a line for each alpha: alpha, mean score, standard error over the folds.

    Attributes
    ----------
    alpha_ : float or ndarray of shape (n_targets,)
        The alpha chosen; one for each target with `alpha_per_target`.
    alphas_ : ndarray of shape (n_alphas,)
        The alphas to choose from.
    mse_path_ : ndarray of shape (n_alphas, n_folds) or (n_alphas, n_folds, n_targets)
        Mean squared error on the held-out samples. A fold without samples of positive weight has
        NaN and is ignored, as by ``np.nanmean(mse_path_, axis=1)``.
    best_score_ : float or ndarray of shape (n_targets,)
        Mean score of `alpha_` over the folds; one for each target with `alpha_per_target`.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units, fitted to all samples with `alpha_`.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    standardized_coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients per standard deviation of the features.
    coef_path_ : ndarray of shape (n_alphas, n_features) or (n_alphas, n_targets, n_features)
        Coefficients in original units, fitted to all samples with each of `alphas_`; computed when
        read.
    converged_ : bool
        Whether rounding errors leave the predictions within 1e-6 standard deviations of y of the
        closed form.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the features, over all samples trained on.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the samples came in chunks: 1, or 2 if products had
        too few digits.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names.

    See Also
    --------
    MiniBatchRidgeSGD : The same regression for one alpha.
    sklearn.linear_model.RidgeCV : Leave-one-out or a grid search, in memory.

    Notes
    -----
    Weights apply to the fit and the scores. A weight of 2 acts as two copies of the sample in the
    same fold, whereas two copies in chunks may fall into different folds. A sample of weight 0 is
    left out; in chunks, it does not count in the assignment to folds.

    All folds have equal weight in the means, as in :class:`~sklearn.model_selection.GridSearchCV`.
    If several alphas have equal scores, the largest is taken.

    If the mean squared error is a small part of the variance of y, or features are nearly
    collinear, products may leave fewer than 8 digits of the error. `fit` then reads the samples
    once more for triangular factors, which have twice the digits. This is not possible in
    `partial_fit`, or for an iterator that can be read only once; a warning is then given.

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

    _state: CVState

    _parameter_constraints = {
        "alphas": ["array-like", Interval(Integral, 1, None, closed="left"), None],
        "positive": MiniBatchRidgeSGD._parameter_constraints["positive"],
        "penalty_factor": MiniBatchRidgeSGD._parameter_constraints["penalty_factor"],
        "cv": ["cv_object", StrOptions({LOO, GCV})],
        # Other types pass here, so that `_check_choices` can refuse them with a reason.
        "scoring": [str, callable, list, tuple, dict, set, None],
        "alpha_per_target": ["boolean"],
        "one_standard_error": ["boolean"],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "half_life": MiniBatchRidgeSGD._parameter_constraints["half_life"],
        "random_state": ["random_state"],
        "n_jobs": MiniBatchRidgeSGD._parameter_constraints["n_jobs"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        alphas: ArrayLike | None = None,
        *,
        penalty_factor: ArrayLike | dict[str, float] | None = None,
        positive: bool | ArrayLike = False,
        cv: Any = None,
        scoring: Literal["neg_mean_squared_error", "r2"] | None = None,
        alpha_per_target: bool = False,
        one_standard_error: bool = False,
        fit_intercept: bool = True,
        standardize: bool = True,
        half_life: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.alphas = alphas
        self.penalty_factor = penalty_factor
        self.positive = positive
        self.cv = cv
        self.scoring = scoring
        self.alpha_per_target = alpha_per_target
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.half_life = half_life
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
        """Choose alpha, and fit to all samples of X with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Samples with up to 3,000 features, or with more if there are fewer samples in memory. A
            `numpy.memmap` that takes more than half of the memory is read in chunks. Dask arrays
            and dataframes, together with `y`, stay on their workers and take one round; their
            samples are assigned to folds by the number of the partition and their position in it.
            With `y` left out, a :class:`ChunkSource`, or another object that can be iterated over
            chunks ``(X, y)`` or ``(X, y, sample_weight)``; one iteration is enough unless second
            moments have too few digits.
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
            If X, y, the weights or the parameters are not as above; the estimator is then
            unchanged.
        TypeError
            If a chunk is not a table; the estimator is then unchanged.
        """
        # Silence floating-point warnings; results are checked for finiteness.
        with np.errstate(all="ignore"), AllOrNothing(self):
            self._check_choices()
            self._choose(load_folds(self, X, y, sample_weight, self._draw_seed), needs_folds=True)
        return self

    def fit_moments(
        self,
        folds: Iterable[tuple[int, ArrayLike, ArrayLike]],
        *,
        n_targets: int = 1,
        feature_names: Sequence[str] | None = None,
    ) -> Self:
        """Choose alpha and fit from the mean and the covariance of each fold.

        A database can compute them in one query, grouped by the fold. With ``cv="gcv"`` one fold is
        enough. Otherwise `cv` is ignored.

        Parameters
        ----------
        folds : iterable of tuple (n_samples, mean, covariance)
            For each fold, the first three arguments of :meth:`MiniBatchRidgeSGD.fit_moments`.
        n_targets : int, default=1
            Number of targets, which are the last columns. 1 is a target of shape (n_samples,).
        feature_names : sequence of str, default=None
            Names of the features. If None, those of a mean or covariance of pandas.

        Returns
        -------
        self : MiniBatchRidgeSGDCV
            Fitted. `partial_fit` can follow if `cv` is the number of folds.

        Raises
        ------
        ValueError
            If no samples have these moments, or `half_life` or ``cv="loo"`` is set, which need
            samples; the estimator is then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.model_selection import KFold
        >>> from sklearn_minibatch import MiniBatchRidgeSGDCV
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
        >>> parts = [X.assign(y=y).iloc[rows] for _, rows in KFold(5).split(X)]
        >>> folds = [(len(part), part.mean(), part.cov(ddof=0)) for part in parts]
        >>> model = MiniBatchRidgeSGDCV().fit_moments(folds)
        >>> bool(np.isclose(model.alpha_, MiniBatchRidgeSGDCV(cv=5).fit(X, y).alpha_))
        True
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            self._validate_params()
            self._check_choices()
            cells = given_folds(self, folds, n_targets, feature_names)
            check_few_features(self.n_features_in_)
            n_dealt = sum(each.x.n_rows for each in cells)
            self._choose(FoldData(cells, n_dealt), needs_folds=True)
        return self

    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of samples, which may then be deleted, and choose alpha anew.

        Samples are assigned to folds by their running number over all calls, as `fit` does with
        chunks. The model equals that of `fit` on all samples so far, however they were cut into
        chunks. As long as no fold has both training and held-out samples, the largest alpha is
        taken. May be the first call, or follow other calls or `fit` with a number of folds.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0.

        Returns
        -------
        self : MiniBatchRidgeSGDCV
            Updated by the chunk.

        Raises
        ------
        ValueError
            If X, y, the weights or the parameters do not fit what came before; the estimator is
            then unchanged.
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            self._validate_params()
            self._check_choices()
            n_folds = number_of_folds(self.cv)
            check_can_learn(self)
            before = vars(self).get("_state")
            rows = validated(self, X, y, sample_weight, reset=before is None, finite=False)
            seed = None if before is None else before.seed
            seed = self._draw_seed() if seed is None else seed
            if before is not None and len(before.cells) != n_folds:
                raise ValueError(
                    f"cv={self.cv!r} means {n_folds} folds, and the rows so far are in "
                    f"{len(before.cells) or 'other'} folds. Go on with as many, or fit anew."
                )
            check_few_features(rows.X.shape[1])
            chunk = rows.aged(self.half_life)
            n_dealt = rows.y.shape[0] + (0 if before is None else before.n_dealt)
            of_chunk = deal(chunk, n_dealt, 0, n_folds, seed)
            look_if_not_finite(self, reduce(merge, of_chunk.parts), X, y)
            cells = of_chunk.parts
            if before is not None:
                earlier = FoldStatistics(tuple(of_kind(each, "products") for each in before.cells))
                if self.half_life is not None:
                    earlier = earlier.faded(0.5 ** (rows.y.shape[0] / self.half_life))
                cells = earlier.merged(of_chunk).parts
            self._choose(FoldData(cells, n_dealt, seed=seed, place=place_of(rows.X)))
        return self

    def merge(self, other: Self) -> Self:
        """Learn the samples that another model has learnt, and choose alpha anew.

        Each fold gets the samples of the same fold of `other`, which does not change. So other
        processes or machines can fit shards, and alpha is chosen from all samples.

        Parameters
        ----------
        other : MiniBatchRidgeSGDCV
            A model with the same features, targets and parameters, and the same number of folds;
            `random_state`, `verbose` and `n_jobs` may differ.

        Returns
        -------
        self : MiniBatchRidgeSGDCV
            With the samples of both.

        Raises
        ------
        ValueError
            If the models cannot be merged; both are then unchanged.
        NotFittedError
            If one of them is not fitted.
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            check_mergeable(self, other)
            ours, theirs = self._state, other._state
            if not ours.cells or len(ours.cells) != len(theirs.cells):
                raise ValueError(
                    "merge needs as many folds in both models, by a number for cv; they have "
                    f"{len(ours.cells) or 'others'} and {len(theirs.cells) or 'others'}."
                )
            of_both = [ours.cells, theirs.cells]
            if len({type(each) for cells in of_both for each in cells}) > 1:
                of_both = [tuple(of_kind(each, "products") for each in cells) for cells in of_both]
            cells = tuple(map(merge, *of_both))
            n_dealt = ours.n_dealt + theirs.n_dealt
            self._choose(FoldData(cells, n_dealt, seed=ours.seed, place=place_of(ours.example)))
        return self

    @property
    def alpha_(self) -> float | Floats:
        """The alpha chosen."""
        return self._per_target("alpha_", self._known("alpha_").alpha)

    @property
    def best_score_(self) -> float | Floats:
        """The mean score of `alpha_` over the folds."""
        return self._per_target("best_score_", self._known("best_score_").best_score)

    @property
    def alphas_(self) -> Floats:
        """The alphas to choose from."""
        state = self._known("alphas_")
        return state.placed(state.alphas)

    @property
    def mse_path_(self) -> Floats:
        """Mean squared error on the held-out samples."""
        state = self._known("mse_path_")
        return state.placed(state.mse[:, :, 0] if state.single_target else state.mse)

    @property
    def converged_(self) -> bool:
        """Whether rounding errors leave the predictions within 1e-6 std(y) of the closed form."""
        return self._solved("converged_").answer.converged

    @property
    def n_passes_(self) -> int:
        """Passes of the last fit over chunks."""
        n_passes = self._known("n_passes_").n_passes
        if n_passes is None:
            raise AttributeError("n_passes_ needs a fit of samples in chunks.")
        return n_passes

    @property
    def coef_path_(self) -> Floats:
        """Coefficients fitted to all samples with each of `alphas_`."""
        if "_is_displayed" in vars(self):
            raise AttributeError("coef_path_ takes as long as a fit.")
        state = self._known("coef_path_")
        path = state.path
        return state.placed(path[:, :, 0].T if state.single_target else path.transpose(1, 2, 0))

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        """Return the attributes that scikit-learn displays, without the costly `coef_path_`."""
        displayed = copy(self)
        displayed._is_displayed = True
        return super(MiniBatchRidgeSGDCV, displayed)._get_fitted_attr_html(doc_link)

    def _per_target(self, attribute: str, values: Floats) -> float | Floats:
        state = self._known(attribute)
        if state.settings.alpha_per_target and not state.single_target:
            return state.placed(values)
        return float(values[0])

    def _draw_seed(self) -> int:
        return check_random_state(self.random_state).randint(2**31)

    def _check_choices(self) -> None:
        """Raise ValueError for values that scikit-learn's constraints cannot express."""
        if self.scoring is not None and self.scoring not in SCORINGS:
            raise ValueError(
                f"scoring={self.scoring!r} cannot be computed from second moments, which is all "
                f"that is kept of the rows: they hold {' and '.join(map(repr, SCORINGS))}. For "
                "others, use GridSearchCV(MiniBatchRidgeSGD(), ...)."
            )
        if self.cv in (LOO, GCV):
            check_one_fit(self)
        if self.alphas is not None and not isinstance(self.alphas, Integral):
            alphas = np.asarray(self.alphas, dtype=float)
            are_penalties = (alphas >= 0) & np.isfinite(alphas)
            if alphas.ndim != 1 or len(alphas) == 0 or not are_penalties.all():
                raise ValueError(
                    "alphas must be one or more finite numbers, each at least 0, in a list; "
                    f"got {self.alphas!r}."
                )

    def _choose(self, data: FoldData, needs_folds: bool = False) -> None:
        """Choose alpha, and publish the model of the samples in all folds.

        With `needs_folds`, raise ValueError if no fold has an error to choose alpha by.
        """
        check_moments(data.total)
        with blas_threads_to_solve(self.n_features_in_, len(data.total.y.mean)):
            state = choose_alpha(data, self._search(), self._single_target)
        if needs_folds and np.isnan(state.mse).all():
            raise ValueError(
                "No fold has rows both to train on and to be held out "
                f"({data.total.x.n_rows} rows of positive weight in {state.mse.shape[1]} "
                "folds). Give more rows, or fewer folds by cv."
            )
        check_parameters(state.answer.predicting)
        self._state = state
        if state.answer.warning is not None:
            warnings.warn(state.answer.warning, ConvergenceWarning, stacklevel=3)

    def _search(self) -> Search:
        """Return the parameters of the search; the features must be known."""
        values = {name: getattr(self, name) for name in Search._fields}
        values["penalty_factor"] = factors_of_features(self, self.penalty_factor)
        values["positive"] = mask_of_features(self, self.positive)
        return Search(**values)


def check_one_fit(model: MiniBatchRidgeSGDCV) -> None:
    """Raise ValueError for parameters that "loo" and "gcv" cannot take into account."""
    refused = {
        "positive": np.any(model.positive),
        "one_standard_error": model.one_standard_error,
        "half_life": model.half_life is not None,
    }
    if names := [name for name, is_set in refused.items() if is_set]:
        raise ValueError(
            f"cv={model.cv!r} follows from one fit of all samples, which {names[0]} does not fit. "
            "Set cv to a number of folds."
        )
