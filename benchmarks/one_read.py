"""Targets of the closed form from second moments, gathered in one read of the rows."""

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_minibatch import MiniBatchRidgeSGD

from . import timing
from .machine import threads as number_of_threads
from .problems import conditioned
from .rows import Row, Size, times_faster, times_its_time
from .timing import interleaved

SHAPES = (
    (200_000, 10),
    (100_000, 50),
    (100_000, 100),
    (50_000, 200),
    (50_000, 500),
    (20_000, 1_000),
)


def fits(problem: Any, **params: Any) -> Callable[[], Any]:
    """Our fit of a problem, as a call without arguments."""
    model = MiniBatchRidgeSGD(alpha=problem.alpha, random_state=0, **params)
    return partial(model.fit, problem.X, problem.y)


def one_read(size: Size) -> Iterator[Row]:
    """The default fit against scikit-learn's closed form, with and without scaling.

    It is also timed against a single product X'X.
    """
    goals = zip(SHAPES, (6, 4, 3, 2.5, 1.8, 1.2), (1.5, 1.5, 1.5, 1.5, 1.1, 1.1), strict=True)
    for (n, d), beside_pipeline, beside_ridge in goals:
        problem = conditioned(size.rows(n), size.columns(d))
        ridge = Ridge(alpha=problem.alpha * len(problem.y), solver="cholesky")
        pipeline = make_pipeline(StandardScaler(), ridge)
        X, y = problem.X, problem.y
        runs = [
            fits(problem),
            partial(pipeline.fit, X, y),
            partial(ridge.fit, X, y),
            lambda X=X: X.T @ X,
        ]
        seconds = interleaved(runs, size.repeats)
        what = f"fit, {len(y)} x {X.shape[1]}"
        yield times_faster(
            f"{what}, StandardScaler + Ridge cholesky", beside_pipeline, seconds[:, [0, 1]]
        )
        yield times_faster(f"{what}, Ridge cholesky on raw X", beside_ridge, seconds[:, [0, 2]])
        if d >= 100:
            yield times_its_time(f"{what}, X.T @ X", 1.5, seconds[:, [0, 3]])


def shifted(size: Size) -> Iterator[Row]:
    """As `one_read`, for columns with means of ten standard deviations, which must be centred."""
    for n, d, goal in ((100_000, 50, 4), (50_000, 200, 2.5)):
        problem = conditioned(size.rows(n), size.columns(d))
        problem.X += 10.0
        ridge = Ridge(alpha=problem.alpha * len(problem.y), solver="cholesky")
        pipeline = make_pipeline(StandardScaler(), ridge)
        X, y = problem.X, problem.y
        runs = [fits(problem), partial(pipeline.fit, X, y), lambda X=X: X.T @ X]
        seconds = interleaved(runs, size.repeats)
        what = f"fit, {len(y)} x {X.shape[1]}, means of 10"
        yield times_faster(f"{what}, StandardScaler + Ridge cholesky", goal, seconds[:, [0, 1]])
        if d >= 100:
            yield times_its_time(f"{what}, X.T @ X", 1.5, seconds[:, [0, 2]])


def auto(size: Size) -> Iterator[Row]:
    """The choice of "auto" against the better of the two solvers."""
    for n, d in (
        (2_000, 50),
        (100_000, 50),
        (20_000, 200),
        (2_000, 1_000),
        (20_000, 1_000),
        (5_000, 1_500),
        (20_000, 1_500),
        (500, 2_000),
        (20_000, 2_000),
        (10_000, 3_000),
        (5_000, 4_000),
    ):
        problem = conditioned(size.rows(n), size.columns(d))
        seconds = interleaved(
            [fits(problem, solver=each) for each in ("auto", "cholesky", "svrg")], size.repeats
        )
        best = seconds[:, 1:].min(axis=1)
        what = f"auto, {len(problem.y)} x {problem.X.shape[1]}, the better of cholesky and svrg"
        both = np.column_stack([seconds[:, 0], best])
        faster = "cholesky" if seconds[0, 1] < seconds[0, 2] else "svrg"
        yield times_its_time(what, 1.2, both, f"; the better is {faster}")


def products_of_peers(size: Size) -> Iterator[Row]:
    """The default fit against other packages that solve the normal equations."""
    for n, d in ((100_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), d)
        for name, make in (
            ("sklearnex IncrementalRidge", incremental_ridge),
            ("glum closed-form", glum_closed_form),
        ):
            try:
                other = make(problem)
            except ImportError as error:
                yield Row(
                    f"fit, {len(problem.y)} x {d}, {name}",
                    ">= 1x as fast",
                    f"not installed: {error}",
                    None,
                )
                continue
            seconds = interleaved([fits(problem), other], size.repeats)
            yield times_faster(f"fit, {len(problem.y)} x {d}, {name}", 1, seconds)


def incremental_ridge(problem: Any) -> Callable[[], Any]:
    """A fit of the same objective; its standardisation is timed too."""
    from sklearnex.linear_model import IncrementalRidge

    pipeline = make_pipeline(
        StandardScaler(), IncrementalRidge(alpha=problem.alpha * len(problem.y))
    )
    return partial(pipeline.fit, problem.X, problem.y)


def glum_closed_form(problem: Any) -> Callable[[], Any]:
    """A fit by glum's closed form for the normal distribution."""
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        alpha=problem.alpha,
        l1_ratio=0,
        scale_predictors=True,
        solver="closed-form",
        family="normal",
    )
    return partial(model.fit, problem.X, problem.y)


def memory_of_one_read(size: Size) -> Iterator[Row]:
    """Peak memory of the default fit beyond its input."""
    for n, d in ((200_000, 50), (50_000, 200), (20_000, 1_000)):
        problem = conditioned(size.rows(n), size.columns(d))
        tracemalloc.start()
        fits(problem)()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        square = 8 * (problem.X.shape[1] + 1) ** 2
        most = 0.05 * problem.X.nbytes + 8 * square
        measured = f"{peak / problem.X.nbytes:.3f}x X, {peak / square:.1f} (d + 1)^2"
        what = f"peak memory of fit, {len(problem.y)} x {problem.X.shape[1]}"
        yield Row(what, "<= 0.05x X + 8 (d + 1)^2 numbers", measured, bool(peak <= most))


def exact_stream(size: Size) -> Iterator[Row]:
    """A stream, with the default number of BLAS threads and with one.

    `partial_fit` is timed against that of SGDRegressor, and in microseconds with predictions in
    between.
    """
    for limit in (None, 1):
        with threadpool_limits(limit):
            there = f"{number_of_threads()} thread(s)"
            for row in [*learning(size), *predicting(size)]:
                yield row._replace(what=f"{row.what}, {there}")
    yield from frames(size)


def learning(size: Size) -> Iterator[Row]:
    """`partial_fit` of chunks, without predictions."""
    for rows, d, at_most in (
        (1, 20, 0.7),
        (1, 100, 0.8),
        (1, 500, 1.0),
        (1, 1_000, 1.0),
        (1_000, 100, 0.5),
        (1_000, 500, 2.6),
        (1_000, 1_000, 5.0),
    ):
        problem = conditioned(max(rows, size.rows(2_000)), size.columns(d))
        chunk = problem.X[:rows], problem.y[:rows]
        calls = 300 if rows == 1 else 1
        models = [make().partial_fit(*chunk) for make in (MiniBatchRidgeSGD, SGDRegressor)]
        runs = [partial(repeated, calls, partial(model.partial_fit, *chunk)) for model in models]
        seconds = interleaved(runs, 5 * size.repeats) / calls
        what = f"partial_fit, {rows} x {problem.X.shape[1]} a call"
        yield times_its_time(f"{what}, SGDRegressor", at_most, seconds)
        if rows > 1:
            runs = [runs[0], lambda X=chunk[0]: X.T @ X]
            seconds = interleaved(runs, 5 * size.repeats)
            yield times_its_time(f"{what}, X.T @ X", 1.5, seconds)


def predicting(size: Size) -> Iterator[Row]:
    """Microseconds for single samples: learnt without checks, or predicted and then learnt."""
    for d, at_most, asked in (
        (20, 15, False),
        (20, 150, True),
        (100, 250, True),
        (500, 2_000, True),
    ):
        problem = conditioned(size.rows(20_000), size.columns(d))
        X, y = problem.X, problem.y
        model = MiniBatchRidgeSGD().partial_fit(X, y)

        numbers = count()

        def call(
            model: Any = model, X: Any = X, y: Any = y, numbers: Any = numbers, asked: bool = asked
        ) -> None:
            k = next(numbers) % len(y)
            row = X[k : k + 1]
            if asked:
                model.predict(row)
            model.partial_fit(row, y[k : k + 1], check_input=asked)

        seconds = interleaved([partial(repeated, 300, call)], size.repeats)[0, 0] / 300
        what = "predict, then partial_fit" if asked else "partial_fit without checks"
        measured = f"{seconds * 1e6:.0f} us"
        target = f"<= {at_most} us"
        what = f"{what}, 1 x {X.shape[1]}"
        yield Row(what, target, measured, bool(seconds * 1e6 <= at_most))


def repeated(calls: int, call: Callable[[], Any]) -> None:
    """Call many times, so that the time of reading the clock is negligible."""
    for _ in range(calls):
        call()


def frames(size: Size) -> Iterator[Row]:
    """A data frame, stored column by column, against the same rows in an array."""
    problem = conditioned(size.rows(400_000), 27)
    frame = pd.DataFrame(problem.X.T.copy().T)
    for params in ({}, {"solver": "svrg"}):
        runs = [
            partial(MiniBatchRidgeSGD(random_state=0, **params).partial_fit, X, problem.y)
            for X in (frame, problem.X)
        ]
        seconds = interleaved(runs, size.repeats)
        what = f"partial_fit, {params.get('solver', 'auto')}, data frame of {len(frame)} x 27"
        yield times_its_time(f"{what}, the same in an array", 2, seconds)


def single_precision_read(size: Size) -> Iterator[Row]:
    """float32 rows against float64 rows.

    The predictions from float32 rows are compared with those of a fit to the same numbers in
    float64.
    """
    for n, d in ((200_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), d)
        half = MiniBatchRidgeSGD(alpha=problem.alpha, random_state=0)
        X = problem.X.astype(np.float32)
        seconds = interleaved([partial(half.fit, X, problem.y), fits(problem)], size.repeats)
        same = MiniBatchRidgeSGD(alpha=problem.alpha).fit(X.astype(float), problem.y)
        gap = np.sqrt(
            np.mean((half.predict(X.astype(float)) - same.predict(X.astype(float))) ** 2)
        ) / np.std(problem.y)
        yield times_faster(
            f"fit, {len(problem.y)} x {d}, float32 against float64",
            1,
            seconds,
            f"; {gap:.0e} std(y) apart",
        )


def threads(size: Size) -> Iterator[Row]:
    """Two threads against one, by wall-clock time.

    Processor time would add up the seconds of both threads.
    """
    before = timing.clock
    timing.use("wall")
    for n, d in ((400_000, 50), (100_000, 200)):
        problem = conditioned(size.rows(n), d)
        models = [MiniBatchRidgeSGD(n_jobs=k, random_state=0) for k in (2, 1)]
        seconds = interleaved([partial(m.fit, problem.X, problem.y) for m in models], size.repeats)
        yield times_faster(
            f"fit, {problem.name}, n_jobs=2 against n_jobs=1, wall clock", 1.6, seconds
        )
        same = np.array_equal(models[0].coef_, models[1].coef_)
        yield Row(
            f"coefficients, {problem.name}, n_jobs=2 and n_jobs=1",
            "equal",
            "equal" if same else "differ",
            same,
        )
    timing.use(before)


TARGETS = (
    one_read,
    shifted,
    auto,
    products_of_peers,
    memory_of_one_read,
    exact_stream,
    threads,
    single_precision_read,
)
