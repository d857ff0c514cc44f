"""Print the seconds of some calls of the sklearn_minibatch on the path, as JSON.

`python -m benchmarks compare REV` runs this file for two commits in turn.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

REPEATS = 5


def rows(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian rows and a noisy linear target."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) + 1.0
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n)


def sparse_rows(n: int, d: int, entries: int) -> tuple[Any, np.ndarray]:
    """CSR rows with `entries` entries each."""
    rng = np.random.default_rng(0)
    columns = rng.integers(d, size=n * entries)
    starts = np.arange(0, n * entries + 1, entries)
    X = sparse.csr_array((rng.standard_normal(n * entries), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n)


def in_chunks(X: np.ndarray, y: np.ndarray) -> ChunkSource:
    """The rows as a source of chunks."""
    starts = range(0, len(y), 5_000)
    return ChunkSource(lambda: ((X[k : k + 5_000], y[k : k + 5_000]) for k in starts))


def stream(X: np.ndarray, y: np.ndarray, size: int, **params: Any) -> None:
    """Learn the rows by `partial_fit`."""
    model = MiniBatchRidgeSGD(random_state=0, **params)
    for start in range(0, len(y), size):
        model.partial_fit(X[start : start + size], y[start : start + size])


def workloads() -> dict[str, Callable[[], Any]]:
    """The calls to be timed."""

    def fit(X: Any, y: Any = None, **params: Any) -> Callable[[], Any]:
        return partial(MiniBatchRidgeSGD(random_state=0, **params).fit, X, y)

    narrow, wide = rows(100_000, 50), rows(20_000, 300)
    few = rows(2_000, 20)
    text = sparse_rows(10_000, 5_000, 20)
    epochs = {"solver": "sgd", "tol": None, "max_iter": 3}
    single = MiniBatchRidgeSGD(random_state=0).fit(*narrow)
    return {
        "fit, 100000 x 50": fit(*narrow),
        "fit, 20000 x 300": fit(*wide),
        "fit, 2000 x 20": fit(*few),
        "fit, 100000 x 50 in float32": fit(narrow[0].astype(np.float32), narrow[1]),
        "fit, 100000 x 50 in chunks": fit(in_chunks(*narrow)),
        "svrg, 100000 x 50": fit(*narrow, solver="svrg"),
        "svrg, 20000 x 300, batch 256": fit(*wide, solver="svrg", batch_size=256),
        "svrg, 10000 x 5000 sparse, 20 entries": fit(*text, solver="svrg"),
        "sgd, 100000 x 50, batch 256, 3 epochs": fit(*narrow, batch_size=256, **epochs),
        "sgd, 2000 x 20, batch 1, 3 epochs": fit(*few, batch_size=1, **epochs),
        "partial_fit, 2000 x 20, row by row": partial(stream, *few, 1),
        "partial_fit, 20000 x 300, by 1000": partial(stream, *wide, 1_000),
        "partial_fit, svrg, 20000 x 300, by 1000": partial(stream, *wide, 1_000, solver="svrg"),
        "predict, 100000 x 50": partial(single.predict, narrow[0]),
    }


def seconds(call: Callable[[], Any]) -> float:
    """The median seconds of some calls, after a warm-up."""
    found = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    print(json.dumps({n: seconds(call) for n, call in workloads().items() if chosen in n}))
