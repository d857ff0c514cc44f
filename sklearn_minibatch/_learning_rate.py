"""Learning rates: the largest safe one, and the schedules."""

import numpy as np

SAMPLED_BATCHES = 8
POWER_ITERATIONS = 12
SAMPLED_ROWS = 4096


def largest_eigenvalue(Z, batch_size, alpha, solve, rng):
    """Largest eigenvalue of P^-1 (Z_B' Z_B / |B| + alpha I) over a few random mini-batches B."""
    n_rows, n_features = Z.shape
    starts = np.arange(0, n_rows, batch_size)
    largest = 0.0
    for start in rng.choice(starts, min(SAMPLED_BATCHES, len(starts)), replace=False):
        A = Z[start : start + batch_size]
        v = rng.standard_normal((n_features, 1))
        for _ in range(POWER_ITERATIONS):
            v /= max(np.linalg.norm(v), np.finfo(float).tiny)
            v = solve(A.T @ (A @ v.astype(A.dtype, copy=False)) / A.shape[0] + alpha * v)
        largest = max(largest, np.linalg.norm(v))
    return largest


def stable_rate(rows, batch_size, alpha, fit_intercept, rng):
    """Largest learning rate at which plain mini-batch steps contract in mean square, up to a factor of 2.

    1 / (L + (R^2 - L) / |B| + alpha): L the largest eigenvalue of Z'Z/n, R^2 the largest squared row norm, both with the
    intercept's column. It grows with the batch size, then levels off (Jain et al., 2018, "Parallelizing stochastic
    gradient descent for least squares regression").
    """
    Z, _, _ = rows.take(rng.permutation(rows.n_rows)[:SAMPLED_ROWS])
    L = largest_eigenvalue(Z, Z.shape[0], 0.0, lambda v: v, rng)
    L = max(L, 1.0) if fit_intercept else L
    R2 = max(rows.largest_square_norm() + fit_intercept, L)
    return 1 / max(L + (R2 - L) / batch_size + alpha, np.finfo(float).tiny)


def scheduled(schedule, lr, decay, epoch, n_batches):
    """Learning rates (n_batches,) of epoch 1, 2, ... and the rate to hand to the next epoch."""
    shrink = 1 / (1 + decay * epoch)
    if schedule == "inverse_time":
        return np.full(n_batches, lr * shrink), lr
    if schedule == "compound":
        rates = lr * np.cumprod(np.full(n_batches, shrink))
        return rates, rates[-1]
    return np.full(n_batches, lr), lr
