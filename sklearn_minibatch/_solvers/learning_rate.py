"""Learning rates: the largest safe one, and the schedules."""

import numpy as np

from .._rows.kernels import batch_sizes
from .._statistics.linalg import norm

POWER_ITERATIONS = 12
SAMPLED_ROWS = 4096
# Between this and its inverse, a curvature has an inverse.
TINY = float(np.finfo(float).tiny)


def largest_eigenvalue(batches, alpha, solve, rng):
    """Largest eigenvalue of P^-1 (Z_B' Z_B / |B| + alpha I) over the mini-batches Z_B, by power iteration."""
    largest = TINY
    for Z in batches:
        v = rng.standard_normal((Z.shape[1], 1))
        for _ in range(POWER_ITERATIONS):
            v /= max(norm(v), TINY)
            v = solve(Z.T @ (Z @ v.astype(Z.dtype, copy=False)) / Z.shape[0] + alpha * v)
        largest = max(largest, float(norm(v)))
    return min(largest, 1 / TINY)


def stable_rate(rows, batch_size, alpha, rng):
    """Largest learning rate at which plain mini-batch steps contract in mean square, up to a factor of 2.

    1 / (L + (R^2 - L) / |B| + alpha): L the largest eigenvalue of Z'Z/n, R^2 the largest squared
    row norm, both with the intercept's column. It grows with the batch size, then levels off (Jain
    et al., 2018, "Parallelizing stochastic gradient descent for least squares regression"). 1 / |B|
    is a mean over the mini-batches: the last may be a short one.
    """
    L = max(largest_eigenvalue(rows.batches(SAMPLED_ROWS, 1, rng), 0.0, lambda v: v, rng), 1.0)
    R2 = max(rows.largest_square_norm(), L)
    return 1 / (L + (R2 - L) * np.mean(1 / batch_sizes(rows.n_rows, batch_size)) + alpha)


def scheduled(schedule, lr, decay, epoch, n_batches):
    """Learning rates (n_batches,) of epoch 1, 2, ... and the rate to hand to the next epoch."""
    shrink = 1 / (1 + decay * epoch)
    if schedule == "inverse_time":
        return np.full(n_batches, lr * shrink), lr
    if schedule == "compound":
        rates = lr * np.cumprod(np.full(n_batches, shrink))
        return rates, rates[-1]
    return np.full(n_batches, lr), lr
