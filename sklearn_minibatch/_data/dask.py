"""Rows on a Dask cluster.

Each partition is processed on its worker, and only sums of the size of the result are transferred.
Everything runs on the user's default scheduler (a `Client`, or Dask's threads). Partitions are
computed from the user's collection in every round, unless the user has persisted it.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from functools import reduce
from typing import Any, NamedTuple

import dask
import numpy as np
from dask.array import Array, concatenate, from_array, from_delayed
from dask.delayed import delayed

from .._rows.chunk import Chunk
from .refusals import WEIGHTLESS
from .same_rows import SameRows, Sums
from .source import is_dask, is_finite

# The number of partial sums that one task adds up.
FAN_IN = 8

# The advice if X, y and the weights are in partitions that do not match.
ONE_FRAME = (
    "Take X, y and the weights from one collection, after it was persisted: "
    "frame = frame.persist()."
)


class Partitions:
    """Counted and checked rounds over the partitions of X, y and optional weights w.

    Parameters
    ----------
    X, y, w : dask.array.Array, dask.dataframe.DataFrame or Series, or None
        Collections in row partitions; `y` and `w` may also be arrays in memory, or have other
        partitions than X.
    check : callable
        As for `CheckedChunks`.
    """

    place = staticmethod(np.asarray)
    are_here = False

    def __init__(self, X: Any, y: Any, w: Any, check: Callable[..., Any]) -> None:
        check_table(X)
        if y is None:
            raise ValueError("A Dask collection X needs y: fit(X, y), score(X, y).")
        # Keeps references, because workers release persisted rows without any.
        self.collections = tuple(whole_rows(a) for a in (X, y, w))
        self.parts = matched_parts(*self.collections)
        self.check = check
        self.n_features: int = X.shape[1]
        self.n_passes = 0
        self.n_rows: int | None = None
        # The sums of the first round, with which later rounds are compared.
        self.same_rows: SameRows | None = None

    def reduce(
        self, function: Callable[..., Any], add: Callable[[Any, Any], Any], *args: Any
    ) -> Any:
        """Combine `function(chunk, *args)` of all partitions by `add`, in a tree and one round.

        Raises ValueError if no row has positive weight.
        """
        self.n_passes += 1
        work = Round(function, self.check, args, self.same_rows, self.n_passes)
        try:
            n_rows, sums, value = self._combined(work, add)
        except SizesDiffer:
            # Only the workers knew the sizes, so rows are now matched by their order.
            self.parts = parts_cut_like(*self.collections)
            n_rows, sums, value = self._combined(work, add)
        if n_rows == 0:
            raise ValueError(
                f"X has no rows: its {len(self.parts)} partitions are empty. "
                "Give at least one row, or look at the filter that removed them."
            )
        if self.n_rows not in (None, n_rows):
            raise self._changed(f"{n_rows} rows, the first {self.n_rows}")
        other = self.same_rows and sums and self.same_rows.difference(sums, self.n_passes)
        if other:
            raise self._changed(other)
        if value is None:
            raise ValueError(WEIGHTLESS)
        self.n_rows = n_rows
        return value

    def _changed(self, found: str) -> ValueError:
        """Return the error for a round that differs from the first."""
        return ValueError(
            f"Round {self.n_passes} found {found}. "
            "The collection must give the same rows each time it is computed; "
            "persist it if it is random."
        )

    def _combined(self, work: "Round", add: Callable[[Any, Any], Any]) -> "Result":
        """Return the result of all partitions."""
        shared = delayed(work, pure=False, traverse=False)
        # Not decorated: Dask sends a function by name only if the name still refers to it.
        of_partition, total = delayed(on_partition, pure=False), delayed(combined, pure=False)
        results = [of_partition(shared, k, *part) for k, part in enumerate(self.parts, 1)]
        while len(results) > 1:
            results = [total(add, *results[k : k + FAN_IN]) for k in range(0, len(results), FAN_IN)]
        return computed(results[0])[0]


class Round(NamedTuple):
    """The work on each partition in a round: checks, and `function(chunk, *args)`."""

    function: Callable[..., Any]
    check: Callable[..., Any]
    args: tuple[Any, ...]
    same_rows: SameRows | None
    n_pass: int


class Result(NamedTuple):
    """The number of rows of one or more partitions, the sums over them, and the value.

    The sums are None in the first round; the value is None if no row has positive weight.
    """

    n_rows: int
    sums: Sums | None
    value: Any


class SizesDiffer(ValueError):
    """A partition of X has another number of rows than that of y or of the weights."""


def check_table(X: Any) -> None:
    """Raise ValueError unless a Dask collection has rows, and columns whose number is known."""
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: X is a Dask {type(X).__name__}. "
            "Give a table of rows and columns; one column is frame[[name]] or x[:, None]."
        )
    if np.isnan(X.shape[1]):
        raise ValueError(
            "The number of columns of X is not known. Set it: X = X.compute_chunk_sizes()."
        )


def computed(*tasks: Any) -> tuple[Any, ...]:
    """Compute the tasks on the user's scheduler."""
    try:
        return dask.compute(*tasks, traverse=False)
    except CancelledError as error:
        raise RuntimeError(
            "Dask has lost partitions that were persisted. Either they cannot be computed again, "
            "as what was scattered to a worker that died; or a few columns of a Parquet file were "
            f"persisted by themselves, which Dask cannot always take up again. {ONE_FRAME}"
        ) from error


def loaded(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arrays; Dask collections are computed.

    Frames are computed together, so that a shared file is read once, and so are arrays; Dask warns
    if frames and arrays share a round.
    """
    values = list(arrays)
    frames = [k for k, a in enumerate(arrays) if is_frame(a)]
    others = [k for k, a in enumerate(arrays) if isinstance(a, Array)]
    for numbers in filter(None, (frames, others)):
        for k, value in zip(numbers, computed(*[arrays[k] for k in numbers]), strict=True):
            values[k] = value
    return tuple(values)


def on_partition(work: Round, number: int, *part: Any) -> Result:
    """Return the result of a partition, given as X, y and w or as one tuple of them."""
    X, y, w = part if len(part) == 3 else part[0]
    check_lengths(X, y, w)
    try:
        if X.shape[0] == 0:
            return Result(0, None, None)
        chunk = Chunk(number, *work.check(X, y, w, False, False))
        if len(chunk.y) == 0:
            return Result(X.shape[0], None, None)
        with np.errstate(over="ignore", invalid="ignore"):
            value = work.function(chunk, *work.args)
            sums = None if work.same_rows is None else work.same_rows.sums(chunk, work.n_pass)
        if not is_finite(value):
            work.check(X, y, w, False, True)
        return Result(X.shape[0], sums, value)
    except ValueError as error:
        raise ValueError(f"Partition {number}: {error}") from error


def combined(add: Callable[[Any, Any], Any], *results: Result) -> Result:
    """Return the sum of several results of `on_partition`."""

    def total(add: Callable[[Any, Any], Any], values: Iterable[Any]) -> Any:
        present = [value for value in values if value is not None]
        return reduce(add, present) if present else None

    n_rows, sums, values = zip(*results, strict=True)
    return Result(sum(n_rows), total(Sums.plus, sums), total(add, values))


def check_lengths(X: Any, y: Any, w: Any) -> None:
    """Raise SizesDiffer unless the partitions of X, y and w have the same number of rows."""
    for name, a in (("y", y), ("sample_weight", w)):
        if np.ndim(a) and n_rows_of(a) != n_rows_of(X):
            raise SizesDiffer(
                f"X has {n_rows_of(X)} rows here, and {name} has {n_rows_of(a)}. {ONE_FRAME}"
            )


def n_rows_of(part: Any) -> int:
    """Return the number of rows of a partition, which may be sparse."""
    return part.shape[0]


def whole_rows(X: Any) -> Any:
    """Rechunk X so that all columns of a row are in the same partition."""
    return X.rechunk({1: -1}) if isinstance(X, Array) and X.ndim == 2 and X.numblocks[1] > 1 else X


def matched_parts(X: Any, y: Any, w: Any) -> list[tuple[Any, ...]]:
    """Return the matching partitions of X, y and w, as the last arguments of `on_partition`."""
    # None, or one weight for all rows, is passed with every partition.
    others = [a for a in (y, w) if np.ndim(a)]
    if all(is_frame(a) and a.npartitions == X.npartitions for a in (X, *others)):
        return parts_of_one_graph(X, y, w)
    if all(have_equal_partitions(a, X) for a in others):
        return zipped_parts(X, y, w)
    return parts_cut_like(X, y, w)


def parts_cut_like(X: Any, y: Any, w: Any) -> list[tuple[Any, ...]]:
    """Return the partitions of X with the rows of y and w that have the same numbers."""
    sizes = partition_sizes(X)
    y, w = (
        cut_at(name, a, sizes) if np.ndim(a) else a for name, a in (("y", y), ("sample_weight", w))
    )
    return zipped_parts(X, y, w)


def zipped_parts(X: Any, y: Any, w: Any) -> list[tuple[Any, ...]]:
    """Return tuples of the partitions of X, y and w, whose numbers are equal."""
    columns = (row_parts(a) if np.ndim(a) else [a] * X.npartitions for a in (X, y, w))
    return list(zip(*columns, strict=True))


def parts_of_one_graph(X: Any, y: Any, w: Any) -> list[tuple[Any, ...]]:
    """Return the partitions of frames that have equally many, each as one delayed (X, y, w).

    Dask merges partitions of a file if few columns are read, so the partitions of X and y could
    become different. Frames that are arguments of one function keep their partitions, and a file
    that they share is read once.
    """
    joint = X.map_partitions(
        together, y, w, align_dataframes=False, enforce_metadata=False, meta=(None, object)
    )
    # simplify() drops unused columns. optimize() could also merge the partitions of several files
    # in different ways.
    return [(part,) for part in joint.simplify().to_delayed(optimize_graph=False)]


def together(X: Any, y: Any, w: Any) -> tuple[Any, Any, Any]:
    """Return the partitions of X, y and w as a tuple."""
    return X, y, w


def is_frame(a: Any) -> bool:
    """Return whether `a` is a Dask dataframe or series."""
    return is_dask(a) and hasattr(a, "to_dask_array")


def row_parts(a: Any) -> list[Any]:
    """Return the partitions as delayed objects."""
    return (
        a.simplify().to_delayed(optimize_graph=False)
        if is_frame(a)
        else list(np.ravel(a.to_delayed()))
    )


def known_sizes(a: Any) -> tuple[int, ...] | None:
    """Return the number of rows of each partition, or None if Dask does not know them."""
    return None if not isinstance(a, Array) or np.isnan(a.chunks[0]).any() else a.chunks[0]


def partition_sizes(a: Any) -> tuple[int, ...]:
    """Return the number of rows of each partition; they are counted if Dask does not know them."""
    return known_sizes(a) or computed(*[delayed(n_rows_of)(part) for part in row_parts(a)])


def have_equal_partitions(a: Any, X: Any) -> bool:
    """Return whether `a` and X have equally many partitions, of equal sizes if these are known.

    Workers check the sizes that are not known.
    """
    if not is_dask(a) or a.npartitions != X.npartitions:
        return False
    sizes = known_sizes(a), known_sizes(X)
    return None in sizes or sizes[0] == sizes[1]


def cut_at(name: str, a: Any, sizes: tuple[int, ...]) -> Array:
    """Return the rows of `a` as a Dask array in chunks of the given sizes."""
    array = with_known_sizes(a) if is_dask(a) else from_array(np.asarray(a), chunks=-1)
    if len(array) != sum(sizes):
        raise ValueError(
            f"X has {sum(sizes)} rows in {len(sizes)} partitions, "
            f"and {name} has {len(array)} rows. {ONE_FRAME}"
        )
    return array.rechunk({0: sizes})


def with_known_sizes(a: Any) -> Array:
    """Convert a collection to an array whose chunk sizes are known."""
    if known_sizes(a) is not None:
        return a
    dtype = np.asarray(a._meta).dtype
    parts = zip(row_parts(a), partition_sizes(a), strict=True)
    return concatenate(
        [from_delayed(as_array(part), (n_rows, *a.shape[1:]), dtype) for part, n_rows in parts]
    )


as_array = delayed(np.asarray)


def predict_lazily(predict: Callable[[Any], np.ndarray], X: Any, n_targets: int | None) -> Any:
    """Return a collection of `predict(x)` of each partition, which is not computed yet.

    `n_targets` is None if predictions are (n,), else they are (n, n_targets).
    """
    check_table(X)
    none = np.empty((0,) if n_targets is None else (0, n_targets))

    def of_partition(x: Any) -> np.ndarray:
        return predict(x) if n_rows_of(x) else none

    if not isinstance(X, Array):
        return X.map_partitions(of_partition, meta=none)
    X = whole_rows(X)
    axes: dict[str, Any] = (
        {"drop_axis": 1} if n_targets is None else {"chunks": (X.chunks[0], (n_targets,))}
    )
    return X.map_blocks(of_partition, meta=none, **axes)
