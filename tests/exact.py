"""The minimiser of F with more digits than float64 has, from the numbers as given.

F(beta, b) = 1/(2W) sum_i w_i (z_i.beta + b - y_i)^2 + alpha/2 ||beta||^2
"""

from typing import NamedTuple

import mpmath
import numpy as np
from scipy import sparse

from .oracles import dense

# Fifty digits are left after a system that is singular up to the least alpha.
DIGITS = 140
# alpha = 0 is its limit: of all minimisers the one with the least norm of beta.
LEAST_ALPHA = "1e-40"


class Minimiser(NamedTuple):
    """The minimiser in original units, (d, t) and (t,), and the moments behind it.

    All are arrays of mpmath's numbers.
    """

    coef: np.ndarray
    intercept: np.ndarray
    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray

    def predict(self, X):
        """Predictions (n, t), rounded at the very end."""
        with mpmath.workdps(DIGITS):
            return as_floats(numbers(X) @ self.coef + self.intercept)


def numbers(array):
    """An array of the same numbers, none of them rounded; decimals may be given as strings."""
    return np.frompyfunc(mpmath.mpf, 1, 1)(
        np.asarray(dense(array) if sparse.issparse(array) else array).tolist()
    )


def as_floats(exact):
    return np.asarray(exact, dtype=float)


def minimiser(X, y, alpha=0.0, w=None, fit_intercept=True, standardize=True):
    """The minimiser of F.

    A column that is constant over the rows of positive weight keeps its unit.
    """
    with mpmath.workdps(DIGITS):
        X, y = numbers(X), numbers(y).reshape(len(X), -1)
        w = numbers(np.ones(len(y)) if w is None else w)
        w = w / w.sum()
        x_mean, y_mean = w @ X, w @ y
        var = w @ (X - x_mean) ** 2
        # The mean of a constant has rounding errors too, if in the last of so many digits.
        varies = (X[w > 0][0] != X)[w > 0].any(axis=0)
        scale = np.array(
            [
                mpmath.sqrt(v) if standardize and does else mpmath.mpf(1)
                for v, does in zip(var, varies, strict=True)
            ]
        )
        if not fit_intercept:
            x_mean, y_mean = 0 * x_mean, 0 * y_mean
        Z, v = (X - x_mean) / scale, y - y_mean
        penalty = max(mpmath.mpf(alpha), mpmath.mpf(LEAST_ALPHA))
        gram = (w[:, None] * Z).T @ Z + penalty * np.eye(len(scale), dtype=int)
        beta = solved(gram, (w[:, None] * Z).T @ v)
        coef = beta / scale[:, None]
        return Minimiser(coef, y_mean - x_mean @ coef, x_mean, scale, y_mean)


def solved(A, B):
    """The X of A X = B for a positive definite A (d, d), by Cholesky's factors."""
    A = mpmath.matrix(A.tolist())
    columns = [mpmath.cholesky_solve(A, mpmath.matrix(b.tolist())) for b in B.T]
    return np.array([[x[j] for x in columns] for j in range(A.rows)], dtype=object)
