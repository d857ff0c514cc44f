"""Arithmetic on (d, t) arrays, one column per target."""

from typing import Any

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from .arrays import namespace

# The distance from 1 to the next float64, and the smallest positive normal float64.
EPS = float(np.finfo(float).eps)
TINY = float(np.finfo(float).tiny)


def dot(a: Any, b: Any) -> Any:
    """Return the inner products (t,) of the columns of two (d, t) arrays."""
    if isinstance(a, np.ndarray):
        if a.shape[1] == 1:
            # Faster than einsum, which matters in steps over few sparse rows.
            return np.dot(a[:, 0], b)
        return np.einsum("ij,ij->j", a, b)
    return namespace(a).sum(a * b, axis=0)


def plus_outer(A: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return A + x y' for a contiguous A (n, m), which is overwritten in one pass."""
    return blas.dger(1.0, y, x, a=A.T, overwrite_a=1).T


def sparse_product(A: Any, B: Any) -> np.ndarray:
    """Return the product of two sparse matrices as an array."""
    try:
        from sklearn.utils.sparsefuncs import sparse_matmul_to_dense
    except ImportError:  # before scikit-learn 1.8
        return (A @ B).toarray()
    return sparse_matmul_to_dense(A.tocsr(), B.tocsr())


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, and 0 where b is 0, so that a target that is already solved does not change."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def norm(a: np.ndarray) -> float:
    """Return the Frobenius norm, even if squares of the elements overflow or underflow."""
    return linalg.norm(np.ravel(a), check_finite=False)
