"""Plain references for the tests, written from the objective and not from the code.

F(beta, b) = 1/(2W) sum_i w_i (z_i.beta + b - y_i)^2 + alpha/2 ||beta||^2
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.fft import dct

BLOCK_ROWS = 20_000


class ClosedForm(NamedTuple):
    """The minimiser of F in original units, (d, t), about the means of the rows.

    Kept that way, offsets of columns cost no digits.
    """

    coef: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray

    def predict(self, X):
        return (dense(X) - self.x_mean) @ self.coef + self.y_mean

    @property
    def intercept(self):
        return self.y_mean - self.x_mean @ self.coef


def dense(X):
    return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=float)


def columns(y):
    """Targets as (n, t)."""
    y = np.asarray(y, dtype=float)
    return y.reshape(len(y), -1)


def weighted_mean(X, w):
    """Mean of the columns, corrected once for rounding, as offsets are large."""
    mean = w @ X / w.sum()
    return mean + w @ (X - mean) / w.sum()


def scaling(X, w, fit_intercept, standardize):
    """Mean and sigma (d,) of the columns that F is written in; sigma = 1 for a constant column."""
    mean = weighted_mean(X, w)
    sigma = np.sqrt(w @ (X - mean) ** 2 / w.sum())
    constant = np.ptp(X[w > 0], axis=0) == 0
    mean[constant], sigma[constant] = X[w > 0][0, constant], 1.0
    return (mean if fit_intercept else np.zeros_like(mean)), (
        sigma if standardize else np.ones_like(sigma)
    )


def closed_form(X, y, alpha, w=None, fit_intercept=True, standardize=True):
    """The minimiser of F by least squares on [sqrt(w/W) Z; sqrt(alpha) I].

    In float64, without normal equations.
    """
    X, y = dense(X), columns(y)
    w = np.ones(len(y)) if w is None else np.asarray(w, dtype=float)
    x_mean, sigma = scaling(X, w, fit_intercept, standardize)
    y_mean = weighted_mean(y, w) if fit_intercept else np.zeros(y.shape[1])
    root = np.sqrt(w / w.sum())[:, None]
    R = np.empty((0, X.shape[1] + y.shape[1]))
    for rows in (slice(i, i + BLOCK_ROWS) for i in range(0, len(y), BLOCK_ROWS)):
        block = root[rows] * np.hstack([(X[rows] - x_mean) / sigma, y[rows] - y_mean])
        R = (
            np.vstack([R, block])
            if len(y) <= BLOCK_ROWS
            else np.linalg.qr(np.vstack([R, block]), mode="r")
        )
    beta = penalised_least_squares(R[:, : len(sigma)], R[:, len(sigma) :], alpha)
    return ClosedForm(beta / sigma[:, None], x_mean, y_mean)


def penalised_least_squares(A, b, alpha):
    """The beta that minimises ||A beta - b||^2 + alpha ||beta||^2.

    The columns are brought to one length first.
    """
    d = A.shape[1]
    A = np.vstack([A, np.sqrt(alpha) * np.eye(d)])
    length = np.linalg.norm(A, axis=0)
    length[length == 0] = 1.0
    return (
        np.linalg.lstsq(A / length, np.vstack([b, np.zeros((d, b.shape[1]))]), rcond=None)[0]
        / length[:, None]
    )


def distance(predictions, closed, X, y, w=None):
    """RMS distance of predictions to those of the closed form.

    In standard deviations of y; the largest over the targets.
    """
    y, predictions = columns(y), columns(predictions)
    w = np.ones(len(y)) if w is None else np.asarray(w, dtype=float)
    spread = np.sqrt(w @ (y - weighted_mean(y, w)) ** 2 / w.sum())
    rms = np.sqrt(w @ (predictions - closed.predict(X)) ** 2 / w.sum())
    return np.max(rms / spread)


def distance_to_ridge(model, X, y, w=None):
    """How far a fitted `MiniBatchRidgeSGD` is from the closed form of its own parameters."""
    closed = closed_form(X, y, model.alpha, w, model.fit_intercept, model.standardize)
    return distance(model.predict(X), closed, X, y, w)


def objective(coef, intercept, X, y, alpha, w=None, fit_intercept=True, standardize=True):
    """F of coefficients (d,) or (t, d) in original units, summed over the targets."""
    X, y = dense(X), columns(y)
    coef = np.atleast_2d(coef).T
    w = np.ones(len(y)) if w is None else np.asarray(w, dtype=float)
    _, sigma = scaling(X, w, fit_intercept, standardize)
    residual = X @ coef + intercept - y
    return (
        w @ residual**2 / w.sum() / 2 + alpha / 2 * np.sum((sigma[:, None] * coef) ** 2, axis=0)
    ).sum()


def textbook(
    X,
    y,
    batch_size,
    lr,
    schedule,
    decay,
    epochs,
    alpha,
    standardize=True,
    fit_intercept=True,
    w=None,
    b=0.0,
):
    """The MATLAB function line by line, with the rows in the order given.

    Returns coef, intercept and the loss per epoch, of the last iterate and of the average. Starts
    from the intercept `b`.

    The average follows every step t = 1, 2, ...: average += (iterate - average) * 2 / (t + 1).
    """
    n, d = X.shape
    batch_size = min(batch_size, n)
    w = np.ones(n) if w is None else w / w.mean()
    mean = w @ X / n if standardize and fit_intercept else np.zeros(d)
    sigma = np.sqrt(w @ (X - w @ X / n) ** 2 / n) if standardize else np.ones(d)
    Z = (X - mean) / sigma
    beta, t = np.zeros(d), 0
    mean_beta, mean_b = np.zeros(d), 0.0
    losses, mean_losses = [], []
    rate = lr
    for epoch in range(1, epochs + 1):
        if schedule == "inverse_time":
            rate = lr / (1 + decay * epoch)
        for start in range(0, n, batch_size):
            if schedule == "compound":
                rate = rate / (1 + decay * epoch)
            Z_B, y_B, w_B = (a[start : start + batch_size] for a in (Z, y, w))
            r = w_B * (Z_B @ beta + b - y_B)
            beta = beta - rate * (Z_B.T @ r / batch_size + alpha * beta)
            if fit_intercept:
                b = b - rate * r.sum() / batch_size
            t += 1
            mean_beta = mean_beta + (beta - mean_beta) * 2 / (t + 1)
            mean_b = mean_b + (b - mean_b) * 2 / (t + 1)
        losses.append(w @ (Z @ beta + b - y) ** 2 / (2 * n) + alpha / 2 * beta @ beta)
        mean_losses.append(
            w @ (Z @ mean_beta + mean_b - y) ** 2 / (2 * n) + alpha / 2 * mean_beta @ mean_beta
        )
    return (
        Textbook(beta / sigma, b - mean @ (beta / sigma), np.array(losses)),
        Textbook(mean_beta / sigma, mean_b - mean @ (mean_beta / sigma), np.array(mean_losses)),
    )


class Textbook(NamedTuple):
    """What the MATLAB function returns, in original units."""

    coef: np.ndarray
    intercept: float
    losses: np.ndarray


def rotated(rows, rng):
    """Rows (n, d) in a random orthonormal basis.

    By reflections and cosine transforms, whose bits do not depend on the BLAS.
    """
    for _ in range(2):
        v = rng.standard_normal(rows.shape[1])
        along = (rows * v).sum(axis=1) / (v * v).sum()
        rows = dct(rows - 2 * along[:, None] * v, axis=1, norm="ortho")
    return rows


def regression(n, d, *, t=None, condition=1.0, noise=0.5, seed=0):
    """Gaussian rows whose covariance has the given condition number, and linear targets.

    The rows are in a random basis, and the targets are noisy.

    They are the same bits on every machine: no sum is BLAS's.
    """
    rng = np.random.default_rng(seed)
    X = rotated(rng.standard_normal((n, d)) * np.geomspace(1, condition**-0.5, d), rng)
    truth = rng.standard_normal(d if t is None else (d, t))
    y = (
        np.einsum("ij,j...->i...", X, truth)
        + noise * rng.standard_normal(n if t is None else (n, t))
        + 3
    )
    return X, y
