"""Second moments of rows that are dealt to folds."""

from typing import Any, NamedTuple

import numpy as np

from .second_moments import SecondMoments, is_finite, merge, no_second_moments, second_moments


class FoldMoments(NamedTuple):
    """The second moments of each fold; those of a fold without rows are those of no rows."""

    parts: tuple[SecondMoments, ...]


def dealt(first: int, n_rows: int, n_folds: int, seed: int, deck: int = 0) -> np.ndarray:
    """The folds (n_rows,) of rows number `first` and on, the same however the rows are cut into chunks.

    Each `n_folds` rows in turn are dealt one to a fold, in an order drawn by a generator that
    counts (Philox; Salmon et al., 2011), so that a row's fold depends on its number only. Rows that
    are counted apart have decks of their own.
    """
    blocks = range(first // n_folds, -(-(first + n_rows) // n_folds))
    start = blocks.start * n_folds
    count = len(blocks) * n_folds
    # A step of the generator's counter yields four numbers.
    generator = np.random.Philox(key=np.array([seed, deck], dtype=np.uint64), counter=start // 4)
    keys = generator.random_raw(start % 4 + count)[start % 4 :]
    folds = np.argsort(keys.reshape(-1, n_folds), axis=1).ravel()
    return folds[first - start : first - start + n_rows]


def fold_moments(
    X: Any, y: np.ndarray, w: np.ndarray | None, folds: np.ndarray, n_folds: int
) -> FoldMoments:
    """The moments of rows X (n, d), dense or CSR, with targets y (n, t), weights (n,) or None and folds (n,)."""
    parts = []
    for k in range(n_folds):
        rows = np.flatnonzero(folds == k)
        if len(rows) == 0:
            parts.append(no_second_moments(X.shape[1], y.shape[1]))
        else:
            parts.append(second_moments(X[rows], y[rows], None if w is None else w[rows]))
    return FoldMoments(tuple(parts))


def merge_folds(a: FoldMoments, b: FoldMoments) -> FoldMoments:
    """The moments of each fold's rows in `a` and in `b` together."""
    return FoldMoments(tuple(map(merge, a.parts, b.parts)))


def are_finite(moments: FoldMoments) -> bool:
    """Whether no mean and no variance is infinite or NaN."""
    return all(map(is_finite, moments.parts))
