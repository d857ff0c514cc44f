"""Base class of the estimators: prediction, scores, standard errors and pickling."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import replace
from numbers import Real
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import stdtrit
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from ._data.array_api import SUPPORTED, check_place, follow
from ._data.cures import naming_cures
from ._data.evaluation import chunks_to_score, predicted_chunks, r2_of_chunks
from ._data.open import worker_copy
from ._data.refusals import check_kinds
from ._data.source import ChunkSource, holds_chunks, in_memory, is_dask
from ._data.validation import check_moments, is_plain
from ._solvers.covariance import Kind, Uncertainty
from ._solvers.state import Answer, FittedState, PredictingState
from ._statistics.arrays import as_dtype, is_numpy, namespace
from ._statistics.threads import number_of_threads
from ._version import __version__

Rows: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix
Floats: TypeAlias = NDArray[np.floating]
Method = TypeVar("Method", bound=Callable[..., Any])


ONE_AT_A_TIME = (
    "return_std=True needs samples in memory. Give chunks or partitions one at a time: "
    "model.predict(chunk, return_std=True)."
)
STRIPPED = "by without_statistics(); use the model that it was called on, or fit again."


def checking_parameters(method: Method) -> Method:
    """Wrap `method` in scikit-learn's untyped `_fit_context`, keeping its type."""
    return _fit_context(prefer_skip_nested_validation=True)(method)


class ScaledLinearModel(RegressorMixin, BaseEstimator):
    """A fitted linear model in original units, and the moments of its columns."""

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    n_jobs: int | None
    _single_target: bool
    _state: FittedState

    __metadata_request__predict = {"check_input": UNUSED}

    _doc_link_module = "sklearn_minibatch"
    _doc_link_template = "https://sklearn-minibatch.readthedocs.io/en/stable/api.html#{estimator_module}.{estimator_name}"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        version = state.get("_version")
        if version != __version__:
            warnings.warn(
                f"This model was written by sklearn_minibatch {version}, this is {__version__}: it "
                f"may not work as it did. Fit it again, or load it with {version}.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__({name: value for name, value in state.items() if name != "_version"})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_state")

    def __sklearn_array_api_convert__(self, converter: Callable[[Any], Any]) -> Self:
        """Return a copy whose public arrays are converted, for scikit-learn.

        The `partial_fit` state is always NumPy.
        """
        moved = copy(self)
        moved._state = replace(self._state, example=converter(self._state.example))
        return moved

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.array_api_support = SUPPORTED
        return tags

    @overload
    def predict(
        self,
        X: ChunkSource | Iterator[Any],
        return_std: Literal[False] = False,
        check_input: bool = True,
    ) -> Iterator[Floats]: ...

    @overload
    def predict(
        self, X: Rows, return_std: Literal[False] = False, check_input: bool = True
    ) -> Floats: ...

    @overload
    def predict(
        self, X: Rows, return_std: Literal[True], check_input: bool = True
    ) -> tuple[Floats, Floats]: ...

    def predict(self, X: Any, return_std: bool = False, check_input: bool = True) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Samples, in the library and on the device of the samples of `fit`. A source, as in
            `fit`, may also be an iterator that is read once; its chunks are X, or tuples that begin
            with X.
        return_std : bool, default=False
            Whether to also return the standard deviations of the targets about the predictions, for
            samples in memory. They include the noise of a sample of mean weight and the uncertainty
            of the coefficients, as in :meth:`coef_table` with ``kind="bayesian"``.
        check_input : bool, default=True
            If False, X is not checked. It must be a float64 array or a CSR matrix with the right
            number of features, without NaN and infinity.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets), or iterator over such arrays
            ``X @ coef_.T + intercept_``, lazy if X is a Dask collection. For a source, an iterator
            that reads and predicts one chunk at a time. Warns if some predictions are not finite.
        y_std : ndarray of the shape of y
            The standard deviations, if `return_std` is True.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ValueError
            If X has other features than in `fit`, NaN or infinity, or is on another device; for a
            source, when the chunk is reached. With `return_std`, also if X is a source or a Dask
            collection, and for the reasons given in :meth:`coef_table`.
        """
        if not check_input:
            predictions = X @ self.coef_.T + self.intercept_
            return (predictions, self._deviations(X)) if return_std else predictions
        if not return_std and (predictions := self._predict_plain(X)) is not None:
            return predictions
        check_is_fitted(self)
        n_targets = None if self.coef_.ndim == 1 else self.coef_.shape[0]
        if is_dask(X) or holds_chunks(X):
            if return_std:
                raise ValueError(ONE_AT_A_TIME)
            return self._predict_in_parts(X, n_targets)
        check_place(self, X, "predict")
        check_kinds(X=X)
        xp = namespace(self.coef_)
        with np.errstate(over="ignore", invalid="ignore"), naming_cures(X):
            X = validate_data(
                self, X, accept_sparse="csr", dtype=[xp.float64, xp.float32], reset=False
            )
            if not is_numpy(X):
                X = as_dtype(X, self.coef_.dtype)
            coef = self.coef_ if n_targets is None else self.coef_.T
            predictions = X @ coef + self.intercept_
        if not xp.all(xp.isfinite(predictions)):
            warnings.warn(
                "Some predictions are not finite: there, X is too large for the coefficients.",
                UserWarning,
                stacklevel=2,
            )
        return (predictions, self._deviations(X)) if return_std else predictions

    def _predict_plain(self, X: Any) -> Floats | None:
        """Return the predictions of an array that needs no conversion, if all are finite."""
        if "_state" not in vars(self) or not is_plain(self, X):
            return None
        state = self._solved("coef_")
        coef, intercept = state.coef, state.intercept
        if type(coef) is not np.ndarray:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            predictions = X @ coef.T + intercept
        return predictions if np.isfinite(predictions).all() else None

    def _predict_in_parts(self, X: Any, n_targets: int | None) -> Any:
        """Return lazy predictions of a Dask collection, or an iterator over those of chunks."""
        if is_dask(X):
            from ._data.dask import predict_lazily

            return predict_lazily(worker_copy(self).predict, X, n_targets)
        return predicted_chunks(worker_copy(self).predict, X, n_targets)

    def _deviations(self, X: Any) -> Any:
        """Return the standard deviations of the targets of checked samples."""
        state = self._state
        with np.errstate(all="ignore"):
            uncertainty = self._uncertainty("predict(return_std=True)")
            deviations = uncertainty.of_predictions(X, number_of_threads(self.n_jobs))
        return state.placed(deviations[:, 0] if state.single_target else deviations)

    def coef_table(
        self, confidence_level: float = 0.95, kind: Kind = "bayesian"
    ) -> Bunch | list[Bunch]:
        """Return the coefficients with standard errors and confidence intervals.

        ``pandas.DataFrame(model.coef_table())`` is a table. Weights are precisions: the noise of a
        sample has a variance proportional to 1 / weight. Only their ratios matter.

        Parameters
        ----------
        confidence_level : float, default=0.95
            The probability that an interval holds the true coefficient, between 0 and 1.
        kind : {"bayesian", "sampling"}, default="bayesian"
            "bayesian" treats the penalty as a prior, so that the errors include the expected
            squared bias. "sampling" gives the standard deviations of the estimates over repeated
            samples, without their bias. With ``alpha=0`` both are those of ordinary least squares.

        Returns
        -------
        table : Bunch, or list of Bunch with one for each target if y has two dimensions
            NumPy arrays with the following keys. The intercept, if fitted, is first.

            name : ndarray of shape (1 + n_features,)
                "(intercept)" and the names of the features, or x0, x1, ... if they have none.
            coef : ndarray of shape (1 + n_features,)
                Intercept and coefficients in original units.
            std_error : ndarray of shape (1 + n_features,)
                Their standard errors.
            lower, upper : ndarray of shape (1 + n_features,)
                Ends of the confidence intervals, by Student's t with the degrees of freedom of the
                residuals.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ValueError
            If the coefficients are not the closed form, or no second moments were kept; with
            `half_life` or `positive`; with ``alpha=0`` if features are collinear or constant; if
            the residuals have less than one degree of freedom; or if rounding errors hide the
            standard errors. The message names a remedy.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn_minibatch import MiniBatchRidgeSGD
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
        >>> table = pd.DataFrame(MiniBatchRidgeSGD().fit(X, y).coef_table())
        >>> print(table.head(4).round(2).to_string(index=False))
               name    coef  std_error   lower   upper
        (intercept) -333.35      67.17 -465.37 -201.32
                age   -0.04       0.22   -0.46    0.39
                sex  -22.85       5.84  -34.32  -11.38
                bmi    5.60       0.72    4.19    7.01
        """
        check_is_fitted(self)
        check_level(confidence_level)
        if kind not in ("bayesian", "sampling"):
            raise ValueError(f"kind must be 'bayesian' or 'sampling'; got {kind!r}.")
        state = self._solved("coef_")
        with np.errstate(all="ignore"):
            uncertainty = self._uncertainty("coef_table()")
            errors = uncertainty.std_errors(kind)
        quantiles = stdtrit(uncertainty.freedom, (1 + confidence_level) / 2)
        coef, intercept = state.answer.predicting
        d = len(coef)
        names = [*getattr(self, "feature_names_in_", [f"x{j}" for j in range(d)])]
        if uncertainty.fit_intercept:
            coef, names = np.vstack([intercept, coef]), ["(intercept)", *names]
        tables = [
            Bunch(
                name=np.array(names, dtype=object),
                coef=of_target.copy(),
                std_error=error,
                lower=of_target - quantile * error,
                upper=of_target + quantile * error,
            )
            for of_target, error, quantile in zip(coef.T, errors.T, quantiles, strict=True)
        ]
        return tables[0] if state.single_target else tables

    def _uncertainty(self, method: str) -> Uncertainty:
        """Return the covariance of the parameters; raise ValueError if it is not known."""
        state: Any = self._solved("coef_")
        if isinstance(state, PredictingState):
            raise ValueError(f"{method} needs statistics that were removed {STRIPPED}")
        return state.uncertainty

    def score(
        self,
        X: Rows | Iterable[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """R^2 of the predictions: 1 if they are perfect, 0 for predicting the mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Samples, as in `fit`. A source is read once, and may be an iterator.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets. Omit them for a source, whose chunks contain them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights. Omit them for a source, whose chunks may contain them.

        Returns
        -------
        score : float
            R^2 as by `sklearn.metrics.r2_score`, averaged over the targets. Dask collections are
            computed immediately.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ValueError
            If X, y or the weights are not as above.
        """
        check_is_fitted(self)
        chunks = chunks_to_score(self, X, y, sample_weight)
        if chunks is not None:
            return r2_of_chunks(chunks, self)
        if y is None:
            raise ValueError("score(X, y) requires y to be passed, but the target y is None.")
        y, sample_weight = in_memory(y, sample_weight)
        check_kinds(y=y, sample_weight=sample_weight)
        y, sample_weight = follow(X, y, sample_weight)
        return float(r2_score(y, self.predict(X), sample_weight=sample_weight))

    @property
    def coef_(self) -> Floats:
        """Coefficients in original units."""
        return self._solved("coef_").coef

    @property
    def intercept_(self) -> float | Floats:
        """Intercept in original units."""
        return self._solved("intercept_").intercept

    @property
    def standardized_coef_(self) -> Floats:
        """Coefficients per standard deviation of the columns, for ranking them."""
        state = self._solved("standardized_coef_")
        coef, _ = state.answer.predicting
        coef = coef * state.scale[:, None]
        return state.placed(coef[:, 0] if state.single_target else coef.T)

    @property
    def scaler_(self) -> StandardScaler:
        """The moments of the columns as a StandardScaler."""
        state = self._known("scaler_")
        moments, settings = state.statistics.x, state.settings
        scaler = StandardScaler(with_mean=settings.fit_intercept, with_std=settings.standardize)
        scaler.mean_, scaler.var_ = moments.mean.copy(), moments.var.copy()
        scaler.scale_ = moments.scale.copy() if settings.standardize else np.ones(len(moments.mean))
        scaler.n_samples_seen_ = moments.n_rows if moments.is_unweighted else moments.weight
        scaler.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            scaler.feature_names_in_ = self.feature_names_in_
        return scaler

    def without_statistics(self) -> Self:
        """Return a copy that can only predict.

        It has the coefficients but no statistics or samples, for ensembles and for models that are
        stored or served. It cannot continue by `partial_fit` or be merged.

        Returns
        -------
        model : estimator
            A copy that has `coef_`, `intercept_` and `standardized_coef_`.

        Raises
        ------
        NotFittedError
            If the model is not fitted.

        Examples
        --------
        >>> import pickle
        >>> import numpy as np
        >>> from sklearn_minibatch import MiniBatchRidgeSGD
        >>> X = np.random.default_rng(0).normal(size=(500, 200))
        >>> model = MiniBatchRidgeSGD().fit(X, X[:, 0])
        >>> small = model.without_statistics()
        >>> len(pickle.dumps(model)) > 300_000 > 5_000 > len(pickle.dumps(small))
        True
        >>> bool((small.predict(X) == model.predict(X)).all())
        True
        """
        check_is_fitted(self)
        state = self._solved("coef_")
        parameters = state.answer.predicting
        answer = Answer(parameters, parameters, state.answer.converged)
        small = copy(self)
        small._state = PredictingState(state.single_target, state.example, answer, state.scale)
        return small

    def _known(self, attribute: str) -> Any:
        """Return the state that holds an attribute; raise NotFittedError if there is none."""
        if "_state" not in vars(self):
            raise NotFittedError(
                f"{type(self).__name__} has no attribute {attribute!r} before fit or partial_fit."
            )
        if isinstance(self._state, PredictingState):
            raise AttributeError(f"{attribute} was removed {STRIPPED}")
        return self._state

    def _solved(self, attribute: str) -> Any:
        """Return the state with solved parameters; show their warning, if any, the first time."""
        state = vars(self).get("_state") or self._known(attribute)
        if not state.is_solved:
            with np.errstate(all="ignore"):
                if state.few_more is None:
                    check_moments(state.statistics)
                check_parameters(state.answer.predicting)
            if state.answer.warning is not None:
                warnings.warn(state.answer.warning, ConvergenceWarning, stacklevel=4)
        return state

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        """Return the attributes that scikit-learn displays; none if the state is not solved yet."""
        if self.__sklearn_is_fitted__() and not self._state.is_solved:
            return {}
        return super()._get_fitted_attr_html(doc_link)


def check_parameters(parameters: tuple[Floats, Floats]) -> None:
    """Raise ValueError if parameters are not finite."""
    if not all(np.isfinite(part).all() for part in parameters):
        raise ValueError(
            "The coefficients have left the range of floating-point numbers: the values of X, "
            "or their units next to those of y, lie too many orders of magnitude apart. Divide "
            "columns by constants, or take a larger alpha."
        )


def check_level(confidence_level: Any) -> None:
    """Raise ValueError unless a confidence level is a number between 0 and 1."""
    is_number = isinstance(confidence_level, Real) and not isinstance(confidence_level, bool)
    if not (is_number and 0 < confidence_level < 1):
        raise ValueError(f"confidence_level must be between 0 and 1; got {confidence_level!r}.")
