"""Cholesky factors of matrices whose columns may have unlike scales."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

# A column of which others leave so little, as a fraction of its variance, is lost in the rounding errors of a Gram matrix.
NEARLY_SINGULAR = 1e-8


class Factored(NamedTuple):
    """P = D L L' D with D the square root of P's diagonal, so that unlike scales of columns do no harm."""

    L: np.ndarray  # (d, d)
    D: np.ndarray  # (d, 1)

    def solve(self, g):
        x, _ = lapack.dpotrs(self.L, g / self.D, lower=1)
        return x / self.D

    @property
    def root(self):
        """Rows whose Gram matrix is P."""
        return np.tril(self.L).T * self.D[:, 0]

    @property
    def is_nearly_singular(self):
        """Whether a column all but follows from those before it."""
        return np.diag(self.L).min() ** 2 < NEARLY_SINGULAR


def check_finite(products):
    """Raise ValueError where sums of products of rows have overflowed."""
    if not np.isfinite(products).all():
        raise ValueError("X is too large: sums of products of its columns overflow. Divide the columns by constants.")


def factored(gram, penalty):
    """P = gram + diag(penalty) for a (d, d) Gram matrix of rows or of a sketch of rows; `penalty` (d,) or a number."""
    d = len(gram)
    P = gram + penalty * np.eye(d)
    D = np.sqrt(np.maximum(np.diag(P), np.finfo(float).tiny))
    P /= D * D[:, None]
    # Reference LAPACK would refuse it with any jitter.
    check_finite(P)
    jitter = 10 * d * np.finfo(float).eps
    while True:
        L, failed = lapack.dpotrf(P + jitter * np.eye(d), lower=1)
        if not failed:
            return Factored(L, D[:, None])
        jitter *= 10


def root(gram):
    """Rows whose Gram matrix is `gram`, (d, d)."""
    P = factored(gram, 0.0)
    if not P.is_nearly_singular:
        return P.root
    eigenvalues, U = np.linalg.eigh(gram / (P.D * P.D[:, 0]))
    eigenvalues[eigenvalues < 10 * len(gram) * np.finfo(float).eps * eigenvalues[-1]] = 0.0
    return (U * P.D).T * np.sqrt(eigenvalues)[:, None]
