"""The scikit-learn estimator: parameters, validation, and the way of the data through the other rooms."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._data.evaluation import chunks_to_score, predicted_chunks, r2_of_chunks
from ._data.load import load_data, worker_copy
from ._data.refusals import check_kinds, naming_text
from ._data.source import ChunkSource, check_alone, holds_chunks, is_dask
from ._data.validation import Number, check_mergeable, check_moments, look_if_not_finite, validated
from ._rows.in_memory import in_memory
from ._run.callbacks import CallbackSupportMixin, Task
from ._run.monitor import Monitor
from ._run.rollback import AllOrNothing
from ._run.state import read, written
from ._solvers import cholesky, sgd, svrg
from ._solvers.learning_rate import stable_rate
from ._solvers.preconditioner import Identity, of_gram
from ._solvers.problem import Parameters, Problem, Settings, Solution
from ._solvers.sgd import DIVERGED, iterate, loss, one_epoch
from ._solvers.stream import (
    STEP,
    Seen,
    Slopes,
    curvature_of_fit,
    learnt,
    unseen,
)
from ._solvers.stream import Plan as StreamPlan
from ._statistics.moments import column_moments
from ._statistics.scaling import Units, power_of_2, spread, to_original, to_scaled
from ._statistics.second_moments import (
    FEW_FEATURES,
    SecondMoments,
    merge,
    no_second_moments,
    second_moments,
    standardized,
)

SOLVERS = {"cholesky": cholesky.solve, "svrg": svrg.solve, "sgd": sgd.solve}
# Rows per step of a stream that "auto" stands for, with a preconditioner.
STREAM_BATCH = 512

# What every fitted model holds, and `partial_fit` goes on from.
FITTED = (
    *("coef_", "intercept_", "loss_history_", "distance_history_", "n_iter_", "t_", "lr_", "batch_size_", "converged_"),
    *("solver_", "n_features_in_", "_single_target", "_last", "_predicting", "_moments", "_curvature"),
    *("_lr_factor", "_stable_lr", "_seed"),
)

Rows: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix
Floats: TypeAlias = NDArray[np.floating]
Method = TypeVar("Method", bound=Callable[..., Any])


def _checking_parameters(method: Method) -> Method:
    """`method` in scikit-learn's context of a fit, which is untyped; with the type it had."""
    return _fit_context(prefer_skip_nested_validation=True)(method)


class MiniBatchRidgeSGD(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Ridge regression in closed form from one read of the rows, or by mini-batches, with its scaler inside.

    Minimises, over the coefficients `beta` of the standardised columns z = (x - mean) / std and the intercept b,

        F = 1/(2 W) sum_i w_i (z_i . beta + b - y_i)^2 + alpha/2 ||beta||^2,        W = sum_i w_i

    which is the objective of ``make_pipeline(StandardScaler(), Ridge(alpha=alpha * W))``, and gives the coefficients in the
    units of the original columns. The solvers "cholesky" and "svrg" reach the minimiser, whatever the batch size and the
    learning rate; "auto" takes one of them.

    Parameters
    ----------
    alpha : float, default=1e-4
        Strength of the penalty on the standardised coefficients, as in :class:`~sklearn.linear_model.SGDRegressor`.
        :class:`~sklearn.linear_model.Ridge` calls ``alpha * W`` alpha.
    solver : {"auto", "cholesky", "svrg", "sgd"}, default="auto"
        "auto" takes "cholesky" for up to 1,000 columns, and "svrg" above. It takes "svrg" too where `batch_size`, `lr`,
        `preconditioner` or `early_stopping` is set, and for sparse rows in memory with so few entries that passes over them
        cost less than products of the columns. "cholesky" solves the normal equations, from second moments gathered in one
        read of the rows. "svrg" takes preconditioned, variance-reduced mini-batch steps, combines them by conjugate
        gradients, and lands on the closed form. "sgd" is the textbook algorithm, for comparison and teaching.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch of "svrg" and "sgd"; more than there are means all of them. "cholesky" has no mini-batches. "auto"
        takes, for "svrg", 2048 or twice as many as there are columns, or all rows where those would be fewer than 8
        mini-batches, where rows come in chunks, or where the preconditioner is diagonal; for "sgd", 32. In `partial_fit`, 512
        for "svrg" with a preconditioner, otherwise 32.
    lr : float or "auto", default="auto"
        Learning rate of "svrg" and "sgd"; "cholesky" has none. "auto" takes 1 / (largest curvature of a mini-batch); in
        `partial_fit`, with "svrg" a step that falls like 1/t, with "sgd" the least of those rates over the chunks so far. In
        `fit` with "svrg" it is cut where it proves too large, and steps over all rows do not use it.
    lr_schedule : {"constant", "inverse_time", "compound"}, default="constant"
        For "sgd". In epoch e = 1, 2, ...: the rate is `lr`; ``lr / (1 + lr_decay * e)``; or is divided by
        ``1 + lr_decay * e`` again before every mini-batch. A call of `partial_fit` is an epoch.
    lr_decay : float, default=0.0
        For the last two schedules.
    preconditioner : int, "auto" or None, default="auto"
        For "svrg". An int is the rank of a randomised Nystrom approximation of the Hessian. "auto" takes the Hessian of a
        random sketch of the rows for up to 3000 columns, and rank 100 above; the Hessian itself where the first pass over
        chunks has left it (up to 1000 columns); and the diagonal for sparse rows with so many columns that a (d, d) matrix
        costs more than it saves. None does without. `partial_fit`, where it is not None, takes the sketch for up to 3000
        columns, and does without above.
    average : bool, default=False
        For "sgd": predict with a running average of the iterates in which step t has weight proportional to t.
    max_iter : int, default=100
        Largest number of epochs in `fit`. "cholesky" takes one, and more only where gradients from the rows refine it.
    tol : float or None, default=1e-6
        "svrg" stops when its predictions are, by its estimate, within `tol` standard deviations of y (root mean square) of
        those of the closed form, or so near that rounding errors hide the rest. "cholesky" refines its solution when rounding
        errors may have cost the predictions more than ``tol / 10`` standard deviations of y. "sgd" ends when F has not fallen
        by more than this fraction for `n_iter_no_change` epochs, for a better reason than a tiny learning rate. That tells
        nothing of the distance to the closed form: mini-batches at a constant rate keep F above its minimum by a noise that
        does not shrink. None runs `max_iter` epochs of "svrg" and "sgd", and one of
        "cholesky".
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, columns are scaled but not centred.
    standardize : bool, default=True
        Whether to divide columns by their standard deviation. If not, the penalty is on the original coefficients.
    shuffle : bool, default=True
        Whether to shuffle the rows, once; and in every epoch "svrg" the mini-batches, "sgd" the rows, from 8,000 rows on in
        groups of 8 where the batch size allows. For "cholesky" the order of the rows is of no account.
    early_stopping : bool, default=False
        Whether `fit` holds rows out, scores them (R^2) after every epoch, and returns the best epoch. "auto" takes "svrg"
        then; "cholesky" has one epoch to score.
    validation_fraction : float, default=0.1
        Fraction of the rows to hold out, drawn by their numbers to seven digits. Equal rows are held out together.
    n_iter_no_change : int, default=5
        Epochs without a gain of more than `tol` after which early stopping, and "sgd", stop.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one. "cholesky" needs no start: it makes a difference only where
        several coefficients fit alike, which with ``alpha=0`` they do if columns follow from others.
    random_state : int, RandomState instance or None, default=None
        For shuffling, the sketch and the held-out rows. "cholesky" needs it for held-out rows only, and where "svrg" finishes
        because columns follow from others.
    verbose : int, default=0
        1 prints a line per epoch: epoch, loss, distance to the closed form, seconds.
    n_jobs : int or None, default=None
        Threads that share out blocks of dense rows in memory in `fit`, for the moments and for the passes of "svrg"; -1 takes
        all cores. It changes no bit of the result.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units, in float64.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the columns, over all rows trained on.
    solver_ : str
        The solver of the last `fit` or `partial_fit`: what "auto" has taken, or `solver`.
    loss_history_ : ndarray of shape (n_epochs,)
        F after each epoch of the last `fit`, summed over the targets; empty after `partial_fit` alone.
    distance_history_ : ndarray of shape (n_epochs,)
        Distance of the predictions to those of the closed form, in standard deviations of y, after each epoch of the last
        `fit`. "cholesky": a bound on what rounding errors may have cost, and the estimates of the epochs that refine, if any.
        "svrg": the estimate that `tol` is held against. "sgd": empty.
    n_iter_ : int
        Epochs of the last `fit`, of which "cholesky" runs one unless gradients refine it; and calls of `partial_fit` since.
    t_ : int
        Steps taken: mini-batches, or for "cholesky" one a solution and one a refinement.
    lr_ : float
        Learning rate: as resolved, and cut if need was; 1.0 for "cholesky".
    batch_size_ : int
        Rows per mini-batch, as resolved; all rows for "cholesky".
    converged_ : bool
        "cholesky": whether rounding errors cost at most `tol`, by the bound or after refinement; `partial_fit` and `merge`
        tell too. "svrg": whether the last `fit` met `tol`, or came as near as float64 allows. "sgd": whether F stopped
        falling in the last `fit`, which promises no nearness to the closed form. With ``tol=None`` it is False.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the rows came in chunks: one for "cholesky", unless gradients refine it.
    validation_scores_ : list of float
        R^2 on the held-out rows after each epoch, with early stopping.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has string names.

    See Also
    --------
    sklearn.linear_model.Ridge : The closed form, of rows in memory.
    sklearn.linear_model.SGDRegressor : Single-row steps, several losses.

    Notes
    -----
    Weights act as repetitions: a weight of 2 is the row twice, 0 the row left out, and their overall scale is of no account.

    With ``alpha=0`` this is least squares. Where columns follow from others, or are more than the rows, many coefficients fit
    alike: those with the least norm in the units of the penalty are found, to which ever smaller `alpha` would lead (with
    `warm_start`, those nearest to the start).

    A column whose variance underflows float64 (it varies by less than 1e-154) is taken for constant, with a warning. Columns
    with a root mean square beyond 1e151, and targets with such a standard deviation, are refused by name.

    Second moments are the weighted means of the columns [x, y] and their centred products. Blocks of rows are centred before
    they are multiplied, and merged by the formulas of Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance". So they lose no digits where columns lie far from 0 or where chunks drift, and any order of merging gives the
    same, up to rounding. From them "cholesky" has the closed form; `partial_fit` with "auto" or "cholesky" leaves that of all
    rows so far after every call, and `merge` that of the rows of two models.

    Rounding errors of these products cost the predictions at most about eps (1 + ||D beta||) / sqrt(l) standard deviations of
    y, where D brings the columns to unit length and l is the least eigenvalue of the Hessian of such columns. Where that is
    more than ``tol / 10``, "cholesky" takes gradients from the rows, which have twice the digits, until they meet `tol`.

    The variance-reduced step is that of Johnson and Zhang (2013), "Accelerating stochastic gradient descent using predictive
    variance reduction"; the sketch that of Charikar, Chen and Farach-Colton (2002).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import MiniBatchRidgeSGD
    >>> X, y = load_diabetes(return_X_y=True, scaled=False)
    >>> model = MiniBatchRidgeSGD().fit(X, y)
    >>> print(f"{model.score(X, y):.4f} by {model.solver_}")
    0.5177 by cholesky
    >>> model = MiniBatchRidgeSGD(batch_size=32, random_state=0).fit(X, y)
    >>> print(f"{model.score(X, y):.4f} by {model.solver_}")
    0.5177 by svrg
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
        "alpha": [Number(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", "cholesky", "svrg", "sgd"})],
        "batch_size": [StrOptions({"auto"}), Number(Integral, 1, None, closed="left")],
        "lr": [StrOptions({"auto"}), Number(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "inverse_time", "compound"})],
        "lr_decay": [Number(Real, 0, None, closed="left")],
        "preconditioner": [StrOptions({"auto"}), None, Number(Integral, 1, None, closed="left")],
        "average": ["boolean"],
        "max_iter": [Number(Integral, 1, None, closed="left")],
        "tol": [None, Number(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Number(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Number(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [None, Number(Integral, None, None, closed="neither")],
    }

    _doc_link_module = "sklearn_minibatch"
    _doc_link_template = "https://sklearn-minibatch.readthedocs.io/en/stable/api.html#{estimator_module}.{estimator_name}"

    def __init__(
        self,
        alpha: float = 1e-4,
        *,
        solver: Literal["auto", "cholesky", "svrg", "sgd"] = "auto",
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
    def fit(self, X: Rows | Iterable[Any], y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to the rows of X: by "cholesky" in one read, by the other solvers in as many epochs as it takes.

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
            data = load_data(self, X, y, sample_weight, self._most_features(), rng)
            check_moments(data.moments)
            solver = self._solver_for(data.moments)
            scaling = self._scaling(data.moments, solver)
            problem = Problem(data.moments, scaling, data.make_rows)
            start = to_scaled(*self._start(len(data.moments.x.mean), len(data.moments.y.mean)), scaling)
            monitor = Monitor(scaling, data.validation, self.tol, self.n_iter_no_change, self.verbose, task, self._attributes)
            publish = partial(self._publish_fit, monitor, problem, solver, data.chunks, rng)
            attempt.if_interrupted(publish)
            solution = SOLVERS[solver](problem, start, self._settings(), rng, monitor)
            monitor.checkpoint(solution)
            publish()
            if solution.warning is not None:
                warnings.warn(solution.warning, ConvergenceWarning, stacklevel=3)
        return self

    def _most_features(self) -> float | None:
        """Up to how many columns second moments are wanted; None: where they pay."""
        if self.solver == "cholesky":
            return np.inf
        return None if self.solver == "auto" and not self._asks_for_mini_batches() else 0

    def _asks_for_mini_batches(self) -> bool:
        """Whether a parameter has been set that has no meaning without mini-batches, or epochs."""
        chosen = self.batch_size != "auto" or self.lr != "auto" or self.preconditioner != "auto"
        return chosen or self.early_stopping

    def _solver_for(self, moments: SecondMoments) -> str:
        """The solver that "auto" stands for."""
        if self.solver != "auto":
            return self.solver
        return "svrg" if moments.xx is None or self._asks_for_mini_batches() else "cholesky"

    def _settings(self) -> Settings:
        return Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})

    def _publish_fit(self, monitor: Monitor, problem: Problem, solver: str, chunks: Any, rng: np.random.RandomState) -> bool:
        """Publish where the fit stands, at its end or at that of its last complete epoch; False where there is none."""
        if monitor.last_checkpoint is None:
            return False
        solution, n_epochs, best = monitor.last_checkpoint
        last = to_original(*solution.last, problem.scaling)
        predicting = to_original(*solution.predicting, problem.scaling)
        if best is not None:
            last = predicting = best
        self._publish(last, predicting, problem.moments)
        self._publish_solution(solution, solver, problem)
        losses, distances = monitor.histories()
        self.loss_history_ = losses[:n_epochs]
        self.distance_history_ = distances[:n_epochs]
        self.n_iter_ = n_epochs
        self._seed = rng.randint(2**31)
        for name in ("validation_scores_", "n_passes_"):
            self.__dict__.pop(name, None)
        if self.early_stopping:
            self.validation_scores_ = monitor.scores[:n_epochs]
        if chunks is not None:
            self.n_passes_ = chunks.n_passes
        return True

    def _publish_solution(self, solution: Solution, solver: str, problem: Problem) -> None:
        self.solver_ = solver
        self.t_ = solution.n_steps
        self.lr_ = float(solution.lr)
        self.batch_size_ = solution.batch_size
        self.converged_ = solution.converged
        self._lr_factor = solution.lr_factor
        self._stable_lr = solution.stable_lr
        self._curvature = None
        if solver == "svrg":
            self._curvature = curvature_of_fit(solution.preconditioner, problem.moments.x, problem.scaling)

    @_checking_parameters
    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows, which may then be forgotten.

        With solver "auto" or "cholesky", the model is after every call what `fit` gives on all rows so far, however they
        were cut into chunks; there may be fewer rows than columns. "auto" does so for up to 1,000 columns. The model keeps
        the second moments of the rows, a (d, d) matrix for d columns, and factors it in every call.

        With "svrg", which "auto" takes as in `fit`, and with "sgd", it takes one pass of mini-batch steps over the chunk,
        which come near the closed form but do not land on it. With "svrg" the model, and so a pickle of it, may hold up to
        511 of the last rows until they enter the sketch.

        The scaler runs along with the rows of all calls. May be the first call, follow others, or follow `fit`. If `solver`
        has been changed in between, "svrg" and "sgd" go on from where the model stands; "auto" goes on with "svrg" where
        some rows have been learnt without their second moments.

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
            If X, y or the weights do not fit what came before, the steps of solver "sgd" diverge, or `solver` has become
            "cholesky" after rows without second moments; the estimator is then as it was.
        KeyboardInterrupt
            If interrupted. The estimator is then as it was, and the chunk may be handed over again; `n_iter_`, which counts
            the chunks, tells of an interrupt that came just after the end.
        """
        task = Task(self, "partial_fit", 0, X, y, sample_weight)
        with np.errstate(all="ignore"), AllOrNothing(self), task:
            first = not hasattr(self, "coef_")
            self._check_parameters()
            X, y, w, _ = validated(self, X, y, sample_weight, reset=first, finite=False)
            if first:
                self._begin_stream(X, y)
            solver = self._stream_solver()
            exact = solver == "cholesky"
            chunk = second_moments(X, y, w) if exact else SecondMoments(column_moments(X, w), column_moments(y, w))
            look_if_not_finite(self, chunk, X, y)
            moments = merge(self._moments, chunk)
            check_moments(moments)
            if exact:
                last, mean = self._learn_exactly(moments)
                self.t_ += 1
            else:
                step = self._stream_svrg if solver == "svrg" else self._stream_sgd
                last, mean = step(X, y, w, moments)
            self._publish(last, mean, moments)
            self.solver_ = solver
            self.n_iter_ += 1
        return self

    def _stream_solver(self) -> str:
        """The solver to go on with: "auto" is exact as long as the model holds the products of all its columns."""
        if self.solver in ("svrg", "sgd"):
            return self.solver
        if self.solver == "auto" and (self._asks_for_mini_batches() or self._moments.xx is None):
            return "svrg"
        if self._moments.xx is None:
            raise ValueError(
                "solver='cholesky' needs the second moments of all rows so far, which steps of mini-batches did not keep. "
                "Fit anew, or go on with solver='auto' or 'svrg'."
            )
        return "cholesky"

    def merge(self, other: Self) -> Self:
        """Learn the rows that another model has learnt, from its second moments.

        The model is then what `fit` gives on the rows of both, in any order of merging: shards can be fitted by other
        processes or machines and reduced. `other` stays as it is.

        Parameters
        ----------
        other : MiniBatchRidgeSGD
            Fitted by "cholesky" (which "auto" takes for few columns) like this one, with the same columns, targets and
            parameters; `random_state`, `verbose` and `n_jobs` may differ.

        Returns
        -------
        self : MiniBatchRidgeSGD
            With the rows of both.

        Raises
        ------
        ValueError
            If the two do not go together; this one is then as it was.
        NotFittedError
            If one of them is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn_minibatch import MiniBatchRidgeSGD
        >>> X, y = load_diabetes(return_X_y=True, scaled=False)
        >>> shards = [MiniBatchRidgeSGD().fit(X[i::4], y[i::4]) for i in range(4)]
        >>> model = shards[0]
        >>> for shard in shards[1:]:
        ...     model = model.merge(shard)
        >>> bool(abs(model.coef_ - MiniBatchRidgeSGD().fit(X, y).coef_).max() < 1e-12)
        True
        """
        check_is_fitted(self)
        check_is_fitted(other)
        with np.errstate(all="ignore"), AllOrNothing(self):
            check_mergeable(self, other)
            moments = merge(self._moments, other._moments)
            check_moments(moments)
            last, mean = self._learn_exactly(moments)
            self._publish(last, mean, moments)
            self.solver_ = "cholesky"
            self.n_iter_ += other.n_iter_
            self.t_ += other.t_
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
        self._moments = no_second_moments(d, t)
        if self.solver != "cholesky" and d > FEW_FEATURES:
            self._moments = self._moments._replace(xx=None)
        self._last, self._curvature = (np.zeros((d, t)), np.zeros(t)), None
        self._predicting, self._lr_factor, self._stable_lr = self._last, 1.0, np.inf
        self._seed = check_random_state(self.random_state).randint(2**31)
        self.loss_history_ = self.distance_history_ = np.empty(0)
        self.n_iter_ = self.t_ = 0
        self.converged_ = False

    def _learn_exactly(self, moments: SecondMoments) -> tuple[Parameters, Parameters]:
        """The closed form of all rows so far, twice: nothing is averaged."""
        scaling = self._scaling(moments, "cholesky")
        closed = cholesky.closed_form(standardized(moments, scaling), self.alpha)
        solution = cholesky.exact_solution(closed, moments.x.n_rows, self.tol)
        self.lr_ = solution.lr
        self.batch_size_ = solution.batch_size
        self.converged_ = solution.converged
        self._curvature = None
        last = to_original(*solution.last, scaling)
        return last, last

    def _order(self, n_rows):
        """A generator for this chunk, and the order of its rows."""
        rng = np.random.default_rng((self._seed, self.n_iter_))
        return rng, rng.permutation(n_rows) if self.shuffle and n_rows > 1 else np.arange(n_rows)

    def _stream_svrg(self, X, y, w, second):
        # A copy: moments keep their scale once it is asked for, and a call that fails changes no byte.
        before = self._seen(replace(self._moments.x), replace(self._moments.y))
        now = self._seen(second.x, second.y)
        rng, order = self._order(len(y))
        w = np.ones(len(y)) if w is None else w
        curvature = self._curvature_so_far(now.x)
        batch_size = self.batch_size
        if batch_size == "auto":
            # Without a preconditioner it is the number of steps that counts.
            bare = curvature.sketch is None and isinstance(curvature.P, Identity)
            batch_size = sgd.BATCH_SIZE if bare else STREAM_BATCH
        lr = None if self.lr == "auto" else self.lr
        plan = StreamPlan(self.alpha, batch_size, lr, self._seen)
        slopes = Slopes(self._last[0], self._predicting[0])
        slopes, curvature = learnt(X, y, w, order, slopes, curvature, before, now, plan, rng)
        self._curvature = curvature
        self.batch_size_ = batch_size
        self.lr_ = STEP * min(batch_size, len(y)) / now.x.n_rows if lr is None else float(lr)
        self.t_ += -(-len(y) // batch_size)
        return [(coef, now.units.y_mean - now.units.x_mean @ coef) for coef in slopes]

    def _seen(self, x, y):
        """The moments of x and of y, with the scaled units that they make."""
        return Seen(x, y, self._scaling(SecondMoments(x, y), "svrg"))

    def _curvature_so_far(self, first):
        """What the stream knows of the Hessian; `first` are the moments of all rows."""
        if self._curvature is not None:
            return self._curvature
        if self._moments.xx is None or self._moments.x.n_rows == 0:
            return unseen(first, self.preconditioner)
        scaling = self._scaling(self._moments, "svrg")
        P = of_gram(standardized(self._moments, scaling).zz, self.alpha)
        return curvature_of_fit(P, self._moments.x, scaling)

    def _stream_sgd(self, X, y, w, second):
        units = self._scaling(second, "sgd")
        moments, y_moments = second.x, second.y
        rng, order = self._order(len(y))
        batch_size = sgd.BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        rows = in_memory(X, y, w, units, self.fit_intercept, moments.weight / moments.n_rows, order)
        if self.lr == "auto":
            self._stable_lr = min(self._stable_lr, stable_rate(rows, batch_size, self.alpha, rng))
        lr = self._stable_lr if self.lr == "auto" else float(self.lr)
        last, predicting = [to_scaled(*self._without_intercept(*each), units) for each in (self._last, self._predicting)]
        before = iterate(last, predicting, self.t_)
        settings = replace(self._settings(), batch_size=batch_size)
        lrs, next_lr = sgd.rates(rows, lr * self._lr_factor, self.n_iter_ + 1, settings)
        at = one_epoch(rows, before, lrs, settings, None)
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

    @overload
    def predict(self, X: ChunkSource | Iterator[Any]) -> Iterator[Floats]: ...

    @overload
    def predict(self, X: Rows) -> Floats: ...

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Rows. A source, as in `fit`, may also be an iterator that is read once; its chunks are tuples that begin with X,
            or are X alone.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets), or iterator over such arrays
            ``X @ coef_.T + intercept_``; lazy, if X is a Dask collection. Of a source, an iterator over the predictions of
            one chunk after the other, each read when it is asked for. A warning says so if some are not finite.

        Raises
        ------
        NotFittedError
            If there was no `fit` or `partial_fit`.
        ValueError
            If X has other columns, NaN or infinity; of a source, when that chunk is reached.
        """
        check_is_fitted(self)
        n_targets = None if self.coef_.ndim == 1 else len(self.coef_)
        if is_dask(X):
            from ._data.dask import predict_lazily

            return predict_lazily(worker_copy(self).predict, X, n_targets)
        if holds_chunks(X):
            return predicted_chunks(worker_copy(self).predict, X, n_targets)
        check_kinds(X=X)
        with np.errstate(over="ignore", invalid="ignore"), naming_text(X):
            X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
            predictions = X @ self.coef_.T + self.intercept_
        if not np.isfinite(predictions).all():
            warnings.warn(
                "Some predictions are not finite: there, X is too large for the coefficients.", UserWarning, stacklevel=2
            )
        return predictions

    def score(self, X: Rows | Iterable[Any], y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """R^2 of the predictions: 1 for perfect ones, 0 for those of the mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Rows, as in `fit`, wherever they are. A source is read once, and may be an iterator.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; left out for a source, which has its own.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; those of a source are in its chunks.

        Returns
        -------
        score : float
            As by `sklearn.metrics.r2_score`, with several targets the mean over them. It is computed at once, also of Dask
            collections.

        Raises
        ------
        NotFittedError
            If there was no `fit` or `partial_fit`.
        ValueError
            If X, y or the weights are not as above.
        """
        check_is_fitted(self)
        check_alone(X, y, "score")
        chunks = chunks_to_score(self, X, y, sample_weight)
        if chunks is not None:
            return r2_of_chunks(chunks, self)
        if y is None:
            raise ValueError("score(X, y) requires y to be passed, but the target y is None.")
        check_kinds(y=y, sample_weight=sample_weight)
        return float(r2_score(y, self.predict(X), sample_weight=sample_weight))

    def _scaling(self, moments: SecondMoments, solver: str) -> Units:
        """The scaled units to fit in.

        The textbook solver leaves columns that it is told not to scale as they are. It divides all targets by one power of 2,
        which changes no digit of what it does, and keeps the squares of its residuals within the range of numbers.
        """
        x, y = moments.x, moments.y
        d, t = len(x.mean), len(y.mean)
        textbook = solver == "sgd"
        centred = self.fit_intercept and (self.standardize or not textbook)
        return Units(
            x.mean if centred else np.zeros(d),
            x.scale if self.standardize else np.ones(d),
            y.mean if self.fit_intercept and not textbook else np.zeros(t),
            np.full(t, power_of_2(spread(y))) if textbook else spread(y),
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

    def _publish(self, last: Parameters, mean: Parameters, moments: SecondMoments) -> None:
        """Keep what `partial_fit` goes on from, and show it in the shapes and under the names of scikit-learn."""
        if not all(np.isfinite(part).all() for part in (*last, *mean)):
            raise ValueError(
                "The coefficients have left the range of floating-point numbers: the values of X, or their units next to "
                "those of y, lie too many orders of magnitude apart. Divide columns by constants, or take a larger alpha."
            )
        self._last = last
        self._predicting = mean
        self._moments = moments
        self.coef_, self.intercept_ = self._in_shape(*mean)

    @property
    def scaler_(self) -> StandardScaler:
        """The running moments of the columns as a StandardScaler."""
        check_is_fitted(self, "_moments")
        moments = self._moments.x
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
