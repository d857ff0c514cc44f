"""Sketches: a few sums of rows whose Gram matrix is close to that of all rows."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .factor import root

# Beyond this many columns a dense d x d matrix costs more than it saves.
DENSE_FEATURES = 3000


class Sketch(NamedTuple):
    """Sums of a few rows s [x - origin, 1] each, s = sqrt(w / W), with random signs; the older ones as their Gram matrix."""

    origin: np.ndarray  # (d,)
    gram: np.ndarray | None  # (d + 1, d + 1)
    sums: np.ndarray  # (k, d + 1)

    def moved(self, origin):
        """The same about another origin."""
        shift = origin - self.origin
        sums = self.sums.copy()
        sums[:, :-1] -= sums[:, -1:] * shift
        return Sketch(origin, None if self.gram is None else moved(self.gram, shift), sums)

    def scaled(self, mean, scale):
        """Rows whose Gram matrix is close to that of all rows about `mean`, in units of `scale`."""
        _, gram, sums = self.moved(mean)
        rows = sums[:, :-1] / scale
        if gram is None:
            return rows
        return np.vstack([root(gram[:-1, :-1] / scale / scale[:, None]), rows])

    def times(self, share):
        """The same where all weights have become so much smaller."""
        return Sketch(
            self.origin,
            None if self.gram is None else share * self.gram,
            np.sqrt(share) * self.sums,
        )

    def merged(self, other, share):
        """The sketch of the rows of both, `share` being that of `other` in the weight."""
        self, other = self.times(1 - share), other.times(share).moved(self.origin)
        grams = [one.gram for one in (self, other) if one.gram is not None]
        return Sketch(
            self.origin, sum(grams) if grams else None, np.vstack([self.sums, other.sums])
        ).folded()

    def folded(self):
        """The same in no more than 3 (d + 1)^2 numbers."""
        origin, gram, sums = self
        if len(sums) <= 2 * sums.shape[1]:
            return self
        return Sketch(origin, sums.T @ sums + (0 if gram is None else gram), sums[:0])


def moved(gram, shift):
    """The Gram matrix of rows s [x - origin - shift, 1], given that of the rows s [x - origin, 1]."""
    cross, weight = gram[:-1, -1], gram[-1, -1]
    new = gram.copy()
    new[:-1, :-1] += np.outer(weight * shift - cross, shift) - np.outer(shift, cross)
    new[:-1, -1] -= weight * shift
    new[-1, :-1] = new[:-1, -1]
    return new


def n_buckets(n_features):
    """Rows of the sketch: eight a column keep the eigenvalues of P^-1 H within about [0.5, 2.4].

    Four a column keep them within [0.4, 4] at half the price, which is that of a (4 d, d) Gram
    matrix.
    """
    return max(1000, (8 if n_features <= 1000 else 4) * n_features)


def count_sketch(n_rows, n_buckets, rng):
    """CountSketch: the (n_buckets, n_rows) matrix S with one random sign per column, in a random row.

    SZ adds each row of Z, with a random sign, to a random bucket.
    """
    signs = rng.choice([-1.0, 1.0], n_rows)
    buckets = rng.choice(n_buckets, n_rows)
    return sparse.csc_array((signs, buckets, np.arange(n_rows + 1)), shape=(n_buckets, n_rows))
