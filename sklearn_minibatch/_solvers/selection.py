"""The solvers, the choice that "auto" makes, and the parameters that each of them leaves unused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling, scaling_of, textbook_scaling
from .._statistics.second_moments import FEW_FEATURES, SecondMoments
from . import cholesky, sgd, stream, svrg
from .problem import ModelState, Parameters, Problem, Settings, Solution

# The values with which these parameters ask for nothing.
UNSET = {
    "batch_size": "auto",
    "lr": "auto",
    "lr_schedule": "constant",
    "lr_decay": 0.0,
    "preconditioner": "auto",
    "average": False,
}
# Computing the second moments of so many columns takes as long as a pass for the loss.
COLUMNS_PER_EPOCH = 25
# An "sgd" fit with a tolerance takes at least about so many epochs.
LIKELY_EPOCHS = 10


class Solver(NamedTuple):
    """A solver for `fit` and `partial_fit`, its units, and the parameters it leaves unused."""

    solve: Callable[[Problem, Parameters, Settings, Any, Any], Solution]
    learn: Callable[[Chunk, ModelState, SecondMoments, Settings], ModelState]
    scaling: Callable[[Moments, Moments, bool, bool], Scaling]
    unused: tuple[str, ...]


SOLVERS = {
    "cholesky": Solver(cholesky.solve, cholesky.learn, scaling_of, tuple(UNSET)),
    "svrg": Solver(svrg.solve, stream.learn, scaling_of, ("lr_schedule", "lr_decay", "average")),
    "sgd": Solver(sgd.solve, sgd.learn, textbook_scaling, ("preconditioner",)),
}


def asks_for_mini_batches(settings: Settings) -> bool:
    """Whether a parameter has been set that has no meaning without mini-batches, or epochs."""
    is_set = any(
        getattr(settings, name) != UNSET[name] for name in ("batch_size", "lr", "preconditioner")
    )
    return is_set or settings.early_stopping


def most_features(settings: Settings) -> float | None:
    """Up to how many columns `fit` gathers second moments of; None: where they pay.

    Where "sgd" has them, an epoch needs no pass for the loss. This saves time after about one epoch
    per `COLUMNS_PER_EPOCH` columns.
    """
    if settings.solver == "auto" and not asks_for_mini_batches(settings):
        return None
    if settings.solver == "cholesky":
        return np.inf
    if settings.solver != "sgd":
        return 0
    epochs = settings.max_iter if settings.tol is None else min(settings.max_iter, LIKELY_EPOCHS)
    return min(COLUMNS_PER_EPOCH * epochs, FEW_FEATURES)


def solver_for(settings: Settings, has_second_moments: bool) -> str:
    """Return the name of the solver; "auto" takes the closed form if there are second moments."""
    if settings.solver != "auto":
        return settings.solver
    return "cholesky" if has_second_moments and not asks_for_mini_batches(settings) else "svrg"


def stream_solver(settings: Settings, has_second_moments: bool) -> str:
    """The same for a stream, which may have learnt rows without their second moments."""
    if settings.solver == "cholesky" and not has_second_moments:
        raise ValueError(
            "solver='cholesky' needs the second moments of all rows so far, which steps of "
            "mini-batches did not keep. Fit anew, or go on with solver='auto' or 'svrg'."
        )
    return solver_for(settings, has_second_moments)


def unused_settings(settings: Settings, solver: str) -> str | None:
    """A sentence on the parameters that have been set and have no effect, if there are any."""
    unused = [
        name
        for name in SOLVERS[solver].unused
        if getattr(settings, name) not in (UNSET[name], None)
    ]
    if unused:
        users = [repr(name) for name, each in SOLVERS.items() if not set(unused) & set(each.unused)]
        taken = " (which solver='auto' has taken)" if settings.solver == "auto" else ""
        return (
            f"solver={solver!r}{taken} does not use {', '.join(unused)}; "
            f"solver={' and '.join(users)} would."
        )
    if solver == "sgd" and settings.lr_decay and settings.lr_schedule == "constant":
        return (
            "lr_decay has no effect with lr_schedule='constant'. "
            "Set lr_schedule='inverse_time' or 'compound'."
        )
    if solver == "sgd" and not settings.lr_decay and settings.lr_schedule != "constant":
        return (
            f"lr_schedule={settings.lr_schedule!r} has no effect with lr_decay=0. "
            "Set lr_decay, for example to 0.01."
        )
    return None
