"""The performance targets of the package, each measured side by side with its reference.

A target is a generator of `Row`s. `Size` shrinks it for a smoke run.
"""

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor

from sklearn_minibatch import MiniBatchRidgeSGD

from . import peers
from .peers import best_rate
from .problems import conditioned, movielens, sparse_rows, text
from .rows import Row, times_faster, times_its_time
from .runner import trial
from .timing import duration, epoch_seconds, interleaved, plain

PEERS = {peer.name: peer for peer in peers.PEERS}
OURS = peers.PEERS[0]


def textbook(problem, batch_size, lr):
    """Return a function of max_iter that fits by solver "sgd"."""

    def fit(max_iter):
        model = MiniBatchRidgeSGD(
            solver="sgd", batch_size=batch_size, lr=lr, max_iter=max_iter, tol=None, random_state=0
        )
        model.fit(problem.X, problem.y)

    return fit


def sgd_regressor(problem, lr):
    """Return a function of max_iter that fits `SGDRegressor`."""

    def fit(max_iter):
        model = SGDRegressor(
            learning_rate="constant", eta0=lr, max_iter=max_iter, tol=None, random_state=0
        )
        model.fit(problem.X, problem.y)

    return fit


def epochs(size):
    """Epoch of solver "sgd" against one of `SGDRegressor`."""
    for d in (10, 20, 50, 100, 200, 500):
        problem = conditioned(size.rows(min(200_000, 10**7 // d)), d)
        lr = 0.1 / d
        for batch_size, at_least in ((1, 1), (32, 1.5), (256, 4), (1024, 4)):
            fits = textbook(problem, batch_size, lr), sgd_regressor(problem, lr)
            seconds = epoch_seconds(fits, 2, 22, size.repeats)
            yield times_faster(
                f"sgd epoch, {len(problem.y)} x {d}, batch {batch_size}, SGDRegressor",
                at_least,
                seconds,
            )


def numpy_loop(problem, lr, alpha=1e-4):
    """An epoch of a plain loop over the rows in NumPy."""
    X, y = problem.X, problem.y
    beta, b = np.zeros(X.shape[1]), 0.0
    for i in np.random.default_rng(0).permutation(len(y)):
        r = X[i] @ beta + b - y[i]
        beta -= lr * (r * X[i] + alpha * beta)
        b -= lr * r


def loop(size):
    """Epoch of solver "sgd", batch 1, against a plain NumPy loop."""
    for d in (10, 50, 100):
        problem = conditioned(size.rows(100_000), d)
        plain = partial(numpy_loop, problem, 0.1 / d)
        seconds = epoch_seconds(
            [textbook(problem, 1, 0.1 / d)], 2, 12, size.repeats, beside=[plain]
        )
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
            yield times_its_time(
                what, at_most, epoch_seconds([fit], 2, 22, size.repeats, beside=read)
            )


def fit_epochs(problem, solver, max_iter):
    model = MiniBatchRidgeSGD(
        solver=solver, batch_size=1024, max_iter=max_iter, tol=None, random_state=0
    )
    model.fit(problem.X, problem.y)


def first_to_reach(peer, settings, problem, accuracy, budget):
    """Return the trial of the first of `settings` that reaches an accuracy.

    If none does within `budget` seconds, return the most accurate trial.
    """
    trials = []
    for setting in settings:
        trials.append(trial(peer, problem, setting))
        if trials[-1].error <= accuracy:
            return trials[-1]
        if sum(each.seconds for each in trials) > budget:
            break
    return min(trials, key=lambda each: each.error if np.isfinite(each.error) else np.inf)


def to_accuracy(problem, name, size, accuracy=1e-6):
    """Return the seconds (2, 2) of our fit and of a peer at the same accuracy.

    Also return a note, and whether our fit reaches the accuracy.
    """
    settings = [each for each in PEERS[name].settings if each is None or each <= 1e-3]
    theirs = first_to_reach(PEERS[name], settings, problem, accuracy, size.budget)
    ours = first_to_reach(OURS, (1e-6, 1e-7), problem, accuracy, size.budget)
    runs = [partial(each.peer.fit, problem, each.setting) for each in (ours, theirs)]
    note = (
        f"; {ours.error:.0e} left, tol {ours.setting:g}; "
        f"theirs {theirs.error:.0e}, tol {theirs.setting or 0:g}"
    )
    repeats = size.repeats if theirs.seconds + ours.seconds < 2 else 1
    return interleaved(runs, repeats, warm_up=False), note, ours.error <= accuracy


def faster_to_accuracy(problem, name, at_least, size):
    seconds, note, reached = to_accuracy(problem, name, size)
    row = times_faster(f"fit to 1e-6, {problem.name}, {name}", at_least, seconds, note)
    return row._replace(ok=row.ok and reached)


def cheap_to_accuracy(problem, name, at_most, size):
    seconds, note, reached = to_accuracy(problem, name, size)
    row = times_its_time(f"fit to 1e-6, {problem.name}, {name}", at_most, seconds, note)
    return row._replace(ok=row.ok and reached)


def sag(size):
    """Fit to 1e-6 against sag and saga."""
    for d, condition in ((20, 1e2), (50, 1e2)):
        problem = conditioned(size.rows(50_000), d, condition)
        for solver in ("sag", "saga"):
            yield faster_to_accuracy(problem, f"Ridge, {solver}", 10, size.at_most(3))


def krylov(size):
    """Fit to 1e-6 against lsqr and sparse_cg on ill-conditioned columns."""
    for n, d in ((100_000, 50), (50_000, 100), (20_000, 200)):
        problem = conditioned(size.rows(n), d, 1e4, alpha=1e-6)
        for solver in ("lsqr", "sparse_cg"):
            yield faster_to_accuracy(problem, f"Ridge, {solver}", 4, size.at_most(3))


def cholesky(size):
    """Fit to 1e-6 against the closed form."""
    shapes = (
        (100_000, 20, 4),
        (100_000, 50, 4),
        (100_000, 100, 4),
        (50_000, 200, 2),
        (50_000, 500, 2),
        (50_000, 1000, 2),
    )
    for n, d, at_most in shapes:
        problem = conditioned(size.rows(n), size.columns(d), 1e2)
        yield cheap_to_accuracy(
            problem, "Ridge, cholesky", at_most, size if d < 500 else size.at_most(3)
        )
    for condition in (1e1, 1e2):
        problem = conditioned(size.rows(20_000), size.columns(2_000), condition)
        yield faster_to_accuracy(problem, "Ridge, cholesky", 1, size.at_most(2))


def tuned(size):
    """Our fit against SGDRegressor with a tuned learning rate, at the accuracy of the latter.

    Tuning is not timed.
    """
    for condition in (1e1, 1e2):
        problem = conditioned(size.rows(100_000), 50, condition)
        tuned_peer = PEERS["SGDRegressor, tuned"]
        tuned_peer.prepare(problem)
        theirs = first_to_reach(tuned_peer, (1, 5, 20), problem, 0.0, size.budget)
        ours = first_to_reach(OURS, OURS.settings, problem, theirs.error, size.budget)
        runs = [partial(each.peer.fit, problem, each.setting) for each in (ours, theirs)]
        chosen = ", ".join(f"{name} {value}" for name, value in best_rate(problem).items())
        note = (
            f"; {ours.error:.0e} left; "
            f"theirs {theirs.error:.0e} after {theirs.setting} epochs, {chosen}"
        )
        yield times_faster(
            f"fit, {problem.name}, tuned SGDRegressor", 1, interleaved(runs, size.repeats), note
        )


def sparse(size):
    """Sparse rows against sag, and the peak memory of the fit."""
    n, d = size.rows(100_000), 10_000 // min(size.shrink, 10)
    for problem in (sparse_rows(n, d), movielens(n)):
        yield faster_to_accuracy(problem, "Ridge, sag", 5, size.at_most(1))
        X = problem.X
        times = peak(MiniBatchRidgeSGD(random_state=0), problem) / (
            X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        )
        yield Row(
            f"peak memory of fit, {problem.name}",
            "O(nnz): <= 10x X",
            f"{plain(times, 2)}x X beyond X",
            bool(times <= 10),
        )


def wide(size):
    """Sparse rows with more columns than rows, against sparse_cg."""
    for base in (text(size.rows(10_000)), sparse_rows(size.rows(20_000), size.rows(46_000), 25)):
        for alpha, standardize in ((1e-1, True), (1e-3, True), (1e-4, False), (1e-5, False)):
            columns = "standardised" if standardize else "as they are"
            problem = replace(
                base,
                name=f"{base.name}, {columns}, alpha {alpha:.0e}",
                alpha=alpha,
                standardize=standardize,
            )
            yield faster_to_accuracy(problem, "Ridge, sparse_cg", 1, size.at_most(1))


def learn(model, chunks):
    for X, y in chunks:
        model.partial_fit(X, y)


def streaming(size):
    """Our partial_fit against that of `SGDRegressor`.

    It is timed from the first row on, and after many rows.
    """
    shapes = (2_000, 20, 1, 1.5), (50_000, 100, 1_000, 1), (10_000, 2_000, 1_000, 3)
    for n, d, rows, at_most in shapes:
        problem = conditioned(size.rows(n), d)
        starts = range(0, len(problem.y), rows)
        chunks = [(problem.X[i : i + rows], problem.y[i : i + rows]) for i in starts]
        what = f"partial_fit, {rows} row(s) a call, {d} columns, SGDRegressor"
        runs = [partial(stream_anew, make, chunks) for make in (MiniBatchRidgeSGD, SGDRegressor)]
        yield times_its_time(what, at_most, interleaved(runs, size.repeats) / len(chunks))
        models = [make(random_state=0) for make in (MiniBatchRidgeSGD, SGDRegressor)]
        for model in models:
            learn(model, 4 * chunks)
        runs = [partial(learn, model, chunks) for model in models]
        later = f"{what}, after {4 * len(problem.y):,} rows"
        yield times_its_time(later, at_most, interleaved(runs, size.repeats) / len(chunks))


def stream_anew(make, chunks):
    learn(make(random_state=0), chunks)


def small(size):
    """A small fit, and the import."""
    X, y = load_diabetes(return_X_y=True)
    seconds = interleaved([lambda: MiniBatchRidgeSGD(random_state=0).fit(X, y)], 10 * size.repeats)[
        0, 0
    ]
    yield Row("fit, 442 x 10", "<= 3 ms", duration(seconds), bool(seconds <= 3e-3))
    code = (
        "import time, sklearn.linear_model, sklearn.preprocessing as _; t = time.perf_counter(); "
        "import sklearn_minibatch; print(time.perf_counter() - t)"
    )
    # The first run compiles the modules, as an installation does.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env)
        for _ in range(size.repeats + 1)
    ]
    seconds = np.median([float(run.stdout) for run in runs[1:]])
    yield Row("import, beyond scikit-learn's", "<= 50 ms", duration(seconds), bool(seconds <= 0.05))


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
            models = [
                MiniBatchRidgeSGD(solver=solver, max_iter=k, tol=None, random_state=0)
                for k in (3, 30)
            ]
            few, many = (peak(model, problem) / problem.X.nbytes for model in models)
            yield Row(
                f"peak memory, {problem.name}, {solver}",
                "<= 1.3x X beyond X",
                f"{few:.3g}x",
                bool(few <= 1.3),
            )
            grown = f"{many - few:+.2g}x X from 3 to 30 epochs"
            yield Row(
                f"growth of it with max_iter, {solver}",
                "<= 0.01x X",
                grown,
                bool(many - few <= 0.01),
            )


def growth(size):
    """Growth of the time with n and d, and of the epochs with n and the condition number.

    The time is measured over 10 epochs, and epochs are counted until `tol` is reached.
    """
    ns, ds = [size.rows(n) for n in (25_000, 50_000, 100_000, 200_000)], [25, 50, 100, 200]
    yield power_law("n", ns, [conditioned(n, 50) for n in ns], size)
    yield power_law("d", ds, [conditioned(size.rows(50_000), d) for d in ds], size)
    yield flat("n", ns, [conditioned(n, 50, 1e2) for n in ns])
    conditions = [10.0**k for k in range(1, 7)]
    yield flat(
        "condition number",
        conditions,
        [conditioned(size.rows(50_000), 50, c, alpha=1e-6) for c in conditions],
    )


def power_law(letter, values, problems, size):
    """Row for the exponent with which the time grows in n or d."""
    seconds = interleaved(
        [partial(fit_epochs, each, "svrg", 10) for each in problems], size.repeats
    )[0]
    power = np.polyfit(np.log(values), np.log(seconds), 1)[0] if len(set(values)) > 1 else np.nan
    what = f"seconds of 10 svrg epochs by {letter}"
    return Row(
        what,
        f"{letter}^1.1 at most",
        f"{letter}^{power:.2f}",
        bool(power <= 1.1),
        (letter, values, "seconds", seconds),
    )


def flat(name, values, problems):
    """Row for the epochs that default parameters take."""
    models = [
        MiniBatchRidgeSGD(solver="svrg", alpha=each.alpha, random_state=0) for each in problems
    ]
    epochs = [
        model.fit(each.X, each.y).n_iter_ for model, each in zip(models, problems, strict=True)
    ]
    listed, level = ", ".join(map(str, epochs)), max(epochs) <= 2 * min(epochs)
    return Row(
        f"epochs to tol by {name}",
        "flat: <= 2x the least",
        listed,
        level,
        (name, values, "epochs", epochs),
    )


TARGETS = (
    epochs,
    loop,
    reading,
    sag,
    krylov,
    cholesky,
    tuned,
    sparse,
    wide,
    streaming,
    small,
    memory,
    growth,
)
