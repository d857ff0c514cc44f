"""Statistics of the rows of each fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .arrays import take
from .second_moments import merge


class FoldStatistics(NamedTuple):
    """The second moments, or the triangular factor, of the rows of each fold."""

    parts: tuple[Any, ...]

    @property
    def is_finite(self) -> bool:
        """Whether the statistics of all folds are finite."""
        return all(part.is_finite for part in self.parts)

    def faded(self, share: float) -> FoldStatistics:
        """Return the statistics with all weights multiplied by `share`."""
        return FoldStatistics(tuple(part.faded(share) for part in self.parts))

    def merged(self, other: FoldStatistics) -> FoldStatistics:
        """Merge the statistics of each fold."""
        return FoldStatistics(tuple(map(merge, self.parts, other.parts)))


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


def fold_statistics(
    gather: Callable[[Any, Any, Any], Any],
    nothing: Callable[[int, int], Any],
    rows: tuple[Any, Any, Any],
    folds: np.ndarray,
    n_folds: int,
) -> FoldStatistics:
    """Return `gather(X, y, w)` of the rows of each fold, `nothing(d, t)` if it has none.

    X (n, d) is dense or CSR, y is (n, t), the weights w are (n,) or None, and folds is (n,).
    """
    X, y, w = rows
    parts = []
    for k in range(n_folds):
        members = np.flatnonzero(folds == k)
        if len(members) == 0:
            parts.append(nothing(X.shape[1], y.shape[1]))
        else:
            weights = None if w is None else take(w, members)
            parts.append(gather(take(X, members), take(y, members), weights))
    return FoldStatistics(tuple(parts))
