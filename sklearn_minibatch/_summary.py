"""What one pass over chunks of rows leaves behind: moments, the gradient at 0 and a sketch, merged chunk by chunk."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ._blocks import row_blocks
from ._preconditioner import DENSE_FEATURES, n_buckets
from ._rows import count_sketch
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
    """Of the rows of one or of many chunks. The sketch is one of the rows sqrt(w) [x - origin, 1]."""

    x: Moments
    y: Moments
    covariance: np.ndarray  # (d, t), of x with y
    origin: np.ndarray  # (d,)
    sketch: np.ndarray | None  # (k, d + 1); None for more columns than a sketch is made for

    def scaled_sketch(self, units):
        """Rows whose Gram matrix is close to Z'WZ / W."""
        rows = self.sketch[:, :-1] - self.sketch[:, -1:] * (units.x_mean - self.origin)
        return rows / (units.x_scale * np.sqrt(self.x.weight))

    def gradient_at_zero(self, units):
        """-Z'Wy / W and the mean square of y, in the units given."""
        x_mean, y_mean = self.x.mean - units.x_mean, self.y.mean - units.y_mean
        product = self.covariance + np.outer(x_mean, y_mean)
        return -product / (units.x_scale[:, None] * units.y_scale), (self.y.var + y_mean**2) / units.y_scale**2


def rows_per_bucket(n_features):
    """How many rows the sketch adds up: its factorisation then takes about as long as reading the rows."""
    return max(8, n_features // 32)


def summary(chunk, seed):
    """The `Summary` of one chunk."""
    X, y, w = chunk.X, chunk.y, chunk.w
    x_moments, y_moments = column_moments(X, w), column_moments(y, w)
    w = np.ones(len(y)) if w is None else w
    r = (y - y_moments.mean) * (w / w.sum())[:, None]
    shifted = _shifted_csr if sparse.issparse(X) else _shifted_blocks
    covariance, parts = np.zeros((X.shape[1], y.shape[1])), []
    make = _compressor(chunk, seed) if X.shape[1] <= DENSE_FEATURES else None
    for rows, T in shifted(X, x_moments.mean):
        covariance += T.T @ r[rows]
        if make is not None:
            parts.append(make(T, np.sqrt(w[rows]), rows.start))
    sketch = None if make is None else np.vstack(parts)
    return Summary(x_moments, y_moments, covariance, x_moments.mean, sketch)


def _shifted_blocks(X, mean):
    return ((rows, X[rows] - mean) for rows in row_blocks(*X.shape))


def _shifted_csr(X, mean):
    for rows in row_blocks(*X.shape):
        yield rows, X[rows].toarray() - mean


def _compressor(chunk, seed):
    """A function that adds up rows in random buckets, with random signs; the first rows of all are kept one by one."""
    d = chunk.X.shape[1]
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    whole = n_buckets(d) - (chunk.number - 1) * len(chunk.y)

    def compress(T, s, start):
        rows = s[:, None] * np.hstack([T, np.ones((len(T), 1))])
        if start < whole:
            return rows
        S = count_sketch(len(T), -(-len(T) // rows_per_bucket(d)), rng)
        return S @ rows

    return compress


def merged(a, b):
    """The `Summary` of the rows of `a` and `b` together."""
    share = b.x.weight / (a.x.weight + b.x.weight)
    between = np.outer(b.x.mean - a.x.mean, b.y.mean - a.y.mean)
    covariance = a.covariance + share * (b.covariance - a.covariance + (1 - share) * between)
    sketch = None
    if a.sketch is not None:
        moved = b.sketch.copy()
        moved[:, :-1] += moved[:, -1:] * (b.origin - a.origin)
        sketch = folded(np.vstack([a.sketch, moved]), 4)
    return Summary(merge(a.x, b.x), merge(a.y, b.y), covariance, a.origin, sketch)


def folded(sketch, most=1):
    """At most d + 1 rows with the same Gram matrix, where there are more than `most` times as many."""
    n_rows, width = sketch.shape
    return sketch if n_rows <= most * width else np.linalg.qr(sketch, mode="r")
