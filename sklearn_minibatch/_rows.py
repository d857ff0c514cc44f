"""Standardised rows in memory, dense or CSR, and the sums over them that the solvers need.

Every row i is stored times sqrt(w_i / mean(w)), so that the weighted objective is the plain one:

    F(beta) = 1/(2n) ||Z beta - y||^2 + alpha/2 ||beta||^2
"""

import numpy as np
from scipy import sparse

from ._blocks import row_blocks
from ._kernels import svrg_epoch


class StandardizedCSR:
    """The matrix diag(s) (X - 1 mean') diag(1/scale) of a CSR matrix X, as an operator: nothing is densified."""

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

    def __rmatmul__(self, S):
        return ((S @ self.X).toarray() - (S @ self.s) * self.mean) / self.scale

    def __array__(self, dtype=None, copy=None):
        return (self.s * (self.X.toarray() - self.mean) / self.scale).astype(dtype or self.dtype, copy=False)

    @property
    def T(self):
        return _TransposedCSR(self)


class _TransposedCSR:
    def __init__(self, A):
        self.A = A

    def __matmul__(self, r):
        A = self.A
        return (A.X.T @ r - np.outer(A.mean, A.s[:, 0] @ r)) / A.scale[:, None]


class Rows:
    """Rows Z (n, d) with targets y (n, t), and s (n, 1) = sqrt(w / mean(w)) by which both were multiplied.

    The four sums are all that a solver asks of its rows; each is one pass over the data.
    """

    def __init__(self, X, y, weight, units, mean_weight=1.0, order=None):
        """Rows of X, (n, d) dense or CSR, targets (n, t) and weights (n,) or None, put into `units` in the given order."""
        s = np.ones((len(y), 1)) if weight is None else np.sqrt(weight / mean_weight)[:, None]
        v = s * ((y - units.y_mean) / units.y_scale)
        self.Z = standardised(X, s, units.x_mean, units.x_scale, order)
        self.y, self.s = (v, s) if order is None else (v[order], s[order])
        self.n_rows, self.n_features = X.shape

    def _blocks(self):
        if isinstance(self.Z, StandardizedCSR):
            return [slice(None)]
        return row_blocks(*self.Z.shape)

    def take(self, order):
        """Rows, targets and s at the positions `order`."""
        return self.Z[order], self.y[order], self.s[order]

    def largest_square_norm(self):
        """max_i ||z_i||^2."""
        blocks = row_blocks(*self.Z.shape)
        return max(np.einsum("ij,ij->i", Z, Z).max() for Z in (np.asarray(self.Z[rows]) for rows in blocks))

    def residual_gradient(self, beta, b=0.0):
        """(1/n) Z'r and the mean square of r per target, r = Z beta + s b - y, accumulated in float64."""
        gradient = np.zeros(beta.shape)
        square = np.zeros(beta.shape[1])
        for rows in self._blocks():
            Z = self.Z[rows].astype(float, copy=False) if isinstance(self.Z, np.ndarray) else self.Z[rows]
            r = Z @ beta + self.s[rows] * b - self.y[rows]
            gradient += Z.T @ r
            square += np.einsum("ij,ij->j", r, r)
        return gradient / self.n_rows, square / self.n_rows

    def curvature(self, p):
        """(1/n) Z'Z p."""
        p = p.astype(self.Z.dtype, copy=False)
        total = np.zeros(p.shape)
        for rows in self._blocks():
            Z = self.Z[rows]
            total += Z.T @ (Z @ p)
        return total / self.n_rows

    def epoch(self, batch_size, g, alpha, solve, lr, rng):
        """One pass of variance-reduced mini-batch steps: see `svrg_epoch`."""
        return svrg_epoch(self.Z, batch_size, g, alpha, solve, lr, rng)

    def sketch(self, n_buckets, rng):
        """SZ / sqrt(n) in float64: each row, with a random sign, added to one of `n_buckets` rows (CountSketch).

        Rows that fit in the buckets one by one are not sketched: the result is then Z / sqrt(n) itself.
        """
        if self.n_rows <= n_buckets:
            SZ = np.asarray(self.Z)
        else:
            SZ = count_sketch(self.n_rows, n_buckets, rng).astype(self.Z.dtype) @ self.Z
        return SZ.astype(float) / np.sqrt(self.n_rows)


def count_sketch(n_rows, n_buckets, rng):
    """The (n_buckets, n_rows) matrix with one random sign per column, in a random row."""
    signs = rng.choice([-1.0, 1.0], n_rows)
    buckets = rng.randint(n_buckets, size=n_rows)
    return sparse.csc_array((signs, buckets, np.arange(n_rows + 1)), shape=(n_buckets, n_rows))


def standardised(X, s, mean, scale, order=None):
    """Rows s (x - mean) / scale of X, dense or CSR, in the given order: a new array, or an operator on CSR."""
    if sparse.issparse(X):
        X = X if order is None else X[order]
        s = s if order is None else s[order]
        return StandardizedCSR(sparse.diags_array(s[:, 0]) @ X, s, mean, scale)
    Z = np.empty(X.shape, dtype=X.dtype)
    for rows in row_blocks(*X.shape):
        at = rows if order is None else order[rows]
        Z[rows] = s[at] * ((X[at] - mean) / scale)
    return Z
