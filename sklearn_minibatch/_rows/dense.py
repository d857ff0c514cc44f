"""A standardised copy of dense rows in memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np

from .._statistics.arrays import (
    as_float64,
    concatenated,
    copied,
    empty,
    is_numpy,
    like,
    minus,
    namespace,
    numpy_dtype,
    pass_elements,
    put,
    take,
    times,
    to_numpy,
)
from .._statistics.blocks import CACHE_ELEMENTS, in_threads, large_blocks, row_blocks
from .._statistics.linalg import dot
from .._statistics.scaling import Scaling
from .._statistics.threads import one_blas_thread
from .kernels import (
    add,
    batches_per_block,
    random_batches,
    svrg_epoch,
    textbook_steps,
)
from .protocol import Solve, Steps

# If there are many rows, the textbook solver shuffles groups of successive rows, because copying
# groups takes a fraction of the time of copying single rows.
GROUP_ROWS = 8


class DenseRows:
    """A standardised copy of dense rows, in a few large blocks that `n_jobs` threads process.

    The copy is on the device of the rows. Coefficients are passed and returned as NumPy arrays.
    """

    passes_are_expensive = False

    def __init__(
        self,
        X: Any,
        y: Any,
        s: Any,
        scaling: Scaling,
        fit_intercept: bool,
        order: np.ndarray | None,
        n_jobs: int = 1,
    ) -> None:
        self.n_rows, self.n_features = X.shape
        self.dtype = numpy_dtype(X)
        self.n_jobs = n_jobs if is_numpy(X) else 1
        self.blocks = large_blocks(self.n_rows, self.n_features)
        self._inverse: Any = None
        d = self.n_features
        self.A = empty((self.n_rows, d + 1 + y.shape[1]), X)
        self.A[:, d : d + 1] = put(s, X) if fit_intercept else 0.0
        self.A[:, d + 1 :] = put(-y, X)
        self.Z = self.A[:, :d]
        weighted = bool(namespace(s).any(s != 1))

        def standardise(rows: slice) -> None:
            z = minus(X[rows, :] if order is None else take(X, order[rows]), scaling.x_mean)
            if weighted:
                z *= s[rows, :]
            z /= like(scaling.x_scale, z)
            self.Z[rows, :] = put(z, X)

        list(self._over_rows(standardise))

    def _over_rows(self, function: Callable[[slice], Any]) -> Iterator[Any]:
        """Yield `function(rows)` of slices of rows that fit in cache, in order."""

        def over_block(block: tuple[int, int]) -> list[Any]:
            first, n = block
            blocks = row_blocks(n, self.A.shape[1], first, elements=pass_elements(self.A))
            return [function(rows) for rows in blocks]

        return chain.from_iterable(in_threads(over_block, self.blocks, self.n_jobs))

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (1/n) Z'r (d, t) and the mean square of r (t,), r = Z beta - y, in float64."""
        d = self.n_features

        def of_rows(rows: slice) -> tuple[Any, Any]:
            A = as_float64(self.A[rows, :])
            r = A[:, :d] @ like(beta, A)
            r += A[:, d + 1 :]
            return A[:, :d].T @ r, dot(r, r)

        gradient, square = reduce(add, self._over_rows(of_rows))
        return to_numpy(gradient) / self.n_rows, to_numpy(square) / self.n_rows

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Return the mean square of the residuals (t,)."""

        def of_rows(rows: slice) -> Any:
            r = times(self.A[rows, :], theta)
            return dot(r, r)

        return to_numpy(sum(self._over_rows(of_rows))) / self.n_rows

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Return (1/n) Z'Z p for p (d, t), with products in the precision of the rows."""
        direction = like(p.astype(self.dtype, copy=False), self.Z)

        def of_rows(rows: slice) -> Any:
            Z = self.Z[rows, :]
            return as_float64(Z.T @ (Z @ direction))

        return to_numpy(sum(self._over_rows(of_rows))) / self.n_rows

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Return SZ / sqrt(n) (n_buckets, d) in float64, or Z / sqrt(n) if n <= n_buckets.

        S adds each row, with a random sign, to one of the sums, successive rows to successive sums.
        So no rows are copied; the choice is random if the rows have been shuffled.
        """
        if self.n_rows <= n_buckets:
            return to_numpy(as_float64(self.Z)) / np.sqrt(self.n_rows)
        sums: Any = like(np.zeros((n_buckets, self.n_features)), self.Z)
        signs = like(rng.choice([-1.0, 1.0], (self.n_rows, 1)), sums)

        def fill(block: tuple[int, int]) -> None:
            for buckets in row_blocks(block[1], self.n_features, block[0]):
                for start in range(buckets.start, self.n_rows, n_buckets):
                    rows = slice(start, min(start + buckets.stop - buckets.start, self.n_rows))
                    signed = signs[rows, :] * self.Z[rows, :]
                    sums[buckets.start : buckets.start + signed.shape[0], :] += signed

        list(in_threads(fill, large_blocks(*sums.shape), self.n_jobs))
        return to_numpy(sums) / np.sqrt(self.n_rows)

    def epoch(self, steps: Steps, rng: Any) -> np.ndarray:
        """Take one pass of variance-reduced mini-batch steps in every block, by `svrg_epoch`.

        Return the mean of v (d, t) over the rows.
        """
        seeds = [None if rng is None else rng.randint(2**31) for _ in self.blocks]
        alpha = steps.alpha if isinstance(steps.alpha, float) else like(steps.alpha, self.A)
        solve = self._solve_here(steps.solve)
        here = steps._replace(g=like(steps.g, self.A), alpha=alpha, solve=solve)

        def of_block(k: int) -> Any:
            first, n = self.blocks[k]
            order_rng = None if rng is None else np.random.default_rng(seeds[k])
            Z = self.Z[first : first + n, :]
            return svrg_epoch(Z, here, order_rng) * (n / self.n_rows)

        return to_numpy(sum(in_threads(of_block, range(len(self.blocks)), self.n_jobs)))

    def _solve_here(self, solve: Solve) -> Solve:
        """Return `solve` for arrays on the device of the rows.

        LAPACK takes NumPy arrays only. For others P^-1 is computed as a matrix, once, since `solve`
        is the same in all epochs of a fit.
        """
        if is_numpy(self.A):
            return solve
        if self._inverse is None:
            self._inverse = like(solve(np.eye(self.n_features)), self.A)
        return self._inverse.__matmul__

    @property
    def n_entries(self) -> int:
        """The number of entries that a pass reads."""
        return self.n_rows * self.n_features

    def diagonal(self) -> np.ndarray:
        """Return the diagonal (d,) of (1/n) Z'Z."""
        squares = (dot(Z, Z) for Z in self._over_rows(lambda rows: as_float64(self.Z[rows, :])))
        return to_numpy(sum(squares)) / self.n_rows

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """Return at most `count` random mini-batches Z_B."""
        return [to_numpy(Z) for Z in random_batches(self.Z, batch_size, count, rng)]

    def largest_square_norm(self) -> float:
        """Return max_i ||[z_i, s_i]||^2."""
        xp = namespace(self.A)

        def of_rows(rows: slice) -> float:
            A = self.A[rows, : self.n_features + 1].T
            return float(xp.max(dot(A, A)))

        return max(self._over_rows(of_rows))

    @one_blas_thread()
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
        """Take one pass of textbook steps, in place; the rows are shuffled if `rng` is given."""
        step = 0
        at = put(theta, self.A)
        alpha = alpha if isinstance(alpha, float) else put(alpha, self.A)
        average = at if mean is theta else put(mean, self.A)
        for A in self._fetched(batch_size, rng):
            steps = -(-A.shape[0] // batch_size)
            textbook_steps(
                A, at, average, n_steps + step, lr[step : step + steps], batch_size, alpha
            )
            step += steps
        if at is not theta:
            theta[...] = to_numpy(at)
            mean[...] = to_numpy(average)

    def _fetched(self, batch_size: int, rng: Any) -> Iterator[Any]:
        """Yield copies of stacked rows in the order of an epoch.

        Each copy has as many whole mini-batches as fit in cache.
        """
        n_rows, width = self.A.shape
        fits = batch_size % GROUP_ROWS == 0 or GROUP_ROWS % batch_size == 0
        group = GROUP_ROWS if fits and n_rows > 1000 * GROUP_ROWS else 1
        unit = max(group, batches_per_block(batch_size, width) * batch_size)
        elements = CACHE_ELEMENTS if is_numpy(self.A) else pass_elements(self.A)
        fetch = max(1, elements // width // unit) * unit
        if rng is None:
            for start in range(0, n_rows, fetch):
                yield copied(self.A[start : min(start + fetch, n_rows), :])
            return
        xp = namespace(self.A)
        n_groups = n_rows // group
        groups = xp.reshape(self.A[: n_groups * group, :], (n_groups, group * width))
        rest = self.A[n_groups * group :, :]
        order = rng.permutation(n_groups)
        at_once = min(fetch // group, n_groups)
        buffer = np.empty((at_once, group * width), dtype=self.dtype) if is_numpy(groups) else None
        for start in range(0, n_groups, at_once):
            part = order[start : start + at_once]
            A = xp.reshape(take(groups, part, out=buffer), (-1, width))
            yield A if start + len(part) < n_groups else concatenated([A, rest])
