"""Second moments of the rows of each fold."""

from typing import Any, NamedTuple

import numpy as np

from .arrays import take
from .second_moments import SecondMoments, is_finite, merge, no_second_moments, second_moments


class FoldMoments(NamedTuple):
    """The second moments of each fold; a fold without rows has those of `no_second_moments`."""

    parts: tuple[SecondMoments, ...]


def dealt(first: int, n_rows: int, n_folds: int, seed: int, deck: int = 0) -> np.ndarray:
    """Return the folds (n_rows,) of the rows from number `first` on.

    Each group of `n_folds` successive rows has one row in each fold. Their order is drawn by a
    counter-based generator (Philox; Salmon et al., 2011), so the fold of a row depends on its
    number only, and not on how the rows are split into chunks. Rows that are numbered
    separately, as in partitions, are given different values of `deck`.
    """
    blocks = range(first // n_folds, -(-(first + n_rows) // n_folds))
    start = blocks.start * n_folds
    count = len(blocks) * n_folds
    # A step of the generator's counter yields four numbers.
    generator = np.random.Philox(key=np.array([seed, deck], dtype=np.uint64), counter=start // 4)
    keys = generator.random_raw(start % 4 + count)[start % 4 :]
    folds = np.argsort(keys.reshape(-1, n_folds), axis=1).ravel()
    return folds[first - start : first - start + n_rows]


def fold_moments(X: Any, y: Any, w: Any, folds: np.ndarray, n_folds: int) -> FoldMoments:
    """Return the second moments of the rows of each fold.

    X (n, d) is dense or CSR, y is (n, t), the weights w are (n,) or None, and folds is (n,).
    """
    parts = []
    for k in range(n_folds):
        rows = np.flatnonzero(folds == k)
        if len(rows) == 0:
            parts.append(no_second_moments(X.shape[1], y.shape[1]))
        else:
            weights = None if w is None else take(w, rows)
            parts.append(second_moments(take(X, rows), take(y, rows), weights))
    return FoldMoments(tuple(parts))


def merge_folds(a: FoldMoments, b: FoldMoments) -> FoldMoments:
    """Return, for each fold, the moments of its rows in `a` and in `b` together."""
    return FoldMoments(tuple(map(merge, a.parts, b.parts)))


def are_finite(moments: FoldMoments) -> bool:
    """Return whether all means and variances are finite."""
    return all(map(is_finite, moments.parts))
