"""A long stream of single rows: what it costs and how exact it stays.

python -m tests.tools.soak --calls 1000000
"""

import argparse
import pickle
import resource
import time
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from sklearn_minibatch import MiniBatchRidgeSGD

SOLVERS = {
    "cholesky": {},
    "svrg": {"solver": "svrg"},
    "sgd": {"solver": "sgd"},
    "sgd, averaged": {"solver": "sgd", "average": True},
}
SLOPES = np.array([3, -2, 1, 0, 5, -1])
BLOCK = 1000


class Soak(NamedTuple):
    """What a stream of single rows left behind; lists have an entry per tenth of the calls."""

    calls: int
    microseconds: list  # of processor time, per call
    largest_pickle: list  # bytes
    memory: list  # MiB, the most the process has held so far
    counts: tuple  # n_samples_seen_, t_, n_iter_
    mean_error: float  # against exact arithmetic, in standard deviations of the column
    var_error: float  # relative
    distance: float  # RMS, from the predictions of the closed form of all rows, in std(y)
    noise: float  # the same unit: what the closed form itself is from the truth, sqrt(d noise / n)


class Sums:
    """Exact sums of products of rows [1, x, y] of whole numbers."""

    def __init__(self, width):
        self.gram = np.zeros((width, width), dtype=object)

    def add(self, X, y):
        rows = np.column_stack([np.ones(len(y)), X, y]).astype(np.int64)
        self.gram += (rows.T @ rows).astype(object)

    def moments(self):
        """Means and covariances as fractions."""
        n = int(self.gram[0, 0])
        mean = [Fraction(int(s), n) for s in self.gram[0, 1:]]
        covariance = [
            [
                Fraction(int(self.gram[i + 1, j + 1]), n) - mean[i] * mean[j]
                for j in range(len(mean))
            ]
            for i in range(len(mean))
        ]
        return mean, covariance


def rows(n, seed):
    """Blocks of rows of whole numbers, columns of unlike scales and offsets, and noisy targets."""
    rng = np.random.default_rng(seed)
    d = len(SLOPES)
    scale, offset = 10 ** (1 + np.arange(d) % 3), 1000 * np.arange(d)
    for first in range(0, n, BLOCK):
        X = np.rint(rng.standard_normal((min(BLOCK, n - first), d)) * scale + offset)
        yield X, X @ SLOPES + np.rint(100 * rng.standard_normal(len(X)))


def soak(params, calls, seed=0):
    """Learn `calls` rows one by one."""
    model = MiniBatchRidgeSGD(random_state=0, **params)
    sums = Sums(len(SLOPES) + 2)
    microseconds, sizes, memory = [], [], []
    every, done, spent, largest = max(1, calls // 300), 0, 0.0, 0
    for X, y in rows(calls, seed):
        sums.add(X, y)
        for k in range(len(y)):
            start = time.process_time()
            model.partial_fit(X[k : k + 1], y[k : k + 1])
            spent += time.process_time() - start
            done += 1
            if done % every == 0:
                largest = max(largest, len(pickle.dumps(model)))
            if done * 10 // calls > len(sizes):
                microseconds.append(10 * spent / calls * 1e6)
                sizes.append(largest)
                memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
                spent, largest = 0.0, 0
    counts = (model.scaler_.n_samples_seen_, model.t_, model.n_iter_)
    return Soak(
        calls, microseconds, sizes, memory, counts, *exactness(model, *sums.moments(), calls)
    )


def exactness(model, mean, covariance, n):
    """The last four fields of `Soak`."""
    d = len(SLOPES)
    scaler = model.scaler_
    var = np.array([float(covariance[j][j]) for j in range(d + 1)])
    mean_error = max(
        abs(float(Fraction(scaler.mean_[j]) - mean[j])) / var[j] ** 0.5 for j in range(d)
    )
    var_error = max(
        abs(float(Fraction(v) / covariance[j][j] - 1)) for j, v in enumerate(scaler.var_)
    )
    scale = np.sqrt(var[:d])
    S = np.array([[float(c) for c in row] for row in covariance])
    correlation = S[:d, :d] / np.outer(scale, scale)
    beta = np.linalg.solve(correlation + model.alpha * np.eye(d), S[:d, d] / scale)
    away = model.coef_ * scale - beta
    offset = (
        model.intercept_ - float(mean[d]) + np.array([float(m) for m in mean[:d]]) @ model.coef_
    )
    noise = np.sqrt(d / n) * np.sqrt(S[d, d] - 2 * SLOPES @ S[:d, d] + SLOPES @ S[:d, :d] @ SLOPES)
    return (
        mean_error,
        var_error,
        np.sqrt(away @ correlation @ away + offset**2) / var[d] ** 0.5,
        noise / var[d] ** 0.5,
    )


def row_of(name, found):
    """A row of the table."""
    counts = "exact" if found.counts == (found.calls,) * 3 else f"{found.counts}"
    pairs = [
        f"{found.microseconds[0]:.0f} / {found.microseconds[-1]:.0f}",
        f"{found.largest_pickle[0]} / {found.largest_pickle[-1]}",
        f"{found.memory[0]:.1f} / {found.memory[-1]:.1f}",
    ]
    errors = [
        f"{found.mean_error:.1e}",
        f"{found.var_error:.1e}",
        f"{found.distance:.1e}",
        f"{found.noise:.1e}",
    ]
    return f"| {' | '.join([name, str(found.calls), *pairs, counts, *errors])} |"


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--calls", type=int, default=1_000_000, help="calls of partial_fit, of one row each"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = [
        "solver",
        "calls",
        "µs of processor time a call",
        "largest pickle, bytes",
        "memory, MiB",
        "counts",
        "error of means, std",
    ]
    names += [
        "of variances, relative",
        "distance to the closed form, std(y)",
        "the closed form's distance to the truth",
    ]
    print("Pairs are of the first and of the last tenth of the calls.\n")
    print(f"| {' | '.join(names)} |", "|---" * len(names) + "|", sep="\n")
    for name, params in SOLVERS.items():
        print(row_of(name, soak(params, args.calls, args.seed)), flush=True)


if __name__ == "__main__":
    main()
