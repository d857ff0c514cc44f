"""Standardised sparse rows in memory: scaled entries, and means that are subtracted when used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from .._statistics.linalg import dot
from .._statistics.moments import centred_where_full
from .._statistics.scaling import Scaling
from .._statistics.threads import one_blas_thread
from .kernels import batches_per_block, random_batches, svrg_epoch, textbook_steps
from .protocol import Steps


class SparseRows:
    """CSR rows with a copy of their entries in scaled units.

    The given order matters only for mini-batches.
    """

    passes_are_expensive = False

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        s: np.ndarray,
        scaling: Scaling,
        fit_intercept: bool,
        order: np.ndarray | None,
    ) -> None:
        self.n_rows, self.n_features = X.shape
        self.dtype = X.dtype
        X, mean = centred_where_full(X, scaling.x_mean)
        entries = X.data / scaling.x_scale.astype(X.dtype)[X.indices]
        if np.any(s != 1):
            entries *= np.repeat(s[:, 0].astype(X.dtype), np.diff(X.indptr))
        scaled = sparse.csr_array((entries, X.indices, X.indptr), shape=X.shape)
        self.Z = CentredCSR(scaled, s, mean / scaling.x_scale)
        self.y = y
        self.fit_intercept = fit_intercept
        self.order = slice(None) if order is None else order

    @cached_property
    def in_order(self) -> CentredCSR:
        """The rows in the given order, copied at the first use."""
        return self.Z[self.order]

    @cached_property
    def A(self) -> CentredCSR:
        """The stacked rows in the given order, as one operator."""
        Z = self.in_order
        X = sparse.hstack(
            [Z.X, Z.s if self.fit_intercept else 0 * Z.s, -self.y[self.order]],
            format="csr",
            dtype=Z.dtype,
        )
        return CentredCSR(X, Z.s, np.append(Z.mean, np.zeros(1 + self.y.shape[1])))

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (1/n) Z'r (d, t) and the mean square of r (t,), where r = Z beta - y."""
        r = self.Z @ beta - self.y
        return self.Z.T @ r / self.n_rows, dot(r, r) / self.n_rows

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Return the mean square of the residuals (t,)."""
        r = self.A @ theta
        return dot(r, r) / self.n_rows

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Return (1/n) Z'Z p for p (d, t)."""
        return self.Z.T @ (self.Z @ p) / self.n_rows

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Return SZ / sqrt(n) (n_buckets, d) in float64, or Z / sqrt(n) if n <= n_buckets.

        S adds each row, with a random sign, to one of the sums; their numbers of rows differ by at
        most one (a CountSketch: Charikar, Chen and Farach-Colton, 2002).
        """
        if self.n_rows <= n_buckets:
            return np.asarray(self.Z).astype(float) / np.sqrt(self.n_rows)
        n = self.n_rows
        signs = rng.choice([-1.0, 1.0], n)
        sums = rng.permutation(n) % n_buckets
        S = sparse.csc_array((signs, sums, np.arange(n + 1)), shape=(n_buckets, n))
        return (self.Z.sketched(S)).astype(float) / np.sqrt(self.n_rows)

    @property
    def n_entries(self) -> int:
        """The number of entries that a pass reads."""
        return self.Z.X.nnz

    def diagonal(self) -> np.ndarray:
        """Return the diagonal (d,) of (1/n) Z'Z."""
        Z = self.Z
        s = Z.s[:, 0]
        squares = np.bincount(Z.X.indices, Z.X.data**2, self.n_features)
        return (squares - 2 * Z.mean * (Z.X.T @ s) + (s @ s) * Z.mean**2) / self.n_rows

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """Return at most `count` random mini-batches Z_B."""
        return random_batches(self.in_order, batch_size, count, rng)

    def epoch(self, steps: Steps, rng: Any) -> np.ndarray:
        """Return v (d, t) after one pass of variance-reduced steps, by `svrg_epoch`."""
        return svrg_epoch(self.in_order, steps, rng)

    def largest_square_norm(self) -> float:
        """Return max_i ||[z_i, s_i]||^2."""
        Z = self.Z
        square = (
            Z.X.multiply(Z.X).sum(axis=1)
            - 2 * Z.s[:, 0] * (Z.X @ Z.mean)
            + Z.s[:, 0] ** 2 * (Z.mean @ Z.mean + 1)
        )
        return square.max()

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
        A = self.A if rng is None else self.A[rng.permutation(self.n_rows)]
        together = batches_per_block(batch_size, A.shape[1])
        for step in range(0, len(lr), together):
            rows: Any = A[step * batch_size : (step + together) * batch_size]
            # The triangular system of a block needs dense rows, but only those of the block.
            rows = rows if together == 1 else np.asarray(rows)
            textbook_steps(
                rows, theta, mean, n_steps + step, lr[step : step + together], batch_size, alpha
            )


class CentredCSR:
    """The matrix X - s mean' as an operator without dense copies.

    X (n, d) is CSR; s is (n, 1), and the mean is (d,).
    """

    def __init__(self, X: Any, s: np.ndarray, mean: np.ndarray) -> None:
        self.X = X
        self.s = s
        self.mean = mean
        self.shape = X.shape
        self.dtype = X.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> CentredCSR:
        rows = key[0] if isinstance(key, tuple) else key
        return CentredCSR(self.X[rows], self.s[rows], self.mean)

    def __matmul__(self, v: np.ndarray) -> np.ndarray:
        return self.X @ v - self.s * (self.mean @ v)

    def sketched(self, S: Any) -> np.ndarray:
        """Return the product of a sparse matrix S (k, n) with these rows as an array (k, d)."""
        return (S @ self.X).toarray() - (S @ self.s) * self.mean

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return (self.X.toarray() - self.s * self.mean).astype(dtype or self.dtype, copy=False)

    def dot(self, v: np.ndarray) -> np.ndarray:
        """Return the product (n, t) with v (d, t)."""
        return self @ v

    @cached_property
    def T(self) -> TransposedCSR:
        """The transposed operator, which shares the entries."""
        return TransposedCSR(self.X.T, self.s[:, 0], self.mean[:, None])


class TransposedCSR:
    """The matrix X' - mean s' as an operator; X' (d, n) is CSC, s is (n,), and the mean (d, 1)."""

    def __init__(self, X: Any, s: np.ndarray, mean: np.ndarray) -> None:
        self.X = X
        self.s = s
        self.mean = mean

    def __matmul__(self, r: np.ndarray) -> np.ndarray:
        return self.X @ r - self.mean * (self.s @ r)

    def dot(self, r: np.ndarray) -> np.ndarray:
        """Return the product (d, t) with r (n, t)."""
        return self @ r
