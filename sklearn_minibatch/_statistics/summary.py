"""What one pass over chunks of rows leaves behind: moments, the gradient at 0 and a sketch, merged chunk by chunk."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .blocks import row_blocks
from .factor import root
from .moments import Moments, centred_where_full, column_moments, handy, marked, merge
from .sketch import DENSE_FEATURES, Sketch, count_sketch, n_buckets


class Summary(NamedTuple):
    """Of the rows of one or of many chunks."""

    x: Moments
    y: Moments
    covariance: np.ndarray  # (d, t), of x with y
    sketch: Sketch | None  # None for very many columns

    def scaled_sketch(self, units):
        """Rows whose Gram matrix is close to Z'WZ / W."""
        _, gram, sums = self.sketch.moved(units.x_mean)
        rows = sums[:, :-1] / units.x_scale
        if gram is None:
            return rows
        return np.vstack([root(gram[:-1, :-1] / units.x_scale / units.x_scale[:, None]), rows])

    def gradient_at_zero(self, units):
        """-Z'Wy / W and the weighted mean square of y, in the units given."""
        x_mean, y_mean = self.x.mean - units.x_mean, self.y.mean - units.y_mean
        product = self.covariance + np.outer(x_mean, y_mean)
        square = self.y.var / units.y_scale / units.y_scale + (y_mean / units.y_scale) ** 2
        return -product / units.x_scale[:, None] / units.y_scale, square


def merged(a, b):
    """The `Summary` of the rows of `a` and `b` together."""
    if b.x.weight > a.x.weight:
        a, b = b, a  # As in `merge`.
    share = b.x.weight / (a.x.weight + b.x.weight)
    between = np.outer(b.x.mean - a.x.mean, b.y.mean - a.y.mean)
    covariance = a.covariance + share * (b.covariance - a.covariance + (1 - share) * between)
    sketch = None if a.sketch is None else a.sketch.merged(b.sketch, share)
    return Summary(merge(a.x, b.x), merge(a.y, b.y), covariance, sketch)


def rows_per_sum(n_features, n_before):
    """How many rows the sketch adds up, after so many.

    The first stay as they are, so that short data make enough sums; then ever more are added up, until the Gram matrix
    of the sums takes no longer than reading the rows.
    """
    most = max(8, n_features // 32)
    return min(most, max(1, n_before // (2 * n_buckets(n_features))))


def summary(chunk, seed):
    """The `Summary` of one chunk, in one pass."""
    y = column_moments(chunk.y, chunk.w)
    w = np.ones(len(chunk.y)) if chunk.w is None else chunk.w
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    # As if all chunks before were as long as this one.
    n_before = (chunk.number - 1) * len(w)
    of = sparse_summary if sparse.issparse(chunk.X) else dense_summary
    x, covariance, sketch = of(chunk.X, w, chunk.y - y.mean, n_before, rng)
    return Summary(x, y, covariance, sketch)


def sparse_summary(X, w, r, n_before, rng):
    """Moments of the columns of X, their covariance with r, and the sketch, about 0 in columns with zeros."""
    x, (n_rows, d) = column_moments(X, w), X.shape
    share = handy(w) / handy(w).sum()
    # The mean of r is 0 but for rounding, which counts where the columns or y are far from 0.
    T, mean = centred_where_full(X, x.mean)
    covariance = T.T @ (share[:, None] * r) - np.outer(mean, share @ r)
    if d > DENSE_FEATURES:
        return x, covariance, None
    S = count_sketch(n_rows, -(-n_rows // rows_per_sum(d, n_before)), rng)
    S.data *= np.sqrt(share)
    sums = np.column_stack([(S @ T).toarray(), S.sum(axis=1)])
    return x, covariance, Sketch(x.mean - mean, None, sums).folded()


def dense_summary(X, w, r, n_before, rng):
    """The same with a sketch about an origin near the rows, block by block while they are in cache."""
    n_rows, d = X.shape
    # Sums of squares about it lose no digits, and those of a constant column are exactly 0.
    origin = np.median(X[:15], axis=0) if w.min() == w.max() else X[w.argmax()]
    weight, w = float(w.sum()), handy(w)
    targets = w[:, None] * np.column_stack([np.ones(n_rows), r])
    products, squares, sums = np.zeros((d + 1, targets.shape[1])), np.zeros(d), []
    blocks = row_blocks(n_rows, d + 1)
    buffer = np.empty((blocks[0].stop, d + 1))
    for rows in blocks:
        T = buffer[: rows.stop - rows.start]
        np.subtract(X[rows], origin, out=T[:, :d])
        T[:, d] = 1.0
        products += T.T @ targets[rows]
        squares += np.einsum("i,ij,ij->j", w[rows], T[:, :d], T[:, :d])
        if d <= DENSE_FEATURES:
            T *= (np.sqrt(w[rows]) * rng.choice([-1.0, 1.0], len(T)))[:, None]
            sums.append(summed(T, rows_per_sum(d, n_before + rows.start)))
    products /= w.sum()
    offset = products[:d, 0]
    var = marked(np.maximum(squares / w.sum() - offset**2, 0.0), X)
    x = Moments(n_rows, weight, origin + offset, var)
    covariance = products[:d, 1:] - np.outer(offset, products[d, 1:])
    return x, covariance, Sketch(origin, None, np.vstack(sums) / np.sqrt(w.sum())).folded() if sums else None


def summed(T, rows_per_sum):
    """Sums of up to so many rows of T each, taken at equal distances."""
    m = -(-len(T) // rows_per_sum)
    rest = len(T) % m
    sums = T[: len(T) - rest].reshape(-1, m, T.shape[1]).sum(axis=0)
    sums[:rest] += T[len(T) - rest :]
    return sums
