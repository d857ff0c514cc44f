"""Second moments of the folds of `MiniBatchRidgeSGDCV`, computed in one read of the rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import assert_all_finite

from .._rows.chunk import NEGLIGIBLE, Chunk
from .._solvers.ridge_path import Fold, all_but_one
from .._statistics.arrays import Place, as_float64, is_numpy, like, place_of, take, to_numpy
from .._statistics.blocks import in_threads
from .._statistics.fold_moments import FoldStatistics, dealt, fold_statistics
from .._statistics.second_moments import EXACT_FEATURES, merge, no_second_moments, second_moments
from .._statistics.threads import number_of_threads
from .._statistics.triangular_factor import (
    TriangularFactor,
    no_triangular_factor,
    triangular_factor,
)
from .array_api import follow
from .open import open_chunks
from .refusals import WEIGHTLESS, check_kinds
from .same_rows import SameRows
from .source import in_memory
from .validation import as_floats, checked_weights, look_if_not_finite

Gather: TypeAlias = Callable[[Any, Any, Any], Any]  # the statistics of X, y and weights
Nothing: TypeAlias = Callable[[int, int], Any]  # the statistics of no rows

DEFAULT_FOLDS = 5
# Values of `cv` that ask for errors from one fit of all samples.
LOO, GCV = "loo", "gcv"
# The largest number of cells. A cell is a group of rows that are in the same training and test
# sets, and its moments take (d, d) numbers.
MOST_CELLS = 64


@dataclass(frozen=True)
class FoldData:
    """Statistics of the cells, and the training and test sets as masks of cells.

    A cell is a group of rows that are in the same training and test sets. The masks are None if
    each cell is the test set of one fold, whose training set is all the other cells.
    """

    cells: tuple[Any, ...]
    n_dealt: int  # rows of positive weight
    training: np.ndarray | None = None  # (n_folds, n_cells)
    test: np.ndarray | None = None  # (n_folds, n_cells)
    # Reads the rows again for the triangular factors of the cells; None if this is impossible.
    read_factors: Callable[[], tuple[TriangularFactor, ...]] | None = None
    seed: int | None = None
    chunks: Any = None
    place: Place = np.asarray
    rows: Chunk | None = None  # all samples, if they are in memory

    @cached_property
    def total(self) -> Any:
        """The statistics of all rows."""
        return reduce(merge, self.cells)

    def folds(self) -> Iterator[Fold]:
        """Yield the folds."""
        if self.training is None or self.test is None:
            yield from map(Fold, all_but_one(self.cells), self.cells)
            return
        for training, test in zip(self.training, self.test, strict=True):
            yield Fold(self._merged(training), self._merged(test))

    def _merged(self, mask: np.ndarray) -> Any:
        return reduce(merge, [self.cells[k] for k in np.flatnonzero(mask)])


def load_folds(
    estimator: Any, X: Any, y: Any, sample_weight: Any, draw_seed: Callable[[], int]
) -> FoldData:
    """Return the moments of the folds of the input of `fit`, computed in one read."""
    chunks = open_chunks(estimator, X, y, sample_weight, read_again=False)
    if chunks is not None:
        n_folds = number_of_folds(estimator.cv)
        check_few_features(chunks.n_features)
        return in_one_pass(chunks, n_folds, draw_seed())
    return from_memory(estimator, X, y, sample_weight)


def number_of_folds(cv: Any) -> int:
    """Return the number of folds that `cv` stands for; raise ValueError for a splitter."""
    if cv is None:
        return DEFAULT_FOLDS
    if isinstance(cv, Integral):
        return int(cv)
    if isinstance(cv, str) and cv == GCV:
        return 1
    raise ValueError(
        "Rows that come in chunks are dealt to folds at random, "
        f"and cv={cv!r} would have to see all of them. "
        "Set cv to a number of folds or 'gcv', or give all rows in memory."
    )


def check_few_features(n_features: int) -> None:
    """Raise ValueError if there are too many columns for second moments."""
    if n_features > EXACT_FEATURES:
        raise ValueError(
            f"X has {n_features} columns; alpha is chosen from second moments of up to "
            f"{EXACT_FEATURES}. For more, use "
            "GridSearchCV(MiniBatchRidgeSGD(), {'alpha': alphas})."
        )


def in_one_pass(chunks: Any, n_folds: int, seed: int) -> FoldData:
    """Return the folds of the rows of `chunks`."""

    def in_order(chunk: Chunk, *args: Any) -> FoldStatistics:
        return deal(chunk, chunks.n_so_far, 0, *args)

    def read(gather: Gather, nothing: Nothing) -> FoldStatistics:
        function = in_order if chunks.are_here else of_partition
        return chunks.reduce(function, merge, n_folds, seed, gather, nothing)

    folds = read(second_moments, no_second_moments)
    total = reduce(merge, folds.parts)
    chunks.same_rows = SameRows(total)
    is_gone = isinstance(getattr(chunks, "source", None), Iterator)
    again = None if is_gone else lambda: read(triangular_factor, no_triangular_factor).parts
    n_dealt = chunks.n_counted if chunks.are_here else total.x.n_rows
    return FoldData(
        folds.parts, n_dealt, read_factors=again, seed=seed, chunks=chunks, place=chunks.place
    )


def of_partition(chunk: Chunk, *args: Any) -> FoldStatistics:
    """Return the statistics of the folds of a partition.

    Its rows are numbered from 0, since the sizes of the partitions before it are not known.
    """
    return deal(chunk, chunk.n_rows, chunk.number, *args)


def deal(
    chunk: Chunk,
    n_dealt: int,
    deck: int,
    n_folds: int,
    seed: int,
    gather: Gather = second_moments,
    nothing: Nothing = no_second_moments,
) -> FoldStatistics:
    """Assign the rows of a chunk to folds, and return the statistics of each fold.

    `n_dealt` is the number of rows of positive weight up to the end of the chunk.
    """
    folds = dealt(n_dealt - chunk.n_rows, chunk.n_rows, n_folds, seed, deck)
    return fold_statistics(gather, nothing, chunk[1:], folds, n_folds)


def from_memory(estimator: Any, X: Any, y: Any, sample_weight: Any) -> FoldData:
    """Return the folds of arrays, split as by scikit-learn.

    Rows of weight 0 count in the split.
    """
    (sample_weight,) = in_memory(sample_weight)
    check_kinds(sample_weight=sample_weight)
    (_, X_all, y_all, _), single_target = as_floats(estimator, X, y, None, True, False)
    is_wide = X_all.shape[0] < X_all.shape[1]
    if not is_wide:
        check_few_features(X_all.shape[1])
    estimator._single_target = single_target
    n_rows = y_all.shape[0]
    (w_all,) = follow(X_all, sample_weight)
    weights = None
    if w_all is not None:
        w_all = checked_weights(w_all, X_all)
        weights = to_numpy(w_all)
        if not weights.any():
            raise ValueError(WEIGHTLESS)
        # The moments do not depend on rows of weight 0, so these rows are checked here.
        if not weights.all():
            dropped = np.flatnonzero(weights == 0)
            assert_all_finite(take(X_all, dropped), input_name="X")
            assert_all_finite(take(y_all, dropped), input_name="y")
    n_dealt = n_rows if weights is None else int(np.count_nonzero(weights))
    if estimator.half_life is not None:
        w_all, weights = aged_weights(y_all, weights, estimator.half_life)
    if estimator.cv is None or isinstance(estimator.cv, (Integral, str)):
        n_folds = 1 if estimator.cv == LOO else number_of_folds(estimator.cv)
        groups = in_turn(n_rows, n_folds)
        training = test = None
    else:
        splits = splits_of(estimator.cv, to_numpy(X_all), to_numpy(y_all))
        groups, training, test = cells_of(splits, n_rows)
    cells = [counting(rows, weights) for rows in groups]
    whole = Chunk(1, X_all, y_all, w_all)
    n_jobs = number_of_threads(estimator.n_jobs) if is_numpy(X_all) else 1

    def gathered(gather: Gather, nothing: Nothing) -> tuple[Any, ...]:
        def of_cell(rows: Any) -> Any:
            _, X, y, w = whole.part(rows) if isinstance(rows, slice) else whole.taken(rows)
            return gather(X, y, w) if y.shape[0] else nothing(X.shape[1], y.shape[1])

        return tuple(in_threads(of_cell, cells, n_jobs))

    read_factors = partial(gathered, triangular_factor, no_triangular_factor)
    # Rows that are fewer than the columns are their own triangular factor.
    parts = read_factors() if is_wide else gathered(second_moments, no_second_moments)
    place = place_of(X_all)
    data = FoldData(parts, n_dealt, training, test, read_factors, place=place, rows=whole)
    look_if_not_finite(estimator, data.total, X, y)
    return data


def aged_weights(y: Any, weights: np.ndarray | None, half_life: float) -> tuple[Any, np.ndarray]:
    """Return the weights at the time of the last row, on the device of y and in NumPy."""
    weights = np.ones(y.shape[0]) if weights is None else weights
    counts = weights > 0
    age = np.cumsum(counts[::-1])[::-1] - 1
    weights = np.where(counts, weights * 0.5 ** (age / half_life), 0.0)
    weights[weights < NEGLIGIBLE * weights.max()] = 0.0
    return like(weights, as_float64(y)), weights


def in_turn(n_rows: int, n_folds: int) -> list[np.ndarray]:
    """Return the rows of each fold of `KFold` without shuffling."""
    if n_rows < n_folds:
        raise ValueError(
            f"{n_folds} folds need as many rows, got n_samples={n_rows}. "
            "Give more rows, or fewer folds by cv."
        )
    return np.array_split(np.arange(n_rows), n_folds)


def splits_of(cv: Any, X: Any, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the training and test rows of each fold."""
    splitter = check_cv(cv)
    try:
        splits = list(splitter.split(X, y[:, 0] if y.shape[1] == 1 else y))
    except ValueError as error:
        if "groups" not in str(error):
            raise
        raise ValueError(
            f"{type(splitter).__name__} needs groups, which fit does not take: "
            "set cv=list(splitter.split(X, y, groups))."
        ) from error
    if not splits:
        raise ValueError(
            "cv has no folds: give a number of folds, a splitter, "
            "or a list of (training, test) rows."
        )
    return splits


def cells_of(
    splits: Sequence[tuple[np.ndarray, np.ndarray]], n_rows: int
) -> tuple[list[np.ndarray], np.ndarray | None, np.ndarray | None]:
    """Return the rows of each cell, and the masks of `FoldData`."""
    sets = [(as_mask(training, n_rows), as_mask(test, n_rows)) for training, test in splits]
    if any((training & test).any() for training, test in sets):
        raise ValueError("cv has rows both in the training and in the test set of a fold.")
    counts = np.sum([test for _, test in sets], axis=0, dtype=np.intp)
    if (
        np.all(counts == 1)
        and len(sets) > 1
        and all((training ^ test).all() for training, test in sets)
    ):
        return [np.flatnonzero(test) for _, test in sets], None, None
    # Rows with the same code are in the same sets.
    codes = np.zeros(n_rows, dtype=np.intp)
    for training, test in sets:
        codes = np.unique(3 * codes + training + 2 * test, return_inverse=True)[1]
        if codes.max() >= max(MOST_CELLS, 2 * len(sets)):
            raise ValueError(
                f"cv cuts the rows into more than {codes.max()} groups, whose second moments would "
                "be merged into training sets. Use a splitter whose test sets are disjoint, "
                "such as KFold or TimeSeriesSplit, or GridSearchCV."
            )
    first = np.unique(codes, return_index=True)[1]
    return (
        alike(codes),
        np.array([training[first] for training, _ in sets]),
        np.array([test[first] for _, test in sets]),
    )


def as_mask(rows: Any, n_rows: int) -> np.ndarray:
    """Convert row numbers or a mask to a mask (n_rows,)."""
    mask = np.zeros(n_rows, dtype=bool)
    rows = np.asarray(rows)
    mask[rows] = True
    if rows.dtype != bool and mask.sum() < len(rows):
        raise ValueError(
            "cv has a row twice in a set of a fold: give it the weight 2 by sample_weight instead."
        )
    return mask


def alike(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each label."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def counting(rows: np.ndarray, w: np.ndarray | None) -> Any:
    """Return the rows of positive weight, as a slice if they are consecutive.

    Indexing by a slice does not copy the rows.
    """
    kept = rows if w is None else rows[w[rows] > 0]
    consecutive = len(kept) > 0 and kept[-1] - kept[0] + 1 == len(kept)
    return slice(int(kept[0]), int(kept[-1]) + 1) if consecutive else kept
