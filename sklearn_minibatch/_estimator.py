"""The scikit-learn estimator: parameters, validation, and the way of the data through the other rooms."""

import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._data.load import bare, check_moments, taken_in, validated
from ._data.source import is_dask
from ._rows.in_memory import in_memory
from ._run.callbacks import CallbackSupportMixin, Task
from ._run.monitor import Monitor
from ._run.rollback import AllOrNothing
from ._run.state import read, written
from ._solvers.learning_rate import largest_eigenvalue, stable_rate
from ._solvers.preconditioner import Diagonal, Identity, preconditioner
from ._solvers.sgd import DIVERGED, SHORT_WAY, Plan, iterate, loss, one_epoch, rates, sgd
from ._solvers.stream import (
    STEP,
    Seen,
    Slopes,
    curvature_of_fit,
    learnt,
    unseen,
)
from ._solvers.stream import Plan as StreamPlan
from ._solvers.svrg import svrg
from ._statistics.moments import column_moments, merge, no_moments
from ._statistics.scaling import Units, power_of_2, spread, to_original, to_scaled

# Batch sizes that "auto" stands for: large enough for NumPy, small enough for many steps.
SVRG_BATCH, SGD_BATCH, STREAM_BATCH = 2048, 32, 512
# Fewer mini-batches than this make a direction no better than that of one full-batch step, which needs no pass.
FEW_BATCHES = 8

# What every fitted model holds, and `partial_fit` goes on from.
FITTED = (
    *("coef_", "intercept_", "loss_history_", "distance_history_", "n_iter_", "t_", "lr_", "batch_size_", "converged_"),
    *("n_features_in_", "_single_target", "_last", "_predicting", "_moments", "_y_moments", "_curvature"),
    *("_lr_factor", "_stable_lr", "_seed"),
)

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
        Rows per mini-batch; more than there are means all of them. "auto" takes, for "svrg", 2048 or twice as many as there
        are columns, or all rows where those would be fewer than 8 mini-batches, where rows come in chunks, or where the
        preconditioner is diagonal; for "sgd", 32. In `partial_fit`, 512 for "svrg" with a preconditioner, else 32.
    lr : float or "auto", default="auto"
        Learning rate. "auto" takes 1 / (largest curvature of a mini-batch); in `partial_fit`, with "svrg" a step that falls
        like 1/t, with "sgd" the least of those rates over the chunks so far. In `fit` with "svrg" it is cut where it proves
        too large, and steps over all rows do not use it.
    lr_schedule : {"constant", "inverse_time", "compound"}, default="constant"
        For "sgd". In epoch e = 1, 2, ...: the rate is `lr`; ``lr / (1 + lr_decay * e)``; or is divided by
        ``1 + lr_decay * e`` again before every mini-batch. A call of `partial_fit` is an epoch.
    lr_decay : float, default=0.0
        For the last two schedules.
    preconditioner : int, "auto" or None, default="auto"
        For "svrg". An int is the rank of a randomised Nystrom approximation of the Hessian. "auto" takes the Hessian of a
        random sketch of the rows for up to 3000 columns, and rank 100 above; for sparse rows with so many columns that a
        (d, d) matrix costs more than it saves, the diagonal. None does without. `partial_fit`, where it is not None, takes
        the sketch for up to 3000 columns, and does without above.
    average : bool, default=False
        For "sgd": predict with a running average of the iterates in which step t has weight proportional to t.
    max_iter : int, default=100
        Largest number of epochs, passes of mini-batches over the rows, in `fit`.
    tol : float or None, default=1e-6
        "svrg" has converged when its predictions are, by its estimate, within `tol` standard deviations of y (root mean
        square) of those of the closed form, or so near that rounding errors hide the rest. "sgd" has when F has not fallen by
        more than this fraction for `n_iter_no_change` epochs (less by as much as too small a learning rate makes it fall
        less), which tells nothing of the distance to the closed form: mini-batches at a constant rate keep F above its
        minimum by a noise that does not shrink. None runs `max_iter` epochs.
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
        Coefficients in original units, in float64.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the columns, over all rows trained on.
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
        Whether the last `fit` met `tol`, or came as near as float64 allows. With "sgd" it promises no nearness to the closed
        form, see `tol`.
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

    With ``alpha=0`` this is least squares. Where columns follow from others, or are more than the rows, many coefficients fit
    alike: those with the least norm in the units of the penalty are found, to which ever smaller `alpha` would lead (with
    `warm_start`, those nearest to the start).

    A column whose variance underflows float64 (it varies by less than 1e-154) is taken for constant, with a warning. Columns
    with a root mean square beyond 1e151, and targets with such a standard deviation, are refused by name.

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
    _predicting: Parameters

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
        return written(super().__getstate__())

    def __setstate__(self, state):
        needed = [*self._get_param_names(), *(FITTED if "n_iter_" in state else ())]
        super().__setstate__(read(state, needed))

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
            Rows; CSR matrices of float64, and arrays of float32 and float64, are used as they are. A large `numpy.memmap` is
            read in chunks. Dask arrays and dataframes, together with `y`, stay on their workers. With `y` left out, a
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
        TypeError
            If chunks are no tables; the estimator is then as it was.
        KeyboardInterrupt
            If interrupted. The estimator then holds the last complete epoch, with `converged_` False: it predicts, and goes
            on by `partial_fit`, or by `fit` with ``warm_start=True``. Before the end of the first epoch it is as it was.
        """
        task = Task(self, "fit", self.max_iter, X, y, sample_weight)
        with np.errstate(all="ignore"), AllOrNothing(self) as attempt, task:
            # Numbers that overflow on the way raise no warning: what comes out is looked at.
            self._checked = None
            rng = check_random_state(self.random_state)
            moments, y_moments, rows_in, held, chunks = taken_in(self, X, y, sample_weight, rng)
            check_moments(moments, y_moments)
            units = self._units(moments, y_moments)
            rows = rows_in(units)
            monitor = Monitor(units, held, self.tol, self.n_iter_no_change, self.verbose, task, self._attributes)
            start = to_scaled(*self._start(len(moments.mean), len(y_moments.mean)), units)
            publish = partial(self._publish_fit, monitor, moments, y_moments, chunks, rng)
            attempt.if_interrupted(publish)
            if self.solver == "svrg":
                monitor.keep(self._solve_svrg(rows, start, monitor, rng, moments, units))
            else:
                monitor.keep(self._solve_sgd(rows, start, monitor, rng, moments, units))
            publish()
        return self

    def _publish_fit(self, monitor, moments, y_moments, chunks, rng):
        """Publish where the fit stands, at its end or at that of its last complete epoch; False where there is none."""
        if monitor.stand is None:
            return False
        found, n_epochs, best = monitor.stand
        last, predicting = [to_original(*each, monitor.units) for each in (found.last, found.predicting)]
        if best is not None:
            last = predicting = best
        self._publish(last, predicting, moments, y_moments)
        if self.solver == "svrg":
            self.lr_ = float(found.lr)
        else:
            self._lr_factor = found.lr / self.lr_
        self.loss_history_, self.distance_history_ = (history[:n_epochs] for history in monitor.histories())
        self.n_iter_, self.t_, self.converged_ = n_epochs, found.n_steps, found.converged
        self._seed = rng.randint(2**31)
        for name in ("validation_scores_", "n_passes_"):
            self.__dict__.pop(name, None)
        if self.early_stopping:
            self.validation_scores_ = monitor.scores[:n_epochs]
        if chunks is not None:
            self.n_passes_ = chunks.n_passes
        return True

    def _solve_svrg(self, rows, start, monitor, rng, moments, units):
        P = preconditioner(rows, self.alpha, self.preconditioner, rng)
        batch_size = self._svrg_batch_size(rows, P)
        lr = self.lr
        if lr == "auto":
            batches = rows.batches(batch_size, 8, rng)
            largest = 1.0 if batch_size == rows.n_rows else largest_eigenvalue(batches, self.alpha, P.solve, rng)
            # Where nothing bends, as with constant columns and alpha=0, any rate will do.
            lr = 1 / largest if largest > np.finfo(float).tiny else 1.0
        steps_rng = rng if self.shuffle else None
        self._curvature, self._lr_factor, self._stable_lr = curvature_of_fit(P, moments, units), 1.0, np.inf
        self.batch_size_ = batch_size
        found = svrg(rows, start[0], self.alpha, batch_size, lr, P, self.max_iter, self.tol, steps_rng, monitor)
        distance = np.max(found.distance)
        how_far = f"the predictions are about {distance:.1e} std(y) from those of the closed form"
        self._warn_if_unfinished(found, monitor, how_far)
        return found

    def _solve_sgd(self, rows, start, monitor, rng, moments, units):
        batch_size = min(SGD_BATCH if self.batch_size == "auto" else self.batch_size, rows.n_rows)
        self._stable_lr = stable_rate(rows, batch_size, self.alpha, rng) if self.lr == "auto" else np.inf
        lr = self._stable_lr if self.lr == "auto" else float(self.lr)
        at = iterate(start, start, 0)
        steps_rng = rng if self.shuffle else None
        self.batch_size_, self.lr_, self._curvature = batch_size, lr, None
        # F has the curvature 1 along the intercept, and else at least once the mean of those along the columns.
        columns = (moments.var + (moments.mean - units.x_mean) ** 2) / units.x_scale**2
        curvature = 1.0 if self.fit_intercept else float(np.mean(columns)) + self.alpha
        plan, patience = self._plan(batch_size), self.n_iter_no_change
        found = sgd(rows, at, lr, plan, curvature, self.max_iter, self.tol, patience, steps_rng, monitor)
        if found.diverged_at is not None:
            stable = lr if self.lr == "auto" else stable_rate(rows, batch_size, self.alpha, rng)
            warnings.warn(
                f"solver='sgd' diverged with lr={lr:.3g} in epoch {found.diverged_at}; the best iterate before that was kept. "
                f"With batch_size={batch_size}, steps are stable up to about lr={2 * stable:.3g}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        else:
            how_far, remedy = f"the loss fell by a fraction of {found.gain:.1e} in the last epoch", "Increase max_iter or tol."
            if found.way < SHORT_WAY:
                how_far += f", whose learning rates cannot go more than a fraction of {found.way:.1e} of the way"
                remedy = "Increase lr, or decay it less."
            self._warn_if_unfinished(found, monitor, how_far, remedy)
        return found

    @_checking_parameters
    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows: one pass of mini-batch steps over it, after which it may be forgotten.

        The scaler runs along with the rows of all calls. May be the first call, follow others, or follow `fit`. The model, and
        so a pickle of it, may hold up to 511 of the last rows until they enter the sketch.

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
        KeyboardInterrupt
            If interrupted. The estimator is then as it was, and the chunk may be handed over again; `n_iter_`, which counts
            the chunks, tells of an interrupt that came just after the end.
        """
        task = Task(self, "partial_fit", 0, X, y, sample_weight)
        with np.errstate(all="ignore"), AllOrNothing(self), task:
            first = not hasattr(self, "coef_")
            self._check_parameters()
            X, y, w = validated(self, X, y, sample_weight, reset=first)
            if first:
                self._begin_stream(X, y)
            rng = np.random.default_rng((self._seed, self.n_iter_))
            order = rng.permutation(len(y)) if self.shuffle and len(y) > 1 else np.arange(len(y))
            moments = merge(self._moments, column_moments(X, w))
            y_moments = merge(self._y_moments, column_moments(y, w))
            check_moments(moments, y_moments)
            step = self._stream_svrg if self.solver == "svrg" else self._stream_sgd
            last, mean = step(X, y, w, order, moments, y_moments, rng)
            self._publish(last, mean, moments, y_moments)
            self.n_iter_ += 1
        return self

    def _check_parameters(self):
        """Raise for invalid parameters. Scikit-learn spares a fitted estimator this; here only unchanged ones are spared."""
        parameters = [getattr(self, name) for name in self._parameter_constraints]
        checked = getattr(self, "_checked", None) or [None] * len(parameters)
        # 32.0 equals 32, but is no batch size.
        if any(type(new) is not type(old) or new != old for new, old in zip(parameters, checked, strict=True)):
            self._validate_params()
            self._checked = parameters

    def _begin_stream(self, X, y):
        """Attributes as before any row."""
        d, t = X.shape[1], y.shape[1]
        self._moments, self._y_moments = no_moments(d), no_moments(t)
        self._last, self._curvature = (np.zeros((d, t)), np.zeros(t)), None
        self._predicting, self._lr_factor, self._stable_lr = self._last, 1.0, np.inf
        self._seed = check_random_state(self.random_state).randint(2**31)
        self.loss_history_ = self.distance_history_ = np.empty(0)
        self.n_iter_ = self.t_ = 0
        self.converged_ = False

    def _stream_svrg(self, X, y, w, order, moments, y_moments, rng):
        before, now = (Seen(*each, self._units(*each)) for each in ((self._moments, self._y_moments), (moments, y_moments)))
        w = np.ones(len(y)) if w is None else w
        curvature = unseen(moments, self.preconditioner) if self._curvature is None else self._curvature
        batch_size = self.batch_size
        if batch_size == "auto":
            # Without a preconditioner it is the number of steps that counts.
            bare = curvature.sketch is None and isinstance(curvature.P, Identity)
            batch_size = SGD_BATCH if bare else STREAM_BATCH
        lr = None if self.lr == "auto" else self.lr
        plan = StreamPlan(self.alpha, batch_size, lr, self._units)
        slopes = Slopes(self._last[0], self._predicting[0])
        slopes, curvature = learnt(X, y, w, order, slopes, curvature, before, now, plan, rng)
        self._curvature = curvature
        self.batch_size_ = batch_size
        self.lr_ = STEP * min(batch_size, len(y)) / moments.n_rows if lr is None else float(lr)
        self.t_ += -(-len(y) // batch_size)
        return [(coef, now.units.y_mean - now.units.x_mean @ coef) for coef in slopes]

    def _stream_sgd(self, X, y, w, order, moments, y_moments, rng):
        units = self._units(moments, y_moments)
        batch_size = SGD_BATCH if self.batch_size == "auto" else self.batch_size
        rows = in_memory(X, y, w, units, self.fit_intercept, moments.weight / moments.n_rows, order)
        if self.lr == "auto":
            self._stable_lr = min(self._stable_lr, stable_rate(rows, batch_size, self.alpha, rng))
        lr = self._stable_lr if self.lr == "auto" else float(self.lr)
        last, predicting = [to_scaled(*self._without_intercept(*each), units) for each in (self._last, self._predicting)]
        before = iterate(last, predicting, self.t_)
        plan = self._plan(batch_size)
        lrs, next_lr = rates(rows, lr * self._lr_factor, self.n_iter_ + 1, plan)
        at = one_epoch(rows, before, lrs, plan, None)
        square = (y_moments.var + y_moments.mean**2) / units.y_scale**2
        bound = max(loss(rows, before, self.alpha).sum(), square.sum() / 2)
        if not loss(rows, at, self.alpha).sum() <= DIVERGED * bound:
            stable = stable_rate(rows, batch_size, self.alpha, rng)
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

        Raises
        ------
        NotFittedError
            If there was no `fit` or `partial_fit`.
        ValueError
            If X has other columns, NaN or infinity.
        """
        check_is_fitted(self)
        if is_dask(X):
            from ._data.dask import predict_lazily

            return predict_lazily(bare(self).predict, X, None if self._single_target else len(self.coef_))
        with np.errstate(over="ignore", invalid="ignore"):
            X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
            predictions = X @ self.coef_.T + self.intercept_
        if not np.isfinite(predictions).all():
            warnings.warn(
                "Some predictions are not finite: there, X is too large for the coefficients.", UserWarning, stacklevel=2
            )
        return predictions

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
            np.full(t, power_of_2(spread(y_moments))) if textbook else spread(y_moments),
        )

    def _start(self, *shape) -> Parameters:
        """Coefficients (d, t) and intercept (t,) to start from."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return np.zeros(shape), np.zeros(shape[1])
        before = self._predicting[0].shape
        if before != shape:
            raise ValueError(
                f"warm_start=True, but the last fit had {before} (features, targets) and this one has {shape}. "
                "Set warm_start=False to start anew."
            )
        return self._without_intercept(*self._predicting)

    def _without_intercept(self, coef, intercept):
        """The parameters, and an intercept of 0 where none is fitted (any more)."""
        return coef, intercept if self.fit_intercept else 0 * intercept

    def _svrg_batch_size(self, rows, P):
        """Rows per mini-batch; "auto" takes so many that their pass outweighs the step from one batch to the next."""
        if self.batch_size != "auto":
            return min(self.batch_size, rows.n_rows)
        batch_size = max(SVRG_BATCH, 2 * rows.n_features)
        full = isinstance(P, Diagonal) or rows.passes_are_dear or rows.n_rows < FEW_BATCHES * batch_size
        return rows.n_rows if full else batch_size

    def _plan(self, batch_size):
        return Plan(self.alpha, batch_size, self.lr_schedule, self.lr_decay, self.average)

    def _publish(self, last, mean, moments, y_moments):
        """Keep what `partial_fit` goes on from, and show it in the shapes and under the names of scikit-learn."""
        if not all(np.isfinite(part).all() for part in (*last, *mean)):
            raise ValueError(
                "The coefficients have left the range of floating-point numbers: the values of X, or their units next to "
                "those of y, lie too many orders of magnitude apart. Divide columns by constants, or take a larger alpha."
            )
        self._last, self._predicting, self._moments, self._y_moments = last, mean, moments, y_moments
        self.coef_, self.intercept_ = self._in_shape(*mean)

    @property
    def scaler_(self) -> StandardScaler:
        """The running moments of the columns as a StandardScaler."""
        check_is_fitted(self, "_moments")
        moments = self._moments
        scaler = StandardScaler(with_mean=self.fit_intercept, with_std=self.standardize)
        scaler.mean_, scaler.var_ = moments.mean.copy(), moments.var.copy()
        scaler.scale_ = moments.scale.copy() if self.standardize else np.ones(len(moments.mean))
        scaler.n_samples_seen_ = moments.n_rows if moments.is_unweighted else moments.weight
        scaler.n_features_in_ = self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            scaler.feature_names_in_ = self.feature_names_in_
        return scaler

    def _attributes(self, coef, intercept, losses, distances):
        """Attributes as if the fit had ended with these; for callbacks."""
        coef, intercept = self._in_shape(coef, intercept)
        history = {"loss_history_": losses, "distance_history_": distances, "n_iter_": len(losses)}
        return {"coef_": coef, "intercept_": intercept, **history}

    def _in_shape(self, coef, intercept):
        """Coefficients (d, t) and intercept (t,) in the shapes of `coef_` and `intercept_`."""
        if self._single_target:
            return coef[:, 0].copy(), float(intercept[0])
        return coef.T.copy(), intercept.copy()

    def _warn_if_unfinished(self, found, monitor, how_far, remedy="Increase max_iter or tol."):
        if self.tol is not None and not found.converged and len(monitor.loss_history) == self.max_iter:
            warnings.warn(
                f"Not converged after max_iter={self.max_iter} epochs: {how_far}, tol={self.tol}. {remedy}",
                ConvergenceWarning,
                stacklevel=5,
            )
