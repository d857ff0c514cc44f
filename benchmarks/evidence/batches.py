"""Mini-batches or single rows, and what their size does."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

from ..problems import Problem, conditioned, diamonds
from ..rows import Size, Table
from ..timing import duration, epoch_seconds, timed

EPOCHS = 1, 5, 20
BATCH_SIZES = 1, 32, 256


def batches(size: Size) -> Table:
    """Distance to the closed form after the same numbers of epochs."""
    problems = [diamonds(), conditioned(20_000 // size.shrink, 20, 1e3)]
    if size.shrink > 1:
        problems = [Problem(each.name, each.X[::20], each.y[::20]) for each in problems]
    rows = [
        (problem.name, name, *after_epochs(problem, make))
        for problem in problems
        for name, make in fits(problem.alpha)
    ]
    return ["problem", "fit", *(f"after {e} epoch(s)" for e in EPOCHS)], rows


def after_epochs(problem: Problem, make: Callable[[int], Any]) -> list[str]:
    """The distances to the closed form."""
    models = [make(n_epochs).fit(problem.X, problem.y) for n_epochs in EPOCHS]
    return [f"{problem.error(model.predict(problem.X)):.0e}" for model in models]


def fits(alpha: float) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """What to fit, as functions of the number of epochs."""
    yield (
        "StandardScaler, SGDRegressor",
        lambda e: make_pipeline(
            StandardScaler(), SGDRegressor(alpha=alpha, max_iter=e, tol=None, random_state=0)
        ),
    )
    for solver in ("sgd", "svrg"):
        for batch_size in BATCH_SIZES:
            params = {"solver": solver, "batch_size": batch_size, "random_state": 0, "tol": None}
            yield (
                f'solver="{solver}", batch_size={batch_size}',
                lambda e, params=params: MiniBatchRidgeSGD(alpha, max_iter=e, **params),
            )
    yield "second moments (the default)", lambda e: MiniBatchRidgeSGD(alpha)


def batch_sizes(size: Size) -> Table:
    """What a larger mini-batch does to the stable rate, to the noise, and to the time."""
    problem = conditioned(size.rows(20_000), 50)
    rows = []
    common = sgd(problem, 1, lr="auto", max_iter=1).lr_
    for batch_size in (1, 8, 32, 125, 500, 2000):  # all divide the rows
        auto = sgd(problem, batch_size, lr="auto", max_iter=1).lr_
        largest = largest_stable(problem, batch_size, auto)
        epoch = partial(sgd, problem, batch_size, auto)
        (seconds,) = epoch_seconds([epoch], 2, 12, min(size.repeats, 5))[0]
        rows.append(
            (
                batch_size,
                f"{auto:.1e}",
                f"{largest / auto:.1f}x",
                f"{noise(problem, batch_size, auto):.1e}",
                f"{noise(problem, batch_size, common):.1e}",
                duration(seconds),
            )
        )
    header = [
        "batch_size",
        'lr="auto"',
        "largest stable rate",
        "noise with auto",
        f"noise with lr={common:.1e}",
        "time per epoch",
    ]
    return header, rows


def sgd(problem: Problem, batch_size: int, lr: float | str, max_iter: int) -> MiniBatchRidgeSGD:
    """A fit of plain steps with a constant learning rate."""
    model = MiniBatchRidgeSGD(
        problem.alpha,
        solver="sgd",
        batch_size=batch_size,
        lr=lr,
        lr_decay=0.0,
        max_iter=max_iter,
        tol=None,
        random_state=0,
    )
    return timed(lambda: model.fit(problem.X, problem.y))[0]


def noise(problem: Problem, batch_size: int, lr: float) -> float:
    """How far from the closed form, where they start, steps stay: the mean square of ten times."""
    model = MiniBatchRidgeSGD(problem.alpha, random_state=0).fit(problem.X, problem.y)
    model.set_params(solver="sgd", batch_size=batch_size, lr=lr, lr_decay=0.0, tol=None)
    errors = []
    for n_epochs in (40, *[3] * 9):
        model.set_params(warm_start=True, max_iter=n_epochs)
        timed(lambda: model.fit(problem.X, problem.y))
        errors.append(problem.error(model.predict(problem.X)))
    return float(np.sqrt(np.mean(np.square(errors))))


def largest_stable(problem: Problem, batch_size: int, lr: float) -> float:
    """The largest of lr, 1.2 lr, 1.2^2 lr, ... with which ten epochs keep the loss below var(y)."""
    bound = np.var(problem.y)
    while True:
        losses = sgd(problem, batch_size, 1.2 * lr, 10).loss_history_
        if not np.all(losses < bound):
            return lr
        lr *= 1.2
