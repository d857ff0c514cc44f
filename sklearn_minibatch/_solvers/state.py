"""What a fitted model keeps: the statistics of its samples, and its coefficients."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from .._rows.chunk import Chunk, joined
from .._rows.wide import KeptRows
from .._statistics.arrays import place_of
from .._statistics.moments import Statistics
from .._statistics.scaling import to_original
from .._statistics.second_moments import (
    FEW_ROWS,
    SecondMoments,
    merge,
    no_column_moments,
    no_second_moments,
    second_moments,
)
from .._statistics.threads import blas_threads_to_solve, number_of_threads, one_blas_thread
from .._statistics.triangular_factor import (
    TriangularFactor,
    no_triangular_factor,
    triangular_factor,
)
from . import few_more
from .closed_form import out_of_digits
from .covariance import BY_STEPS, Uncertainty, uncertainty_of
from .exact import closed_form_of
from .problem import Parameters, Settings, standard_units

# Rows wait until they are a quarter as many as the columns, within these bounds, and then enter the
# second moments together: adding the product of fewer rows takes longer than computing it.
WAITING_ROWS = (64, 256)
# The solvers whose result is the closed form up to rounding, whatever `tol` is.
CLOSED_FORMS = ("cholesky", "qr")
# The statistics from which the closed form of a stream can be computed.
SOLVABLE = {"products": second_moments, "factor": triangular_factor}
NOTHING = {
    "columns": no_column_moments,
    "products": no_second_moments,
    "factor": no_triangular_factor,
}


T = TypeVar("T")


class computed_once(Generic[T]):
    """A cached property of a state, which one thread computes while the others wait.

    With `functools.cached_property` each thread would compute it, from Python 3.12 on.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__
        self.name = compute.__name__

    def __get__(self, state: Any, owner: type | None = None) -> T:
        with state.solving:
            values = vars(state)
            if self.name not in values:
                values[self.name] = self.compute(state)
            return values[self.name]


class Answer(NamedTuple):
    """The parameters of a model in original units, and what is known of them."""

    last: Parameters
    predicting: Parameters  # equal to `last` unless iterates are averaged
    converged: bool
    warning: str | None = None


@dataclass(frozen=True)
class FittedState:
    """The parameters that every fitted model has."""

    single_target: bool
    example: Any  # an empty array on the device of the samples

    if TYPE_CHECKING:

        @property
        def answer(self) -> Answer:
            """The parameters in original units."""

    @property
    def is_solved(self) -> bool:
        """Whether the parameters have been computed."""
        return True

    @property
    def n_targets(self) -> int:
        """The number of targets."""
        return len(self.answer.predicting[1])

    @cached_property
    def coef(self) -> Any:
        """The coefficients as in scikit-learn, (d,) or (t, d), on the device of the rows."""
        coef = self.answer.predicting[0]
        return self.placed(coef[:, 0] if self.single_target else coef.T)

    @cached_property
    def intercept(self) -> Any:
        """The intercept as in scikit-learn, a number or (t,)."""
        intercept = self.answer.predicting[1]
        return float(intercept[0]) if self.single_target else self.placed(intercept)

    def placed(self, values: np.ndarray) -> Any:
        """Return a copy on the device of the rows."""
        return place_of(self.example)(values.copy())

    def __getstate__(self) -> dict[str, Any]:
        # Cached properties are not saved.
        return {name: getattr(self, name) for name in self.__match_args__}


@dataclass(frozen=True)
class PredictingState(FittedState):
    """A model that has forgotten the statistics of its samples."""

    answer: Answer
    scale: np.ndarray  # (d,), of the columns


@dataclass(frozen=True)
class ModelState(FittedState):
    """A model with which a stream can continue.

    If no solver has left an answer, the answer is the closed form of all samples, which is computed
    when first needed.
    """

    moments: Statistics
    kind: str  # of statistics to continue with: "columns", "products" or "factor"
    solver: str
    settings: Settings
    given: Answer | None = None
    waiting: tuple[Chunk, ...] = ()  # rows that the moments lack
    n_waiting: int = 0  # how many rows these are
    seed: int | None = None
    n_chunks: int = 0
    n_steps: int = 0
    lr: float = 1.0
    batch_size: int = 1
    lr_factor: float = 1.0
    n_averaged: int = 0  # the number of iterates averaged
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    distances: np.ndarray = field(default_factory=lambda: np.empty(0))
    scores: list[float] | None = None
    n_passes: int | None = None
    solving: Any = field(default_factory=threading.RLock, repr=False, compare=False)

    @computed_once
    def statistics(self) -> Statistics:
        """The moments of all rows, those that wait included."""
        return with_rows(self, self.rows) if self.waiting else self.moments

    @computed_once
    def rows(self) -> Chunk:
        """The rows that wait, as one chunk."""
        return joined(self.waiting)

    @computed_once
    def before(self) -> few_more.Before:
        """The closed form of the moments, which is shared by states with other waiting rows."""
        return few_more.Before(self.moments, self.settings)

    @computed_once
    def few_more(self) -> Answer | None:
        """The answer, if the waiting rows are easily added to the closed form; otherwise None."""
        return None if self.given is not None else answer_with_few_more(self)

    @property
    def known(self) -> frozenset[str]:
        """The kinds of statistics that are known of all rows."""
        if isinstance(self.moments, (KeptRows, TriangularFactor)):
            return frozenset(("products", "factor"))
        return frozenset(("products",) if isinstance(self.moments, SecondMoments) else ())

    @computed_once
    def answer(self) -> Answer:
        """The parameters, solved once, whichever thread asks first."""
        return self.given or self.few_more or closed_form_of_state(self)

    @computed_once
    def uncertainty(self) -> Uncertainty:
        """The uncertainty of the parameters; ValueError unless they are the closed form."""
        arrived = self.solver in CLOSED_FORMS or (self.solver == "svrg" and self.answer.converged)
        if self.given is not None and not arrived:
            raise ValueError(BY_STEPS.format(self.solver))
        settings = self.settings
        return uncertainty_of(self.statistics, settings, settings.penalty, self.predicting[0])

    @property
    def scale(self) -> np.ndarray:
        """The standard deviations (d,) of the columns, and 1 for constant ones."""
        return self.statistics.x.scale

    @property
    def n_targets(self) -> int:
        """The number of targets."""
        return len(self.moments.y.mean)

    @property
    def is_solved(self) -> bool:
        """Whether the parameters have been computed."""
        return self.given is not None or "answer" in vars(self)

    @property
    def last(self) -> Parameters:
        """The parameters from which a solver continues, in original units."""
        return self.answer.last

    @property
    def predicting(self) -> Parameters:
        """The parameters that predict, in original units."""
        return self.answer.predicting

    def order(self, n_rows: int, shuffle: bool) -> tuple[np.random.Generator, np.ndarray]:
        """Return a generator for the next chunk, and the order of its rows."""
        assert self.seed is not None
        # Not seeded by the number of previous epochs, which rounding may change.
        rng = np.random.default_rng((self.seed, self.moments.x.n_rows))
        return rng, rng.permutation(n_rows) if shuffle and n_rows > 1 else np.arange(n_rows)

    def stepped(
        self,
        last: Parameters,
        predicting: Parameters,
        warning: str | None = None,
        **changes: Any,
    ) -> "ModelState":
        """Return the state after the steps of one more chunk, with other fields changed."""
        answer = Answer(last, predicting, False, warning)
        n_chunks = self.n_chunks + 1
        changes = {"waiting": (), "n_waiting": 0, "kind": "columns", **changes}
        return self.changed(given=answer, n_chunks=n_chunks, **changes)

    def changed(self, **changes: Any) -> "ModelState":
        """Return the unsolved state with other fields, as `replace` does in ten times the time."""
        new = object.__new__(ModelState)
        values = vars(self)
        vars(new).update({name: values[name] for name in ModelState.__match_args__}, **changes)
        if new.moments is self.moments and new.settings is self.settings:
            vars(new)["before"] = self.before
        return new

    def __getstate__(self) -> dict[str, Any]:
        kept: dict[str, Any] = {
            name: getattr(self, name) for name in self.__match_args__ if name != "solving"
        }
        kept |= {"moments": self.statistics, "waiting": (), "n_waiting": 0}
        # After the waiting rows are added, a new answer would have other last bits.
        answer = vars(self).get("answer") or self.few_more
        return kept if answer is None else kept | {"answer": answer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, solving=threading.RLock())


def of_kind(moments: Any, kind: str) -> Any:
    """Convert kept rows to `kind`, or a factor to products; return other statistics unchanged."""
    if isinstance(moments, KeptRows):
        return SOLVABLE[kind](moments.chunk.X, moments.chunk.y, moments.chunk.w)
    if isinstance(moments, TriangularFactor) and kind == "products":
        return moments.products
    return moments


def with_rows(state: ModelState, rows: Chunk, n_jobs: int | None = 1) -> Any:
    """Return the statistics of a state, faded by its half-life, merged with these rows."""
    half_life = state.settings.half_life
    moments = of_kind(state.moments, state.kind)
    if half_life is not None:
        moments = moments.faded(0.5 ** (rows.n_rows / half_life))
        rows = rows.aged(half_life)
    # Finding the number of threads takes longer than a few rows do.
    n_threads = number_of_threads(n_jobs) if rows.n_rows > FEW_ROWS else 1
    with one_blas_thread():
        return merge(moments, SOLVABLE[state.kind](rows.X, rows.y, rows.w, n_threads))


def learn_exactly(
    chunk: Chunk,
    before: ModelState,
    kind: str,
    settings: Settings,
    n_jobs: int | None,
    **shown: Any,
) -> ModelState:
    """Return the state after a chunk of a stream that keeps statistics of a kind.

    A few rows wait, as copies, because the caller may reuse its arrays. How many wait does not
    depend on when answers are read, so that reading one changes no bit of later answers. `shown`
    are other fields of the state to change.
    """
    if kind != before.kind or settings.half_life != before.settings.half_life:
        moments = of_kind(before.statistics, kind)
        before = before.changed(moments=moments, waiting=(), n_waiting=0, kind=kind)
    n_waiting = before.n_waiting + chunk.n_rows
    is_full = n_waiting >= min(
        max(WAITING_ROWS[0], len(before.moments.x.mean) // 4), WAITING_ROWS[1]
    )
    # Rows that were joined for an answer stay joined.
    waiting = (before.rows,) if "rows" in vars(before) else before.waiting
    state = before.changed(
        settings=settings,
        given=None,
        waiting=(*waiting, chunk if is_full else chunk.copied()),
        n_waiting=n_waiting,
        n_chunks=before.n_chunks + 1,
        n_steps=before.n_steps + 1,
        lr=1.0,
        batch_size=before.moments.x.n_rows + n_waiting,
        **shown,
    )
    if is_full:
        moments = with_rows(state, state.rows, n_jobs)
        return state.changed(moments=moments, waiting=(), n_waiting=0)
    return state


def closed_form_of_state(state: ModelState) -> Answer:
    """Return the closed form of all rows of a state, in original units."""
    moments, settings = of_kind(state.statistics, state.kind), state.settings
    scaling = standard_units(moments.x, moments.y, settings)
    with blas_threads_to_solve(len(scaling.x_mean), state.n_targets):
        closed = closed_form_of(moments, scaling, settings.penalty, settings.positive)
    parameters = to_original(closed.beta, np.zeros(closed.beta.shape[1]), scaling)
    converged = closed.is_within(settings.tol)
    warning = None
    if settings.tol is not None and not converged:
        warning = out_of_digits(closed, settings.tol)
    return Answer(parameters, parameters, converged, warning)


def answer_with_few_more(state: ModelState) -> Answer | None:
    """Return the closed form without merging the waiting rows; None if they must be merged."""
    if not state.waiting:
        return None
    rows, half_life = state.rows, state.settings.half_life
    if state.kind != "products" or not isinstance(rows.X, np.ndarray):
        return None
    fading = 1.0 if half_life is None else 0.5 ** (rows.n_rows / half_life)
    prior = state.before.prior
    if prior is None:
        return None
    with one_blas_thread():
        found = few_more.parameters(prior, rows.aged(half_life), fading, state.settings)
    return None if found is None else Answer(found, found, state.settings.tol is not None)
