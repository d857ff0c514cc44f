"""The solvers, what each of them needs, and the choice that "auto" makes."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .._rows.chunk import Chunk
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling, scaling_of, textbook_scaling
from .._statistics.second_moments import EXACT_FEATURES, ColumnMoments
from . import cholesky, dual, sgd, sgd_stream, stream, svrg
from .problem import Monitor, Parameters, Problem, Settings, Solution
from .state import ModelState

# The values with which these parameters ask for nothing.
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
# Computing the second moments of so many columns takes as long as a pass for the loss.
COLUMNS_PER_EPOCH = 25
# An "sgd" fit with a tolerance takes at least about so many epochs.
LIKELY_EPOCHS = 10
# A sparse fit by "svrg" takes at most about so many passes over the entries.
LIKELY_PASSES = 1000


class Shape(NamedTuple):
    """What is known of the samples before they are read."""

    n_features: int
    n_rows: int | None = None  # None: they come in chunks
    n_entries: int | None = None  # of sparse samples in memory
    n_products: float = 0.0  # of entries of the same sample, summed over the samples

    @property
    def is_wide(self) -> bool:
        """Whether there are fewer samples than features, and all are in memory."""
        return self.n_rows is not None and 1 < self.n_rows < self.n_features


class Solver(NamedTuple):
    """A solver for `fit`, its units, the parameters it uses, and its steps over a stream."""

    solve: Callable[[Problem, Parameters, Settings, Any, Monitor], Solution]
    scaling: Callable[[Moments, Moments, bool, bool], Scaling]
    uses: frozenset[str]  # of the parameters in UNSET
    learn: Callable[[Chunk, ModelState, ColumnMoments, Settings], ModelState] | None
    needs_order: bool = False  # whether its steps follow one another over all samples


SOLVERS = {
    "cholesky": Solver(cholesky.solve, scaling_of, frozenset(), None),
    "svrg": Solver(svrg.solve, scaling_of, frozenset(MINI_BATCHES), stream.learn),
    "sgd": Solver(
        sgd.solve, textbook_scaling, frozenset(UNSET) - {"preconditioner"}, sgd_stream.learn, True
    ),
}


class Choice(NamedTuple):
    """The solver of a fit, and the statistics that it is given."""

    solver: str
    gather: Literal["columns", "products", "row products"]

    @property
    def solve(self) -> Callable[[Problem, Parameters, Settings, Any, Monitor], Solution]:
        """The function that solves a problem with these statistics."""
        return dual.solve if self.gather == "row products" else SOLVERS[self.solver].solve


def choose(shape: Shape, settings: Settings) -> Choice:
    """Return the solver for samples of this shape, and what is to be gathered of them.

    "auto" takes the closed form where second moments cost less than passes of "svrg", and they are
    kept of up to `EXACT_FEATURES` features.
    """
    solver = settings.solver
    if solver == "auto":
        few = min(shape.n_features, shape.n_rows or shape.n_features) <= EXACT_FEATURES
        exact = few and products_pay(shape) and not asks_for_mini_batches(settings)
        solver = "cholesky" if exact else "svrg"
    if SOLVERS[solver].learn is None:
        return Choice(solver, "row products" if shape.is_wide else "products")
    # Of chunks, whose passes are dear, the first pass leaves second moments.
    worth = EXACT_FEATURES
    if shape.n_rows is not None:
        worth = products_worth_epochs(settings) if SOLVERS[solver].needs_order else 0
    few = shape.n_features <= min(worth, EXACT_FEATURES)
    return Choice(solver, "products" if few else "columns")


def choose_for_stream(n_features: int, has_products: bool, settings: Settings) -> tuple[str, bool]:
    """Return the solver of `partial_fit`, and whether second moments are kept on.

    `has_products` says whether they were kept of all samples so far.
    """
    few = n_features <= EXACT_FEATURES
    solver = settings.solver
    if solver == "auto":
        solver = "cholesky" if has_products and few else "svrg"
        if asks_for_mini_batches(settings):
            solver = "svrg"
    if SOLVERS[solver].learn is None and not has_products:
        raise ValueError(
            f"solver={solver!r} needs the second moments of all rows so far, which steps of "
            "mini-batches did not keep. Fit anew, or go on with solver='auto' or 'svrg'."
        )
    is_exact = SOLVERS[solver].learn is None or (few and not SOLVERS[solver].needs_order)
    return solver, is_exact and has_products


def asks_for_mini_batches(settings: Settings) -> bool:
    """Whether a parameter has been set that has no meaning without mini-batches, or epochs."""
    is_set = any(getattr(settings, name) != UNSET[name] for name in MINI_BATCHES)
    return is_set or settings.early_stopping


def products_pay(shape: Shape) -> bool:
    """Whether second moments cost less than the passes of "svrg": always, of dense samples."""
    if shape.n_entries is None:
        return True
    if shape.is_wide:
        return True
    return shape.n_features**3 + shape.n_products <= LIKELY_PASSES * shape.n_entries


def products_worth_epochs(settings: Settings) -> int:
    """Return up to how many features second moments pay for "sgd".

    An epoch then needs no pass for the loss. This saves time after about one epoch per
    `COLUMNS_PER_EPOCH` columns.
    """
    epochs = settings.max_iter if settings.tol is None else min(settings.max_iter, LIKELY_EPOCHS)
    return COLUMNS_PER_EPOCH * epochs


def unused_settings(settings: Settings, solver: str) -> str | None:
    """A sentence on the parameters that have been set and have no effect, if there are any."""
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
