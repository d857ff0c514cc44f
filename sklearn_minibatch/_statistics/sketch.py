"""Sketches: signed sums of rows whose Gram matrix approximates that of all rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .factor import root

# With more columns than this, a dense (d, d) matrix costs more time than it saves.
DENSE_FEATURES = 3000


class Sketch(NamedTuple):
    """Sums of rows s [x - origin, 1] with random signs, where s is sqrt(w / W), or sqrt(w).

    Sums may be replaced by their Gram matrix.
    """

    origin: np.ndarray  # (d,)
    gram: np.ndarray | None  # (d + 1, d + 1)
    sums: np.ndarray  # (k, d + 1)

    def moved(self, origin: np.ndarray) -> Sketch:
        """Return the sketch about another origin (d,)."""
        shift = origin - self.origin
        sums = self.sums.copy()
        sums[:, :-1] -= sums[:, -1:] * shift
        return Sketch(origin, None if self.gram is None else moved(self.gram, shift), sums)

    def scaled(self, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return rows (k, d) whose Gram matrix approximates that of all scaled rows.

        The scaled rows are (x - mean) / scale.
        """
        # A sketch of few rows has mostly empty buckets.
        occupied = self._replace(sums=self.sums[self.sums.any(axis=1)])
        _, gram, sums = occupied.moved(mean)
        rows = sums[:, :-1] / scale
        if gram is None:
            return rows
        return np.vstack([root(gram[:-1, :-1] / scale / scale[:, None]), rows])

    def times(self, share: float) -> Sketch:
        """Return the sketch of the same rows with all weights multiplied by `share`."""
        return Sketch(
            self.origin,
            None if self.gram is None else share * self.gram,
            np.sqrt(share) * self.sums,
        )

    def merged(self, other: Sketch, share: float) -> Sketch:
        """Return the sketch of the rows of both.

        `share` is the weight of `other` divided by the total weight.
        """
        a = self.times(1 - share)
        b = other.times(share).moved(self.origin)
        grams = [one.gram for one in (a, b) if one.gram is not None]
        gram: Any = sum(grams) if grams else None
        return Sketch(self.origin, gram, np.vstack([a.sums, b.sums])).folded()

    def folded(self) -> Sketch:
        """Replace the sums by their Gram matrix if there are many.

        The sketch then has at most 3 (d + 1)^2 numbers.
        """
        origin, gram, sums = self
        if len(sums) <= 2 * sums.shape[1]:
            return self
        return Sketch(origin, sums.T @ sums + (0 if gram is None else gram), sums[:0])


def moved(gram: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the Gram matrix (d + 1, d + 1) of rows s [x - origin - shift, 1].

    `gram` is the Gram matrix of the rows s [x - origin, 1].
    """
    cross = gram[:-1, -1]
    weight = gram[-1, -1]
    new = gram.copy()
    new[:-1, :-1] += np.outer(weight * shift - cross, shift) - np.outer(shift, cross)
    new[:-1, -1] -= weight * shift
    new[-1, :-1] = new[:-1, -1]
    return new


def n_buckets(n_features: int) -> int:
    """Return the number of rows of the sketch.

    With eight rows per column, the eigenvalues of P^-1 H are within about [0.5, 2.4]. With four,
    they are within [0.4, 4] at half the cost, which is that of a (4 d, d) Gram matrix.
    """
    return max(1000, (8 if n_features <= 1000 else 4) * n_features)


def count_sketch(n_rows: int, n_buckets: int, rng: Any) -> Any:
    """Return a CountSketch matrix S (n_buckets, n_rows) in CSC.

    Each column has one random sign in a random row, so SZ adds each row of Z, with a random sign,
    to a random bucket.
    """
    signs = rng.choice([-1.0, 1.0], n_rows)
    buckets = rng.choice(n_buckets, n_rows)
    return sparse.csc_array((signs, buckets, np.arange(n_rows + 1)), shape=(n_buckets, n_rows))
