"""Whether `converged_` is true: random fits against exact minimisers.

    python -m tests.tools.converged --fits 2000 --seed 0

A fit is a model with random parameters and rows that are hard in some way, all drawn from (seed,
number of the fit). Its predictions for the training rows are held against those of the minimiser in
double-double arithmetic (`tests/least_squares.py`). It is a fault

* if `converged_` is True and they are more than 2 `tol` std(y) apart (root mean square), besides
  what rounding the coefficients and the intercept to float64 may cost; what any solver in the
  precision of the rows may lose on them is an excuse up to 2e-6;
* if `converged_` is False without a ConvergenceWarning, or True with one;
* if the fit raises, or gives numbers that are not finite.

It is a false alarm if `converged_` is False for predictions within tol / 100 of a well-conditioned
problem. --only NUMBER runs one fit again, and shows it.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from itertools import count, islice, pairwise
from typing import Any, NamedTuple
from unittest.mock import patch

import dask
import numpy as np
from dask.array import from_array
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..least_squares import fitted_values, minimiser, standardized
from ..oracles import columns, rotated

EPS = np.finfo(float).eps
# Least squares by orthogonal transformations in float64 lose no more than about this many eps
# times 1 + ||D beta|| + ||residual|| / (least singular value), of columns brought to length 1 by D.
BACKWARD = 20
# With less than this left, a fit may have converged though `tol` is smaller.
MOST_NOISE = 1e-6
# Singular values of well-conditioned problems are no less than this.
WELL_CONDITIONED = 1e-3
# `MiniBatchRidgeSGDCV` has no `tol`.
CV_TOL = 1e-6


class Rows(NamedTuple):
    """What a fit learns, and the model."""

    X: Any
    y: np.ndarray
    w: np.ndarray | None
    params: dict[str, Any]
    door: str
    limits: dict[str, Any]  # constants of the package in this fit
    kind: str  # what is hard about the rows


class Outcome(NamedTuple):
    """What came of a fit."""

    rows: Rows
    tol: float
    converged: bool
    distance: float  # the largest of the targets, in std(y)
    rounding: float  # of that target: the coefficients and the intercept to float64
    attainable: float  # of that target: any solver in the precision of the rows
    least: float  # the least singular value of columns of length 1, with the penalty
    warned: list[str]
    fault: str | None = None

    @property
    def is_close(self):
        return self.distance <= 2 * self.tol + self.rounding

    @property
    def is_false_alarm(self):
        near = self.distance <= self.tol / 100
        return not self.converged and near and self.least >= WELL_CONDITIONED

    @property
    def has_no_bound(self):
        """Whether nothing bounds the distance: no penalty, and P that is not of all rows."""
        choice = self.rows.params.get("preconditioner", "auto")
        return self.rows.params["alpha"] == 0 and (choice != "auto" or bool(self.rows.limits))


def pick(rng, options):
    return options[rng.integers(len(options))]


def chance(rng, probability):
    return rng.random() < probability


def power(rng, least, most):
    return 10.0 ** rng.uniform(least, most)


# Rows that are hard in some way: X (n, d), and a direction (n,) that is hard to learn.


def flat(rng, n, d):
    X = rng.standard_normal((n, d))
    return X, X[:, 0]


def geometric(rng, n, d):
    condition = power(rng, 0, 16)
    normal = rng.standard_normal((n, d))
    X = rotated(normal * np.geomspace(1, 1 / condition, d), rng)
    return X, normal[:, -1]


def weak_directions(rng, n, d):
    weak = power(rng, -12, -1)
    n_weak = int(rng.integers(1, max(2, d // 3 + 1)))
    normal = rng.standard_normal((n, d))
    X = rotated(normal * np.r_[np.ones(d - n_weak), np.full(n_weak, weak)], rng)
    return X, normal[:, -1]


def two_columns_together(rng, n, d):
    X = rng.standard_normal((n, d))
    apart = rng.standard_normal(n)
    X[:, -1] = X[:, 0] + power(rng, -12, -3) * apart
    return X, apart


def two_columns_that_differ_in_few_rows(rng, n, d):
    X = rng.standard_normal((n, d))
    apart = np.zeros(n)
    apart[rng.permutation(n)[: rng.integers(1, 3)]] = pick(rng, [1.0, 1e-3, 1e-6])
    X[:, -1] = X[:, 0] + apart
    return X, apart


def powers(rng, n, d):
    x = rng.uniform(*pick(rng, [(-9.0, -3.0), (0.0, 1.0), (-1.0, 1.0), (1950.0, 2020.0)]), n)
    d = min(d, 10)
    return x[:, None] ** np.arange(1, d + 1), np.cos(d * x)


def dependent(rng, n, d):
    """Sums and copies of columns of integers, to the last bit."""
    X = rng.integers(-9, 10, (n, d)).astype(float)
    for j in rng.permutation(d)[: max(1, d // 3)]:
        a, b = rng.integers(d, size=2)
        X[:, j] = pick(rng, [X[:, a], 2 * X[:, a], X[:, a] - X[:, b], 3 * X[:, a] + X[:, b]])
    return X, rng.standard_normal(n)


def rounded_sums(rng, n, d):
    """Sums and multiples of columns, rounded."""
    X = rng.standard_normal((n, d))
    for j in rng.permutation(d)[: max(1, d // 3)]:
        a, b = rng.integers(d, size=2)
        X[:, j] = pick(rng, [X[:, a] / 3, X[:, a] - X[:, b], 0.1 * X[:, a] + X[:, b]])
    return X, rng.standard_normal(n)


def one_hot(rng, n, d):
    """All levels of a factor or two, and other columns."""
    parts = []
    while sum(part.shape[1] for part in parts) < d:
        levels = int(rng.integers(2, 8))
        parts.append(np.eye(levels)[rng.integers(levels, size=n)])
    if chance(rng, 0.5):
        parts.append(rng.standard_normal((n, 1)))
    return np.hstack(parts), rng.standard_normal(n)


def heavy_rows(rng, n, d):
    X = rng.standard_normal((n, d))
    some = rng.permutation(n)[: rng.integers(1, 4)]
    X[some] *= power(rng, 1, 5)
    return X, X[:, 0]


def words(rng, n, d):
    """Few entries, in columns of which some are frequent."""
    X = rng.integers(1, 4, (n, d)) * (rng.random((n, d)) < 1 / np.arange(1, d + 1) ** 0.7)
    return X.astype(float), rng.standard_normal(n)


KINDS = [
    flat,
    geometric,
    geometric,
    weak_directions,
    weak_directions,
    two_columns_together,
    two_columns_together,
    two_columns_that_differ_in_few_rows,
    powers,
    dependent,
    rounded_sums,
    one_hot,
    heavy_rows,
    words,
]


def dressed(rng, X):
    """The columns with other scales and offsets, some of them constant."""
    d = X.shape[1]
    if chance(rng, 0.3):
        X = X * 10.0 ** rng.uniform(-6, 6, d)
    if chance(rng, 0.3):
        X = X + power(rng, 0, 8) * X.std(axis=0) * rng.choice([-1.0, 1.0, 0.0], d)
    if chance(rng, 0.15):
        X[:, rng.integers(d)] = pick(rng, [0.0, 1.0, 0.1, -7e5])
    return X


def targets(rng, X, hard):
    """Targets that are noisy, exactly linear, weak, or along what is hard to learn."""
    Z = X - X.mean(axis=0)
    Z = Z / np.maximum(np.abs(Z).max(axis=0), 1e-300)
    length = np.abs(hard - hard.mean()).max() or 1.0
    n_targets = pick(rng, [1, 1, 1, 2, 3, min(X.shape[1], 30) + 2])
    y = np.empty((len(X), n_targets))
    for k in range(n_targets):
        linear = Z @ rng.standard_normal(Z.shape[1])
        noise = rng.standard_normal(len(X))
        y[:, k] = pick(rng, TARGETS)(linear, noise, hard / length, power(rng, -9, -1))
    y = y * power(rng, -3, 3) + pick(rng, [0.0, 0.0, 3.0, -1e6])
    return y[:, 0] if n_targets == 1 and chance(rng, 0.8) else y


# Of a linear function, noise, what is hard to learn, and a small number.
TARGETS = [
    lambda linear, noise, hard, little: linear + noise,
    lambda linear, noise, hard, little: linear,
    lambda linear, noise, hard, little: linear + little * noise,
    lambda linear, noise, hard, little: little * linear + noise,
    lambda linear, noise, hard, little: hard,
    lambda linear, noise, hard, little: linear + hard,
    lambda linear, noise, hard, little: linear + little * hard,
    lambda linear, noise, hard, little: noise,
]
WEIGHTS = [
    *[lambda rng, n: None] * 4,
    lambda rng, n: rng.exponential(size=n),
    lambda rng, n: rng.integers(0, 3, n).astype(float),
    lambda rng, n: 10.0 ** rng.uniform(-6, 6, n),
]
# What is learnt how. Only the first have a solver to choose.
FITS = ["memory", "memory", "memory", "sparse", "float32", "chunks", "chunks", "dask", "warm"]
STREAMS = ["partial_fit", "partial_fit", "merge"]
CV = ["cv", "cv chunks", "cv iterator", "cv partial_fit"]


def shape(rng, door):
    """Rows and columns."""
    n = int(pick(rng, [2, 3, 5, 8, 13, 20, 40, 60, 100, 100, 200, 300]))
    if chance(rng, 0.02):
        n = int(pick(rng, [1500, 3000]))
    d = int(pick(rng, [1, 2, 3, 4, 6, 8, 12, 20]))
    if chance(rng, 0.03):
        d = int(rng.integers(30, 90))
    if door in FITS and chance(rng, 0.004):
        return min(n, 60), int(rng.integers(3001, 3100))
    return n, d


def parameters(rng, door, d):
    """Parameters of the model."""
    params = {
        "alpha": pick(rng, [0, 0, 0, 1e-4, power(rng, -16, -9), power(rng, -16, 2)]),
        "fit_intercept": chance(rng, 0.85),
        "standardize": chance(rng, 0.8),
    }
    if door in CV:
        return params
    params |= {"tol": pick(rng, [1e-6, 10.0 ** -rng.integers(3, 10)]), "random_state": 0}
    params["max_iter"] = pick(rng, [100, 1000])
    params["solver"] = pick(rng, ["auto", "auto", "cholesky", "svrg"])
    if door in STREAMS:
        return params
    if chance(rng, 0.25):
        params["preconditioner"] = pick(rng, [None, 1, 2, max(1, d // 2), d, d + 1])
    if chance(rng, 0.3):
        params["batch_size"] = int(pick(rng, [1, 3, 8, 32]))
    if chance(rng, 0.1):
        params["shuffle"] = False
    return params


def smaller_limits(rng, door, d):
    """Constants of the package for which few columns are as many."""
    if door in STREAMS or door in CV or d > 1000 or chance(rng, 0.65):
        return {}
    solvers = "sklearn_minibatch._solvers."
    limits = {}
    if chance(rng, 0.7):
        exact = int(rng.integers(d + 1))
        limits |= {solvers + "choose.EXACT_FEATURES": exact}
        limits |= {solvers + "preconditioner.EXACT_FEATURES": exact}
        limits |= {solvers + "preconditioner.NYSTROM_RANK": int(rng.integers(1, d + 2))}
    if chance(rng, 0.4):
        # Sparse rows then have a diagonal preconditioner.
        limits |= {solvers + "preconditioner.FEW_FEATURES": 0}
        limits |= {solvers + "preconditioner.PASSES_SAVED": 0}
    if chance(rng, 0.6):
        limits[solvers + "preconditioner.n_buckets"] = lambda n_features: 4 * n_features
    return limits


def door_of(seed, number):
    """How the rows of a fit come, and the generator of all else."""
    rng = np.random.default_rng((seed, number))
    return pick(rng, [*FITS, *FITS, *STREAMS, *STREAMS, *CV]), rng


def draw(seed, number):
    """The rows and the model of a fit, and a generator for what is left to chance."""
    door, rng = door_of(seed, number)
    n, d = shape(rng, door)
    kind = pick(rng, KINDS)
    X, hard = kind(rng, n, d)
    if door == "sparse" and chance(rng, 0.7):
        X = X * (rng.random(X.shape) < 0.4)
    X = dressed(rng, X)
    if door == "float32":
        X = X.astype(np.float32).astype(float)
    y = targets(rng, X, hard)
    w = pick(rng, WEIGHTS)(rng, n)
    w = None if w is None or not w.any() else w
    params = parameters(rng, door, X.shape[1])
    return Rows(X, y, w, params, door, smaller_limits(rng, door, X.shape[1]), kind.__name__), rng


def cuts(rng, n):
    """Slices of successive rows."""
    size = int(pick(rng, [1, 3, 10, 50, n]))
    ends = [*range(0, n, size), n]
    if chance(rng, 0.5):
        ends = [0, *np.sort(rng.integers(n + 1, size=3)).tolist(), n]
    return [slice(a, b) for a, b in pairwise(ends) if b > a]


def chunks(rng, rows):
    """The rows in chunks (X, y, weights) that have some weight."""
    X, y, w = rows[:3]
    to_rows = pick(rng, [np.asarray, np.asarray, sparse.csr_array])
    found = []
    for part in cuts(rng, len(y)):
        if w is None:
            found.append((to_rows(X[part]), y[part]))
        else:
            found.append((to_rows(X[part]), y[part], w[part]))
    return found


def fitted(rows, rng):
    """The model, fitted."""
    X, y, w, params, door, _, _ = rows
    if door in CV:
        return cross_validated(rows, rng)
    model = MiniBatchRidgeSGD(**params)
    if door == "chunks":
        found = chunks(rng, rows)
        return model.fit(ChunkSource(lambda: iter(found)))
    if door == "partial_fit":
        for chunk in with_weight(chunks(rng, rows)):
            model.partial_fit(*chunk)
        return model
    parts = with_weight(chunks(rng, rows)) if door == "merge" else []
    if len(parts) > 1:
        with warnings.catch_warnings():
            # What a part warns of does not matter to the whole.
            warnings.simplefilter("ignore")
            models = [MiniBatchRidgeSGD(**params).fit(*part) for part in parts]
        for other in models[1:]:
            models[0].merge(other)
        return models[0]
    if door == "dask":
        size = int(rng.integers(1, len(y) + 1))
        cut = [None if a is None else from_array(a, chunks=(size, *a.shape[1:])) for a in rows[:3]]
        return model.fit(*cut)
    if door == "warm":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.set_params(warm_start=True).fit(X + rng.standard_normal(X.shape), y, w)
    if door in ("sparse", "float32"):
        X = sparse.csr_array(X) if door == "sparse" or chance(rng, 0.3) else X
        X = X.astype(np.float32) if door == "float32" else X
    return model.fit(X, y, w)


def with_weight(found):
    """The chunks that have some weight."""
    return [chunk for chunk in found if len(chunk) == 2 or chunk[2].any()]


def cross_validated(rows, rng):
    """The same with a choice among one alpha."""
    X, y, w, params, door, _, _ = rows
    params = {name: value for name, value in params.items() if name != "alpha"}
    model = MiniBatchRidgeSGDCV([rows.params["alpha"]], cv=2, random_state=0, **params)
    if door == "cv":
        return model.fit(X, y, w)
    found = chunks(rng, rows)
    if door == "cv chunks":
        return model.fit(ChunkSource(lambda: iter(found)))
    if door == "cv iterator":
        return model.fit(iter(found))
    for chunk in with_weight(found):
        # Streams warn in between, when there are few rows.
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            model.partial_fit(*chunk)
    for each in warned:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return model


def run(seed, number):
    """One fit, and what came of it; None where there is no std(y) to measure with."""
    rows, rng = draw(seed, number)
    tol = rows.params.get("tol", CV_TOL)
    nothing = Outcome(rows, tol, False, np.nan, 0.0, 0.0, 0.0, [])
    with ExitStack() as limits, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        limits.enter_context(dask.config.set(scheduler="synchronous"))
        for name, value in rows.limits.items():
            limits.enter_context(patch(name, value))
        try:
            model = fitted(rows, rng)
            converged = model.converged_
            coef = np.atleast_2d(model.coef_).T
            intercept = np.ravel(model.intercept_)
        except Exception as error:
            if is_refusal(rows, error):
                return None
            return nothing._replace(fault=f"{type(error).__name__}: {error}")
    said = [str(each.message) for each in warned if each.category is ConvergenceWarning]
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        return nothing._replace(fault="not finite")
    outcome = measured(rows, tol, coef, intercept)._replace(converged=converged, warned=said)
    return outcome._replace(fault=fault_of(outcome, getattr(model, "solver_", "cv")))


def is_refusal(rows, error):
    """Whether an exception is documented."""
    words = {"merge": "merge", "float32": "overflow", **dict.fromkeys(CV, "folds")}
    return isinstance(error, ValueError) and words.get(rows.door, "documented") in str(error)


def measured(rows, tol, coef, intercept):
    """Distances and what they may be, for the target that is the furthest beyond."""
    X, y, w, params = rows[:4]
    exact = standardized(X, y, w, params["fit_intercept"], params["standardize"])
    best = minimiser(exact, params["alpha"])
    found = fitted_values(exact, X, w, coef, intercept)
    distances = np.array(
        [np.linalg.norm(np.array(found - each), axis=0) / exact.y_scale for each in best.fitted]
    ).min(axis=0)
    rounding = rounding_of(exact, coef) / exact.y_scale
    size = np.linalg.norm(np.array(exact.b), axis=0)
    eps = float(np.finfo(np.float32).eps) if rows.door == "float32" else EPS
    attainable = BACKWARD * eps * (size + best.length + best.residual / best.least) / exact.y_scale
    k = int(np.argmax(distances - 2 * tol - rounding))
    return Outcome(rows, tol, False, distances[k], rounding[k], attainable[k], best.least, [])


def rounding_of(exact, coef):
    """What rounding coefficients and intercepts to float64 may cost the predictions (t,).

    A coefficient is changed by a product and a quotient, an intercept is a sum of d + 1 products.
    """
    d = len(coef)
    u = EPS / 2
    spread = np.linalg.norm(np.array(exact.A), axis=0) * np.array(exact.x_scale)
    at_mean = np.abs(np.array(exact.x_mean)) @ np.abs(coef) + np.abs(np.array(exact.y_mean))
    return 2 * u * spread @ np.abs(coef) + (d + 4) * u * at_mean


def fault_of(outcome, solver):
    """What is wrong with a fit, or None."""
    if outcome.converged:
        at_the_limit = min(outcome.attainable, 2 * MOST_NOISE)
        if outcome.distance > 2 * outcome.tol + outcome.rounding + at_the_limit:
            return f"converged {outcome.distance:.1e} std(y) from the minimiser"
    # Others warn of the scores of a choice that this model does not have.
    if outcome.converged and outcome.warned and outcome.rows.door not in CV:
        return f"converged with a warning: {outcome.warned[0]}"
    steps = outcome.rows.door == "partial_fit" and solver == "svrg" and outcome.rows.limits
    if not outcome.converged and not outcome.warned and not steps:
        return "not converged, without a warning"
    return None


class Table:
    """Counts of what came of fits, by the way the rows came."""

    def __init__(self):
        self.counts, self.worst, self.faults = Counter(), Counter(), []

    def add(self, number, outcome):
        if outcome is None:
            self.counts["refused", "all"] += 1
            return
        for door in (outcome.rows.door, "all"):
            self.counts["fits", door] += 1
            self.counts["converged", door] += outcome.converged
            beyond = outcome.converged and not outcome.is_close and outcome.fault is None
            self.counts["limit", door] += beyond
            alarm = outcome.is_false_alarm
            self.counts["alarms", door] += alarm
            self.counts["alarms without a bound", door] += alarm and outcome.has_no_bound
            self.counts["faults", door] += outcome.fault is not None
            if outcome.converged:
                allowed = max(outcome.tol, outcome.rounding, outcome.attainable)
                self.worst[door] = max(self.worst[door], outcome.distance / allowed)
        if outcome.fault is not None:
            self.faults.append(f"fit {number}: {described(outcome)}")

    def __str__(self):
        head = [
            "rows",
            "fits",
            "converged",
            "beyond 2 tol, as near as the digits of the rows allow",
            "false alarms",
            "of these no bound",
            "faults",
            "largest distance / allowed, if converged",
        ]
        lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
        names = ["fits", "converged", "limit", "alarms", "alarms without a bound", "faults"]
        for door in [*dict.fromkeys([*FITS, *STREAMS, *CV]), "all"]:
            numbers = [f"{self.counts[name, door]:,}" for name in names]
            lines.append("| " + " | ".join([door, *numbers, f"{self.worst[door]:.2g}"]) + " |")
        return "\n".join(lines)


def described(outcome):
    """A fit in one line."""
    rows = outcome.rows
    limits = {name.split(".")[-1]: limit for name, limit in rows.limits.items()}
    return (
        f"{outcome.fault}\n    {rows.door}, {rows.kind} {rows.X.shape} to "
        f"{columns(rows.y).shape[1]}, weights {rows.w is not None}, {rows.params}, {limits}, "
        f"distance {outcome.distance:.1e}, rounding {outcome.rounding:.1e}, attainable "
        f"{outcome.attainable:.1e}, least singular value {outcome.least:.1e}"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.converged", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--fits", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", action="append", help="only rows that come in this way")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one fit and show it")
    args = parser.parse_args(argv)
    table, slowest = Table(), (0.0, 0)
    if args.only is not None:
        outcome = run(args.seed, args.only)
        print("refused" if outcome is None else f"{described(outcome)}\n{outcome.warned}")
        return int(outcome is not None and outcome.fault is not None)
    doors = args.door or [*FITS, *STREAMS, *CV]
    numbers = (n for n in count(args.first) if door_of(args.seed, n)[0] in doors)
    for number in islice(numbers, args.fits):
        print(f"fit {number}", end="\r", file=sys.stderr)
        before = len(table.faults)
        start = time.perf_counter()
        table.add(number, run(args.seed, number))
        slowest = max(slowest, (time.perf_counter() - start, number))
        for fault in table.faults[before:]:
            print(fault, flush=True)
    print(
        f"{args.fits:,} fits, seed {args.seed}, {table.counts['refused', 'all']} refused; "
        f"the slowest, number {slowest[1]}, took {slowest[0]:.2f} s\n"
    )
    print(table)
    return 1 if table.faults else 0


if __name__ == "__main__":
    sys.exit(main())
