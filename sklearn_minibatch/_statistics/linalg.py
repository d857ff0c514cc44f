"""Arithmetic on (d, t) arrays, one column per target."""

import numpy as np
from scipy import linalg

# The distance from 1 to the next float64, and the least positive one that keeps its digits.
EPS = float(np.finfo(float).eps)
TINY = float(np.finfo(float).tiny)


def dot(a, b):
    """Inner products of the columns of two (d, t) arrays."""
    return np.einsum("ij,ij->j", a, b)


def divide(a, b):
    """a / b, and 0 where b is 0: a target that is already solved stays as it is."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def norm(a):
    """Square root of the sum of squares of all elements, which may be too large or too small to be squared."""
    return linalg.norm(np.ravel(a), check_finite=False)
