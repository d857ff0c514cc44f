"""The solvers, the statistics that they need, and the choice that "auto" makes."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from .._rows.chunk import Chunk
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling
from .._statistics.second_moments import EXACT_FEATURES, ColumnMoments
from . import cholesky, dual, nonnegative, qr, sgd, sgd_stream, stream, svrg, trial
from .preconditioner import FEW_FEATURES
from .problem import (
    Monitor,
    Parameters,
    Problem,
    Settings,
    Solution,
    standard_units,
    textbook_units,
    units_of_rows,
)
from .state import ModelState

Solve: TypeAlias = Callable[[Problem, Parameters, Settings, Any, Monitor], Solution]

# The values of these parameters that count as not set.
UNSET = {
    "batch_size": "auto",
    "lr": "auto",
    "lr_schedule": "constant",
    "lr_decay": 0.0,
    "preconditioner": "auto",
    "average": "auto",
}
# Parameters that have no meaning without mini-batches.
MINI_BATCHES = ("batch_size", "lr", "preconditioner")
# Computing the second moments of this many columns takes as long as a pass for the loss.
COLUMNS_PER_EPOCH = 25
# An "sgd" fit with a tolerance takes at least about this many epochs.
LIKELY_EPOCHS = 10
# Times on sparse samples, divided by the time of a pass per entry (2 ns as measured): the constant
# part of an epoch of "svrg", and its part per sample and feature; a product of two entries; and a
# factorization of a matrix of order m, divided by m^3.
OF_EPOCH, OF_VECTORS = 6e4, 3.0
OF_PRODUCT, OF_FACTOR = 1.2, 0.007
# "svrg" rarely needs fewer epochs than this.
LEAST_EPOCHS = 20


class Shape(NamedTuple):
    """What is known of the samples before they are read."""

    n_features: int
    n_rows: int | None = None  # None if they come in chunks
    n_entries: int | None = None  # of sparse samples in memory
    n_products: float = 0.0  # pairs of entries in a sample, or in a feature if wide

    @property
    def is_wide(self) -> bool:
        """Whether there are fewer samples than features, and all are in memory."""
        return self.n_rows is not None and 1 < self.n_rows < self.n_features


class Solver(NamedTuple):
    """A solver for `fit`, its units, the parameters it uses, and its steps over a stream.

    A solver without such steps names the kind of statistics that it needs. It may have a second
    function, `solve_wide`, for products of the samples if these are fewer than the features.
    """

    solve: Solve
    units: Callable[[Moments, Moments, Settings], Scaling]
    uses: frozenset[str]  # of the parameters in UNSET
    learn: Callable[[Chunk, ModelState, ColumnMoments, Settings], ModelState] | None = None
    kind: Literal["products", "factor"] | None = None
    needs_order: bool = False  # whether its steps follow one another over all samples
    solve_wide: Solve | None = None


SOLVERS = {
    "cholesky": Solver(
        cholesky.solve, standard_units, frozenset(), kind="products", solve_wide=dual.solve
    ),
    "qr": Solver(qr.solve, standard_units, frozenset(), kind="factor"),
    "svrg": Solver(svrg.solve, standard_units, frozenset(MINI_BATCHES), stream.learn),
    "sgd": Solver(
        sgd.solve,
        textbook_units,
        frozenset(UNSET) - {"preconditioner"},
        sgd_stream.learn,
        needs_order=True,
    ),
}


class Choice(NamedTuple):
    """The solver of a fit, and the statistics that it is given."""

    solver: str
    gather: Literal["columns", "products", "factor", "row products"]
    n_epochs: int | None = None  # after which the closed form is computed instead
    nonnegative: bool = False

    @property
    def kind(self) -> str:
        """The kind of statistics with which a stream continues."""
        return "products" if self.gather == "row products" else self.gather

    @property
    def units(self) -> Callable[[Moments, Moments, Settings], Scaling]:
        """The units that the solver works in."""
        return units_of_rows if self.gather == "row products" else SOLVERS[self.solver].units

    @property
    def solve(self) -> Solve:
        """The function that solves a problem with these statistics."""
        if self.nonnegative:
            return nonnegative.solve
        if self.n_epochs is not None:
            return partial(trial.solve, n_epochs=self.n_epochs)
        solver = SOLVERS[self.solver]
        if self.gather != "row products":
            return solver.solve
        assert solver.solve_wide is not None
        return solver.solve_wide


def choose(shape: Shape, settings: Settings) -> Choice:
    """Return the solver for samples of this shape, and the statistics to gather.

    "auto" takes the closed form for up to `EXACT_FEATURES` features, or samples if these are fewer,
    unless parameters of mini-batches are set or "svrg" is likely to take less time.
    """
    if settings.positive is not None:
        return Choice(*solver_of_signs(shape.n_features, settings), nonnegative=True)
    solver = settings.solver
    is_wide = shape.is_wide and not settings.has_free_features
    if solver == "auto":
        smaller = shape.n_rows if shape.n_rows and is_wide else shape.n_features
        few = smaller <= EXACT_FEATURES
        exact = few and not asks_for_mini_batches(settings)
        n_epochs = min(epochs_of_closed_form(shape), settings.max_iter - 1)
        # With fewer samples than features "svrg" is not tried for up to `EXACT_FEATURES` features,
        # because "cholesky" keeps what streams and standard errors need; nor with penalty factors,
        # which the row products of a trial do not include.
        is_open = not shape.is_wide or (
            shape.n_features > EXACT_FEATURES and settings.penalty_factor is None
        )
        if exact and is_open and settings.tol is not None and n_epochs >= LEAST_EPOCHS:
            return Choice("svrg", "columns", n_epochs)
        solver = "cholesky" if exact else "svrg"
    check_half_life(solver, settings)
    kind = SOLVERS[solver].kind
    if kind is not None:
        return Choice(solver, "row products" if is_wide and SOLVERS[solver].solve_wide else kind)
    # Passes over chunks are expensive, so the first one gathers second moments.
    worth = EXACT_FEATURES
    if shape.n_rows is not None:
        worth = products_worth_epochs(settings) if SOLVERS[solver].needs_order else 0
    few = shape.n_features <= min(worth, EXACT_FEATURES)
    return Choice(solver, "products" if few else "columns")


def solver_of_signs(n_features: int, settings: Settings) -> tuple[str, Any]:
    """Return the solver for `positive` and its statistics; raise ValueError if there is none."""
    solver = "cholesky" if settings.solver == "auto" else settings.solver
    kind = SOLVERS[solver].kind
    if kind is None or asks_for_mini_batches(settings) or n_features > EXACT_FEATURES:
        raise ValueError(
            f"positive needs second moments of the samples: solver='cholesky' or 'qr', at most "
            f"{EXACT_FEATURES} features (X has {n_features}), and no parameter of mini-batches."
        )
    return solver, kind


def choose_for_stream(
    n_features: int, known: frozenset[str], kept: str, settings: Settings
) -> tuple[str, str]:
    """Return the solver of `partial_fit`, and the kind of statistics to continue with.

    `known` are the kinds available for all samples so far, and `kept` is the kind in the state.
    """
    if settings.positive is not None:
        solver_of_signs(n_features, settings)
    few = n_features <= EXACT_FEATURES
    solver = settings.solver
    if solver == "auto":
        exact = few and known and not asks_for_mini_batches(settings)
        solver = "cholesky" if exact else "svrg"
    needed = SOLVERS[solver].kind
    if needed is not None and needed not in known:
        raise ValueError(
            f"solver={solver!r} needs statistics of all rows so far that were not kept. Fit anew, "
            f"or go on with solver={'auto' if known else 'svrg'!r}."
        )
    if needed is None and (not few or not known or SOLVERS[solver].needs_order):
        check_half_life(solver, settings, in_stream=True)
        return solver, "columns"
    if needed is None or settings.solver == "auto":
        return solver, kept if kept in known else "products"
    return solver, needed


def check_moments_suffice(n_features: int, settings: Settings) -> None:
    """Raise ValueError for parameters that need samples, if only second moments are given."""
    if settings.positive is not None:
        solver_of_signs(n_features, settings)
    nothing: dict[str, Any] = {"early_stopping": False, "half_life": None}
    if settings.solver == "auto":
        nothing |= {name: UNSET[name] for name in MINI_BATCHES}
    elif settings.solver != "cholesky":
        nothing["solver"] = "cholesky"
    for name, value in nothing.items():
        if getattr(settings, name) != value:
            raise needs_samples(name, getattr(settings, name), value)


def needs_samples(name: str, value: Any, instead: Any) -> ValueError:
    """Return the error for a parameter value that `fit_moments` does not support."""
    return ValueError(
        f"{name}={value!r} needs samples, and fit_moments has none. Set {name}={instead!r}, or "
        "give the samples to fit."
    )


def check_half_life(solver: str, settings: Settings, in_stream: bool = False) -> None:
    """Raise ValueError for a half-life that the steps of a solver cannot take into account."""
    if settings.half_life is not None and (in_stream or SOLVERS[solver].needs_order):
        raise ValueError(
            f"half_life={settings.half_life:g} needs statistics of all samples, which the steps of "
            f"solver={solver!r} do not use. Set solver='cholesky' or 'qr', or half_life=None."
        )


def asks_for_mini_batches(settings: Settings) -> bool:
    """Whether a parameter is set that has no meaning without mini-batches or epochs."""
    is_set = any(getattr(settings, name) != UNSET[name] for name in MINI_BATCHES)
    return is_set or settings.early_stopping


def epochs_of_closed_form(shape: Shape) -> int:
    """Return how many epochs of "svrg" take as long as the closed form; 0 for dense samples.

    It is also 0 with few features, where "svrg" has a dense preconditioner, which costs as much as
    the closed form.
    """
    n, d = shape.n_rows, shape.n_features
    if not shape.n_entries or n is None or d <= FEW_FEATURES:
        return 0
    closed_form = OF_FACTOR * float(min(n, d)) ** 3 + OF_PRODUCT * shape.n_products
    return int(closed_form / (OF_EPOCH + shape.n_entries + OF_VECTORS * (n + d)))


def products_worth_epochs(settings: Settings) -> int:
    """Return the number of features up to which second moments save time for "sgd".

    With them an epoch needs no pass for the loss, which pays after about one epoch per
    `COLUMNS_PER_EPOCH` columns.
    """
    epochs = settings.max_iter if settings.tol is None else min(settings.max_iter, LIKELY_EPOCHS)
    return COLUMNS_PER_EPOCH * epochs


def unused_settings(settings: Settings, solver: str) -> str | None:
    """Return a sentence on the parameters that are set but have no effect, or None."""
    unused = [
        name
        for name in UNSET
        if name not in SOLVERS[solver].uses
        and getattr(settings, name) not in (UNSET[name], None, False)
    ]
    if unused:
        users = [repr(name) for name, each in SOLVERS.items() if set(unused) <= each.uses]
        taken = " (which solver='auto' has taken)" if settings.solver == "auto" else ""
        return (
            f"solver={solver!r}{taken} does not use {', '.join(unused)}; "
            f"solver={' and '.join(users)} would."
        )
    uses_schedule = "lr_schedule" in SOLVERS[solver].uses
    if uses_schedule and settings.lr_decay and settings.lr_schedule == "constant":
        return (
            "lr_decay has no effect with lr_schedule='constant'. "
            "Set lr_schedule='inverse_time' or 'compound'."
        )
    if uses_schedule and not settings.lr_decay and settings.lr_schedule != "constant":
        return (
            f"lr_schedule={settings.lr_schedule!r} has no effect with lr_decay=0. "
            "Set lr_decay, for example to 0.01."
        )
    return None
