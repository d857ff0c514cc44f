"""Learning rates: the largest safe one, and the schedules."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._rows.protocol import Rows
from .._statistics.linalg import TINY, norm
from .penalty import Penalty

POWER_ITERATIONS = 12
SAMPLED_ROWS = 4096


def largest_eigenvalue(
    batches: Iterable[Any], penalty: Penalty, solve: Callable[[np.ndarray], np.ndarray], rng: Any
) -> float:
    """Return the largest eigenvalue of P^-1 (Z_B' Z_B / |B| + penalty) over the mini-batches Z_B.

    It is estimated by power iteration, and kept between TINY and its inverse, so that it can be
    inverted.
    """
    largest = TINY
    for Z in batches:
        v = rng.standard_normal((Z.shape[1], 1))
        for _ in range(POWER_ITERATIONS):
            v /= max(norm(v), TINY)
            v = solve(Z.T @ (Z @ v.astype(Z.dtype, copy=False)) / Z.shape[0] + penalty * v)
        largest = max(largest, float(norm(v)))
    return min(largest, 1 / TINY)


def stable_rate(
    rows: Rows, batch_size: int, alpha: float, rng: Any, square_norm: float = 0.0
) -> float:
    """Return the largest learning rate, up to a factor of 2, at which plain steps are stable.

    Steps then contract in mean square. The rate is 1 / (L + (R^2 - L) / batch_size + alpha), with L
    the largest eigenvalue of Z'Z/n and R^2 the largest squared row norm, or `square_norm` if that
    is larger, both including the column of the intercept. It grows with the batch size, then levels
    off (Jain et al., 2018, "Parallelizing stochastic gradient descent for least squares
    regression").
    """
    L = largest_eigenvalue(rows.batches(SAMPLED_ROWS, 1, rng), 0.0, lambda v: v, rng)
    L = max(L, 1.0)
    R2 = max(rows.largest_square_norm(), square_norm, L)
    return 1 / (L + (R2 - L) / batch_size + alpha)


def scheduled(
    schedule: str, lr: float, decay: float, epoch: int, n_batches: int
) -> tuple[np.ndarray, float]:
    """Return the learning rates (n_batches,) of epoch 1, 2, ... and the rate for the next epoch."""
    shrink = 1 / (1 + decay * epoch)
    if schedule == "inverse_time":
        return np.full(n_batches, lr * shrink), lr
    if schedule == "compound":
        rates = lr * np.cumprod(np.full(n_batches, shrink))
        return rates, float(rates[-1])
    return np.full(n_batches, lr), lr
