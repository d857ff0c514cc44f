"""The minimiser of F from the rows in double-double arithmetic, for as many rows as NumPy likes.

F(beta, b) = 1/(2W) sum_i w_i (z_i.beta + b - y_i)^2 + alpha/2 ||beta||^2

`tests/exact.py` has more digits, but forms normal equations in Python's numbers. Here is modified
Gram-Schmidt on the rows [A, b; sqrt(alpha) I, 0] (Bjorck, "Numerical Methods for Least Squares
Problems", section 2.4), whose projections are wrong by about 1e-31 times the condition number.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from .double_double import DoubleDouble, as_double_double, product, vstack, zeros
from .oracles import columns, dense

EPS = np.finfo(float).eps
# What is left of a column of length 1, if it follows from others in exact arithmetic.
NOTHING = 1e-24


class Standardized(NamedTuple):
    """Rows in the units of F, times sqrt(w / W); their squares add up to weighted means.

    All but the last are in double-double.
    """

    A: DoubleDouble  # (n, d)
    b: DoubleDouble  # (n, t)
    root: DoubleDouble  # (n, 1), sqrt(w / W)
    x_mean: DoubleDouble  # (d,), 0 without an intercept
    x_scale: DoubleDouble  # (d,)
    y_mean: DoubleDouble  # (t,)
    y_scale: np.ndarray  # (t,), the standard deviation, or for a constant its absolute value, or 1


class Minimiser(NamedTuple):
    """The fitted values A beta of the minimiser, and how well they are determined.

    There are several if float64 cannot tell whether a column follows from others: with alpha = 0
    fitted values with and without what distinguishes it are right. The first has all of it.
    """

    fitted: list[DoubleDouble]  # (n, t) each
    beta: np.ndarray | None  # (d, t), where it is unique, rounded
    least: float  # the least singular value of [A; sqrt(alpha) I], for columns of length 1
    length: np.ndarray  # (t,), of beta in units of such columns
    residual: np.ndarray  # (t,), ||[A; sqrt(alpha) I] beta - [b; 0]||, the root of 2 F


def standardized(X, y, w=None, fit_intercept=True, standardize=True):
    """The rows of positive weight in the units of F."""
    X, y = dense(X), columns(y)
    w = np.ones(len(y)) if w is None else np.asarray(w, dtype=float)
    X, y, w = X[w > 0], y[w > 0], w[w > 0]
    share = as_double_double(w / w.max())
    share = (share / share.sum())[:, None]
    x_mean, x_var = mean_and_variance(X, share)
    y_mean, y_var = mean_and_variance(y, share)
    constant = np.ptp(X, axis=0) == 0
    x_scale = x_var.sqrt()
    x_scale[constant if standardize else ...] = 1.0
    y_scale = np.where(np.ptp(y, axis=0) > 0, np.array(y_var.sqrt()), np.abs(y[0]))
    y_scale[y_scale == 0] = 1.0
    if not fit_intercept:
        x_mean, y_mean = DoubleDouble(0 * x_mean.high), DoubleDouble(0 * y_mean.high)
    root = share.sqrt()
    A = (X - x_mean) / x_scale * root
    return Standardized(A, (y - y_mean) * root, root, x_mean, x_scale, y_mean, y_scale)


def mean_and_variance(X, share):
    """Weighted means and variances of the columns; those of a constant are exact."""
    away = X - as_double_double(X[:1])
    offset = (share * away).sum()
    centred = away - offset
    return as_double_double(X[0]) + offset, (share * centred * centred).sum()


def minimiser(rows, alpha):
    """The minimiser for rows that are `Standardized`."""
    n, d = rows.A.shape
    if alpha and d > n:
        return dual(rows, alpha)
    A, b = rows.A, rows.b
    if alpha:
        A, b = vstack([A, root_of(alpha, d)]), vstack([b, np.zeros((d, b.shape[1]))])
    return projected(A, b, n, alpha > 0)


def root_of(alpha, size):
    """sqrt(alpha) I."""
    found = zeros((size, size))
    found[np.arange(size), np.arange(size)] = as_double_double(alpha).sqrt()
    return found


def projected(A, b, n, is_unique):
    """The minimiser as a projection of b on the columns of A, of which the first n rows count."""
    d = A.shape[1]
    live = np.flatnonzero(A.high.any(axis=0))
    powers = 2.0 ** np.frexp(np.abs(A.high[:, live]).max(axis=0))[1]
    factor = gram_schmidt(A[:, live] / powers, b)
    k = len(factor.order)
    doubtful = 3 * np.sqrt(d) * max(n, d) * EPS
    n_safe = k if is_unique else int(np.sum(factor.lengths > doubtful))
    fitted = [b[:n] - left[:n] for left in factor.residuals[n_safe:]][::-1]
    R = np.array(factor.R)[:, factor.order]
    of_unit = R / np.linalg.norm(R, axis=0) if k else R
    singular = np.linalg.svd(of_unit[:n_safe, :n_safe], compute_uv=False)
    length = np.linalg.norm(solve_triangular(of_unit, np.array(factor.c)), axis=0)
    beta = None
    if k == len(live):
        beta = np.zeros((d, b.shape[1]))
        solved = back_substituted(factor.R[:, factor.order], factor.c)
        beta[live[factor.order]] = np.array(solved) / powers[factor.order][:, None]
    least = float(singular.min(initial=1.0))
    return Minimiser(fitted, beta, least, length, norms(factor.residuals[-1]))


class Factor(NamedTuple):
    """What Gram-Schmidt makes of A (m, d) and b (m, t), with k columns that count."""

    order: list[int]  # (k,), the numbers of the columns
    R: DoubleDouble  # (k, d), triangular in that order of the columns
    c: DoubleDouble  # (k, t)
    residuals: list[DoubleDouble]  # (m, t) of b, after 0, 1, ..., k columns
    lengths: np.ndarray  # (k,), what was left of each column, relative to its length


def gram_schmidt(A, b):
    """Take the column of which most is left, again and again, out of the others and of b."""
    A = DoubleDouble(A.high.copy(), A.low.copy())
    d = A.shape[1]
    most = min(A.shape)
    length = np.linalg.norm(A.high, axis=0)
    rest = list(range(d))
    order, lengths, residuals = [], [], [b]
    R, c = zeros((most, d)), zeros((most, b.shape[1]))
    for k in range(most):
        left = np.linalg.norm(A.high[:, rest], axis=0) / length[rest]
        j = int(np.argmax(left))
        if left[j] < NOTHING:
            break
        order.append(rest.pop(j))
        lengths.append(left[j])
        q = A[:, order[-1]]
        R[k, order[-1]] = (q * q).sum().sqrt()
        q = (q / R[k, order[-1]])[:, None]
        if rest:
            R[k, rest] = (q * A[:, rest]).sum()
            A[:, rest] = A[:, rest] - q * R[k, rest]
        c[k] = (q * b).sum()
        b = b - q * c[k]
        residuals.append(b)
    k = len(order)
    return Factor(order, R[:k], c[:k], residuals, np.array(lengths))


def back_substituted(R, c):
    """The x (k, t) of R x = c for an upper triangular R (k, k)."""
    c = DoubleDouble(c.high.copy(), c.low.copy())
    x = zeros(c.shape)
    for i in range(len(R) - 1, -1, -1):
        x[i] = c[i] / R[i, i]
        c[:i] = c[:i] - R[:i, i][:, None] * x[i]
    return x


def dual(rows, alpha):
    """The minimiser for fewer rows than columns: A'(AA' + alpha I)^-1 b, by a factor R'R of AA'."""
    A, b = rows.A, rows.b
    n = len(A)
    factor = gram_schmidt(vstack([A.T, root_of(alpha, n)]), zeros((A.shape[1] + n, 1)))
    R = factor.R[:, factor.order]
    back = slice(None, None, -1)
    half = back_substituted(R.T[back][:, back], b[factor.order][back])[back]
    a = zeros(b.shape)
    a[factor.order] = back_substituted(R, half)
    beta = np.array(product(A.T, a))
    D = np.sqrt((A.high**2).sum(axis=0) + alpha)
    length = np.linalg.norm(D[:, None] * beta, axis=0)
    residual = a * alpha
    loss = norms(residual) ** 2 + alpha * norms(beta) ** 2
    return Minimiser([b - residual], beta, np.sqrt(alpha) / D.max(), length, np.sqrt(loss))


def norms(A):
    """The lengths of the columns, rounded."""
    return np.sqrt((np.array(A) ** 2).sum(axis=0))


def fitted_values(rows, X, w, coef, intercept):
    """What coefficients (d, t) and an intercept (t,) of float64 fit, as `Minimiser.fitted`."""
    X = dense(X)
    if w is not None:
        X = X[np.asarray(w) > 0]
    # About the means, which are large beside what varies.
    at_mean = product(rows.x_mean[None], coef)[0] + intercept - rows.y_mean
    return (product(X - rows.x_mean, coef) + at_mean) * rows.root
