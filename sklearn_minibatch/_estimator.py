"""The scikit-learn estimator: parameters, validation, and the way of the data through the other rooms."""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_sample_weight, check_is_fitted, validate_data

from ._callbacks import CallbackSupportMixin, Task
from ._chunked_rows import ChunkedRows
from ._learning_rate import largest_eigenvalue, stable_rate
from ._monitor import Monitor, held_out
from ._preconditioner import Diagonal, n_buckets, preconditioner
from ._rows import in_memory
from ._scaler import Moments, Units, check_magnitudes, column_moments, merge, no_moments, power_of_2, to_original, to_scaled
from ._sgd import DIVERGED, Plan, iterate, loss, one_epoch, sgd
from ._source import Passes, is_dask, is_source, mapped
from ._state import packed, unpacked
from ._stream import (
    STEP,
    Slopes,
    curvature_of_fit,
    is_stale,
    refreshed,
    stream_chunk,
    unseen,
    with_rows,
)
from ._summary import merged, summary
from ._svrg import svrg

# Batch sizes that "auto" stands for: large enough for NumPy, small enough for many steps.
SVRG_BATCH, SGD_BATCH, STREAM_BATCH = 512, 32, 256
# What weights may add up to: their products with squares of numbers must not leave float64.
LEAST_WEIGHT, MOST_WEIGHT = 1e-100, 1e100

Rows: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix
Floats: TypeAlias = NDArray[np.floating]
Parameters: TypeAlias = tuple[np.ndarray, np.ndarray]  # coefficients (d, t) and intercept (t,)
Method = TypeVar("Method", bound=Callable[..., Any])


def _checking_parameters(method: Method) -> Method:
    """`method` in scikit-learn's context of a fit, which is untyped; with the type it had."""
    return _fit_context(prefer_skip_nested_validation=True)(method)


class MiniBatchRidgeSGD(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Ridge regression trained by mini-batch SGD, with its scaler inside.

    Minimises, over the coefficients `beta` of the standardised columns z = (x - mean) / std and the intercept b,

        F = 1/(2 W) sum_i w_i (z_i . beta + b - y_i)^2 + alpha/2 ||beta||^2,        W = sum_i w_i

    which is the objective of ``make_pipeline(StandardScaler(), Ridge(alpha=alpha * W))``, and gives the coefficients in the
    units of the original columns. The default solver reaches the minimiser, whatever the batch size and the learning rate.

    Parameters
    ----------
    alpha : float, default=1e-4
        Strength of the penalty on the standardised coefficients, as in :class:`~sklearn.linear_model.SGDRegressor`.
        :class:`~sklearn.linear_model.Ridge` calls ``alpha * W`` alpha.
    solver : {"svrg", "sgd"}, default="svrg"
        "svrg": preconditioned, variance-reduced mini-batch steps, combined by conjugate gradients; lands on the closed
        form. "sgd": the textbook algorithm, for comparison and teaching.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch; more than there are means all of them. "auto" takes, for "svrg", all rows where there are so
        few that the preconditioner is exact, else 512 of them (more if they are sparse); for "sgd", 32. In
        `partial_fit`, 256 for "svrg".
    lr : float or "auto", default="auto"
        Learning rate. "auto" takes 1 / (largest curvature of a mini-batch); in `partial_fit` with "svrg", a step that
        falls like 1/t. With "svrg" it is cut where it proves too large.
    lr_schedule : {"constant", "inverse_time", "compound"}, default="constant"
        For "sgd". In epoch e = 1, 2, ...: the rate is `lr`; ``lr / (1 + lr_decay * e)``; or is divided by
        ``1 + lr_decay * e`` again before every mini-batch. A call of `partial_fit` is an epoch.
    lr_decay : float, default=0.0
        For the last two schedules.
    preconditioner : int, "auto" or None, default="auto"
        For "svrg". An int is the rank of a randomised Nystrom approximation of the Hessian. "auto" takes the Hessian of a
        random sketch of the rows for up to 1500 columns, and rank 100 above. None does without.
    average : bool, default=False
        For "sgd": predict with a running average of the iterates in which step t has weight proportional to t.
    max_iter : int, default=100
        Most passes of mini-batches over the rows (epochs) in `fit`.
    tol : float or None, default=1e-6
        "svrg" has converged when its predictions are, by its estimate, within `tol` standard deviations of y (root mean
        square) of those of the closed form. "sgd" has when F has not fallen by more than this fraction for
        `n_iter_no_change` epochs. None runs `max_iter` epochs.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, columns are scaled but not centred.
    standardize : bool, default=True
        Whether to divide columns by their standard deviation. If not, the penalty is on the original coefficients.
    shuffle : bool, default=True
        Whether to shuffle the rows, once; and in every epoch "svrg" the mini-batches, "sgd" the rows, from 8,000 rows on in
        groups of 8 where the batch size allows.
    early_stopping : bool, default=False
        Whether `fit` holds rows out, scores them (R^2) after every epoch, and returns the best epoch.
    validation_fraction : float, default=0.1
        Fraction of the rows to hold out. Equal rows are held out together.
    n_iter_no_change : int, default=5
        Epochs without a gain of more than `tol` after which early stopping, and "sgd", stop.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one.
    random_state : int, RandomState instance or None, default=None
        For shuffling, the sketch and the held-out rows.
    verbose : int, default=0
        1 prints a line per epoch: epoch, loss, distance to the closed form, seconds.
    n_jobs : int or None, default=None
        Threads that share out blocks of dense rows in `fit` with "svrg"; -1 takes all cores. It changes no bit of the result.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the columns, over all rows seen.
    loss_history_ : ndarray of shape (n_epochs,)
        F after each epoch of `fit`, summed over the targets; empty after `partial_fit` alone.
    distance_history_ : ndarray of shape (n_epochs,)
        With "svrg", the estimate that `tol` is held against, after each epoch of `fit`; else empty.
    n_iter_ : int
        Epochs run, calls of `partial_fit` included.
    t_ : int
        Mini-batch steps taken.
    lr_ : float
        Learning rate: as resolved, and cut if need was.
    batch_size_ : int
        Rows per mini-batch, as resolved.
    converged_ : bool
        Whether the last `fit` met `tol`.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the rows came in chunks.
    validation_scores_ : list of float
        R^2 on the held-out rows after each epoch, with early stopping.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has string names.

    See Also
    --------
    sklearn.linear_model.Ridge : The closed form, in memory.
    sklearn.linear_model.SGDRegressor : Single-row steps, several losses.

    Notes
    -----
    Weights act as repetitions: a weight of 2 is the row twice, 0 the row left out, and their overall scale is of no account.

    Squares have to be numbers. Columns and targets with a root mean square beyond 1e151, targets with one below 1e-151, and
    weights that add up to less than 1e-100 or more than 1e100 are refused by name.

    The variance-reduced step is that of Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive
    variance reduction"; the sketch that of Charikar, Chen and Farach-Colton (2002).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import MiniBatchRidgeSGD
    >>> X, y = load_diabetes(return_X_y=True, scaled=False)
    >>> model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    >>> print(f"{model.score(X, y):.4f} after {model.n_iter_} epochs")
    0.5177 after 2 epochs
    """

    coef_: Floats
    intercept_: float | Floats
    loss_history_: Floats
    distance_history_: Floats
    n_iter_: int
    t_: int
    lr_: float
    batch_size_: int
    converged_: bool
    validation_scores_: list[float]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _checked: list[Any] | None
    _single_target: bool
    _last: Parameters
    _mean: Parameters

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"svrg", "sgd"})],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "inverse_time", "compound"})],
        "lr_decay": [Interval(Real, 0, None, closed="left")],
        "preconditioner": [StrOptions({"auto"}), None, Interval(Integral, 1, None, closed="left")],
        "average": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [None, Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [None, Integral],
    }

    _doc_link_module = "sklearn_minibatch"
    _doc_link_template = "https://sklearn-minibatch.readthedocs.io/en/stable/api.html#{estimator_module}.{estimator_name}"

    def __init__(
        self,
        alpha: float = 1e-4,
        *,
        solver: Literal["svrg", "sgd"] = "svrg",
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        lr_schedule: Literal["constant", "inverse_time", "compound"] = "constant",
        lr_decay: float = 0.0,
        preconditioner: int | Literal["auto"] | None = "auto",
        average: bool = False,
        max_iter: int = 100,
        tol: float | None = 1e-6,
        fit_intercept: bool = True,
        standardize: bool = True,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.solver = solver
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.lr_decay = lr_decay
        self.preconditioner = preconditioner
        self.average = average
        self.max_iter = max_iter
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs

    def __getstate__(self):
        return packed(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(unpacked(state))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags

    @_checking_parameters
    def fit(self, X: Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to the rows of X, in as many epochs as it takes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Rows; CSR matrices and float32 and float64 arrays are used as they are. A large `numpy.memmap` is read in
            chunks. Dask arrays and dataframes, together with `y`, stay on their workers. With `y` left out, a
            :class:`ChunkSource`, or another object that can be iterated again and again over chunks ``(X, y)`` or
            ``(X, y, sample_weight)``.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0.

        Returns
        -------
        self : MiniBatchRidgeSGD
            Fitted.

        Raises
        ------
        ValueError
            If X, y or the weights are not as above; the estimator is then as it was.
        """
        task = Task(self, "fit", self.max_iter, X, y, sample_weight)
        with _all_or_nothing(self), task:
            self._checked = None
            rng = check_random_state(self.random_state)
            moments, y_moments, rows_in, held, chunks = self._taken_in(X, y, sample_weight, rng)
            check_magnitudes(moments, y_moments)
            units = self._units(moments, y_moments)
            rows = rows_in(units)
            monitor = Monitor(units, held, self.tol, self.n_iter_no_change, self.verbose, task)
            start = to_scaled(*self._start(len(moments.mean), len(y_moments.mean)), units)
            if self.solver == "svrg":
                last = mean = self._solve_svrg(rows, start, monitor, rng, moments, units)
            else:
                last, mean = self._solve_sgd(rows, start, monitor, rng)
            last, mean = to_original(*last, units), to_original(*mean, units)
            if monitor.best is not None:
                last = mean = monitor.best
            self._publish(last, mean, moments, y_moments)
            self.loss_history_, self.distance_history_ = monitor.histories()
            self.n_iter_ = len(self.loss_history_)
            self._seed = rng.randint(2**31)
            if self.early_stopping:
                self.validation_scores_ = monitor.scores
            self.__dict__.pop("n_passes_", None)
            if chunks is not None:
                self.n_passes_ = chunks.n_passes
        return self

    def _taken_in(self, X, y, sample_weight, rng):
        """The rows as `fit` needs them; the one place that asks where they are."""
        if is_dask(X):
            return self._in_chunks(self._partitions(X, y, sample_weight), rng)
        source = mapped(X, y, sample_weight)
        if source is None and y is None and is_source(X):
            if sample_weight is not None:
                raise ValueError("With a source of chunks, put the weights into the chunks: (X, y, sample_weight).")
            source = X
        if source is not None:
            return self._in_chunks(Passes(source, self._checked_chunk), rng)
        X, y, w = self._validated(X, y, sample_weight, reset=True)
        X, y, w, held = self._hold_out(X, y, w, rng)
        n_jobs = effective_n_jobs(self.n_jobs)
        moments, y_moments = column_moments(X, w, n_jobs), column_moments(y, w)
        how = {"fit_intercept": self.fit_intercept, "mean_weight": moments.weight / moments.n_rows, "n_jobs": n_jobs}
        order = rng.permutation(len(y)) if self.shuffle else None
        rows_in = partial(in_memory, X, y, w, order=order, **how)
        return TakenIn(moments, y_moments, rows_in, held, None)

    def _partitions(self, X, y, sample_weight):
        from ._dask import Partitions

        if y is None:
            raise ValueError("fit(X, y) of a Dask collection X needs y, in the same partitions.")
        if self.solver == "sgd":
            raise ValueError(
                "solver='sgd' takes its steps one after the other, which partitions on a cluster cannot. Use solver='svrg', "
                "or dask_ml.wrappers.Incremental with this estimator, which hands it from partition to partition."
            )
        self._single_target, self.n_features_in_ = np.ndim(y) == 1, X.shape[1]
        _check_feature_names(self, getattr(X, "_meta", X), reset=True)
        return Partitions(X, y, sample_weight, self._bare()._checked_chunk)

    def _bare(self):
        """What workers need to check and to predict rows: no moments, no preconditioner."""
        names = ("n_features_in_", "feature_names_in_", "coef_", "intercept_")
        bare = clone(self)
        vars(bare).update({name: value for name, value in vars(self).items() if name in names})
        return bare

    def _in_chunks(self, chunks, rng):
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True needs all rows in memory. Set early_stopping=False: the default solver stops at the "
                "closed form; to choose alpha, keep some chunks out of the source and score them."
            )
        first = chunks.reduce(summary, merged, rng.randint(2**31))
        if first is None:
            raise ValueError("All sample weights are zero; at least one row must count.")
        rows_in = partial(ChunkedRows, chunks, first, fit_intercept=self.fit_intercept, shuffle=self.shuffle)
        return TakenIn(first.x, first.y, rows_in, None, chunks)

    def _solve_svrg(self, rows, start, monitor, rng, moments, units) -> Parameters:
        P = preconditioner(rows, self.alpha, self.preconditioner, rng)
        batch_size = self._svrg_batch_size(rows, P)
        lr = self.lr
        if lr == "auto":
            batches = rows.batches(batch_size, 8, rng)
            lr = 1.0 if batch_size == rows.n_rows else 1 / largest_eigenvalue(batches, self.alpha, P.solve, rng)
        steps_rng = rng if self.shuffle else None
        found = svrg(rows, start[0], self.alpha, batch_size, lr, P, self.max_iter, self.tol, steps_rng, monitor)
        distance = np.max(found.distance)
        self.batch_size_, self.lr_, self.t_ = batch_size, float(found.lr), found.n_steps
        self.converged_ = found.converged
        self._warn_if_unfinished(monitor, f"the predictions are about {distance:.1e} std(y) from those of the closed form")
        self._lr_factor, self._curvature = 1.0, curvature_of_fit(P, moments, units)
        return found.beta, np.zeros_like(start[1])

    def _solve_sgd(self, rows, start, monitor, rng) -> tuple[Parameters, Parameters]:
        batch_size = min(SGD_BATCH if self.batch_size == "auto" else self.batch_size, rows.n_rows)
        stable = stable_rate(rows, batch_size, self.alpha, rng)
        lr = stable if self.lr == "auto" else float(self.lr)
        at = iterate(start, start, 0)
        steps_rng = rng if self.shuffle else None
        found = sgd(rows, at, lr, self._plan(batch_size), self.max_iter, self.tol, self.n_iter_no_change, steps_rng, monitor)
        self.batch_size_, self.lr_, self.t_ = batch_size, lr, found.n_steps
        self._lr_factor, self._curvature, self.converged_ = found.lr / lr, None, found.converged
        if found.diverged_at is not None:
            warnings.warn(
                f"solver='sgd' diverged with lr={lr:.3g} in epoch {found.diverged_at}; the best iterate before that was kept. "
                f"With batch_size={batch_size}, steps are stable up to about lr={2 * stable:.3g}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        else:
            self._warn_if_unfinished(monitor, f"the loss fell by a fraction of {found.gain:.1e} in the last epoch")
        return found.at.last, found.at.predicting

    @_checking_parameters
    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows: one pass of mini-batch steps over it, after which it may be forgotten.

        The scaler runs along with the rows of all calls. May be the first call, follow others, or follow `fit`.

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
        self : MiniBatchRidgeSGD
            With what it knew, and the chunk.

        Raises
        ------
        ValueError
            If X, y or the weights do not fit what came before, or the steps of solver "sgd" diverge; the estimator is then
            as it was.
        """
        task = Task(self, "partial_fit", 0, X, y, sample_weight)
        with _all_or_nothing(self), task:
            first = not hasattr(self, "coef_")
            self._check_parameters()
            X, y, w = self._validated(X, y, sample_weight, reset=first)
            if first:
                self._begin_stream(X, y)
            rng = np.random.default_rng((self._seed, self.n_iter_))
            order = rng.permutation(len(y)) if self.shuffle and len(y) > 1 else None
            moments = merge(self._moments, column_moments(X, w))
            y_moments = merge(self._y_moments, column_moments(y, w))
            check_magnitudes(moments, y_moments)
            step = self._stream_svrg if self.solver == "svrg" else self._stream_sgd
            last, mean = step(X, y, w, order, moments, y_moments, rng)
            self._publish(last, mean, moments, y_moments)
            self.n_iter_ += 1
        return self

    def _check_parameters(self):
        """Raise for invalid parameters. Scikit-learn spares a fitted estimator this; here only unchanged ones are spared."""
        parameters = [getattr(self, name) for name in self._parameter_constraints]
        if parameters != getattr(self, "_checked", None):
            self._validate_params()
            self._checked = parameters

    def _begin_stream(self, X, y):
        """Attributes as before any row."""
        d, t = X.shape[1], y.shape[1]
        self._moments, self._y_moments = no_moments(d), no_moments(t)
        self._last, self._curvature = (np.zeros((d, t)), np.zeros(t)), None
        self._mean, self._lr_factor = self._last, 1.0
        self._seed = check_random_state(self.random_state).randint(2**31)
        self.loss_history_ = self.distance_history_ = np.empty(0)
        self.n_iter_ = self.t_ = 0
        self.converged_ = False

    def _stream_svrg(self, X, y, w, order, moments, y_moments, rng):
        units = self._units(moments, y_moments)
        w = np.ones(len(y)) if w is None else w
        curvature = unseen(moments, self.preconditioner) if self._curvature is None else self._curvature
        curvature = with_rows(curvature, X, w, self._moments.n_rows, rng)
        if is_stale(curvature, self._moments, moments):
            curvature = refreshed(curvature, moments, units, self.alpha, rng)
        batch_size = STREAM_BATCH if self.batch_size == "auto" else self.batch_size
        lr = None if self.lr == "auto" else self.lr
        slopes = Slopes(self._last[0], self._mean[0])
        seen = self._moments.weight
        slopes = stream_chunk(X, y, w, order, slopes, curvature, seen, units, self.alpha, batch_size, lr)
        self._curvature = curvature
        self.batch_size_ = batch_size
        self.lr_ = STEP * min(batch_size, len(y)) / moments.n_rows if lr is None else float(lr)
        self.t_ += -(-len(y) // batch_size)
        return [(coef, units.y_mean - units.x_mean @ coef) for coef in slopes]

    def _stream_sgd(self, X, y, w, order, moments, y_moments, rng):
        units = self._units(moments, y_moments)
        batch_size = SGD_BATCH if self.batch_size == "auto" else self.batch_size
        rows = in_memory(X, y, w, units, self.fit_intercept, moments.weight / moments.n_rows, order)
        stable = stable_rate(rows, batch_size, self.alpha, rng)
        lr = min(getattr(self, "lr_", 1.0), stable) if self.lr == "auto" else float(self.lr)
        before = iterate(to_scaled(*self._last, units), to_scaled(*self._mean, units), self.t_)
        plan = self._plan(batch_size)
        at, next_lr = one_epoch(rows, before, lr * self._lr_factor, self.n_iter_ + 1, plan, None)
        square = (y_moments.var + y_moments.mean**2) / units.y_scale**2
        bound = max(loss(rows, before, self.alpha).sum(), square.sum() / 2)
        if not loss(rows, at, self.alpha).sum() <= DIVERGED * bound:
            raise ValueError(
                f"solver='sgd' diverged with lr={lr * self._lr_factor:.3g}; the chunk was not learnt. With "
                f"batch_size={batch_size}, steps on it are stable up to about lr={2 * stable:.3g}."
            )
        self.batch_size_, self.lr_, self._lr_factor, self._curvature = batch_size, lr, next_lr / lr, None
        self.t_ = at.n_steps
        return to_original(*at.last, units), to_original(*at.predicting, units)

    def predict(self, X: Rows) -> Floats:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            ``X @ coef_.T + intercept_``; lazy, if X is a Dask collection. A warning says so if some are not finite.
        """
        check_is_fitted(self)
        if is_dask(X):
            from ._dask import predict_lazily

            return predict_lazily(self._bare().predict, X, None if self._single_target else len(self.coef_))
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        with np.errstate(over="ignore", invalid="ignore"):
            predictions = X @ self.coef_.T + self.intercept_
        if not np.isfinite(predictions).all():
            warnings.warn(
                "Some predictions are not finite: there, X is too large for the coefficients.", UserWarning, stacklevel=2
            )
        return predictions

    def _validated(self, X, y, sample_weight, reset) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """Rows of positive weight as float arrays, X (n, d), y (n, t), and their weights (n,) or None."""
        X, y, w, single_target = self._as_floats(X, y, sample_weight, reset)
        if not reset and (single_target, y.shape[1]) != (self._single_target, len(self._mean[1])):
            raise ValueError(f"y has {y.shape[1]} target(s) in {1 if single_target else 2} dimensions, unlike before.")
        self._single_target = single_target
        if len(y) == 0:
            raise ValueError("All sample weights are zero; at least one row must count.")
        return X, y, w

    def _checked_chunk(self, X, y, sample_weight, first, finite):
        """The same of a chunk, which may be left without rows."""
        weightless = sample_weight is not None and not np.any(sample_weight)
        X, y, w, single_target = self._as_floats(X, y, None if weightless else sample_weight, first, finite)
        if first:
            self._single_target = single_target
        return (X[:0], y[:0], w) if weightless else (X, y, w)

    def _as_floats(self, X, y, sample_weight, reset, finite=True):
        """Rows of positive weight as float arrays, X (n, d), y (n, t), their weights, and whether y was (n,)."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            # The centring of sparse rows is a difference of products, which float32 does not carry.
            dtype=np.float64 if sparse.issparse(X) else [np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
            ensure_all_finite=finite,
        )
        if sparse.issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        single_target = y.ndim == 1
        y = y.astype(float, copy=False).reshape(len(y), -1)
        if sample_weight is None:
            return X, y, None, single_target
        w = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if w.any() and not LEAST_WEIGHT <= w.sum() <= MOST_WEIGHT:
            raise ValueError(
                f"The sample weights add up to {w.sum():.3g}. Their scale is of no account: multiply them by a constant that "
                f"brings the sum between {LEAST_WEIGHT:.0e} and {MOST_WEIGHT:.0e}."
            )
        if not w.all():
            kept = np.flatnonzero(w)
            X, y, w = X[kept], y[kept], w[kept]
        return X, y, w, single_target

    def _hold_out(self, X, y, w, rng) -> tuple[Any, np.ndarray, np.ndarray | None, tuple | None]:
        """Rows to fit, and with early stopping what the monitor needs of those held out."""
        if not self.early_stopping:
            return X, y, w, None
        out = held_out(X, y, self.validation_fraction, rng)
        w_all = np.ones(len(y)) if w is None else w
        baseline = np.average(y[~out], axis=0, weights=w_all[~out])
        held = X[out], y[out], w_all[out], baseline
        return X[~out], y[~out], None if w is None else w[~out], held

    def _units(self, moments, y_moments):
        """The scaled units to fit in.

        The textbook solver leaves columns that it is told not to scale as they are. It divides all targets by one power of 2,
        which changes no digit of what it does, and keeps the squares of its residuals within the range of numbers.
        """
        d, t = len(moments.mean), len(y_moments.mean)
        textbook = self.solver == "sgd"
        centred = self.fit_intercept and (self.standardize or not textbook)
        return Units(
            moments.mean if centred else np.zeros(d),
            moments.scale if self.standardize else np.ones(d),
            y_moments.mean if self.fit_intercept and not textbook else np.zeros(t),
            np.full(t, power_of_2(_spread(y_moments))) if textbook else _spread(y_moments),
        )

    def _start(self, *shape) -> Parameters:
        """Coefficients (d, t) and intercept (t,) to start from."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return np.zeros(shape), np.zeros(shape[1])
        if self._mean[0].shape != shape:
            raise ValueError(
                f"warm_start=True, but the last fit had {self._mean[0].shape} (features, targets) and this one has {shape}. "
                "Set warm_start=False to start anew."
            )
        return self._mean

    def _svrg_batch_size(self, rows, P):
        """Rows per mini-batch; "auto" takes so many that their pass outweighs the step from one batch to the next."""
        n_rows, d = rows.n_rows, rows.n_features
        if self.batch_size != "auto":
            return min(self.batch_size, n_rows)
        # A full-batch step P^-1 g needs no pass of its own, and passes over chunks are dear.
        if isinstance(P, Diagonal) or isinstance(rows, ChunkedRows) or n_rows <= n_buckets(d):
            return n_rows
        return min(max(SVRG_BATCH, 2 * d), n_rows)

    def _plan(self, batch_size):
        return Plan(self.alpha, batch_size, self.lr_schedule, self.lr_decay, self.average)

    def _publish(self, last, mean, moments, y_moments):
        """Keep what `partial_fit` goes on from, and show it in the shapes and under the names of scikit-learn."""
        if not all(np.isfinite(part).all() for part in (*last, *mean)):
            raise ValueError(
                "The coefficients have left the range of floating-point numbers: the values of X, or their units next to "
                "those of y, lie too many orders of magnitude apart. Divide columns by constants, or take a larger alpha."
            )
        self._last, self._mean, self._moments, self._y_moments = last, mean, moments, y_moments
        self.coef_, self.intercept_ = self._in_shape(*mean)

    @property
    def scaler_(self) -> StandardScaler:
        """The running moments of the columns as a StandardScaler."""
        check_is_fitted(self, "_moments")
        moments = self._moments
        scaler = StandardScaler(with_mean=self.fit_intercept, with_std=self.standardize)
        scaler.mean_, scaler.var_ = moments.mean, moments.var
        scaler.scale_ = moments.scale if self.standardize else np.ones(len(moments.mean))
        scaler.n_samples_seen_ = moments.n_rows if moments.weight == moments.n_rows else moments.weight
        scaler.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            scaler.feature_names_in_ = self.feature_names_in_
        return scaler

    def _in_shape(self, coef, intercept):
        """Coefficients (d, t) and intercept (t,) in the shapes of `coef_` and `intercept_`."""
        if self._single_target:
            return coef[:, 0].copy(), float(intercept[0])
        return coef.T.copy(), intercept.copy()

    def _warn_if_unfinished(self, monitor, how_far):
        if self.tol is not None and not self.converged_ and len(monitor.loss_history) == self.max_iter:
            warnings.warn(
                f"Not converged after max_iter={self.max_iter} epochs: {how_far}, tol={self.tol}. Increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=5,
            )


class TakenIn(NamedTuple):
    """Moments of X and y, a function from units to rows, rows held out, and the chunks where there are some."""

    x: Moments
    y: Moments
    rows_in: Callable
    held: tuple | None
    chunks: Passes | None


def _spread(moments):
    """Standard deviations; the size of a constant target, and 1 if that is 0."""
    spread = np.where(moments.var > 0, np.sqrt(moments.var), np.abs(moments.mean))
    return np.where(spread > 0, spread, 1.0)


@contextmanager
def _all_or_nothing(estimator):
    """An estimator that raises inside is left with the attributes it had: they are replaced, never changed in place.

    What scikit-learn keeps on an estimator for its callbacks is therefore put there before. A generator of random numbers that
    is a parameter is put back as well. Numbers that overflow on the way raise no warning: what comes out is looked at.
    """
    before = vars(estimator).copy()
    generator = estimator.random_state
    drawn = generator.get_state() if isinstance(generator, np.random.RandomState) else None
    try:
        with np.errstate(all="ignore"):
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        if drawn is not None:
            generator.set_state(drawn)
        raise
