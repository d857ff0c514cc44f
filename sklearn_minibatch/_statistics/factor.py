"""Cholesky factors of matrices whose columns may have different scales."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import blas, lapack

from .linalg import EPS, TINY


@dataclass(frozen=True)
class Factored:
    """The factorization P = D L L' D, where D^2 is about the diagonal of P.

    The scaling by D makes the factor accurate even if the columns have different scales.
    """

    L: np.ndarray  # (d, d), only the lower triangle is used
    D: np.ndarray  # (d, 1)

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return P^-1 g for g (d, t)."""
        x = np.divide(g, self.D, order="C")
        if x.shape[1] == 1:
            # For one target, dtrtrs takes a fraction of the time of dtrsm.
            x, _ = lapack.dtrtrs(self.L, x, lower=1, overwrite_b=1)
            x, _ = lapack.dtrtrs(self.L, x, lower=1, trans=1, overwrite_b=1)
        else:
            # Solve for x' from the right: BLAS overwrites x', which is in column-major order.
            for transposed in (1, 0):
                x = blas.dtrsm(
                    1.0, self.L, x.T, side=1, lower=1, trans_a=transposed, overwrite_b=1
                ).T
        return np.divide(x, self.D, out=x)

    @property
    def root(self) -> np.ndarray:
        """A (d, d) matrix whose Gram matrix is P."""
        return np.tril(self.L).T * self.D[:, 0]

    @cached_property
    def inverse_norm(self) -> float:
        """The estimate by LAPACK of the 1-norm of (L L')^-1.

        This norm is at least the inverse of the least eigenvalue.
        """
        reciprocal, _ = lapack.dpocon(self.L, 1.0, uplo="L")
        return float(1 / max(reciprocal, TINY))


def check_finite(products: np.ndarray) -> None:
    """Raise ValueError if sums of products of columns have overflowed."""
    if not np.isfinite(products).all():
        raise ValueError(
            "X is too large: sums of products of its columns overflow. "
            "Divide the columns by constants."
        )


def factored(gram: np.ndarray, penalty: np.ndarray | float) -> Factored:
    """Return the factorization of P = gram + diag(penalty).

    `gram` (d, d) is the Gram matrix of rows or of a sketch of rows, `penalty` is (d,) or a number.
    If P is not numerically positive definite, its scaled diagonal is increased until it is.
    """
    d = len(gram)
    diagonal = np.diag(gram) + penalty
    check_finite(diagonal)
    # A column of zeros is not scaled, since its norm is 0.
    dead = diagonal < TINY
    D = np.sqrt(np.where(dead, 1.0, diagonal))
    # Standardised columns need no scaling, which saves two passes over the matrix.
    is_standardised = bool(D.min() > 0.9 and D.max() < 1.1)
    if is_standardised:
        D = np.ones(d)
    unit = np.where(dead, 1.0, diagonal / D / D)
    jitter = 10 * d * EPS
    while True:
        P = gram.copy() if is_standardised else gram / D / D[:, None]
        np.fill_diagonal(P, unit + jitter)
        # P is symmetric, so P.T is P in the column-major order of LAPACK, which overwrites it.
        L, failed = lapack.dpotrf(P.T, lower=1, clean=0, overwrite_a=1)
        if not failed and np.isfinite(np.diag(L)).all():
            return Factored(L, D[:, None])
        check_finite(gram / D / D[:, None])
        jitter *= 10
