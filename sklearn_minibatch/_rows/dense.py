"""A standardised copy of dense rows in memory."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from .._statistics.blocks import CACHE_ELEMENTS, in_threads, large_blocks, row_blocks
from .._statistics.linalg import dot
from .._statistics.scaling import Scaling
from .kernels import (
    batches_per_block,
    random_batches,
    stacked_parameters,
    svrg_epoch,
    textbook_steps,
)
from .protocol import Solve

# If there are many rows, the textbook solver shuffles groups of successive rows, because copying
# groups takes a fraction of the time of copying single rows.
GROUP_ROWS = 8


class DenseRows:
    """A standardised copy of dense rows, in a few large blocks that `n_jobs` threads process."""

    passes_are_expensive = False

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        s: np.ndarray,
        scaling: Scaling,
        fit_intercept: bool,
        order: np.ndarray | None,
        n_jobs: int = 1,
    ) -> None:
        self.n_rows, self.n_features = X.shape
        self.dtype = X.dtype
        self.n_jobs = n_jobs
        self.blocks = large_blocks(self.n_rows, self.n_features)
        d = self.n_features
        self.A = np.empty((self.n_rows, d + 1 + y.shape[1]), dtype=X.dtype)
        self.A[:, d : d + 1] = s if fit_intercept else 0.0
        self.A[:, d + 1 :] = -y
        self.Z = self.A[:, :d]

        weighted = np.any(s != 1)

        def standardise(rows: slice) -> None:
            z = np.subtract(
                X[rows] if order is None else X[order[rows]], scaling.x_mean, dtype=float
            )
            if weighted:
                z *= s[rows]
            np.divide(z, scaling.x_scale, out=self.Z[rows], casting="same_kind")

        list(self._over_rows(standardise))

    def _over_rows(self, function: Callable[[slice], Any]) -> Iterator[Any]:
        """Yield `function(rows)` of slices of rows that fit in cache, in order."""

        def over_block(block: tuple[int, int]) -> list[Any]:
            return [function(rows) for rows in row_blocks(block[1], self.A.shape[1], block[0])]

        return chain.from_iterable(in_threads(over_block, self.blocks, self.n_jobs))

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (1/n) Z'r (d, t) and the mean square of r (t,), r = Z beta - y, in float64."""
        theta = stacked_parameters(beta, np.zeros(beta.shape[1]))

        def of_rows(rows: slice) -> tuple[np.ndarray, np.ndarray]:
            A = self.A[rows].astype(float, copy=False)
            r = A @ theta
            return A.T @ r, dot(r, r)

        gradients, squares = zip(*self._over_rows(of_rows), strict=True)
        return sum(gradients)[: self.n_features] / self.n_rows, sum(squares) / self.n_rows

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Return the mean square of the residuals (t,)."""

        def of_rows(rows: slice) -> np.ndarray:
            r = self.A[rows] @ theta
            return dot(r, r)

        return sum(self._over_rows(of_rows)) / self.n_rows

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Return (1/n) Z'Z p for p (d, t), with products in the precision of the rows."""
        p = p.astype(self.Z.dtype, copy=False)

        def of_rows(rows: slice) -> np.ndarray:
            Z = self.Z[rows]
            return Z.T @ (Z @ p)

        return sum(self._over_rows(of_rows), np.zeros(p.shape)) / self.n_rows

    def gram(self) -> None:
        """Return None, because (1/n) Z'Z would need a pass over the rows."""

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Return SZ / sqrt(n) (n_buckets, d) in float64, or Z / sqrt(n) if it has no more rows.

        S is as in `count_sketch`, except that successive rows go to successive buckets. This needs
        no copies of the rows, and is random because the rows are shuffled.
        """
        if self.n_rows <= n_buckets:
            return self.Z.astype(float) / np.sqrt(self.n_rows)
        signs = rng.choice([-1.0, 1.0], (self.n_rows, 1))
        sums = np.zeros((n_buckets, self.n_features))

        def fill(block: tuple[int, int]) -> None:
            for buckets in row_blocks(block[1], self.n_features, block[0]):
                for start in range(0, self.n_rows, n_buckets):
                    rows = slice(start + buckets.start, start + buckets.stop)
                    signed = signs[rows] * self.Z[rows]
                    sums[buckets.start : buckets.start + len(signed)] += signed

        list(in_threads(fill, large_blocks(*sums.shape), self.n_jobs))
        return sums / np.sqrt(self.n_rows)

    def epoch(
        self, batch_size: int, g: np.ndarray, alpha: float, solve: Solve, lr: float, rng: Any
    ) -> np.ndarray:
        """Take one pass of variance-reduced mini-batch steps in every block, by `svrg_epoch`.

        Return the mean of v (d, t) over the rows.
        """
        seeds = [None if rng is None else rng.randint(2**31) for _ in self.blocks]

        def of_block(k: int) -> np.ndarray:
            first, n = self.blocks[k]
            order_rng = None if rng is None else np.random.default_rng(seeds[k])
            return svrg_epoch(
                self.Z[first : first + n], batch_size, g, alpha, solve, lr, order_rng
            ) * (n / self.n_rows)

        return sum(in_threads(of_block, range(len(self.blocks)), self.n_jobs))

    def diagonal_instead(self) -> None:
        """Return None, since a dense (d, d) preconditioner takes the time of only a few passes."""

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """Return at most `count` random mini-batches Z_B."""
        return random_batches(self.Z, batch_size, count, rng)

    def largest_square_norm(self) -> float:
        """Return max_i ||[z_i, s_i]||^2."""
        parts = (self.A[rows, : self.n_features + 1] for rows in row_blocks(*self.A.shape))
        return max(np.einsum("ij,ij->i", part, part).max() for part in parts)

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
        """Take one pass of textbook steps, in place; the rows are shuffled if `rng` is given."""
        step = 0
        for A in self._fetched(batch_size, rng):
            steps = -(-len(A) // batch_size)
            textbook_steps(
                A, theta, mean, n_steps + step, lr[step : step + steps], batch_size, alpha
            )
            step += steps

    def _fetched(self, batch_size: int, rng: Any) -> Iterator[np.ndarray]:
        """Yield copies of stacked rows in the order of an epoch.

        Each has as many whole mini-batches as fit in cache.
        """
        n_rows, width = self.A.shape
        fits = batch_size % GROUP_ROWS == 0 or GROUP_ROWS % batch_size == 0
        group = GROUP_ROWS if fits and n_rows > 1000 * GROUP_ROWS else 1
        unit = max(group, batches_per_block(batch_size, width) * batch_size)
        fetch = max(1, CACHE_ELEMENTS // width // unit) * unit
        if rng is None:
            yield from (self.A[start : start + fetch].copy() for start in range(0, n_rows, fetch))
            return
        n_groups = n_rows // group
        groups = self.A[: n_groups * group].reshape(n_groups, group * width)
        rest = self.A[n_groups * group :]
        order = rng.permutation(n_groups)
        buffer = np.empty((min(fetch // group, n_groups), group * width), dtype=self.A.dtype)
        for start in range(0, n_groups, len(buffer)):
            part = order[start : start + len(buffer)]
            A = np.take(groups, part, axis=0, out=buffer[: len(part)], mode="clip").reshape(
                -1, width
            )
            yield A if start + len(part) < n_groups else np.vstack([A, rest])
