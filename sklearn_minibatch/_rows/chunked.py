"""Rows that come in chunks, from a file or on a cluster.

Each method is one pass over the chunks: `chunks.reduce(function, add, *args)` computes
`function(chunk, *args)` of every chunk and combines the results pairwise by `add`. The
moments of the first pass already give the gradient at 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from .._statistics.arrays import (
    is_numpy,
    like,
    minus,
    pass_elements,
    to_numpy,
)
from .._statistics.blocks import row_blocks
from .._statistics.linalg import dot
from .._statistics.moments import centred_where_full
from .._statistics.scaling import Scaling
from .._statistics.second_moments import CrossMoments, SecondMoments, standardized_targets
from .chunk import Chunk, joined
from .in_memory import in_memory, relative_weights
from .kernels import add
from .protocol import Rows, Steps

Frame: TypeAlias = tuple[Scaling, bool, float]  # scaling, fit_intercept and the mean weight


class ChunkedRows:
    """The rows of `chunks`, in scaled units."""

    passes_are_expensive = True

    def __init__(
        self,
        chunks: Any,
        first: CrossMoments | SecondMoments,
        scaling: Scaling,
        fit_intercept: bool,
    ) -> None:
        self.chunks = chunks
        self.first = first
        self.scaling = scaling
        self.fit_intercept = fit_intercept
        self.n_rows = first.x.n_rows
        self.n_features = len(first.x.mean)
        self.mean_weight = first.x.weight / first.x.n_rows
        self.dtype = np.dtype(float)

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Z'Wr / W (d, t) and the weighted mean square of r (t,), where r = Z beta - y."""
        if not beta.any():
            product, square = standardized_targets(self.first, self.scaling)
            return -product, square
        return self._products(beta, with_targets=True)

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Return Z'WZ p / W for p (d, t)."""
        return self._products(p, with_targets=False)[0]

    def _products(self, beta: np.ndarray, with_targets: bool) -> tuple[np.ndarray, np.ndarray]:
        total, square = self.chunks.reduce(
            products, add, self.scaling, beta, self.mean_weight, with_targets
        )
        return total / self.n_rows, square / self.n_rows

    def epoch(self, steps: Steps, rng: Any) -> np.ndarray:
        """Take variance-reduced mini-batch steps in each chunk from v = 0; return the mean v."""
        seed = None if rng is None else rng.randint(2**31)
        total, n_rows = self.chunks.reduce(epoch, add, self._frame(), steps, seed)
        return total / n_rows

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """Return at most `count` random mini-batches Z_B, one of each chunk."""
        if batch_size >= self.n_rows:
            return []
        drawn = self.chunks.reduce(
            batch, add_drawn, self._frame(), batch_size, count, rng.randint(2**31)
        )
        return [Z for _, Z in drawn]

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Return the mean square of the residuals (t,)."""
        (total,) = self.chunks.reduce(square_sum, add, self._frame(), theta)
        return total / self.n_rows

    def largest_square_norm(self) -> float:
        """Return max_i ||[z_i, s_i]||^2."""
        return self.chunks.reduce(largest_square_norm, max, self._frame())

    def textbook_epoch(
        self,
        theta: np.ndarray,
        mean: np.ndarray,
        n_steps: int,
        lr: np.ndarray,
        batch_size: int,
        alpha: Any,
        rng: Any,
    ) -> None:
        """Take one pass of textbook steps, in place, over the chunks in their order.

        The rows of each chunk are shuffled if `rng` is given.
        """
        step = 0
        for chunk in whole_batches(self.chunks, batch_size):
            steps = -(-chunk.n_rows // batch_size)
            rows = standardized(chunk, self._frame())
            rows.textbook_epoch(
                theta, mean, n_steps + step, lr[step : step + steps], batch_size, alpha, rng
            )
            step += steps

    def _frame(self) -> Frame:
        return self.scaling, self.fit_intercept, self.mean_weight


def standardized(chunk: Chunk, frame: Frame, order: np.ndarray | None = None) -> Rows:
    """Return the rows of a chunk in the scaled units of all rows."""
    scaling, fit_intercept, mean_weight = frame
    return in_memory(chunk.X, chunk.y, chunk.w, scaling, fit_intercept, mean_weight, order)


def products(
    chunk: Chunk, scaling: Scaling, beta: np.ndarray, mean_weight: float, with_targets: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return Z'Wr (d, t) and r'Wr (t,), with weights relative to the mean weight.

    Here r = Z beta - y, or r = Z beta if not `with_targets`.
    """
    X = chunk.X
    u = beta / scaling.x_scale[:, None]
    w = relative_weights(chunk.w, chunk.y, mean_weight)
    y = None
    if with_targets:
        y = minus(chunk.y, scaling.y_mean)
        y /= like(scaling.y_scale, y)
    if sparse.issparse(X):
        X, x_mean = centred_where_full(X, scaling.x_mean)
        r = X @ u - x_mean @ u
        r -= 0.0 if y is None else y
        total, square = weighted_products(X, r, w)
        total -= np.outer(x_mean, r.sum(axis=0))
        return total / scaling.x_scale[:, None], square
    total = np.zeros(u.shape)
    square = np.zeros(u.shape[1])
    n_rows, d = X.shape
    blocks = row_blocks(n_rows, d, elements=pass_elements(X))
    buffer = np.empty((blocks[0].stop, d)) if is_numpy(X) else None
    for rows in blocks:
        T = minus(X[rows, :], scaling.x_mean, out=buffer)
        r = T @ like(u, T)
        r -= 0.0 if y is None else y[rows, :]
        part, r2 = weighted_products(T, r, None if w is None else w[rows])
        total += to_numpy(part)
        square += to_numpy(r2)
    return total / scaling.x_scale[:, None], square


def weighted_products(T: Any, r: Any, w: Any) -> tuple[Any, Any]:
    """Return T'Wr and r'Wr; `r` is overwritten by Wr."""
    square = dot(r, r) if w is None else w @ r**2
    if w is not None:
        r *= w[:, None]
    return T.T @ r, square


def epoch(chunk: Chunk, frame: Frame, steps: Steps, seed: int | None) -> tuple[np.ndarray, int]:
    """Return v (d, t) of one chunk times its number of rows, and that number."""
    rng = None if seed is None else np.random.RandomState((seed + chunk.number) % 2**32)
    order = None if rng is None else rng.permutation(chunk.n_rows)
    v = standardized(chunk, frame, order).epoch(steps, rng)
    return chunk.n_rows * v, chunk.n_rows


def batch(chunk: Chunk, frame: Frame, batch_size: int, count: int, seed: int) -> list[tuple]:
    """Return a list of one pair ((random key, chunk number, count), random mini-batch)."""
    rng = np.random.RandomState((seed + chunk.number) % 2**32)
    key = rng.uniform()
    (Z,) = standardized(chunk, frame).batches(batch_size, 1, rng)
    return [((key, chunk.number, count), Z)]


def add_drawn(a: list[tuple], b: list[tuple]) -> list[tuple]:
    """Return the `count` mini-batches with the least keys of two lists made by `batch`."""
    both = sorted([*a, *b], key=lambda drawn: drawn[0])
    return both[: both[0][0][2]]


def square_sum(chunk: Chunk, frame: Frame, theta: np.ndarray) -> tuple[np.ndarray]:
    """Return the sum of the squared residuals (t,) of a chunk, in a tuple."""
    rows = standardized(chunk, frame)
    return (rows.n_rows * rows.mean_square(theta),)


def largest_square_norm(chunk: Chunk, frame: Frame) -> float:
    """Return max_i ||[z_i, s_i]||^2 of a chunk."""
    return standardized(chunk, frame).largest_square_norm()


def whole_batches(chunks: Iterable[Chunk], batch_size: int) -> Iterator[Chunk]:
    """Yield the rows in chunks of whole mini-batches; the last chunk has the remaining rows."""
    rest = None
    for chunk in chunks:
        chunk = chunk if rest is None else joined((rest, chunk))
        cut = chunk.n_rows // batch_size * batch_size
        # The rest is copied, because the source may reuse its arrays for the next chunk.
        rest = None if cut == chunk.n_rows else chunk.taken(np.arange(cut, chunk.n_rows))
        if cut:
            yield chunk.part(slice(cut))
    if rest is not None:
        yield rest
