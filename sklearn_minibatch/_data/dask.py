"""Rows on a Dask cluster: each partition is worked on where it lies, and sums of the size of the result travel.

Everything runs on the scheduler that is the user's default (a `Client`, or Dask's threads). Partitions are taken from the
user's collection in every round: persist it to have them kept in memory.
"""

import dask
import numpy as np
from dask.array import Array, from_array
from dask.delayed import delayed

from .._rows.chunk import Chunk
from .source import is_finite

# How many partial sums are added up by one task.
FAN_IN = 8


class Partitions:
    """Rounds over the partitions of X, y and perhaps w, counted and checked.

    Parameters
    ----------
    X, y, w : dask.array.Array, dask.dataframe.DataFrame or Series, or None
        In row partitions; `y` and `w` may also be arrays in memory.
    check : callable
        As for `Passes`.
    """

    def __init__(self, X, y, w, check):
        X = whole_rows(X)
        self.parts = [row_parts(X), aligned("y", y, X), aligned("sample_weight", w, X)]
        # Rows that are kept in the workers' memory are let go with the last collection that holds them.
        self.collections = X, y, w
        self.check, self.n_passes, self.n_rows = check, 0, None

    def reduce(self, function, add, *args):
        """`function(chunk, *args)` of all partitions, combined by `add` in a tree: one round."""
        self.n_passes += 1
        shared = delayed((function, self.check, args), pure=False, traverse=False)
        results = [on_partition(shared, k, *part) for k, part in enumerate(zip(*self.parts, strict=True), 1)]
        while len(results) > 1:
            results = [combined(add, results[k : k + FAN_IN]) for k in range(0, len(results), FAN_IN)]
        n_rows, value = dask.compute(results[0])[0]
        if self.n_rows not in (None, n_rows):
            raise ValueError(
                f"Round {self.n_passes} found {n_rows} rows, the first {self.n_rows}. The collection must give the same rows "
                "each time it is computed; persist it if it is random."
            )
        self.n_rows = n_rows
        return value


@delayed(pure=False)
def on_partition(shared, number, X, y, w):
    """The number of rows of a partition, and the value of the function; None where no row counts."""
    function, check, args = shared
    try:
        if len(X) == 0:
            return 0, None
        chunk = Chunk(number, *check(X, y, w, False, False))
        if len(chunk.y) == 0:
            return X.shape[0], None
        with np.errstate(over="ignore", invalid="ignore"):
            value = function(chunk, *args)
        if not is_finite(value):
            check(X, y, w, False, True)
        return X.shape[0], value
    except ValueError as error:
        raise ValueError(f"Partition {number}: {error}") from error


@delayed(pure=False)
def combined(add, results):
    """The sum of several results of `on_partition`."""
    total = None
    for _, value in results:
        total = value if total is None else total if value is None else add(total, value)
    return sum(n_rows for n_rows, _ in results), total


def whole_rows(X):
    """X with all columns of a row in the same partition."""
    return X.rechunk({1: -1}) if isinstance(X, Array) and X.numblocks[1] > 1 else X


def row_parts(X):
    """The partitions as delayed objects."""
    return list(np.ravel(X.to_delayed()))


def aligned(name, a, X):
    """The partitions of `a` that go with those of X."""
    if a is None:
        return [None] * X.npartitions
    # Sizes that are not known, as those of a frame, must be right: a wrong one is found on the worker.
    known = isinstance(X, Array) and not np.isnan(X.chunks[0]).any()
    if not hasattr(a, "__dask_graph__") and known:
        a = from_array(np.asarray(a), chunks=(X.chunks[0], *np.shape(a)[1:]))
    elif isinstance(a, Array):
        rows = X.chunks[0] if known and len(a) == len(X) and not np.isnan(a.chunks[0]).any() else a.chunks[0]
        a = a.rechunk({0: rows, **({1: -1} if a.ndim == 2 else {})})
    if getattr(a, "npartitions", None) != X.npartitions:
        raise ValueError(
            f"X has {X.npartitions} partitions, and {name} is a {type(a).__name__} that cannot be cut in the same way. "
            f"Give {name} as a Dask collection with the partitions of X."
        )
    return row_parts(a)


def predict_lazily(predict, X, n_targets):
    """`predict(X)`, partition by partition, when it is computed; `n_targets` is None for predictions (n,)."""
    none = np.empty((0,) if n_targets is None else (0, n_targets))

    def of_partition(x):
        return predict(x) if len(x) else none

    if not isinstance(X, Array):
        return X.map_partitions(of_partition, meta=none)
    X = whole_rows(X)
    axes = {"drop_axis": 1} if n_targets is None else {"chunks": (X.chunks[0], (n_targets,))}
    return X.map_blocks(of_partition, meta=none, **axes)
