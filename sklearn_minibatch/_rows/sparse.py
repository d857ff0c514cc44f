"""Standardised sparse rows in memory, as an operator: nothing is densified."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from .._statistics.linalg import dot
from .._statistics.moments import centred_where_full
from .._statistics.sketch import count_sketch
from .kernels import batches_per_block, random_batches, svrg_epoch, textbook_steps
from .protocol import Solve

# A dense (d, d) preconditioner of so few columns is made within a tenth of a second, whatever the
# rows. Mini-batches of few rows need it: with a diagonal, only steps over all rows make good
# directions.
FEW_FEATURES = 500


class SparseRows:
    """CSR rows, standardised as they are used; only passes of mini-batches take them in the given order."""

    passes_are_expensive = False

    def __init__(self, X, y, s, scaling, fit_intercept, order):
        (self.n_rows, self.n_features), self.dtype = X.shape, X.dtype
        X, mean = centred_where_full(X, scaling.x_mean)
        if np.any(s != 1):
            X = sparse.diags_array(s[:, 0].astype(X.dtype)) @ X
        self.Z = StandardizedCSR(X, s, mean, scaling.x_scale)
        self.y, self.fit_intercept, self.order = (
            y,
            fit_intercept,
            slice(None) if order is None else order,
        )

    @cached_property
    def in_order(self):
        """The rows in the given order, copied when they are first asked for."""
        return self.Z[self.order]

    @cached_property
    def A(self):
        """The stacked rows in that order, as one operator."""
        Z = self.in_order
        X = sparse.hstack(
            [Z.X, Z.s if self.fit_intercept else 0 * Z.s, -self.y[self.order]],
            format="csr",
            dtype=Z.dtype,
        )
        zeros = np.zeros(1 + self.y.shape[1])
        return StandardizedCSR(X, Z.s, np.append(Z.mean, zeros), np.append(Z.scale, zeros + 1))

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1/n) Z'r and the mean square of r, per target, r = Z beta - y."""
        r = self.Z @ beta - self.y
        return self.Z.T @ r / self.n_rows, dot(r, r) / self.n_rows

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Mean square of the residuals, per target."""
        r = self.A @ theta
        return dot(r, r) / self.n_rows

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """(1/n) Z'Z p."""
        return self.Z.T @ (self.Z @ p) / self.n_rows

    def gram(self) -> None:
        """Z'Z/n is not at hand: the rows would have to be read for it."""

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """SZ / sqrt(n) in float64, (n_buckets, d): see `count_sketch`; Z / sqrt(n) itself where its rows are no more."""
        if self.n_rows <= n_buckets:
            return np.asarray(self.Z).astype(float) / np.sqrt(self.n_rows)
        S = count_sketch(self.n_rows, n_buckets, rng)
        return (self.Z.sketched(S)).astype(float) / np.sqrt(self.n_rows)

    def diagonal_instead(self) -> np.ndarray | None:
        """The diagonal of Z'Z/n where a dense (d, d) preconditioner takes more time than a few passes; else None."""
        if self.n_features <= FEW_FEATURES or self.n_features**3 <= 1000 * self.Z.X.nnz:
            return None
        Z = self.Z
        s = Z.s[:, 0]
        square = Z.X.multiply(Z.X).sum(axis=0) - 2 * Z.mean * (Z.X.T @ s) + (s @ s) * Z.mean**2
        return square / Z.scale**2 / self.n_rows

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """At most `count` random mini-batches Z_B."""
        return random_batches(self.in_order, batch_size, count, rng)

    def epoch(
        self, batch_size: int, g: np.ndarray, alpha: float, solve: Solve, lr: float, rng: Any
    ) -> np.ndarray:
        """One pass of variance-reduced mini-batch steps: see `svrg_epoch`."""
        return svrg_epoch(self.in_order, batch_size, g, alpha, solve, lr, rng)

    def largest_square_norm(self) -> float:
        """max_i ||[z_i, s_i]||^2."""
        Z = self.Z
        X = Z.X.multiply(1 / Z.scale).tocsr()
        mean = Z.mean / Z.scale
        square = (
            X.multiply(X).sum(axis=1)
            - 2 * Z.s[:, 0] * (X @ mean)
            + Z.s[:, 0] ** 2 * (mean @ mean + 1)
        )
        return square.max()

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
        """One pass of textbook steps, in place, over the rows as they stand, or shuffled if `rng` is given."""
        A = self.A if rng is None else self.A[rng.permutation(self.n_rows)]
        together = batches_per_block(batch_size, A.shape[1])
        for step in range(0, len(lr), together):
            rows = A[step * batch_size : (step + together) * batch_size]
            # A triangular system needs dense rows, but only its own.
            rows = rows if together == 1 else np.asarray(rows)
            textbook_steps(
                rows, theta, mean, n_steps + step, lr[step : step + together], batch_size, alpha
            )


class StandardizedCSR:
    """The matrix diag(s) (X - 1 mean') diag(1/scale), given diag(s) X in CSR, as an operator: nothing is densified."""

    def __init__(self, X, s, mean, scale):
        self.X, self.s, self.mean, self.scale = X, s, mean, scale
        self.shape, self.dtype = X.shape, X.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return StandardizedCSR(self.X[rows], self.s[rows], self.mean, self.scale)

    def __matmul__(self, v):
        u = v / self.scale[:, None]
        return self.X @ u - self.s * (self.mean @ u)

    def sketched(self, S):
        """S times these rows, for a sparse S, as an array."""
        return ((S @ self.X).toarray() - (S @ self.s) * self.mean) / self.scale

    def __array__(self, dtype=None, copy=None):
        return ((self.X.toarray() - self.s * self.mean) / self.scale).astype(
            dtype or self.dtype, copy=False
        )

    def dot(self, v):
        """The product with v (d, t)."""
        return self @ v

    @property
    def T(self):
        """The transposed operator."""
        return TransposedCSR(self)


class TransposedCSR:
    """The transpose of a `StandardizedCSR`."""

    def __init__(self, A):
        self.A = A

    def __matmul__(self, r):
        A = self.A
        return (A.X.T @ r - np.outer(A.mean, A.s[:, 0] @ r)) / A.scale[:, None]

    def dot(self, r):
        """The product with r (n, t)."""
        return self @ r
