"""Sources of chunks of rows, and passes over them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import _num_samples

from .._rows.chunk import Chunk
from .._statistics.arrays import Place, place_of
from .cures import naming_cures
from .refusals import WEIGHTLESS, check_has_rows, is_instance
from .same_rows import SameRows, Sums

DASK_CLASSES = (
    ("dask.array", "Array"),
    ("dask.dataframe", "DataFrame"),
    ("dask.dataframe", "Series"),
)


class ChunkSource:
    """Samples that ``MiniBatchRidgeSGD().fit(source)`` reads a chunk at a time, once or repeatedly.

    Parameters
    ----------
    function : callable
        A function without arguments, such as a generator function, that is called at the start of
        each pass. It returns an iterator of chunks ``(X, y)`` or ``(X, y, sample_weight)``, which
        must have the same samples each time.
    prefetch : bool, default=False
        Whether a thread reads the next chunk while the fit processes the current one. This needs
        the memory of one more chunk. The iterator must then not reuse its arrays. It runs in that
        thread, where some database connections made in another thread cannot be used.

    Raises
    ------
    TypeError
        If `function` cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
    >>> def chunks():
    ...     for seed in range(5):
    ...         X = np.random.default_rng(seed).normal(size=(1000, 3))
    ...         yield X, X @ [1.0, 2.0, 3.0] + 4.0
    >>> model = MiniBatchRidgeSGD(alpha=0).fit(ChunkSource(chunks))
    >>> print(model.coef_.round(4), round(model.intercept_, 4))
    [1. 2. 3.] 4.0
    """

    def __init__(self, function: Callable[[], Iterator[tuple]], *, prefetch: bool = False) -> None:
        if not callable(function):
            raise TypeError(
                "ChunkSource needs a function that returns an iterator of chunks, "
                f"got {type(function).__name__}."
            )
        self.function = function
        self.prefetch = prefetch

    def __iter__(self) -> Iterator[tuple]:
        chunks = self.function()
        if not hasattr(chunks, "__iter__"):
            name = getattr(self.function, "__qualname__", type(self.function).__name__)
            raise TypeError(
                f"ChunkSource calls {name}(), which returned {type(chunks).__name__}. It must "
                "return an iterator of chunks (X, y), as a function with yield does."
            )
        chunks = iter(chunks)
        return prefetched(chunks) if self.prefetch else chunks

    def __array__(self, *args: Any, **options: Any) -> None:
        # Functions that need all rows at once, such as a search or a scaler of scikit-learn,
        # convert their input to an array first.
        raise TypeError(
            "A ChunkSource is no array and cannot be indexed: its rows are read a chunk at a time. "
            "Fit it by MiniBatchRidgeSGD().fit(source); MiniBatchRidgeSGDCV().fit(source) chooses "
            "alpha. For the rest, keep chunks out for validation, in a source of their own, "
            "and compare model.score(validation)."
        )


def prefetched(chunks: Iterator[tuple]) -> Iterator[tuple]:
    """Yield the same chunks, each read by a thread while the previous chunk is in use."""
    end: Any = object()
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, chunks, end)
        while (chunk := following.result()) is not end:
            following = reader.submit(next, chunks, end)
            yield chunk


def is_source(X: Any) -> bool:
    """Return whether X may be a source of chunks, that is, an iterable but not a table."""
    if isinstance(X, ChunkSource):
        return True
    table = sparse.issparse(X) or any(
        hasattr(X, name) for name in ("shape", "__array__", "__dataframe__")
    )
    return hasattr(X, "__iter__") and not table and not isinstance(X, (str, bytes, dict))


def source_of(X: Any, y: Any, sample_weight: Any) -> Any:
    """Return X if it is a source of chunks, which have their own y and weights; else None."""
    if y is not None or not is_source(X):
        return None
    if sample_weight is not None:
        raise ValueError(
            "With a source of chunks, put the weights into the chunks: (X, y, sample_weight)."
        )
    return X


def holds_chunks(X: Any) -> bool:
    """Return whether X can only be a source of chunks.

    A list is taken for rows unless its first entry is a tuple or list that begins with a table.
    """
    if not isinstance(X, Sequence):
        return is_source(X)
    first = X[0] if len(X) else None
    return (
        isinstance(first, (tuple, list))
        and len(first) > 0
        and len(getattr(first[0], "shape", ())) == 2
    )


def check_alone(X: Any, y: Any, method: str) -> None:
    """Raise ValueError if X has no rows to read, or if y is given beside a source of chunks."""
    check_has_rows("X", X)
    if y is not None and holds_chunks(X):
        raise ValueError(
            f"A source of chunks (X, y) carries its own y. Leave y out: {method}(source)."
        )


def is_dask(X: Any) -> bool:
    """Return whether X is an array, a dataframe or a series of Dask.

    Dask's protocol does not tell: labelled arrays of other libraries follow it even in memory.
    """
    return any(is_instance(X, module, name) for module, name in DASK_CLASSES)


def in_memory(*arrays: Any) -> tuple[Any, ...]:
    """Return the arrays; Dask collections are computed."""
    if not any(map(is_dask, arrays)):
        return arrays
    from .dask import loaded

    return loaded(arrays)


class CheckedChunks:
    """Counted and checked passes over a source.

    Parameters
    ----------
    source : iterable
        An iterable of chunks that starts over at each pass.
    check : callable
        ``check(X, y, w, first, finite)`` returns X, y and w of a chunk as float arrays without rows
        of weight 0, or raises ValueError; it checks for NaN and infinity if `finite`.
    read_again : bool
        Whether there may be a second pass.
    half_life : float or None
        The number of rows after which a row counts half.
    """

    are_here = True  # in this process

    def __init__(
        self,
        source: Any,
        check: Callable[..., tuple],
        read_again: bool = True,
        half_life: float | None = None,
    ) -> None:
        if read_again and isinstance(source, Iterator):
            raise ValueError(
                f"fit reads its chunks several times, and this {type(source).__name__} can be "
                "read only once. Wrap the function that makes it: fit(ChunkSource(function))."
            )
        self.source = source
        self.check = check
        self.half_life = half_life
        # Rows of positive weight, in which ages are counted: so far in this pass, and in a whole
        # pass.
        self.n_so_far = 0
        self.n_counted: int | None = None
        self.n_passes = 0
        self.n_rows: int | None = None
        self.n_targets: int | None = None
        # A pass that `n_features` has begun, to read the first chunk.
        self._begun: Iterator[Chunk] | None = None
        # The sums of the first pass, with which later passes are compared.
        self.same_rows: SameRows | None = None
        # Moves arrays to the device of the first chunk.
        self.place: Place = np.asarray

    def reduce(
        self, function: Callable[..., Any], add: Callable[[Any, Any], Any], *args: Any
    ) -> Any:
        """Combine `function(chunk, *args)` of all chunks by `add`, in one pass.

        Raises ValueError if no row has positive weight.
        """
        total = None
        fades = self.n_counted is None
        for chunk in self:
            with np.errstate(over="ignore", invalid="ignore"):
                value = function(chunk, *args)
                # Single numbers are checked only if the result is not finite.
                if not is_finite(value):
                    self._named(chunk.number, check_finite, chunk)
                if self.half_life is not None and fades and total is not None:
                    # The number of later rows is not known in the first pass, so earlier rows fade
                    # here.
                    total = total.faded(0.5 ** (chunk.n_rows / self.half_life))
                total = value if total is None else add(total, value)
        if total is None:
            raise ValueError(WEIGHTLESS)
        return total

    @property
    def n_features(self) -> int:
        """The number of columns of the first chunk."""
        begun = iter(self)
        first = next(begun, None)
        if first is None:
            raise ValueError(WEIGHTLESS)
        self._begun = chain([first], begun)
        return first.X.shape[1]

    def __iter__(self) -> Iterator[Chunk]:
        begun, self._begun = self._begun, None
        return self._pass() if begun is None else begun

    def _pass(self) -> Iterator[Chunk]:
        self.n_passes += 1
        read = number = counted = 0
        sums: Sums | None = None
        for number, raw in enumerate(self.source, 1):
            chunk, n_read = self._named(number, self._chunk, number, raw, read)
            read += n_read
            if self.n_rows is not None and read > self.n_rows:
                raise self._other_number(f"had {read} rows after chunk {number}")
            if chunk.n_rows:
                counted += chunk.n_rows
                self.n_so_far = counted
                chunk = self._aged(chunk, counted)
                if self.same_rows is not None:
                    sums = self.same_rows.sums(chunk, self.n_passes).plus(sums)
                yield chunk
        if self.n_rows is not None and read < self.n_rows:
            raise self._other_number(f"ended after chunk {number} with {read} rows")
        if self.n_targets is None:
            raise ValueError(
                "The source has no rows: each pass must yield chunks (X, y) "
                "or (X, y, sample_weight)."
            )
        other = self.same_rows and sums and self.same_rows.difference(sums, self.n_passes)
        if other:
            raise self._changed(f"had {other}")
        self.n_rows = read
        self.n_counted = counted

    def _aged(self, chunk: Chunk, counted: int) -> Chunk:
        """Return the chunk with the weights that its rows have at the end of the source."""
        if self.half_life is None or self.n_counted is None:
            return chunk.aged(self.half_life)
        return chunk.aged(self.half_life, 0.5 ** ((self.n_counted - counted) / self.half_life))

    def _named(self, number: int, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function, and add the chunk and the pass to the message of an error."""
        try:
            return function(*args)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Chunk {number} of pass {self.n_passes}: {error}") from error

    def _chunk(self, number: int, raw: Any, n_before: int) -> tuple[Chunk, int]:
        """Return the checked chunk, and the number of its rows including those of weight 0."""
        if not isinstance(raw, (tuple, list)) or len(raw) not in (2, 3):
            raise ValueError(
                f"expected a tuple (X, y) or (X, y, sample_weight), got {type(raw).__name__}."
            )
        X, y, w = in_memory(*(*raw, None)[:3])
        check_has_rows("X", X)
        n_read = _num_samples(X)
        if n_read == 0:
            given = {"y": y} if w is None or np.ndim(w) == 0 else {"y": y, "sample_weight": w}
            for name, a in given.items():
                if n := _num_samples(a):
                    raise ValueError(f"X has no rows, and {name} has {n}; give as many of both.")
            return Chunk(number, X, np.empty((0, 1)), None), 0
        X, y, w = self.check(X, y, w, self.n_targets is None, False)
        if self.n_targets is None:
            self.n_targets = y.shape[1]
            self.place = place_of(X)
        if y.shape[1] != self.n_targets:
            raise ValueError(
                f"y has {y.shape[1]} target(s), the first chunk has {self.n_targets}. Give all "
                "chunks the same targets."
            )
        return Chunk(number, X, y, w), n_read

    def _other_number(self, how: str) -> ValueError:
        """Return the error for a pass with another number of rows than the first."""
        return self._changed(f"{how}, but the first pass had {self.n_rows} rows")

    def _changed(self, how: str) -> ValueError:
        """Return the error for a pass that differs from the first."""
        return ValueError(
            f"Pass {self.n_passes} {how}. "
            "A source must start over at each pass and yield the same rows; "
            "ChunkSource(function) calls the function anew for each."
        )


def check_finite(chunk: Chunk) -> None:
    """Raise scikit-learn's ValueError if X or y hold NaN or infinity."""
    with naming_cures(chunk.X, chunk.y):
        assert_all_finite(chunk.X, input_name="X")
        assert_all_finite(chunk.y, input_name="y")


def is_finite(value: Any) -> bool:
    """Return whether statistics, or a tuple of sums, have only finite numbers.

    It is True for other values, which are computed from rows that were checked before.
    """
    if hasattr(value, "is_finite"):
        return value.is_finite
    return type(value) is not tuple or all(np.all(np.isfinite(part)) for part in value)
