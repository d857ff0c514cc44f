"""Rows that come in chunks, from a file or on a cluster: what the solvers ask of rows, each one pass over the chunks.

A pass is `chunks.reduce(function, add, *args)`: `function(chunk, *args)` of every chunk, combined
two by two by `add`. The first has left second moments, which already hold the gradient at 0, and
the Hessian or a sketch of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from .._statistics.blocks import row_blocks
from .._statistics.linalg import dot
from .._statistics.moments import centred_where_full
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments, merge, second_moments
from .._statistics.second_moments import standardized as standardized_moments
from .._statistics.sketched_moments import sketched_moments
from .chunk import joined
from .in_memory import in_memory, relative_weights
from .protocol import Solve


class ChunkedRows:
    """Rows behind `chunks`, in scaled units."""

    # A step over all rows needs no pass of its own.
    passes_are_expensive = True

    def __init__(
        self, chunks: Any, first: SecondMoments, scaling: Scaling, fit_intercept: bool
    ) -> None:
        self.chunks, self.first, self.scaling, self.fit_intercept = (
            chunks,
            first,
            scaling,
            fit_intercept,
        )
        self.n_rows = first.x.n_rows
        self.n_features = len(first.x.mean)
        self.mean_weight = first.x.weight / first.x.n_rows
        self.dtype = np.dtype(float)

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Z'Wr / W and the weighted mean square of r, per target, r = Z beta - y."""
        if not beta.any():
            _, product, square = standardized_moments(self.first, self.scaling)
            return -product, square
        return self._products(beta, self.scaling.y_mean)

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Z'WZ p / W."""
        return self._products(p, None)[0]

    def _products(self, beta, y_mean):
        scaling = self.scaling._replace(y_mean=y_mean)
        total, square = self.chunks.reduce(products, add, scaling, beta, self.mean_weight)
        return total / self.n_rows, square / self.n_rows

    def diagonal_instead(self) -> None:
        """None: a dense (d, d) preconditioner is worth its time, since it saves passes."""

    def gram(self) -> np.ndarray | None:
        """Z'WZ / W, where the first pass has left it; else None."""
        return standardized_moments(self.first, self.scaling).zz

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Rows whose Gram matrix is close to Z'WZ / W, from no fewer buckets where there are rows."""
        sketch = self.first.sketch
        if sketch is None:
            sketch = self.chunks.reduce(sketched, merge, rng.randint(2**31)).sketch
        return sketch.scaled(self.scaling.x_mean, self.scaling.x_scale)

    def epoch(
        self, batch_size: int, g: np.ndarray, alpha: float, solve: Solve, lr: float, rng: Any
    ) -> np.ndarray:
        """Variance-reduced mini-batch steps in each chunk from v = 0, averaged."""
        seed = None if rng is None else rng.randint(2**31)
        total, n_rows = self.chunks.reduce(
            epoch, add, self._frame(), batch_size, g, alpha, solve, lr, seed
        )
        return total / n_rows

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """At most `count` random mini-batches Z_B, one to a chunk."""
        if batch_size >= self.n_rows:
            return []
        drawn = self.chunks.reduce(
            batch, add_drawn, self._frame(), batch_size, count, rng.randint(2**31)
        )
        return [Z for _, Z in drawn]

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Mean square of the residuals, per target."""
        (total,) = self.chunks.reduce(square_sum, add, self._frame(), theta)
        return total / self.n_rows

    def largest_square_norm(self) -> float:
        """max_i ||[z_i, s_i]||^2."""
        return self.chunks.reduce(largest_square_norm, max, self._frame())

    def textbook_epoch(
        self,
        theta: np.ndarray,
        mean: np.ndarray,
        n_steps: int,
        lr: np.ndarray,
        batch_size: int,
        alpha: float,
        rng: Any,
    ) -> None:
        """One pass of textbook steps, in place, in the order of the chunks; rows are shuffled within them."""
        step = 0
        for chunk in whole_batches(self.chunks, batch_size):
            steps = -(-len(chunk.y) // batch_size)
            rows = standardized(chunk, self._frame())
            rows.textbook_epoch(
                theta, mean, n_steps + step, lr[step : step + steps], batch_size, alpha, rng
            )
            step += steps

    def _frame(self):
        return self.scaling, self.fit_intercept, self.mean_weight


def gathered(chunk, seed, most_features):
    """The second moments of a chunk, exact for at most so many columns."""
    if chunk.X.shape[1] <= most_features:
        return second_moments(chunk.X, chunk.y, chunk.w)
    return sketched(chunk, seed)


def sketched(chunk, seed):
    """The second moments of a chunk, with a sketch."""
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    # As if all chunks before were as long as this one.
    n_before = (chunk.number - 1) * len(chunk.y)
    return sketched_moments(chunk.X, chunk.y, chunk.w, n_before, rng)


def add(a, b):
    """Elementwise sum of two tuples."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def standardized(chunk, frame, order=None):
    """The rows of a chunk, in memory, in the units of all."""
    scaling, fit_intercept, mean_weight = frame
    return in_memory(chunk.X, chunk.y, chunk.w, scaling, fit_intercept, mean_weight, order)


def products(chunk, scaling, beta, mean_weight):
    """Z'Wr and r'Wr, per target, in units of the mean weight; r = Z beta - y, without y where the units have none."""
    X, u = chunk.X, beta / scaling.x_scale[:, None]
    w = relative_weights(chunk.w, len(chunk.y), mean_weight)
    y = np.zeros((1, 1)) if scaling.y_mean is None else (chunk.y - scaling.y_mean) / scaling.y_scale
    if sparse.issparse(X):
        X, x_mean = centred_where_full(X, scaling.x_mean)
        r = X @ u - x_mean @ u - y
        total, square = weighted_products(X, r, w)
        total -= np.outer(x_mean, r.sum(axis=0))
        return total / scaling.x_scale[:, None], square
    total, square = np.zeros(u.shape), np.zeros(u.shape[1])
    buffer = None
    for rows in row_blocks(*X.shape):
        x = X[rows]
        buffer = np.empty(x.shape) if buffer is None else buffer[: len(x)]
        T = np.subtract(x, scaling.x_mean, out=buffer)
        r = T @ u
        r -= y if len(y) == 1 else y[rows]
        part, r2 = weighted_products(T, r, None if w is None else w[rows])
        total += part
        square += r2
    return total / scaling.x_scale[:, None], square


def weighted_products(T, r, w):
    """T'Wr and r'Wr; `r` becomes Wr."""
    square = dot(r, r) if w is None else w @ r**2
    if w is not None:
        r *= w[:, None]
    return T.T @ r, square


def epoch(chunk, frame, batch_size, g, alpha, solve, lr, seed):
    """The v of one chunk times its number of rows, and that number."""
    rng = None if seed is None else np.random.RandomState((seed + chunk.number) % 2**32)
    order = None if rng is None else rng.permutation(len(chunk.y))
    v = standardized(chunk, frame, order).epoch(batch_size, g, alpha, solve, lr, rng)
    return len(chunk.y) * v, len(chunk.y)


def batch(chunk, frame, batch_size, count, seed):
    """A list of one random key, the number of draws allowed, and one random mini-batch."""
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    key = rng.uniform()
    (Z,) = standardized(chunk, frame).batches(batch_size, 1, rng)
    return [((key, chunk.number, count), Z)]


def add_drawn(a, b):
    """The mini-batches with the least keys, as many as allowed."""
    both = sorted([*a, *b], key=lambda drawn: drawn[0])
    return both[: both[0][0][2]]


def square_sum(chunk, frame, theta):
    rows = standardized(chunk, frame)
    return (rows.n_rows * rows.mean_square(theta),)


def largest_square_norm(chunk, frame):
    return standardized(chunk, frame).largest_square_norm()


def whole_batches(chunks, batch_size):
    """The same rows in chunks that are whole mini-batches, the last one excepted."""
    rest = None
    for chunk in chunks:
        chunk = chunk if rest is None else joined(rest, chunk)
        cut = len(chunk.y) // batch_size * batch_size
        # A copy: the source may use its arrays again for the next chunk.
        rest = None if cut == len(chunk.y) else chunk.part(np.arange(cut, len(chunk.y)))
        if cut:
            yield chunk.part(slice(cut))
    if rest is not None:
        yield rest
