"""Targets of choosing alpha by cross-validation in one read of the rows."""

import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from .problems import ames, conditioned, diabetes, diamonds, flights, tabular
from .rows import Row, Size, times_faster, times_its_time
from .timing import duration, interleaved, rounds

N_FOLDS = 5
REAL = (
    diabetes,
    partial(tabular, "MASS", "Boston", "medv"),
    partial(tabular, "ISLR", "Hitters", "Salary"),
    partial(tabular, "modeldata", "concrete", "compressive_strength"),
    ames,
    diamonds,
    flights,
)


def scores(size: Size) -> Iterator[Row]:
    """Mean squared errors on real data sets against those of a grid search."""
    for make in REAL if size.shrink == 1 else REAL[:2]:
        problem = make()
        X, y = problem.X, problem.y
        model = MiniBatchRidgeSGDCV(cv=N_FOLDS).fit(X, y)
        # Every fifth alpha of the default grid, because the search fits each alpha separately.
        alphas = model.alphas_[::5]
        search = GridSearchCV(
            MiniBatchRidgeSGD(),
            {"alpha": alphas},
            cv=KFold(N_FOLDS),
            scoring="neg_mean_squared_error",
            refit=False,
        ).fit(X, y)
        theirs = -search.cv_results_["mean_test_score"]
        ours = model.mse_path_.mean(axis=1)[::5]
        gap = float(np.max(np.abs(ours / theirs - 1)))
        same = ours.argmin() == theirs.argmin()
        yield Row(
            f"mean squared errors, {problem.name}, GridSearchCV",
            "relative difference <= 1e-8",
            f"{gap:.0e}; {'the same' if same else 'another'} alpha",
            bool(gap <= 1e-8 and same),
        )


def one_fit(size: Size) -> Iterator[Row]:
    """50 alphas and five folds against one fit."""
    for n, d in ((100_000, 10), (100_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), size.columns(d))
        models = MiniBatchRidgeSGDCV(), MiniBatchRidgeSGD()
        seconds = interleaved([partial(m.fit, problem.X, problem.y) for m in models], size.repeats)
        what = f"50 alphas, {N_FOLDS} folds, {len(problem.y)} x {problem.X.shape[1]}"
        yield times_its_time(f"{what}, one MiniBatchRidgeSGD fit", 1.5, seconds)


def searches(size: Size) -> Iterator[Row]:
    """50 alphas against the leave-one-out of RidgeCV and against a grid search."""
    problem = conditioned(size.rows(100_000), 50)
    X, y = problem.X, problem.y
    alphas = MiniBatchRidgeSGDCV().fit(X, y).alphas_
    ours = partial(MiniBatchRidgeSGDCV(alphas).fit, X, y)
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas * len(y)))
    what = f"50 alphas, {len(y)} x 50"
    seconds = interleaved([ours, partial(ridge.fit, X, y)], size.repeats)
    yield times_faster(f"{what}, StandardScaler + RidgeCV (leave one out)", 1, seconds)
    search = GridSearchCV(MiniBatchRidgeSGD(), {"alpha": alphas}, cv=N_FOLDS)
    seconds = interleaved([ours, partial(search.fit, X, y)], min(size.repeats, 3))
    yield times_faster(f"{what}, GridSearchCV(MiniBatchRidgeSGD())", 100, seconds)


def counted(problem: Any, rows: int) -> tuple[ChunkSource, list[int]]:
    """A source of chunks, and a list that gets an entry with every read."""
    reads: list[int] = []

    def chunks() -> Iterator[tuple[Any, Any]]:
        reads.append(len(reads))
        for start in range(0, len(problem.y), rows):
            part = slice(start, start + rows)
            yield problem.X[part], problem.y[part]

    return ChunkSource(chunks), reads


def reads_of_a_source(size: Size) -> Iterator[Row]:
    """Reads of a source of chunks, and the memory that the choice takes besides three chunks."""
    for n, d in ((100_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), d)
        rows = 2_000
        source, reads = counted(problem, rows)
        tracemalloc.start()
        MiniBatchRidgeSGDCV(random_state=0).fit(source)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        what = f"50 alphas, {len(problem.y)} x {d} in chunks of {rows}"
        yield Row(f"{what}, reads", "1", str(len(reads)), len(reads) == 1)
        square = 8 * (d + 1) ** 2
        chunk = 8 * min(rows, len(problem.y)) * (d + 1)
        squares = (peak - 3 * chunk) / square
        # Three copies: the chunk, its rows sorted by fold, and its centred rows.
        yield Row(
            f"{what}, peak memory beside three chunks",
            f"<= ({N_FOLDS} + 10) (d + 1)^2 numbers",
            f"{max(squares, 0):.1f} (d + 1)^2",
            bool(squares <= N_FOLDS + 10),
        )


def stream(size: Size) -> Iterator[Row]:
    """Seconds of a call of partial_fit, which chooses alpha anew."""
    problem = conditioned(size.rows(100_000), 50)
    chunk = problem.X[:10_000], problem.y[:10_000]
    model = MiniBatchRidgeSGDCV(random_state=0).partial_fit(*chunk)
    seconds = np.median(rounds([partial(model.partial_fit, *chunk)], size.repeats))
    yield Row("partial_fit, 10000 x 50 a call, 50 alphas", "-", duration(float(seconds)), None)


TARGETS = (scores, one_fit, searches, reads_of_a_source, stream)
