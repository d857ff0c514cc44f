"""What one pass over chunks of rows leaves behind: moments, the gradient at 0 and a sketch, merged chunk by chunk."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ._blocks import row_blocks
from ._preconditioner import DENSE_FEATURES, factored, n_buckets
from ._scaler import Moments, column_moments, merge


class Chunk(NamedTuple):
    """Rows of positive weight: X (c, d) dense or CSR, y (c, t), w (c,) or None; chunks count from 1."""

    number: int
    X: np.ndarray
    y: np.ndarray
    w: np.ndarray | None

    def part(self, rows):
        """Some of its rows."""
        return Chunk(self.number, self.X[rows], self.y[rows], None if self.w is None else self.w[rows])


def joined(a, b):
    """The rows of `a`, then those of `b`, as one chunk."""
    X = sparse.vstack([a.X, b.X], format="csr") if sparse.issparse(a.X) else np.vstack([a.X, b.X])
    w = None
    if a.w is not None or b.w is not None:
        w = np.concatenate([np.ones(len(one.y)) if one.w is None else one.w for one in (a, b)])
    return Chunk(b.number, X, np.vstack([a.y, b.y]), w)


class Summary(NamedTuple):
    """Of the rows of one or of many chunks."""

    x: Moments
    y: Moments
    covariance: np.ndarray  # (d, t), of x with y
    origin: np.ndarray  # (d,)
    gram: np.ndarray | None  # (d + 1, d + 1), of a sketch of the rows sqrt(w) [x - origin, 1]; None for very many columns

    def scaled_sketch(self, units):
        """Rows (d, d) whose Gram matrix is close to Z'WZ / W."""
        gram = moved(self.gram, units.x_mean - self.origin)[:-1, :-1] / self.x.weight
        root = factored(gram / np.outer(units.x_scale, units.x_scale), 0.0)
        return np.tril(root.L).T * root.D[:, 0]

    def gradient_at_zero(self, units):
        """-Z'Wy / W and the weighted mean square of y, in the units given."""
        x_mean, y_mean = self.x.mean - units.x_mean, self.y.mean - units.y_mean
        product = self.covariance + np.outer(x_mean, y_mean)
        return -product / (units.x_scale[:, None] * units.y_scale), (self.y.var + y_mean**2) / units.y_scale**2


def moved(gram, shift):
    """The Gram matrix of rows s [x - origin - shift, 1], given that of the rows s [x - origin, 1]."""
    cross, weight = gram[:-1, -1], gram[-1, -1]
    new = gram.copy()
    new[:-1, :-1] += np.outer(weight * shift - cross, shift) - np.outer(shift, cross)
    new[:-1, -1] -= weight * shift
    new[-1, :-1] = new[:-1, -1]
    return new


def merged(a, b):
    """The `Summary` of the rows of `a` and `b` together."""
    share = b.x.weight / (a.x.weight + b.x.weight)
    between = np.outer(b.x.mean - a.x.mean, b.y.mean - a.y.mean)
    covariance = a.covariance + share * (b.covariance - a.covariance + (1 - share) * between)
    gram = None if a.gram is None else a.gram + moved(b.gram, a.origin - b.origin)
    return Summary(merge(a.x, b.x), merge(a.y, b.y), covariance, a.origin, gram)


def rows_per_bucket(n_features, n_before):
    """How many rows the sketch adds up, after so many.

    The first stay as they are, so that short data make enough buckets; then ever more are added up, until the Gram matrix
    of the sums takes no longer than reading the rows.
    """
    most = max(8, n_features // 32)
    return min(most, max(1, n_before // (2 * n_buckets(n_features))))


def summary(chunk, seed):
    """The `Summary` of one chunk, in one pass.

    Its sketch adds up rows in buckets, with random signs. Earlier chunks are taken to be as long as this one.
    """
    X, (c, d) = chunk.X, chunk.X.shape
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    w, y_moments = np.ones(c) if chunk.w is None else chunk.w, column_moments(chunk.y, chunk.w)
    targets = np.column_stack([w, w[:, None] * (chunk.y - y_moments.mean)])
    # Near the rows, so that sums of squares about it lose no digits, and exact for a constant column.
    origin = np.median(dense(X[:15]), axis=0)
    sums, squares, sketch = np.zeros((d + 1, targets.shape[1])), np.zeros(d), []
    blocks = row_blocks(c, d + 1)
    buffer = np.empty((blocks[0].stop, d + 1))
    for rows in blocks:
        T = buffer[: rows.stop - rows.start]
        np.subtract(dense(X[rows]), origin, out=T[:, :d])
        T[:, d] = 1.0
        sums += T.T @ targets[rows]
        squares += np.einsum("i,ij,ij->j", w[rows], T[:, :d], T[:, :d])
        if d <= DENSE_FEATURES:
            T *= (np.sqrt(w[rows]) * (1 - 2 * rng.randint(2, size=len(T))))[:, None]
            sketch.append(bucket_sums(T, rows_per_bucket(d, (chunk.number - 1) * c + rows.start)))
    offset = sums[:d, 0] / sums[d, 0]
    var = np.maximum(squares / sums[d, 0] - offset**2, 0.0)
    x_moments = Moments(c, float(sums[d, 0]), origin + offset, var)
    sketch = np.vstack(sketch) if sketch else None
    gram = None if sketch is None else sketch.T @ sketch
    return Summary(x_moments, y_moments, sums[:d, 1:] / sums[d, 0], origin, gram)


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def bucket_sums(T, per_bucket):
    """Sums of up to `per_bucket` rows of T."""
    m = -(-len(T) // per_bucket)
    rest = len(T) % m
    full = T[: len(T) - rest].reshape(-1, m, T.shape[1]).sum(axis=0)
    full[:rest] += T[len(T) - rest :]
    return full
