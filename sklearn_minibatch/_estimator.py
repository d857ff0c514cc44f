"""The scikit-learn estimator: its parameters, and the way of the data through the other modules."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ._data.load import TrainingData, load_data
from ._data.validation import (
    Number,
    are_moderate,
    check_can_learn,
    check_mergeable,
    check_moments,
    look_if_not_finite,
    may_overflow,
    validated,
)
from ._linear_model import Floats, Rows, ScaledLinearModel, check_parameters, checking_parameters
from ._rows.chunk import Chunk
from ._run.callbacks import CallbackSupportMixin, Task
from ._run.monitor import Checkpoint, Monitor
from ._run.rollback import AllOrNothing
from ._run.warn_once import warn_once
from ._solvers.choose import SOLVERS, choose_for_stream, unused_settings
from ._solvers.problem import Parameters, Problem, Settings, without_intercept
from ._solvers.state import Answer, ModelState, learn_exactly, with_products
from ._statistics.arrays import place_of
from ._statistics.scaling import to_original, to_scaled
from ._statistics.second_moments import (
    merge,
    moments_of_columns,
    no_column_moments,
    no_second_moments,
)


class MiniBatchRidgeSGD(CallbackSupportMixin, ScaledLinearModel):
    """Ridge regression with its scaler inside, in closed form from one read, or by mini-batches.

    Minimises, over the coefficients `beta` of the standardised columns z = (x - mean) / std and the
    intercept b,

        F = 1/(2 W) sum_i w_i (z_i . beta + b - y_i)^2 + alpha/2 ||beta||^2,        W = sum_i w_i

    which is the objective of ``make_pipeline(StandardScaler(), Ridge(alpha=alpha * W))``, and gives
    the coefficients in the units of the original columns. The solvers "cholesky" and "svrg" reach
    the minimiser, whatever the batch size and the learning rate; "auto" takes one of them.

    Parameters
    ----------
    alpha : float, default=1e-4
        Strength of the penalty on the standardised coefficients, as in
        :class:`~sklearn.linear_model.SGDRegressor`. :class:`~sklearn.linear_model.Ridge` calls
        ``alpha * W`` alpha.
    solver : {"auto", "cholesky", "svrg", "sgd"}, default="auto"
        "auto" takes "cholesky" for up to 1,000 columns, and up to 3,000 if the rows are dense and
        in memory; otherwise "svrg". It takes "svrg" too if `batch_size`, `lr`, `preconditioner` or
        `early_stopping` is set, and for sparse rows in memory with so few entries that passes over
        them cost less than products of the columns.
        "cholesky" solves the normal equations, from second moments gathered in one read of the
        rows. "svrg" takes preconditioned, variance-reduced mini-batch steps, combines them by
        conjugate gradients, and lands on the closed form. "sgd" is the textbook algorithm, for
        comparison and teaching.
    batch_size : int or "auto", default="auto"
        Samples per mini-batch of "svrg" and "sgd". Values above n_samples use all samples; in
        `partial_fit` with "sgd", all of the chunk. "cholesky" has no mini-batches. "sgd" divides
        the sum over a last, smaller mini-batch by `batch_size` too. "auto" takes, for "svrg", 2048
        or twice as many as there are columns, or all rows where those would be fewer than 8
        mini-batches, where rows come in chunks, or where the preconditioner is diagonal; for "sgd",
        32. In `partial_fit`, 512 for "svrg" with a preconditioner, or half as many as there are
        columns if that is more and the preconditioner is a sketch; otherwise 32.
    lr : float or "auto", default="auto"
        Learning rate of "svrg" and "sgd"; "cholesky" has none. "auto" takes 1 / (largest curvature
        of a mini-batch); in `partial_fit` with "svrg", a step that falls like 1/t. In `fit` it is
        reduced automatically if it is too large; full-batch steps of "svrg" ignore it. With "sgd"
        it is stable for plain steps; in `partial_fit` it is found anew for each chunk, and
        coefficients of columns whose scale has more than doubled shrink.
    lr_schedule : {"constant", "inverse_time", "compound"}, default="constant"
        For "sgd". In epoch e = 1, 2, ...: the rate is `lr`; ``lr / (1 + lr_decay * e)``; or is
        divided by ``1 + lr_decay * e`` again before every mini-batch. A call of `partial_fit` is an
        epoch.
    lr_decay : float, default=0.0
        For the last two schedules.
    preconditioner : int, "auto" or None, default="auto"
        For "svrg". An int is the rank of a randomised Nystrom approximation of the Hessian. "auto"
        takes the Hessian of a random sketch of the rows for up to 3000 columns, and rank 100 above;
        the Hessian itself where the first pass over chunks has left it (up to 1000 columns); and
        the diagonal for sparse rows with so many columns that a (d, d) matrix costs more than it
        saves. None does without. `partial_fit`, where it is not None, takes the sketch for up to
        3000 columns, and does without above.
    average : bool or "auto", default="auto"
        For "sgd". True: predict with a running average of the iterates in which step t has weight
        proportional to t. False: predict with the last iterate. "auto" does so too if `lr` or a
        schedule is set. If not, steps start from the prediction of the mean. `fit` then predicts
        with the average, the last iterate or the mean, whichever has the lowest F for the target,
        and `partial_fit` with the average.
    max_iter : int, default=100
        Largest number of epochs in `fit`. "cholesky" takes one, and more only where gradients from
        the rows refine it.
    tol : float or None, default=1e-6
        "svrg" stops when its predictions are, by its estimate, within `tol` standard deviations of
        y (root mean square) of those of the closed form, or so near that rounding errors hide the
        rest. "cholesky" refines its solution when rounding errors may have cost the predictions
        more than ``tol / 10`` standard deviations of y. "sgd" ends when F has not fallen by more
        than this fraction for `n_iter_no_change` epochs, nor by more than a thousandth of the noise
        (F of the last iterate less that of what predicts). Epochs of tiny steps do not count. This
        criterion does not bound the distance to the minimum. None runs `max_iter` epochs of "svrg"
        and "sgd", and one of "cholesky".
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, columns are scaled but not
        centred.
    standardize : bool, default=True
        Whether to divide columns by their standard deviation. If not, the penalty is on the
        original coefficients.
    shuffle : bool, default=True
        Whether to shuffle the rows, once; and in every epoch "svrg" the mini-batches, "sgd" the
        rows, from 8,000 rows on in groups of 8 where the batch size allows. For "cholesky" the
        order of the rows is of no account.
    early_stopping : bool, default=False
        Whether `fit` holds rows out, scores them (R^2) after every epoch, and returns the best
        epoch. "auto" takes "svrg" then; "cholesky" has one epoch to score.
    validation_fraction : float, default=0.1
        Fraction of the rows to hold out, drawn by their numbers to seven digits. Equal rows are
        held out together.
    n_iter_no_change : int, default=5
        Epochs without a gain of more than `tol` after which early stopping, and "sgd", stop.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one. "cholesky" needs no start: it
        makes a difference only where several coefficients fit alike, which with ``alpha=0`` they do
        if columns follow from others.
    random_state : int, RandomState instance or None, default=None
        For shuffling, the sketch and the held-out rows. "cholesky" needs it for held-out rows only,
        and where "svrg" finishes because columns follow from others.
    verbose : int, default=0
        1 prints a line per epoch: epoch, loss, distance to the closed form, seconds.
    n_jobs : int or None, default=None
        Threads that share out blocks of dense rows in memory in `fit`, for the moments and for the
        passes of "svrg"; -1 takes all cores. It changes no bit of the result.

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
        F after each epoch of the last `fit`, summed over the targets; empty after `partial_fit`
        alone.
    distance_history_ : ndarray of shape (n_epochs,)
        Distance of the predictions to those of the closed form, in standard deviations of y, after
        each epoch of the last `fit`. "cholesky": a bound on what rounding errors may have cost, and
        the estimates of the epochs that refine, if any. "svrg": the estimate that `tol` is held
        against. "sgd": empty.
    n_iter_ : int
        Epochs of the last `fit`, of which "cholesky" runs one unless gradients refine it; and calls
        of `partial_fit` since.
    t_ : int
        Steps taken: mini-batches, or for "cholesky" one a solution and one a refinement.
    lr_ : float
        Learning rate: as resolved, and cut if need was; 1.0 for "cholesky".
    batch_size_ : int
        Rows per mini-batch, as resolved; all rows for "cholesky".
    converged_ : bool
        Whether the model met the stopping rule of its solver, see `tol`. By "cholesky" and "svrg"
        the predictions are then within `tol` of those of the closed form, or as near as float64
        allows. By "sgd" F has stopped falling, and the model is no worse than the prediction of the
        mean; that promises no nearness to the closed form. It is False with ``tol=None``, after
        `partial_fit` by "svrg" or "sgd", and where early stopping has returned an earlier epoch
        than the last.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the rows came in chunks: one for "cholesky", unless
        gradients refine it.
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
    Weights act as repetitions: a weight of 2 is the row twice, 0 the row left out, and their
    overall scale is of no account.

    With ``alpha=0`` this is least squares. Where columns follow from others, or are more than the
    rows, many coefficients fit alike: those with the least norm in the units of the penalty are
    found, to which ever smaller `alpha` would lead (with `warm_start`, those nearest to the start).

    A column whose variance underflows float64 (it varies by less than 1e-154) is taken for
    constant, with a warning. Columns with a root mean square beyond 1e151, and targets with such a
    standard deviation, are refused by name.

    Second moments are the weighted means of the columns [x, y] and their centred products. Blocks
    of rows are centred before they are multiplied, and merged by the formulas of Chan, Golub and
    LeVeque (1983), "Algorithms for computing the sample variance". So they lose no digits where
    columns lie far from 0 or where chunks drift, and any order of merging gives the same, up to
    rounding. From them "cholesky" has the closed form; `partial_fit` with "auto" or "cholesky"
    leaves that of all rows so far after every call, and `merge` that of the rows of two models.

    Rounding errors of these products cost the predictions at most about eps (1 + ||D beta||) /
    sqrt(l) standard deviations of y, where D brings the columns to unit length and l is the least
    eigenvalue of the Hessian of such columns. Where that is more than ``tol / 10``, "cholesky"
    takes gradients from the rows, which have twice the digits, until they meet `tol`.

    The variance-reduced step is that of Johnson and Zhang (2013), "Accelerating stochastic gradient
    descent using predictive variance reduction"; the sketch that of Charikar, Chen and
    Farach-Colton (2002).

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

    _checked: list[Any] | None
    _state: ModelState

    _parameter_constraints = {
        "alpha": [Number(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", "cholesky", "svrg", "sgd"})],
        "batch_size": [StrOptions({"auto"}), Number(Integral, 1, None, closed="left")],
        "lr": [StrOptions({"auto"}), Number(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "inverse_time", "compound"})],
        "lr_decay": [Number(Real, 0, None, closed="left")],
        "preconditioner": [StrOptions({"auto"}), None, Number(Integral, 1, None, closed="left")],
        "average": ["boolean", StrOptions({"auto"})],
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
        average: bool | Literal["auto"] = "auto",
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

    @checking_parameters
    def fit(
        self,
        X: Rows | Iterable[Any],
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit to the rows of X.

        "cholesky" reads them once; the other solvers take as many epochs as they need.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Rows; CSR matrices of float64, and arrays of float32 and float64, are used as they are.
            Under scikit-learn's array API dispatch, so are PyTorch tensors and other arrays on
            their device; `coef_`, `intercept_` and the histories are then there too. A
            `numpy.memmap` that takes more than half of the memory is read in chunks. Dask arrays
            and dataframes, together with `y`, stay on their workers. With `y` left out, a
            :class:`ChunkSource`, or another object that can be iterated again and again over chunks
            ``(X, y)`` or ``(X, y, sample_weight)``.
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
            If interrupted. The estimator then holds the last complete epoch, with `converged_`
            False: it predicts, and goes on by `partial_fit`, or by `fit` with ``warm_start=True``.
            Before the end of the first epoch it is as it was.
        """
        task = Task(self, "fit", self.max_iter, X, y, sample_weight)
        # Silence floating-point warnings; results are checked for finiteness.
        with np.errstate(all="ignore"), AllOrNothing(self) as attempt, task:
            self._checked = None
            rng = check_random_state(self.random_state)
            settings = self._settings()
            data = load_data(self, X, y, sample_weight, settings, rng)
            check_moments(data.moments)
            x, y_moments = data.moments.x, data.moments.y
            solver = SOLVERS[data.choice.solver]
            scaling = solver.scaling(x, y_moments, self.fit_intercept, self.standardize)
            problem = Problem(data.moments, scaling, data.make_rows, data.read_factor)
            start = to_scaled(*self._start(len(x.mean), len(y_moments.mean)), scaling)
            monitor = Monitor(
                scaling,
                data.validation,
                self.tol,
                self.n_iter_no_change,
                self.verbose,
                task,
                partial(self._fitted_state, data, problem, settings),
            )
            attempt.if_interrupted(partial(self._publish_epoch, monitor))
            solution = data.choice.solve(problem, start, settings, rng, monitor)
            monitor.checkpoint(solution)
            self._publish_epoch(monitor)
            if unused := unused_settings(settings, data.choice.solver):
                warn_once(unused)
            if solution.warning is not None:
                warnings.warn(solution.warning, ConvergenceWarning, stacklevel=3)
        return self

    def _settings(self) -> Settings:
        return Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})

    def _fitted_state(
        self, data: TrainingData, problem: Problem, settings: Settings, epoch: Checkpoint
    ) -> ModelState:
        """Return the state as if the fit had ended with this epoch."""
        solution = epoch.solution
        last = epoch.best or to_original(*solution.last, problem.scaling)
        predicting = epoch.best or to_original(*solution.predicting, problem.scaling)
        is_last = epoch.best is None or int(np.argmax(epoch.scores)) == len(epoch.scores) - 1
        return ModelState(
            self._single_target,
            data.place(np.empty(0)),
            data.keep(problem),
            data.choice.solver,
            settings,
            Answer(last, predicting, solution.converged and is_last, solution.warning),
            n_chunks=len(epoch.losses),
            n_steps=solution.n_steps,
            lr=float(solution.lr),
            batch_size=solution.batch_size,
            lr_factor=solution.lr_factor,
            n_averaged=solution.n_averaged,
            losses=epoch.losses,
            distances=epoch.distances,
            scores=epoch.scores if self.early_stopping else None,
            n_passes=None if data.chunks is None else data.chunks.n_passes,
        )

    def _publish_epoch(self, monitor: Monitor) -> bool:
        """Publish the last complete epoch, which at the end of a fit is its result.

        Return False if no epoch is complete.
        """
        if monitor.last_checkpoint is None:
            return False
        state = monitor.state_at(monitor.last_checkpoint)
        check_parameters(state.predicting)
        self._state = state
        return True

    @checking_parameters
    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows, which may then be forgotten.

        With solver "auto" or "cholesky", the model is after every call what `fit` gives on all rows
        so far, however they were cut into chunks; there may be fewer rows than columns. "auto" does
        so for up to 1,000 columns. The model keeps the second moments of the rows, a (d, d) matrix
        for d columns, and factors it in every call.

        With "svrg", which "auto" takes as in `fit`, and with "sgd", it takes one pass of mini-batch
        steps over the chunk, which come near the closed form but do not land on it. With "svrg" the
        model, and so a pickle of it, may hold up to 511 of the last rows until they enter the
        sketch.

        The scaler runs along with the rows of all calls. May be the first call, follow others, or
        follow `fit`. If `solver` has been changed in between, "svrg" and "sgd" go on from where the
        model stands; "auto" goes on with "svrg" where some rows have been learnt without their
        second moments.

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
            If X, y or the weights do not fit what came before, the steps of solver "sgd" diverge,
            or `solver` has become "cholesky" after rows without second moments; the estimator is
            then as it was.
        KeyboardInterrupt
            If interrupted. The estimator is then as it was, and the chunk may be handed over again;
            `n_iter_`, which counts the chunks, tells of an interrupt that came just after the end.
        """
        task = Task(self, "partial_fit", 0, X, y, sample_weight)
        with np.errstate(all="ignore"), AllOrNothing(self), task:
            first = not hasattr(self, "_state")
            check_can_learn(self)
            are_new = self._check_parameters()
            rows = validated(self, X, y, sample_weight, reset=first, finite=False)
            settings = self._settings()
            d, t = rows.X.shape[1], rows.y.shape[1]
            has_products = first or self._state.has_products
            solver, is_exact = choose_for_stream(d, has_products, settings)
            example = place_of(rows.X)(np.empty(0))
            before = self._nothing_learnt(d, t, example, is_exact) if first else self._state
            chunk = Chunk(before.n_chunks + 1, rows.X, rows.y, rows.w)
            shown = {"solver": solver, "settings": settings, "example": example}
            if is_exact:
                state = learn_exactly(chunk, before, **shown)
                self._check_learnt(chunk, state, X, y)
            else:
                state = replace(self._steps(chunk, before, solver, settings, X, y), **shown)
            self._state = state
            if are_new and (warning := unused_settings(settings, solver)):
                warn_once(warning)
            if state.given is not None and state.given.warning is not None:
                warnings.warn(state.given.warning, ConvergenceWarning, stacklevel=3)
        return self

    def _check_learnt(self, chunk: Chunk, state: ModelState, X: Any, y: Any) -> None:
        """Raise ValueError now for what would go wrong when the state is solved."""
        if state.waiting and are_moderate(chunk) and not may_overflow(state.moments):
            return
        look_if_not_finite(self, state.statistics, X, y)
        check_moments(state.statistics)
        if may_overflow(state.statistics):
            check_parameters(state.predicting)

    def _steps(
        self, chunk: Chunk, before: ModelState, solver: str, settings: Settings, X: Any, y: Any
    ) -> ModelState:
        """Return the state after steps of mini-batches over a chunk."""
        learn = SOLVERS[solver].learn
        assert learn is not None
        moments = moments_of_columns(chunk.X, chunk.y, chunk.w)
        look_if_not_finite(self, moments, X, y)
        known = before.statistics
        if before.has_products:
            known = with_products(known).of_columns
        moments = merge(known, moments)
        check_moments(moments)
        if before.seed is None:
            seed = check_random_state(self.random_state).randint(2**31)
            before = replace(before, seed=seed, given=before.answer)
        state = learn(chunk, before, moments, settings)
        check_parameters(state.predicting)
        return state

    def merge(self, other: Self) -> Self:
        """Learn the rows that another model has learnt, from its second moments.

        The model is then what `fit` gives on the rows of both, in any order of merging: shards can
        be fitted by other processes or machines and reduced. `other` stays as it is.

        Parameters
        ----------
        other : MiniBatchRidgeSGD
            Fitted by "cholesky" (which "auto" takes for few columns) like this one, with the same
            columns, targets and parameters; `random_state`, `verbose` and `n_jobs` may differ.

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
            moments = merge(*(with_products(each._state.statistics) for each in (self, other)))
            check_moments(moments)
            self._state = replace(
                self._state,
                moments=moments,
                settings=self._settings(),
                given=None,
                waiting=(),
                n_chunks=self._state.n_chunks + other._state.n_chunks,
                n_steps=self._state.n_steps + other._state.n_steps + 1,
                lr=1.0,
                batch_size=moments.x.n_rows,
            )
            if may_overflow(moments):
                check_parameters(self._state.predicting)
        return self

    def _check_parameters(self) -> bool:
        """Check the parameters, if any is new since the last call, and return whether one is.

        Scikit-learn does not check those of a fitted estimator.
        """
        parameters = [getattr(self, name) for name in self._parameter_constraints]
        checked = getattr(self, "_checked", None) or [None] * len(parameters)
        # 32.0 equals 32, but is no batch size.
        are_new = any(
            type(new) is not type(old) or new != old
            for new, old in zip(parameters, checked, strict=True)
        )
        if are_new:
            self._validate_params()
            self._checked = parameters
        return are_new

    def _nothing_learnt(self, d: int, t: int, example: Any, is_exact: bool) -> ModelState:
        """The state before any row."""
        moments = no_second_moments(d, t) if is_exact else no_column_moments(d, t)
        zero = (np.zeros((d, t)), np.zeros(t))
        given = Answer(zero, zero, False)
        single = self._single_target
        return ModelState(single, example, moments, self.solver, self._settings(), given)

    def _start(self, *shape: int) -> Parameters:
        """Coefficients (d, t) and intercept (t,) to start from."""
        if not (self.warm_start and hasattr(self, "_state")):
            return np.zeros(shape), np.zeros(shape[1])
        predicting = self._state.answer.predicting
        before = predicting[0].shape
        if before != shape:
            raise ValueError(
                f"warm_start=True, but the last fit had {before} (features, targets) and this one "
                f"has {shape}. Set warm_start=False to start anew."
            )
        return without_intercept(predicting, self.fit_intercept)

    @property
    def solver_(self) -> str:
        """The solver that was used."""
        return self._known("solver_").solver

    @property
    def loss_history_(self) -> Floats:
        """F after each epoch of the last fit."""
        state = self._known("loss_history_")
        return state.placed(state.losses)

    @property
    def distance_history_(self) -> Floats:
        """Distance of the predictions from the closed form after each epoch."""
        state = self._known("distance_history_")
        return state.placed(state.distances)

    @property
    def n_iter_(self) -> int:
        """Epochs and calls of `partial_fit`."""
        return self._known("n_iter_").n_chunks

    @property
    def t_(self) -> int:
        """Steps taken."""
        return self._known("t_").n_steps

    @property
    def lr_(self) -> float:
        """Learning rate used."""
        return self._known("lr_").lr

    @property
    def batch_size_(self) -> int:
        """Samples per mini-batch."""
        return self._known("batch_size_").batch_size

    @property
    def converged_(self) -> bool:
        """Whether the model met the stopping rule of its solver."""
        return self._solved("converged_").answer.converged

    @property
    def n_passes_(self) -> int:
        """Passes of the last fit over chunks."""
        return self._recorded("n_passes_", "n_passes", "a fit of samples in chunks")

    @property
    def validation_scores_(self) -> list[float]:
        """R^2 on the held-out samples after each epoch."""
        return self._recorded("validation_scores_", "scores", "early_stopping=True")

    def _recorded(self, attribute: str, field: str, needs: str) -> Any:
        value = getattr(self._known(attribute), field)
        if value is None:
            raise AttributeError(f"{attribute} needs {needs}.")
        return value
