"""The targets that the package is held to, each measured side by side with what it is held against.

A target is a generator of `Row`s. `Size` shrinks it for a smoke run.
"""

import subprocess
import sys
import tracemalloc
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor

from sklearn_minibatch import MiniBatchRidgeSGD

from . import peers
from .problems import Problem, conditioned, movielens, sparse_rows, text
from .timing import epoch_seconds, interleaved


class Row(NamedTuple):
    """A line of the table: what was measured, the target in words, the figure and whether it is met."""

    what: str
    target: str
    measured: str
    ok: bool | None


class Size(NamedTuple):
    """Rows are divided by `shrink`; runs are repeated `repeats` times."""

    shrink: int
    repeats: int

    def rows(self, n):
        return max(200, n // self.shrink)

    def columns(self, d):
        return min(d, 50) if self.shrink > 1 else d


def times_faster(what, at_least, seconds, note=""):
    """Row for the seconds (2, 2), median and least, of ours and of a peer."""
    ratio = seconds[0, 1] / seconds[0, 0]
    return Row(what, f">= {at_least:g}x as fast", both(seconds, ratio) + note, bool(ratio >= at_least))


def times_its_time(what, at_most, seconds, note=""):
    """As `times_faster`, for a target on our time over the other's."""
    ratio = seconds[0, 0] / seconds[0, 1]
    return Row(what, f"<= {at_most:g}x its time", both(seconds, ratio) + note, bool(ratio <= at_most))


def both(seconds, ratio):
    ours, theirs = (f"{milliseconds(median)} (least {milliseconds(least)})" for median, least in seconds.T)
    return f"{ratio:.2g}x: {ours} against {theirs}"


def milliseconds(seconds):
    return f"{seconds * 1000:.3g} ms"


def textbook(problem, batch_size, lr):
    """Fits of solver "sgd" by max_iter."""

    def fit(max_iter):
        model = MiniBatchRidgeSGD(solver="sgd", batch_size=batch_size, lr=lr, max_iter=max_iter, tol=None, random_state=0)
        model.fit(problem.X, problem.y)

    return fit


def sgd_regressor(problem, lr):
    """Fits of `SGDRegressor` by max_iter."""

    def fit(max_iter):
        model = SGDRegressor(learning_rate="constant", eta0=lr, max_iter=max_iter, tol=None, random_state=0)
        model.fit(problem.X, problem.y)

    return fit


def epochs(size):
    """Epoch of solver "sgd" against one of `SGDRegressor`."""
    for d in (10, 20, 50, 100, 500):
        problem = conditioned(size.rows(min(200_000, 10**7 // d)), d)
        lr = 0.1 / d
        for batch_size, at_least in ((1, 1), (32, 1.5), (256, 4), (1024, 4)):
            fits = textbook(problem, batch_size, lr), sgd_regressor(problem, lr)
            seconds = epoch_seconds(fits, 1, 5, size.repeats)
            yield times_faster(f"sgd epoch, {len(problem.y)} x {d}, batch {batch_size}, SGDRegressor", at_least, seconds)


def numpy_loop(problem, lr, alpha=1e-4):
    """Epochs, by their number, of the loop that one would write, a row at a time."""

    def fit(max_iter):
        rng, X, y = np.random.default_rng(0), problem.X, problem.y
        beta, b = np.zeros(X.shape[1]), 0.0
        for i in (i for _ in range(max_iter) for i in rng.permutation(len(y))):
            r = X[i] @ beta + b - y[i]
            beta -= lr * (r * X[i] + alpha * beta)
            b -= lr * r

    return fit


def loop(size):
    """Epoch of solver "sgd", batch 1, against a plain NumPy loop."""
    for d in (10, 50, 100):
        problem = conditioned(size.rows(100_000), d)
        fits = textbook(problem, 1, 0.1 / d), numpy_loop(problem, 0.1 / d)
        seconds = epoch_seconds(fits, 1, 2, min(size.repeats, 3))
        yield times_faster(f"sgd epoch, {len(problem.y)} x {d}, batch 1, NumPy loop", 15, seconds)


def reading(size):
    """Epochs against reading X once."""
    for n, d in ((200_000, 50), (100_000, 100), (20_000, 500)):
        problem = conditioned(size.rows(n), d)
        v = np.ones(d)
        for solver, at_most in (("sgd", 4), ("svrg", 6)):
            fit = partial(fit_epochs, problem, solver)
            read = [lambda X=problem.X, v=v: X @ v]
            what = f"{solver} epoch, {len(problem.y)} x {d}, batch 1024, X @ v"
            yield times_its_time(what, at_most, epoch_seconds([fit], 2, 6, size.repeats, beside=read))


def fit_epochs(problem, solver, max_iter):
    model = MiniBatchRidgeSGD(solver=solver, batch_size=1024, max_iter=max_iter, tol=None, random_state=0)
    model.fit(problem.X, problem.y)


def to_accuracy(problem, solver, size, accuracy=1e-6):
    """Seconds (2, 2) of our fit and of `Ridge` at the same accuracy, and a note of both settings and errors."""
    theirs = peers.ridge(solver)
    settings = (None,) if solver in ("cholesky", "svd") else peers.TOLERANCES[2:]
    ours = peers.first_to_reach(peers.minibatch, peers.TOLERANCES[5:9], problem, accuracy)
    other = peers.first_to_reach(theirs, settings, problem, accuracy)
    runs = [partial(peers.minibatch, problem, ours.setting), partial(theirs, problem, other.setting)]
    note = f"; tol {ours.setting:.0e} leaves {ours.error:.0e}, theirs {other.setting or 0:.0e} leaves {other.error:.0e}"
    return interleaved(runs, size.repeats), note


def sag(size):
    """Fit to 1e-6 against sag and saga."""
    for d, condition in ((20, 1e2), (50, 1e2)):
        problem = conditioned(size.rows(50_000), d, condition)
        for solver in ("sag", "saga"):
            seconds, note = to_accuracy(problem, solver, size._replace(repeats=min(size.repeats, 3)))
            yield times_faster(f"fit to 1e-6, {problem.name}, {solver}", 10, seconds, note)


def krylov(size):
    """Fit to 1e-6 against lsqr and sparse_cg on ill-conditioned columns."""
    for n, d in ((100_000, 50), (100_000, 100), (20_000, 500)):
        problem = conditioned(size.rows(n), d, 1e4, alpha=1e-6)
        for solver in ("lsqr", "sparse_cg"):
            seconds, note = to_accuracy(problem, solver, size)
            yield times_faster(f"fit to 1e-6, {problem.name}, {solver}", 4, seconds, note)


def cholesky(size):
    """Fit to 1e-6 against the closed form."""
    shapes = (100_000, 20, 4), (100_000, 50, 4), (100_000, 100, 4), (50_000, 200, 2), (50_000, 500, 2), (50_000, 1000, 2)
    for n, d, at_most in shapes:
        problem = conditioned(size.rows(n), size.columns(d), 1e2)
        seconds, note = to_accuracy(problem, "cholesky", size if d < 500 else size._replace(repeats=min(size.repeats, 3)))
        yield times_its_time(f"fit to 1e-6, {problem.name}, cholesky", at_most, seconds, note)
    problem = conditioned(size.rows(20_000), size.columns(2_000), 1e2)
    seconds, note = to_accuracy(problem, "cholesky", size._replace(repeats=min(size.repeats, 3)))
    yield times_faster(f"fit to 1e-6, {problem.name}, cholesky", 1, seconds, note)


def tuned(size):
    """Our fit against SGDRegressor with its learning rate tuned (which is not charged), to the accuracy that reaches."""
    for condition in (1e1, 1e2):
        problem = conditioned(size.rows(100_000), 50, condition)
        theirs = peers.first_to_reach(peers.sgd_regressor, peers.tuned_rates(5), problem, 0.0)
        ours = peers.first_to_reach(peers.minibatch, peers.TOLERANCES, problem, theirs.error)
        runs = [partial(peers.minibatch, problem, ours.setting), partial(peers.sgd_regressor, problem, theirs.setting)]
        note = f"; it reaches {theirs.error:.0e} with {theirs.setting}, ours {ours.error:.0e}"
        what = f"fit, {problem.name}, tuned SGDRegressor"
        yield times_faster(what, 1, interleaved(runs, size.repeats), note)


def sparse(size):
    """Sparse rows against sag, and what memory they take."""
    n, d = size.rows(100_000), 10_000 // min(size.shrink, 10)
    for problem in (sparse_rows(n, d), movielens()):
        if size.shrink > 1 and len(problem.y) > n:
            problem = Problem(problem.name, problem.X[:n], problem.y[:n])
        seconds, note = to_accuracy(problem, "sag", size._replace(repeats=min(size.repeats, 1)))
        yield times_faster(f"fit to 1e-6, {problem.name}, sag", 5, seconds, note)
        X = problem.X
        times = peak(MiniBatchRidgeSGD(random_state=0), problem) / (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)
        yield Row(f"peak memory of fit, {problem.name}", "O(nnz): <= 10x X", f"{times:.2g}x X beyond X", bool(times <= 10))


def tfidf(size):
    """Text with more words than rows, against sparse_cg."""
    problem = text(size.rows(10_000))
    for alpha, standardize in ((1e-1, True), (1e-3, True), (1 / len(problem.y), False)):
        problem = Problem(problem.name, problem.X, problem.y, alpha, standardize)
        seconds, note = to_accuracy(problem, "sparse_cg", size._replace(repeats=1))
        columns = "standardised" if standardize else "as they are"
        yield times_faster(f"fit to 1e-6, {problem.name}, {columns}, alpha {alpha:.0e}, sparse_cg", 1, seconds, note)


def learn(model, chunks):
    for X, y in chunks:
        model.partial_fit(X, y)


def streaming(size):
    """partial_fit against that of `SGDRegressor`."""
    for n, d, rows, at_most in ((2_000, 20, 1, 1.5), (50_000, 100, 1_000, 1)):
        problem = conditioned(size.rows(n), d)
        starts = range(0, len(problem.y), rows)
        chunks = [(problem.X[i : i + rows], problem.y[i : i + rows]) for i in starts]
        runs = [partial(stream_anew, make, chunks) for make in (MiniBatchRidgeSGD, SGDRegressor)]
        seconds = interleaved(runs, size.repeats) / len(chunks)
        yield times_its_time(f"partial_fit, {rows} row(s) a call, {d} columns, SGDRegressor", at_most, seconds)


def stream_anew(make, chunks):
    learn(make(random_state=0), chunks)


def small(size):
    """A small fit, and the import."""
    X, y = load_diabetes(return_X_y=True)
    seconds = interleaved([lambda: MiniBatchRidgeSGD(random_state=0).fit(X, y)], 10 * size.repeats)[0, 0]
    yield Row("fit, 442 x 10", "<= 3 ms", milliseconds(seconds), bool(seconds <= 3e-3))
    code = "import time, sklearn.linear_model, sklearn.preprocessing as _; t = time.perf_counter(); import sklearn_minibatch"
    code += "; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(size.repeats)]
    seconds = np.median([float(run.stdout) for run in runs])
    yield Row("import, beyond scikit-learn's", "<= 50 ms", milliseconds(seconds), bool(seconds <= 0.05))


def threads(size):
    """Two threads against one."""
    what, target = "fit with n_jobs=2 against n_jobs=1", ">= 1.6x as fast"
    if "n_jobs" not in MiniBatchRidgeSGD().get_params():
        yield Row(what, target, "no n_jobs yet", None)
        return
    for n, d in ((400_000, 50), (100_000, 200)):
        problem = conditioned(size.rows(n), d)
        models = [MiniBatchRidgeSGD(n_jobs=k, random_state=0) for k in (2, 1)]
        seconds = interleaved([partial(m.fit, problem.X, problem.y) for m in models], size.repeats)
        yield times_faster(f"fit, {problem.name}, n_jobs=2 against n_jobs=1", 1.6, seconds)
        same = np.array_equal(models[0].coef_, models[1].coef_)
        yield Row(f"coefficients, {problem.name}, n_jobs=2 and n_jobs=1", "equal", "equal" if same else "differ", same)


def single_precision(size):
    """float32 against float64."""
    for n, d in ((200_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), d)
        half = Problem(problem.name, problem.X.astype(np.float32), problem.y)
        runs = [partial(peers.minibatch, p, 1e-6) for p in (half, problem)]
        error = problem.error(peers.minibatch(half, 1e-6)(half.X))
        seconds = interleaved(runs, size.repeats)
        yield times_faster(f"fit, {problem.name}, float32 against float64", 1.6, seconds, f"; leaves {error:.0e}")


def peak(model, problem):
    """Peak bytes of a fit beyond its input, as tracemalloc counts NumPy's arrays."""
    tracemalloc.start()
    try:
        model.fit(problem.X, problem.y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memory(size):
    """Peak memory of a fit."""
    for n, d in ((200_000, 50), (50_000, 200)):
        problem = conditioned(size.rows(n), d)
        for solver in ("svrg", "sgd"):
            models = [MiniBatchRidgeSGD(solver=solver, max_iter=k, tol=None, random_state=0) for k in (3, 30)]
            few, many = (peak(model, problem) / problem.X.nbytes for model in models)
            yield Row(f"peak memory, {problem.name}, {solver}", "<= 1.3x X beyond X", f"{few:.3g}x", bool(few <= 1.3))
            grown = f"{many - few:+.2g}x X from 3 to 30 epochs"
            yield Row(f"growth of it with max_iter, {solver}", "<= 0.01x X", grown, bool(many - few <= 0.01))


def growth(size):
    """Growth of the time with n and d, and of the epochs with n and the condition number."""
    ns, ds = [size.rows(n) for n in (25_000, 50_000, 100_000, 200_000)], (25, 50, 100, 200)
    for letter, values, shapes in (("n", ns, [(n, 50) for n in ns]), ("d", ds, [(size.rows(50_000), d) for d in ds])):
        fits = [partial(fit_epochs, conditioned(*shape), "svrg", 10) for shape in shapes]
        seconds = interleaved(fits, size.repeats)[0]
        power = np.polyfit(np.log(values), np.log(seconds), 1)[0] if len(set(values)) > 1 else np.nan
        yield Row(
            f"seconds of 10 epochs, svrg, growth with {letter}",
            f"{letter}^1.1 at most",
            f"{letter}^{power:.2f}",
            bool(power <= 1.1),
        )
    by_n = [conditioned(n, 50, 1e2) for n in ns]
    by_condition = [conditioned(size.rows(50_000), 50, 10.0**k, alpha=1e-6) for k in (1, 2, 3, 4, 5, 6)]
    for name, problems in (("n", by_n), ("the condition number", by_condition)):
        epochs = [MiniBatchRidgeSGD(alpha=p.alpha, random_state=0).fit(p.X, p.y).n_iter_ for p in problems]
        flat = max(epochs) <= 2 * min(epochs)
        yield Row(f"epochs to tol, growth with {name}", "flat: <= 2x the least", ", ".join(map(str, epochs)), flat)


TARGETS = (
    epochs,
    loop,
    reading,
    sag,
    krylov,
    cholesky,
    tuned,
    sparse,
    tfidf,
    streaming,
    small,
    threads,
    single_precision,
    memory,
    growth,
)
