"""The textbook algorithm: shuffled mini-batch steps on the ridge loss with a learning-rate schedule."""

from typing import NamedTuple

import numpy as np

from ._kernels import Iterate, sgd_epoch
from ._learning_rate import scheduled
from ._targets import dot

# F this many times that of predicting 0 is no noise: the steps are unstable.
DIVERGED = 10.0


class Plan(NamedTuple):
    """The parameters that every epoch shares."""

    alpha: float
    batch_size: int
    schedule: str
    decay: float
    fit_intercept: bool
    average: bool


class Solution(NamedTuple):
    """What `sgd` returns: the iterate, the learning rate it would go on with, and how it ended."""

    at: Iterate
    lr: float
    n_steps: int
    gain: float  # fraction by which the last epoch lowered the least F so far
    converged: bool
    diverged_at: int | None


def initial(beta, b):
    """The iterate before any step."""
    return Iterate(beta, b, beta, b, 0)


def sgd(rows, at, lr, plan, max_iter, tol, n_iter_no_change, rng, on_epoch):
    """Minimise F from the iterate `at`.

    It has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change` epochs. When it diverges it
    stops and returns the iterate with the least F. `on_epoch(beta, b, loss)` stops the fit by returning True.
    """
    best, best_loss, idle = at, loss(rows, at, plan.alpha).sum(), 0
    bound = max(best_loss, np.sum(rows.y**2) / rows.n_rows / 2)
    for epoch in range(1, max_iter + 1):
        at, lr = one_epoch(rows, at, lr, epoch, plan, rng)
        losses = loss(rows, at, plan.alpha)
        stop = on_epoch(at.mean_beta, at.mean_b, losses)
        total = losses.sum()
        # After the last epoch, to be worse than predicting 0 is enough.
        if not total <= bound * (DIVERGED if epoch < max_iter else 1):
            return Solution(best, lr, at.n_steps, 0.0, False, epoch)
        gain = 1 - total / best_loss if best_loss > 0 else 0.0
        idle = 0 if gain > (tol or 0) else idle + 1
        if total < best_loss:
            best, best_loss = at, total
        converged = tol is not None and idle >= n_iter_no_change
        if stop or converged:
            break
    return Solution(at, lr, at.n_steps, gain, converged, None)


def one_epoch(rows, at, lr, epoch, plan, rng):
    """The iterate after one pass over the rows, shuffled if `rng` is given, and the learning rate for the next."""
    order = np.arange(rows.n_rows) if rng is None else rng.permutation(rows.n_rows)
    lrs, next_lr = scheduled(plan.schedule, lr, plan.decay, epoch, -(-rows.n_rows // plan.batch_size))
    with np.errstate(over="ignore", invalid="ignore"):
        at = sgd_epoch(rows, order, plan.batch_size, lrs, plan.alpha, at, plan.fit_intercept, plan.average)
    return at, next_lr


def loss(rows, at, alpha):
    """F (t,) of the parameters that predict: the averages, or the iterate where nothing is averaged."""
    with np.errstate(over="ignore", invalid="ignore"):
        _, square = rows.residual_gradient(at.mean_beta, at.mean_b)
        return square / 2 + alpha / 2 * dot(at.mean_beta, at.mean_beta)
