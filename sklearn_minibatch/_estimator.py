"""`MiniBatchRidgeSGD`: its parameters, and the steps of `fit`, `partial_fit` and `merge`."""

import warnings
from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial, wraps
from numbers import Integral, Real
from operator import attrgetter, is_
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import UNUSED

from ._data.given import given_moments
from ._data.open import InChunks, InMemory, open_rows
from ._data.validation import (
    Number,
    are_moderate,
    are_plain,
    check_alpha,
    check_can_learn,
    check_mergeable,
    check_moments,
    check_same_statistics,
    factors_of_features,
    is_same,
    look_if_not_finite,
    mask_of_features,
    may_overflow,
    validated,
)
from ._linear_model import (
    Floats,
    Method,
    Rows,
    ScaledLinearModel,
    check_parameters,
    checking_parameters,
)
from ._rows.chunk import Chunk
from ._run.callbacks import CallbackSupportMixin, Task
from ._run.monitor import Checkpoint, Monitor
from ._run.rollback import AllOrNothing
from ._run.warn_once import warn_once
from ._solvers.choose import (
    SOLVERS,
    Choice,
    check_moments_suffice,
    choose,
    choose_for_stream,
    unused_settings,
)
from ._solvers.problem import Parameters, Problem, Settings, without_intercept
from ._solvers.state import NOTHING, Answer, ModelState, learn_exactly, of_kind
from ._statistics.arrays import place_of
from ._statistics.moments import column_moments
from ._statistics.scaling import Scaling, to_original, to_scaled
from ._statistics.second_moments import ColumnMoments, merge


def unless_as_they_are(method: Method) -> Method:
    """Make `partial_fit` add samples that need no conversion by a faster path."""

    @wraps(method)
    def partial_fit(
        self: Any, X: Any, y: Any, sample_weight: Any = None, check_input: bool = True
    ) -> Any:
        if not self._add_as_they_are(X, y, sample_weight, check_input):
            method(self, X, y, sample_weight)
        return self

    return cast(Method, partial_fit)


class MiniBatchRidgeSGD(CallbackSupportMixin, ScaledLinearModel):
    """Ridge regression with its scaler inside: in closed form from one read, or by mini-batches.

    Minimises, over the coefficients `beta` of the standardised features z = (x - mean) / std and
    the intercept b,

        F = 1/(2 W) sum_i w_i (z_i . beta + b - y_i)^2 + alpha/2 ||beta||^2,        W = sum_i w_i

    which is the objective of ``make_pipeline(StandardScaler(), Ridge(alpha=alpha * W))``. `coef_`
    is in the units of the original features. All solvers but "sgd" reach the minimiser, whatever
    the batch size and the learning rate.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1e-4
        Strength of the penalty on the standardised coefficients, for all targets or for each, as in
        :class:`~sklearn.linear_model.SGDRegressor`. The equivalent alpha of
        :class:`~sklearn.linear_model.Ridge` is ``alpha * W``.
    penalty_factor : array-like of shape (n_features,), dict or None, default=None
        Factors by which `alpha` is multiplied for each feature. A dict maps feature names to
        factors; other features have 1. 0 means no penalty, and infinity excludes the feature.
    positive : bool or array-like of shape (n_features,), default=False
        Whether coefficients must not be negative: all, or those in a mask. The intercept is free.
        For "cholesky" and "qr", and for up to 3,000 features.
    solver : {"auto", "cholesky", "qr", "svrg", "sgd"}, default="auto"
        "cholesky" solves the normal equations from the Gram matrix of the features, computed in one
        read, or of the samples if these are in memory and fewer. "qr" solves from a triangular
        factor of the samples, also in one read: it takes several times as long, but has twice the
        digits if features are nearly collinear. "svrg" takes preconditioned, variance-reduced
        mini-batch steps, combines them by conjugate gradients, and converges to the closed form.
        "sgd" is the textbook algorithm, for comparison and teaching. "auto" takes "cholesky" for up
        to 3,000 features, or samples if these are in memory and fewer, and "svrg" for more; also
        "svrg" if `batch_size`, `lr`, `preconditioner` or `early_stopping` is set, or for sparse
        samples in memory with so few entries that passes cost less than the Gram matrix (with a
        switch to "cholesky" if "svrg" turns out to take longer).
    batch_size : int or "auto", default="auto"
        For "svrg" and "sgd": samples per mini-batch. Values above n_samples use all samples. "sgd"
        divides the sum over a last, smaller mini-batch by `batch_size` too. "auto" is 32 for "sgd"
        and in `partial_fit`; in `fit` by "svrg" it is the larger of 2048 and ``2 * n_features``, or
        all samples if there would be fewer than 8 mini-batches, or if the samples come in chunks or
        are sparse and wide.
    lr : float or "auto", default="auto"
        For "svrg" and "sgd": the learning rate. "auto" takes 1 / (largest curvature of a
        mini-batch) for "svrg", and the largest rate known to be stable for "sgd"; in `partial_fit`
        it decreases like 1/t for "svrg", and is computed for each chunk for "sgd". In `fit` it is
        reduced automatically if it is too large; full-batch steps of "svrg" ignore it.
    lr_schedule : {"constant", "inverse_time", "compound"}, default="constant"
        For "sgd": the rate in epoch e = 1, 2, ... is `lr` ("constant"), ``lr / (1 + lr_decay * e)``
        ("inverse_time"), or is divided by ``1 + lr_decay * e`` again before every mini-batch
        ("compound"). A call of `partial_fit` is an epoch.
    lr_decay : float, default=0.0
        For "sgd" with the schedules "inverse_time" and "compound".
    preconditioner : int, "auto" or None, default="auto"
        For "svrg" in `fit`. An int is the rank of a randomised Nystrom approximation of the
        Hessian. "auto" takes, for up to 3,000 features, the Hessian of all samples (in chunks) or
        of a sketch, random sums of the samples (in memory); rank 100 for more features; and the
        diagonal for sparse samples with so many features that a (d, d) matrix costs more than it
        saves. None uses plain gradients.
    average : bool or "auto", default="auto"
        For "sgd". True predicts with a running average of the iterates, in which step t has a
        weight proportional to t, False with the last iterate. "auto" takes the last iterate if `lr`
        or a schedule is set. Otherwise steps start from the prediction of the mean, and the model
        predicts each target with the average, the last iterate or the mean, whichever has the
        lowest F (in `partial_fit`, with the average).
    max_iter : int, default=1000
        Largest number of epochs in `fit`. "cholesky" and "qr" take one; "cholesky" takes more if
        rounding errors require refinement.
    tol : float or None, default=1e-6
        Largest root mean square distance of the predictions from those of the closed form, in
        standard deviations of y. "svrg" stops when a bound on this distance is at most `tol`.
        "cholesky" refines its solution if rounding errors may have cost more than ``tol / 10``.
        "sgd" stops after `n_iter_no_change` successive epochs in which F fell by at most this
        fraction, or by at most a thousandth of its noise; that does not bound the distance. None
        runs `max_iter` epochs of "svrg" and "sgd", and one of the others.
    fit_intercept : bool, default=True
        Whether to fit an intercept, which is never penalised. If not, features are scaled but not
        centred.
    standardize : bool, default=True
        Whether to divide features by their standard deviation. If not, the penalty is on the
        original coefficients.
    shuffle : bool, default=True
        For "svrg" and "sgd": whether to shuffle the samples once, and in every epoch the
        mini-batches ("svrg") or the samples ("sgd"; above 8,000 samples in groups of 8 if the batch
        size allows it).
    half_life : float or None, default=None
        Number of samples after which a sample counts half: its weight is multiplied by
        ``2 ** (-age / half_life)``, where its age is the number of later samples of positive
        weight, however these are cut into chunks. Not available for "sgd", in `partial_fit` without
        second moments, and for Dask collections.
    early_stopping : bool, default=False
        Whether `fit` holds samples out, scores them (R^2) after every epoch, and returns the best
        epoch. For samples in memory.
    validation_fraction : float, default=0.1
        Fraction of the distinct samples to hold out. They are chosen by their values, rounded to
        seven digits, so that equal samples are held out together.
    n_iter_no_change : int, default=5
        Early stopping and "sgd" stop after this many epochs without a gain of more than `tol`.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the previous call. This changes a closed form
        only if the minimiser is not unique.
    random_state : int, RandomState instance or None, default=None
        For shuffling, preconditioners, learning rates and the choice of held-out samples.
        "cholesky" and "qr" use it only for held-out samples.
    verbose : int, default=0
        1 prints a line per epoch: epoch, loss, distance to the closed form, seconds.
    n_jobs : int or None, default=None
        Threads that share blocks of dense samples in memory, in `fit` and for large chunks in
        `partial_fit`. None takes as many as BLAS would, or one inside a joblib worker; -1 takes all
        cores. The result does not depend on it.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units, in float64. After `partial_fit`, `merge` and `fit_moments`
        they are computed when first read.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept in original units.
    standardized_coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients per standard deviation of the features. They rank the features, for example as
        `importance_getter` of :class:`~sklearn.feature_selection.RFE`.
    scaler_ : StandardScaler
        Weighted mean, variance and scale of the features, over all samples trained on.
    solver_ : str
        The solver that was used.
    converged_ : bool
        Whether the model met the stopping rule of its solver, see `tol`. If True, a bound proves
        that the predictions are within `tol` of those of the closed form, or within 1e-6 if
        rounding errors hide smaller distances. For "sgd", True means only that F has stopped
        falling and does not exceed the F of predicting the mean. False with ``tol=None``, after
        steps of `partial_fit`, and if early stopping returned an earlier epoch than the last.
    loss_history_ : ndarray of shape (n_epochs,)
        F after each epoch of the last `fit`, summed over the targets; empty after `partial_fit`
        alone.
    distance_history_ : ndarray of shape (n_epochs,)
        The distance that is compared with `tol`, after each epoch of the last `fit`: a bound, or a
        conservative estimate if there is no bound. Empty for "sgd".
    n_iter_ : int
        Epochs of the last `fit`, plus later calls of `partial_fit`.
    t_ : int
        Number of steps: one for each mini-batch, closed form or refinement.
    lr_ : float
        The learning rate used, after any automatic reduction; 1.0 for a closed form.
    batch_size_ : int
        Samples per mini-batch; all samples for a closed form.
    n_passes_ : int
        Passes of the last `fit` over chunks, if the samples came in chunks.
    validation_scores_ : list of float
        R^2 on the held-out samples after each epoch, with early stopping.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names.

    See Also
    --------
    MiniBatchRidgeSGDCV : The same regression, with alpha chosen by cross-validation.
    sklearn.linear_model.Ridge : The closed form without a scaler, for samples in memory.
    sklearn.linear_model.SGDRegressor : Steps on single samples, with several losses.

    Notes
    -----
    Weights act as repetitions: a weight of 2 is the sample twice, 0 the sample left out, and their
    overall scale is ignored.

    With ``alpha=0`` this is least squares. If the minimiser is not unique, the minimum-norm
    solution in the units of the penalty is returned (the limit alpha -> 0), or with `warm_start`
    the solution nearest to the start.

    A feature whose standard deviation is below 1e-154, so that its variance underflows, is treated
    as constant, with a warning. Features with a root mean square above 1e151, and targets with a
    standard deviation above 1e151, raise an error that names them.

    Second moments are the weighted means of [x, y] and their centred products, merged by the
    formulas of Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance": they
    lose no digits if features lie far from 0 or chunks drift, whatever the order of merging.
    Rounding errors of these products cost the predictions at most about eps (1 + ||D beta||) /
    sqrt(l) standard deviations of y, where D scales the features to unit length and l is the least
    eigenvalue of the Hessian of the scaled features. If that exceeds ``tol / 10``, `fit` by
    "cholesky" refines the solution with gradients from the samples, which have twice the digits.

    The variance-reduced step is that of Johnson and Zhang (2013), "Accelerating stochastic gradient
    descent using predictive variance reduction"; the bound on the distance is that of Meurant and
    Tichy (2013), "On computing quadrature-based bounds for the A-norm of the error in conjugate
    gradients".

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

    # `check_input` is an option for direct callers, not metadata to be routed.
    __metadata_request__partial_fit = {"check_input": UNUSED}

    _checked: list[Any] | None
    _state: ModelState

    _parameter_constraints = {
        "alpha": [Number(Real, 0, None, closed="left"), "array-like"],
        "penalty_factor": [None, "array-like", dict],
        "positive": ["boolean", "array-like"],
        "solver": [StrOptions({"auto", *SOLVERS})],
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
        "half_life": [None, Number(Real, 0, None, closed="neither")],
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
        alpha: float | ArrayLike = 1e-4,
        *,
        penalty_factor: ArrayLike | dict[str, float] | None = None,
        positive: bool | ArrayLike = False,
        solver: Literal["auto", "cholesky", "qr", "svrg", "sgd"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        lr_schedule: Literal["constant", "inverse_time", "compound"] = "constant",
        lr_decay: float = 0.0,
        preconditioner: int | Literal["auto"] | None = "auto",
        average: bool | Literal["auto"] = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-6,
        fit_intercept: bool = True,
        standardize: bool = True,
        shuffle: bool = True,
        half_life: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.penalty_factor = penalty_factor
        self.positive = positive
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
        self.half_life = half_life
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
        """Fit to the samples of X.

        "cholesky" and "qr" read them once; the other solvers take as many epochs as they need.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            Samples. CSR matrices of float64, and arrays of float32 and float64, are used without
            conversion. With scikit-learn's array API dispatch, so are PyTorch tensors and other
            arrays; `coef_`, `intercept_` and the histories are then on their device. A
            `numpy.memmap` that takes more than half of the memory is read in chunks. Dask arrays
            and dataframes, together with `y`, stay on their workers. With `y` left out, a
            :class:`ChunkSource`, or another object that can be iterated repeatedly over chunks
            ``(X, y)`` or ``(X, y, sample_weight)``; samples that change between two passes raise an
            error.
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
            If X, y or the weights are not as above; the estimator is then unchanged.
        TypeError
            If a chunk is not a table; the estimator is then unchanged.
        KeyboardInterrupt
            If interrupted. The estimator then holds the last complete epoch, with `converged_`
            False. It can predict, and continue by `partial_fit`, or by `fit` with
            ``warm_start=True``. If no epoch was complete, the estimator is unchanged.
        """
        task = Task(self, "fit", self.max_iter, X, y, sample_weight)
        # Silence floating-point warnings; results are checked for finiteness.
        with np.errstate(all="ignore"), AllOrNothing(self) as attempt, task:
            self._checked = None
            rng = check_random_state(self.random_state)
            samples = open_rows(self, X, y, sample_weight, rng)
            with samples.blas_threads():
                settings = samples.settings
                choice = choose(samples.shape, settings)
                statistics = samples.gather(choice.gather)
                check_moments(statistics)
                x, y_moments = statistics.x, statistics.y
                check_alpha(self.alpha, len(y_moments.mean))
                scaling = choice.units(x, y_moments, settings)
                problem = Problem(statistics, scaling, samples)
                start = self._start(scaling)
                monitor = Monitor(
                    scaling,
                    samples.validation,
                    self.tol,
                    self.n_iter_no_change,
                    self.verbose,
                    task,
                    partial(self._fitted_state, samples, choice, problem, settings),
                )
                attempt.if_interrupted(partial(self._publish_epoch, monitor))
                solution = choice.solve(problem, start, settings, rng, monitor)
                monitor.checkpoint(solution)
                self._publish_epoch(monitor)
            if unused := unused_settings(settings, choice.solver):
                warn_once(unused)
            if solution.warning is not None:
                warnings.warn(solution.warning, ConvergenceWarning, stacklevel=3)
        return self

    def _settings(self) -> Settings:
        """Return the parameters for the solvers; the features must be known."""
        values = {name: getattr(self, name) for name in Settings.__dataclass_fields__}
        values["alpha"] = np.array(self.alpha, dtype=float) if np.ndim(self.alpha) else self.alpha
        values["penalty_factor"] = factors_of_features(self, self.penalty_factor)
        values["positive"] = mask_of_features(self, self.positive)
        return Settings(**values)

    def _fitted_state(
        self,
        samples: InMemory | InChunks,
        choice: Choice,
        problem: Problem,
        settings: Settings,
        epoch: Checkpoint,
    ) -> ModelState:
        """Return the state as if the fit had ended with this epoch."""
        solution = epoch.solution
        statistics = solution.statistics or problem.statistics
        last = predicting = epoch.best or to_original(*solution.last, problem.scaling)
        if epoch.best is None and solution.predicting is not solution.last:
            predicting = to_original(*solution.predicting, problem.scaling)
        is_last = epoch.best is None or int(np.argmax(epoch.scores)) == len(epoch.scores) - 1
        return ModelState(
            self._single_target,
            samples.place(np.empty(0)),
            samples.kept(statistics),
            choice.kind if solution.statistics is None else "products",
            solution.solver or choice.solver,
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
            n_passes=samples.n_passes,
        )

    def _publish_epoch(self, monitor: Monitor) -> bool:
        """Publish the last complete epoch as the result of the fit.

        Return False if no epoch is complete.
        """
        if monitor.last_checkpoint is None:
            return False
        state = monitor.state_at(monitor.last_checkpoint)
        check_parameters(state.predicting)
        self._state = state
        return True

    def fit_moments(
        self,
        n_samples: int,
        mean: ArrayLike,
        covariance: ArrayLike,
        *,
        n_targets: int = 1,
        feature_names: Sequence[str] | None = None,
    ) -> Self:
        """Fit to the mean and the covariance of samples.

        The closed form depends only on these, and a database can compute them. The model is that of
        `fit` on the samples, and can continue by `partial_fit` and `merge`. The coefficients are
        computed when first read.

        Parameters
        ----------
        n_samples : int
            Number of samples, or the sum of their weights if weights count repetitions.
        mean : array-like of shape (n_features + n_targets,)
            Means of the columns of [X, y], the targets last.
        covariance : array-like of shape (n_features + n_targets, n_features + n_targets)
            Population covariances of these columns: divided by n, not by n - 1, as by `covar_pop`
            in SQL and by ``ddof=0`` in NumPy and pandas. All entries must be computed from the same
            samples.
        n_targets : int, default=1
            Number of targets. 1 is a target of shape (n_samples,).
        feature_names : sequence of str, default=None
            Names of the features. If None, those of a `mean` or `covariance` of pandas.

        Returns
        -------
        self : MiniBatchRidgeSGD
            Fitted. `converged_` refers to the closed form of the given numbers; digits that were
            lost when they were computed cannot be detected.

        Raises
        ------
        ValueError
            If no samples have these moments (`covariance` is not symmetric or not positive
            semi-definite beyond rounding), or a parameter needs samples, as the solvers "qr",
            "svrg" and "sgd" do; the estimator is then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn_minibatch import MiniBatchRidgeSGD
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
        >>> table = X.assign(y=y)
        >>> model = MiniBatchRidgeSGD().fit_moments(len(table), table.mean(), table.cov(ddof=0))
        >>> bool(np.allclose(model.coef_, MiniBatchRidgeSGD().fit(X, y).coef_, rtol=1e-9))
        True
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            self._check_parameters()
            moments = given_moments(self, n_samples, mean, covariance, n_targets, feature_names)
            d, t = moments.xy.shape
            settings = self._settings()
            check_alpha(self.alpha, t)
            check_moments_suffice(d, settings)
            check_moments(moments)
            self._state = self._nothing_learnt(d, t, np.empty(0), "products").changed(
                moments=moments,
                solver="cholesky",
                given=None,
                n_chunks=1,
                n_steps=1,
                batch_size=moments.x.n_rows,
            )
            if may_overflow(moments):
                check_parameters(self._state.predicting)
            if unused := unused_settings(settings, "cholesky"):
                warn_once(unused)
        return self

    @unless_as_they_are
    @checking_parameters
    def partial_fit(
        self,
        X: Rows,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        check_input: bool = True,
    ) -> Self:
        """Learn from a chunk of samples, which may then be deleted.

        For up to 3,000 features (except by "sgd"), and by "cholesky" and "qr" for any number, the
        model equals that of `fit` on all samples so far, up to rounding errors, however they were
        cut into chunks. It keeps their second moments or their triangular factor, and computes the
        coefficients when they are first read. Copies of up to 255 recent samples are kept until
        they are merged; a pickle holds none.

        With more features, "auto" and "svrg" take one pass of averaged mini-batch steps over the
        chunk, which needs memory for a few vectors and approximates the closed form. "sgd" takes an
        epoch of textbook steps over the chunk, and updates the scaler.

        May be the first call, or follow other calls or `fit`. If parameters have changed in
        between, the new ones apply to all samples so far, and steps continue from the current
        coefficients. "auto" and "svrg" also take mini-batch steps if no second moments of earlier
        samples were kept: after such steps, or after a `fit` by "svrg" in memory.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0 and not all 0.
        check_input : bool, default=True
            If False, X, y and the weights are not checked after the first call. They must be
            C-ordered float64 arrays with the right shapes, without NaN or infinity, and with
            weights above 0.

        Returns
        -------
        self : MiniBatchRidgeSGD
            Updated by the chunk.

        Raises
        ------
        ValueError
            If X, y or the weights do not fit what came before, the steps of solver "sgd" diverge,
            or `solver` needs statistics of earlier samples that were not kept; the estimator is
            then unchanged.
        KeyboardInterrupt
            If interrupted. The estimator is then unchanged, and can learn the chunk again. Compare
            `n_iter_` to see whether the chunk was already learned.
        """
        task = Task(self, "partial_fit", 0, X, y, sample_weight)
        with np.errstate(all="ignore"), AllOrNothing(self), task:
            first = not hasattr(self, "_state")
            check_can_learn(self)
            are_new = self._check_parameters()
            chunk = validated(self, X, y, sample_weight, reset=first, finite=False)
            settings = self._settings() if first or are_new else self._state.settings
            d, t = chunk.X.shape[1], chunk.y.shape[1]
            check_alpha(self.alpha, t)
            known = frozenset(("products", "factor")) if first else self._state.known
            kept = "products" if first else self._state.kind
            solver, kind = choose_for_stream(d, known, kept, settings)
            example = place_of(chunk.X)(np.empty(0))
            before = self._nothing_learnt(d, t, example, kind) if first else self._state
            chunk = chunk._replace(number=before.n_chunks + 1)
            shown = {"solver": solver, "example": example}
            if kind != "columns":
                state = learn_exactly(chunk, before, kind, settings, self.n_jobs, **shown)
                state = self._checked_now(chunk, state, X, y)
            else:
                state = self._steps(chunk, before, solver, settings, X, y).changed(**shown)
            self._state = state
            if are_new and (warning := unused_settings(settings, solver)):
                warn_once(warning)
            if state.given is not None and state.given.warning is not None:
                warnings.warn(state.given.warning, ConvergenceWarning, stacklevel=3)
        return self

    def _add_as_they_are(self, X: Any, y: Any, sample_weight: Any, check_input: bool) -> bool:
        """Add samples that need no conversion to a stream that is solved from statistics.

        Return False for others.
        """
        state = vars(self).get("_state")
        if not isinstance(state, ModelState):
            return False
        if check_input and not self._need_no_conversion(state, X, y, sample_weight):
            return False
        if self._parameters_are_new():
            return False
        known, kept, settings = state.known, state.kind, state.settings
        solver, kind = choose_for_stream(X.shape[1], known, kept, settings)
        if kind == "columns":
            return False
        chunk = Chunk(state.n_chunks + 1, X, y[:, None] if y.ndim == 1 else y, sample_weight)
        with np.errstate(all="ignore"):
            after = learn_exactly(chunk, state, kind, settings, self.n_jobs, solver=solver)
            self._state = self._checked_now(chunk, after, X, y) if check_input else after
        return True

    def _need_no_conversion(self, state: ModelState, X: Any, y: Any, sample_weight: Any) -> bool:
        """Whether samples are plain arrays like earlier ones, without weights or callbacks."""
        return (
            sample_weight is None
            and are_plain(self, X, y)
            and (y.ndim == 1) == state.single_target
            and y.size == len(y) * state.n_targets
            and type(state.example) is np.ndarray
            and "_skl_callbacks" not in vars(self)
        )

    def _checked_now(self, chunk: Chunk, state: ModelState, X: Any, y: Any) -> ModelState:
        """Return the state; raise now any ValueError that solving it later would raise."""
        if state.waiting and are_moderate(chunk) and not may_overflow(state.moments):
            return state
        look_if_not_finite(self, state.statistics, X, y)
        check_moments(state.statistics)
        if may_overflow(state.statistics):
            check_parameters(state.predicting)
        # Merge rows with extreme numbers now: the next call checks only the merged moments.
        return state.changed(moments=state.statistics, waiting=(), n_waiting=0)

    def _steps(
        self, chunk: Chunk, before: ModelState, solver: str, settings: Settings, X: Any, y: Any
    ) -> ModelState:
        """Return the state after mini-batch steps over a chunk."""
        learn = SOLVERS[solver].learn
        assert learn is not None
        columns = [column_moments(each, chunk.w) for each in (chunk.X, chunk.y)]
        moments = ColumnMoments(*columns)
        look_if_not_finite(self, moments, X, y)
        known = before.statistics
        moments = merge(ColumnMoments(known.x, known.y), moments)
        check_moments(moments)
        if before.seed is None:
            seed = check_random_state(self.random_state).randint(2**31)
            before = before.changed(seed=seed, given=before.answer)
        state = learn(chunk, before, moments, settings)
        check_parameters(state.predicting)
        return state

    def merge(self, other: Self) -> Self:
        """Learn the samples that another model has learnt, from its statistics.

        The model is then that of `fit` on the samples of both, whatever the order of merging. So
        other processes or machines can fit shards, which `functools.reduce` merges. `other` does
        not change. With `half_life`, all samples keep their current weights.

        Parameters
        ----------
        other : MiniBatchRidgeSGD
            A model that keeps second moments or a triangular factor, as after `fit` by "cholesky"
            or "qr" and after `partial_fit` with up to 3,000 features. It must have the same
            features, targets and parameters; `random_state`, `verbose` and `n_jobs` may differ.

        Returns
        -------
        self : MiniBatchRidgeSGD
            With the samples of both.

        Raises
        ------
        ValueError
            If the models cannot be merged; both are then unchanged.
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
        >>> bool(abs(model.coef_ - MiniBatchRidgeSGD().fit(X, y).coef_).max() < 1e-10)
        True
        """
        with np.errstate(all="ignore"), AllOrNothing(self):
            check_mergeable(self, other)
            check_same_statistics(self, other)
            kind = self._state.kind
            moments = merge(*(of_kind(each._state.statistics, kind) for each in (self, other)))
            check_moments(moments)
            self._checked = None
            self._state = self._state.changed(
                moments=moments,
                settings=self._settings(),
                given=None,
                waiting=(),
                n_waiting=0,
                n_chunks=self._state.n_chunks + other._state.n_chunks,
                n_steps=self._state.n_steps + other._state.n_steps + 1,
                lr=1.0,
                batch_size=moments.x.n_rows,
            )
            if may_overflow(moments):
                check_parameters(self._state.predicting)
        return self

    def _check_parameters(self) -> bool:
        """Check the parameters if one has changed since the last call, and return whether it has.

        Scikit-learn skips this check for a fitted estimator.
        """
        if not self._parameters_are_new():
            return False
        self._validate_params()
        parameters = attrgetter(*self._parameter_constraints)(self)
        # Arrays and lists may be changed in place.
        self._checked = [copy(p) if hasattr(p, "__len__") else p for p in parameters]
        return True

    def _parameters_are_new(self) -> bool:
        """Return whether a parameter is unchecked, or has changed since it was checked."""
        parameters = attrgetter(*self._parameter_constraints)(self)
        checked = vars(self).get("_checked") or [None] * len(parameters)
        # Most are the same objects, and comparing identities is fast.
        is_known = all(map(is_, parameters, checked)) or all(map(is_same, parameters, checked))
        return not is_known

    def _nothing_learnt(self, d: int, t: int, example: Any, kind: str) -> ModelState:
        """Return the state before any sample."""
        moments: Any = NOTHING[kind](d, t)
        zero = (np.zeros((d, t)), np.zeros(t))
        given = Answer(zero, zero, False)
        single = self._single_target
        return ModelState(single, example, moments, kind, self.solver, self._settings(), given)

    def _start(self, scaling: Scaling) -> Parameters:
        """Return coefficients (d, t) and intercept (t,) to start from, in scaled units."""
        shape = len(scaling.x_mean), len(scaling.y_mean)
        if not (self.warm_start and hasattr(self, "_state")):
            return np.zeros(shape), -scaling.y_mean / scaling.y_scale
        predicting = self._state.answer.predicting
        before = predicting[0].shape
        if before != shape:
            raise ValueError(
                f"warm_start=True, but the last fit had {before} (features, targets) and this one "
                f"has {shape}. Set warm_start=False to start anew."
            )
        return to_scaled(*without_intercept(predicting, self.fit_intercept), scaling)

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
        """Number of epochs and of calls of `partial_fit`."""
        return self._known("n_iter_").n_chunks

    @property
    def t_(self) -> int:
        """Number of steps."""
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
