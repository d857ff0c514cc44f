"""For which shapes second moments are the right method, and where they lose."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

from ..problems import Problem, conditioned, sparse_rows
from ..rows import Size, Table
from ..timing import duration, interleaved, plain

SHAPES = (1_000_000, 20), (100_000, 100), (20_000, 1_000), (20_000, 2_000), (10_000, 4_000)
ACCURACY = 1e-6  # of the solvers that have a tolerance
METHODS = (
    "second moments",
    'solver="svrg"',
    "StandardScaler, Ridge cholesky",
    "StandardScaler, Ridge sparse_cg",
)


def shapes(size: Size) -> Table:
    """Time to about 1e-6 of second moments, of steps, and of conjugate gradients."""
    rows = []
    for problem in problems(size):
        n, d = problem.X.shape
        possible = {name: fit for name, fit in fits(problem) if name in allowed(problem)}
        repeats = 3 if size.shrink == 1 else 1
        seconds = dict(zip(possible, interleaved(possible.values(), repeats)[0], strict=True))
        cells = [duration(seconds[name]) if name in seconds else "-" for name in METHODS]
        rows.append((f"{n:,} x {d:,}", f"{plain(8 * d**2 / 1e6, 2)} MB", *cells))
    return ["rows x columns", "d² numbers", *METHODS], rows


def problems(size: Size) -> Iterator[Problem]:
    """Dense rows with ever more columns, then wide sparse rows."""
    for n, d in SHAPES:
        yield conditioned(size.rows(n), size.columns(d), 1e2)
    yield sparse_rows(size.rows(20_000), 46_000 // min(size.shrink, 100), entries=25)


def fits(problem: Problem) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Fits of a problem; the standardisation is charged."""
    for name, solver in zip(METHODS[:2], ("cholesky", "svrg"), strict=True):
        model = MiniBatchRidgeSGD(problem.alpha, solver=solver, tol=ACCURACY, random_state=0)
        yield name, partial(model.fit, problem.X, problem.y)
    for name, solver in zip(METHODS[2:], ("cholesky", "sparse_cg"), strict=True):
        ridge = Ridge(problem.ridge_alpha, solver=solver, tol=ACCURACY)
        pipeline = make_pipeline(StandardScaler(with_mean=not problem.is_sparse), ridge)
        yield name, partial(pipeline.fit, problem.X, problem.y)


def allowed(problem: Problem) -> tuple[str, ...]:
    """What needs no d² numbers, for wide sparse rows; else all."""
    return (METHODS[1], METHODS[3]) if problem.is_sparse else METHODS
