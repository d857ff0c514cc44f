"""Standardised rows in memory, dense or CSR, and the passes over them that the solvers ask for.

Every row i is held times s_i = sqrt(w_i / mean(w)), so that the weighted objective is the plain one:

    F(beta, b) = 1/(2n) ||Z beta + s b - y||^2 + alpha/2 ||beta||^2

Both kinds hold the stacked rows A = [Z, s, -y] of the textbook kernels.

The same is asked of these and of rows that come in chunks: `n_rows`, `n_features`, `dtype`; for "svrg" `residual_gradient`,
`curvature`, `sketch`, `batches`, `epoch`; for "sgd" `mean_square`, `largest_square_norm`, `batches`, `textbook_epoch`; and
for the choice of P and of the batch size `affords_dense` and `passes_are_dear`.
"""

from functools import cached_property
from itertools import chain

import numpy as np
from scipy import sparse

from ._blocks import CACHE_ELEMENTS, in_threads, large_blocks, row_blocks
from ._kernels import batches_per_block, stacked_parameters, svrg_epoch, textbook_steps
from ._targets import dot

# In long data the textbook solver shuffles groups of neighbours: copying them costs a fraction of copying single rows.
GROUP_ROWS = 8


def in_memory(X, y, weight, units, fit_intercept, mean_weight=1.0, order=None, n_jobs=1):
    """Rows of X, (n, d) dense or CSR, targets y (n, t) and weights (n,) or None, in `units` and the given order."""
    relative = relative_weights(weight, len(y), mean_weight)
    s = np.ones((len(y), 1)) if relative is None else np.sqrt(relative)[:, None]
    v = (y - units.y_mean) / units.y_scale * s
    if sparse.issparse(X):
        return SparseRows(X, v, s, units, fit_intercept, order)
    if order is not None:
        v, s = v[order], s[order]
    return DenseRows(X, v, s, units, fit_intercept, order, n_jobs)


def relative_weights(weight, n_rows, mean_weight):
    """Weights (n,) in units of the mean weight; None where all rows have that. Rows without weights have 1."""
    if weight is None and mean_weight == 1:
        return None
    return np.broadcast_to(1.0 if weight is None else weight, n_rows) / mean_weight


def centred(X, rows, mean):
    """X[rows] - mean in float64, for X (n, d) dense or CSR: an array, or an operator."""
    if sparse.issparse(X):
        return StandardizedCSR(X[rows], np.ones((len(rows), 1)), mean, np.ones(len(mean)))
    T = np.take(X, rows, axis=0).astype(float, copy=False)
    T -= mean
    return T


class DenseRows:
    """A standardised copy of dense rows, in a few large blocks that `n_jobs` threads share out."""

    passes_are_dear = False

    def __init__(self, X, y, s, units, fit_intercept, order, n_jobs=1):
        (self.n_rows, self.n_features), self.dtype = X.shape, X.dtype
        self.n_jobs, self.blocks = n_jobs, large_blocks(*X.shape)
        d = self.n_features
        self.A = np.empty((self.n_rows, d + 1 + y.shape[1]), dtype=X.dtype)
        self.A[:, d : d + 1] = s if fit_intercept else 0.0
        self.A[:, d + 1 :] = -y
        self.Z = self.A[:, :d]

        weighted = np.any(s != 1)

        def standardise(rows):
            z = np.subtract(X[rows] if order is None else X[order[rows]], units.x_mean, dtype=float)
            if weighted:
                z *= s[rows]
            np.divide(z, units.x_scale, out=self.Z[rows], casting="same_kind")

        self._over_rows(standardise)

    def _over_rows(self, function):
        """Results of `function` for slices of rows that fit in cache, in order."""

        def over_block(block):
            return [function(rows) for rows in row_blocks(block[1], self.A.shape[1], block[0])]

        return chain.from_iterable(in_threads(over_block, self.blocks, self.n_jobs))

    def residual_gradient(self, beta):
        """(1/n) Z'r and the mean square of r, per target, r = Z beta - y, in float64."""
        theta = stacked_parameters(beta, np.zeros(beta.shape[1]))

        def of_rows(rows):
            A = self.A[rows].astype(float, copy=False)
            r = A @ theta
            return A.T @ r, dot(r, r)

        gradients, squares = zip(*self._over_rows(of_rows), strict=True)
        return sum(gradients)[: self.n_features] / self.n_rows, sum(squares) / self.n_rows

    def mean_square(self, theta):
        """Mean square of the residuals, per target."""

        def of_rows(rows):
            r = self.A[rows] @ theta
            return dot(r, r)

        return sum(self._over_rows(of_rows)) / self.n_rows

    def curvature(self, p):
        """(1/n) Z'Z p, by products in the precision of the rows."""
        p = p.astype(self.Z.dtype, copy=False)

        def of_rows(rows):
            Z = self.Z[rows]
            return Z.T @ (Z @ p)

        return sum(self._over_rows(of_rows), np.zeros(p.shape)) / self.n_rows

    def sketch(self, n_buckets, rng):
        """SZ / sqrt(n) in float64, (n_buckets, d); Z / sqrt(n) itself where its rows are no more.

        As `count_sketch`, but the rows, which are shuffled, go to the buckets in turns: their sums need no copies.
        """
        if self.n_rows <= n_buckets:
            return self.Z.astype(float) / np.sqrt(self.n_rows)
        signs = rng.choice([-1.0, 1.0], (self.n_rows, 1))
        sums = np.zeros((n_buckets, self.n_features))

        def fill(block):
            for buckets in row_blocks(block[1], self.n_features, block[0]):
                for start in range(0, self.n_rows, n_buckets):
                    rows = slice(start + buckets.start, start + buckets.stop)
                    signed = signs[rows] * self.Z[rows]
                    sums[buckets.start : buckets.start + len(signed)] += signed

        in_threads(fill, large_blocks(*sums.shape), self.n_jobs)
        return sums / np.sqrt(self.n_rows)

    def epoch(self, batch_size, g, alpha, solve, lr, rng):
        """One pass of variance-reduced mini-batch steps in every block (see `svrg_epoch`), averaged over the rows."""
        seeds = [None if rng is None else rng.randint(2**31) for _ in self.blocks]

        def of_block(k):
            first, n = self.blocks[k]
            order_rng = None if rng is None else np.random.default_rng(seeds[k])
            return svrg_epoch(self.Z[first : first + n], batch_size, g, alpha, solve, lr, order_rng) * (n / self.n_rows)

        return sum(in_threads(of_block, range(len(self.blocks)), self.n_jobs))

    def affords_dense(self):
        """Whether a dense (d, d) preconditioner is made and applied in the time of a few passes over these rows."""
        return True

    def batches(self, batch_size, count, rng):
        """At most `count` random mini-batches Z_B."""
        return random_batches(self.Z, batch_size, count, rng)

    def largest_square_norm(self):
        """max_i ||[z_i, s_i]||^2."""
        parts = (self.A[rows, : self.n_features + 1] for rows in row_blocks(*self.A.shape))
        return max(np.einsum("ij,ij->i", part, part).max() for part in parts)

    def textbook_epoch(self, theta, mean, n_steps, lr, batch_size, alpha, rng):
        """One pass of textbook steps, in place, over the rows as they stand, or shuffled if `rng` is given."""
        step = 0
        for A in self._fetched(batch_size, rng):
            steps = -(-len(A) // batch_size)
            textbook_steps(A, theta, mean, n_steps + step, lr[step : step + steps], batch_size, alpha)
            step += steps

    def _fetched(self, batch_size, rng):
        """Stacked rows in the order of an epoch: whole mini-batches, as many at a time as stay in cache."""
        n_rows, width = self.A.shape
        fits = batch_size % GROUP_ROWS == 0 or GROUP_ROWS % batch_size == 0
        group = GROUP_ROWS if fits and n_rows > 1000 * GROUP_ROWS else 1
        unit = max(group, batches_per_block(batch_size, width) * batch_size)
        fetch = max(1, CACHE_ELEMENTS // width // unit) * unit
        if rng is None:
            yield from (self.A[start : start + fetch].copy() for start in range(0, n_rows, fetch))
            return
        n_groups = n_rows // group
        groups, rest = self.A[: n_groups * group].reshape(n_groups, group * width), self.A[n_groups * group :]
        order = rng.permutation(n_groups)
        buffer = np.empty((min(fetch // group, n_groups), group * width), dtype=self.A.dtype)
        for start in range(0, n_groups, len(buffer)):
            part = order[start : start + len(buffer)]
            A = np.take(groups, part, axis=0, out=buffer[: len(part)], mode="clip").reshape(-1, width)
            yield A if start + len(part) < n_groups else np.vstack([A, rest])


class SparseRows:
    """CSR rows, standardised as they are used; only passes of mini-batches take them in the given order."""

    passes_are_dear = False

    def __init__(self, X, y, s, units, fit_intercept, order):
        (self.n_rows, self.n_features), self.dtype = X.shape, X.dtype
        X, mean = centred_where_full(X, units.x_mean)
        if np.any(s != 1):
            X = sparse.diags_array(s[:, 0].astype(X.dtype)) @ X
        self.Z = StandardizedCSR(X, s, mean, units.x_scale)
        self.y, self.fit_intercept, self.order = y, fit_intercept, slice(None) if order is None else order

    @cached_property
    def in_order(self):
        """The rows in the given order, copied when they are first asked for."""
        return self.Z[self.order]

    @cached_property
    def A(self):
        """The stacked rows in that order, as one operator."""
        Z = self.in_order
        X = sparse.hstack([Z.X, Z.s if self.fit_intercept else 0 * Z.s, -self.y[self.order]], format="csr", dtype=Z.dtype)
        zeros = np.zeros(1 + self.y.shape[1])
        return StandardizedCSR(X, Z.s, np.append(Z.mean, zeros), np.append(Z.scale, zeros + 1))

    def residual_gradient(self, beta):
        """(1/n) Z'r and the mean square of r, per target, r = Z beta - y."""
        r = self.Z @ beta - self.y
        return self.Z.T @ r / self.n_rows, dot(r, r) / self.n_rows

    def mean_square(self, theta):
        """Mean square of the residuals, per target."""
        r = self.A @ theta
        return dot(r, r) / self.n_rows

    def curvature(self, p):
        """(1/n) Z'Z p."""
        return self.Z.T @ (self.Z @ p) / self.n_rows

    def sketch(self, n_buckets, rng):
        """SZ / sqrt(n) in float64, (n_buckets, d): see `count_sketch`; Z / sqrt(n) itself where its rows are no more."""
        if self.n_rows <= n_buckets:
            return np.asarray(self.Z).astype(float) / np.sqrt(self.n_rows)
        S = count_sketch(self.n_rows, n_buckets, rng)
        return (self.Z.sketched(S)).astype(float) / np.sqrt(self.n_rows)

    def affords_dense(self):
        """Whether a dense (d, d) preconditioner is made and applied in the time of a few passes over these rows."""
        return self.n_features**3 <= 1000 * self.Z.X.nnz

    def diagonal(self):
        """The diagonal of Z'Z/n."""
        Z = self.Z
        s = Z.s[:, 0]
        square = Z.X.multiply(Z.X).sum(axis=0) - 2 * Z.mean * (Z.X.T @ s) + (s @ s) * Z.mean**2
        return square / Z.scale**2 / self.n_rows

    def batches(self, batch_size, count, rng):
        """At most `count` random mini-batches Z_B."""
        return random_batches(self.in_order, batch_size, count, rng)

    def epoch(self, batch_size, g, alpha, solve, lr, rng):
        """One pass of variance-reduced mini-batch steps: see `svrg_epoch`."""
        return svrg_epoch(self.in_order, batch_size, g, alpha, solve, lr, rng)

    def largest_square_norm(self):
        """max_i ||[z_i, s_i]||^2."""
        Z = self.Z
        X = Z.X.multiply(1 / Z.scale).tocsr()
        mean = Z.mean / Z.scale
        square = X.multiply(X).sum(axis=1) - 2 * Z.s[:, 0] * (X @ mean) + Z.s[:, 0] ** 2 * (mean @ mean + 1)
        return square.max()

    def textbook_epoch(self, theta, mean, n_steps, lr, batch_size, alpha, rng):
        """One pass of textbook steps, in place, over the rows as they stand, or shuffled if `rng` is given."""
        A = self.A if rng is None else self.A[rng.permutation(self.n_rows)]
        together = batches_per_block(batch_size, A.shape[1])
        for step in range(0, len(lr), together):
            rows = A[step * batch_size : (step + together) * batch_size]
            # A triangular system needs dense rows, but only its own.
            rows = rows if together == 1 else np.asarray(rows)
            textbook_steps(rows, theta, mean, n_steps + step, lr[step : step + together], batch_size, alpha)


def centred_where_full(X, mean):
    """CSR rows less the mean in those columns that have an entry in every row, and the mean that is still to subtract.

    There it fills nothing in, and a column far from 0, or constant, loses no digits in a difference of products.
    """
    full = np.bincount(X.indices, minlength=X.shape[1]) == X.shape[0]
    if not mean[full].any():
        return X, mean
    X = X.copy()
    X.data -= np.where(full, mean, 0.0)[X.indices]
    return X, np.where(full, 0.0, mean)


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
        return ((self.X.toarray() - self.s * self.mean) / self.scale).astype(dtype or self.dtype, copy=False)

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


def random_batches(Z, batch_size, count, rng):
    """At most `count` of the mini-batches that the rows of Z make as they stand."""
    starts = np.arange(0, Z.shape[0], batch_size)
    return [Z[start : start + batch_size] for start in rng.permutation(starts)[:count]]


def count_sketch(n_rows, n_buckets, rng):
    """CountSketch: the (n_buckets, n_rows) matrix S with one random sign per column, in a random row.

    SZ adds each row of Z, with a random sign, to a random bucket.
    """
    signs = rng.choice([-1.0, 1.0], n_rows)
    buckets = rng.choice(n_buckets, n_rows)
    return sparse.csc_array((signs, buckets, np.arange(n_rows + 1)), shape=(n_buckets, n_rows))
