"""Rows on a Dask cluster: each partition is worked on where it lies, and sums of the size of the result travel.

Everything runs on the scheduler that is the user's default (a `Client`, or Dask's threads).
Partitions are taken from the user's collection in every round: persist it to have them kept in
memory.
"""

from concurrent.futures import CancelledError
from typing import Any

import dask
import numpy as np
from dask.array import Array, concatenate, from_array, from_delayed
from dask.delayed import delayed

from .._rows.chunk import Chunk
from .source import is_dask, is_finite

# How many partial sums are added up by one task.
FAN_IN = 8

# What to do where X, y and the weights lie in partitions that do not match.
ONE_FRAME = "Take X, y and the weights from one collection, after it was persisted: frame = frame.persist()."


class Partitions:
    """Rounds over the partitions of X, y and perhaps w, counted and checked.

    Parameters
    ----------
    X, y, w : dask.array.Array, dask.dataframe.DataFrame or Series, or None
        In row partitions; `y` and `w` may also be arrays in memory, or lie in other partitions than
        X.
    check : callable
        As for `CheckedChunks`.
    """

    def __init__(self, X, y, w, check):
        self.parts = matched_parts(X, y, w)
        # Rows that are kept in the workers' memory are let go with the last collection that holds
        # them.
        self.collections = X, y, w
        self.check, self.n_passes, self.n_rows = check, 0, None

    def reduce(self, function, add, *args):
        """`function(chunk, *args)` of all partitions, combined by `add` in a tree: one round."""
        self.n_passes += 1
        shared = delayed((function, self.check, args), pure=False, traverse=False)
        results = [on_partition(shared, k, part) for k, part in enumerate(self.parts, 1)]
        while len(results) > 1:
            results = [
                combined(add, results[k : k + FAN_IN]) for k in range(0, len(results), FAN_IN)
            ]
        n_rows, value = computed(results[0])[0]
        if self.n_rows not in (None, n_rows):
            raise ValueError(
                f"Round {self.n_passes} found {n_rows} rows, the first {self.n_rows}. The collection must give the same rows "
                "each time it is computed; persist it if it is random."
            )
        self.n_rows = n_rows
        return value


def computed(*tasks: Any) -> tuple[Any, ...]:
    """The results, from the user's scheduler."""
    try:
        return dask.compute(*tasks)
    except CancelledError as error:
        raise RuntimeError(
            "Dask has lost partitions that were persisted. Either they cannot be computed again, as what was scattered to a "
            "worker that died; or a few columns of a Parquet file were persisted by themselves, which Dask cannot always take "
            f"up again. {ONE_FRAME}"
        ) from error


@delayed(pure=False)
def on_partition(shared, number, part):
    """The number of rows of a partition (X, y, w), and the value of the function; None where no row counts."""
    function, check, args = shared
    X, y, w = part
    try:
        check_lengths(X, y, w)
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


def check_lengths(X: Any, y: Any, w: Any) -> None:
    """Raise ValueError unless the partitions of X, y and w have the same number of rows."""
    for name, a in (("y", y), ("sample_weight", w)):
        if np.ndim(a) and len(a) != len(X):
            raise ValueError(f"X has {len(X)} rows here, and {name} has {len(a)}. {ONE_FRAME}")


def whole_rows(X):
    """X with all columns of a row in the same partition."""
    return X.rechunk({1: -1}) if isinstance(X, Array) and X.ndim == 2 and X.numblocks[1] > 1 else X


def matched_parts(X: Any, y: Any, w: Any) -> list[Any]:
    """What belongs together of X, y and w, partition by partition: delayed tuples, or tuples of delayed objects."""
    X, y, w = (whole_rows(a) for a in (X, y, w))
    others = [
        a for a in (y, w) if np.ndim(a)
    ]  # None, or one weight for all rows, goes with every partition.
    if all(is_frame(a) and a.npartitions == X.npartitions for a in (X, *others)):
        return parts_of_one_graph(X, y, w)
    if not all(have_equal_partitions(a, X) for a in others):
        sizes = partition_sizes(X)
        y, w = (
            cut_at(name, a, sizes) if np.ndim(a) else a
            for name, a in (("y", y), ("sample_weight", w))
        )
    columns = (row_parts(a) if np.ndim(a) else [a] * X.npartitions for a in (X, y, w))
    return list(zip(*columns, strict=True))


def parts_of_one_graph(X: Any, y: Any, w: Any) -> list[Any]:
    """The partitions of frames that have equally many, as delayed tuples (X, y, w).

    Dask merges partitions of a file of which few columns are read, so those of X and y would not be
    the same. As arguments of one function they keep the partitions they have, and a file that they
    share is read once.
    """
    joint = X.map_partitions(
        together, y, w, align_dataframes=False, enforce_metadata=False, meta=(None, object)
    )
    # This leaves out columns that nobody asks for. optimize() would merge partitions of several
    # files in several ways.
    return joint.simplify().to_delayed(optimize_graph=False)


def together(X: Any, y: Any, w: Any) -> tuple[Any, Any, Any]:
    """What is computed of a partition."""
    return X, y, w


def is_frame(a: Any) -> bool:
    """Whether `a` is a Dask dataframe or series."""
    return is_dask(a) and hasattr(a, "to_dask_array")


def row_parts(a: Any) -> list[Any]:
    """The partitions as delayed objects."""
    return (
        a.simplify().to_delayed(optimize_graph=False)
        if is_frame(a)
        else list(np.ravel(a.to_delayed()))
    )


def known_sizes(a: Any) -> tuple[int, ...] | None:
    """The number of rows in each partition, None where Dask does not know it."""
    return None if not isinstance(a, Array) or np.isnan(a.chunks[0]).any() else a.chunks[0]


def partition_sizes(a: Any) -> tuple[int, ...]:
    """The same, counted in a round of its own where Dask does not know it."""
    return known_sizes(a) or computed(*[delayed(len)(part) for part in row_parts(a)])


def have_equal_partitions(a: Any, X: Any) -> bool:
    """Whether the partitions are equally many, and of the same sizes so far as they are known; workers look at the rest."""
    if not is_dask(a) or a.npartitions != X.npartitions:
        return False
    sizes = known_sizes(a), known_sizes(X)
    return None in sizes or sizes[0] == sizes[1]


def cut_at(name: str, a: Any, sizes: tuple[int, ...]) -> Array:
    """The rows of `a` in chunks of so many rows."""
    array = with_known_sizes(a) if is_dask(a) else from_array(np.asarray(a), chunks=-1)
    if len(array) != sum(sizes):
        raise ValueError(
            f"X has {sum(sizes)} rows in {len(sizes)} partitions, and {name} has {len(array)} rows. {ONE_FRAME}"
        )
    return array.rechunk({0: sizes})


def with_known_sizes(a: Any) -> Array:
    """A collection as an array whose chunks have sizes that Dask knows."""
    if known_sizes(a) is not None:
        return a
    dtype = np.asarray(a._meta).dtype
    parts = zip(row_parts(a), partition_sizes(a), strict=True)
    return concatenate(
        [from_delayed(as_array(part), (n_rows, *a.shape[1:]), dtype) for part, n_rows in parts]
    )


as_array = delayed(np.asarray)


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
