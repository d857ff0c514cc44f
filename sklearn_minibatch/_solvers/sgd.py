"""The textbook algorithm: shuffled mini-batch steps on the ridge loss with a learning-rate schedule."""

from typing import NamedTuple

import numpy as np

from .._rows.kernels import stacked_parameters
from .._statistics.linalg import dot
from .learning_rate import scheduled

# F this many times that of predicting 0 is no noise: the steps are unstable.
DIVERGED = 10.0
# An epoch that takes coefficients less of their way than this moves nothing that F could show.
LEAST_WAY = 1e-8
# Where an epoch goes less of the way than this, more epochs are no remedy.
SHORT_WAY = 0.01


class Plan(NamedTuple):
    """The parameters that every epoch shares."""

    alpha: float
    batch_size: int
    schedule: str
    decay: float
    average: bool


class Iterate(NamedTuple):
    """Where the solver stands: theta = [beta; b; I], (d + 1 + t, t), the average of its iterates, and the steps taken."""

    theta: np.ndarray
    mean: np.ndarray
    n_steps: int

    @property
    def last(self) -> tuple[np.ndarray, np.ndarray]:
        """beta (d, t) and b (t,)."""
        return split(self.theta)

    @property
    def predicting(self) -> tuple[np.ndarray, np.ndarray]:
        """The averages of both, or both where nothing is averaged."""
        return split(self.mean)


def iterate(last, mean, n_steps):
    """The `Iterate` with the given (beta, b) and averages."""
    return Iterate(stacked_parameters(*last), stacked_parameters(*mean), n_steps)


def split(theta):
    """beta (d, t) and b (t,) of theta."""
    d = len(theta) - theta.shape[1] - 1
    return theta[:d], theta[d]


class Solution(NamedTuple):
    """What `sgd` returns: the iterate, the learning rate it would go on with, and how it ended."""

    at: Iterate
    lr: float
    n_steps: int
    gain: float  # fraction by which the last epoch lowered the least F so far
    way: float  # that it could go towards the minimiser, as far as is known
    converged: bool
    diverged_at: int | None

    @property
    def last(self):
        """beta (d, t) and b (t,)."""
        return self.at.last

    @property
    def predicting(self):
        """The averages of both, or both where nothing is averaged."""
        return self.at.predicting


def sgd(rows, at, lr, plan, curvature, max_iter, tol, n_iter_no_change, rng, monitor):
    """Minimise F from the iterate `at`.

    It has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change` epochs, in none of which that
    was for want of moving: along a direction in which F has the given `curvature`, the learning rates of an epoch take
    the coefficients the fraction `way` = min(1, curvature * (their sum)) to the minimiser, and F falls by so much less.

    When it diverges it stops and returns the iterate with the least F. `monitor` is told where an epoch begins, and
    `monitor(found, beta, b, loss)` after it, with the `Solution` so far, stops the fit by returning True.
    """
    best, best_loss, idle, rising = at, loss(rows, at, plan.alpha).sum(), 0, 0
    previous = best_loss
    nothing = iterate(at.last, (0 * at.last[0], 0 * at.last[1]), 0)
    bound = max(best_loss, loss(rows, nothing, plan.alpha).sum())
    for epoch in range(1, max_iter + 1):
        monitor.begin_epoch()
        lrs, next_lr = rates(rows, lr, epoch, plan)
        way = min(1.0, curvature * float(lrs.sum()))
        at, lr = one_epoch(rows, at, lrs, plan, rng), next_lr
        losses = loss(rows, at, plan.alpha)
        total = losses.sum()
        # After the last epoch, to be worse than predicting 0 is enough.
        if total <= bound * (DIVERGED if epoch < max_iter else 1):
            gain = 1 - total / best_loss if best_loss > 0 else 0.0
            found = Solution(at, lr, at.n_steps, gain, way, False, None)
        else:
            found = Solution(best, lr, at.n_steps, 0.0, way, False, epoch)
        stop = monitor(found, *at.predicting, losses)
        if found.diverged_at is not None:
            return found
        idle = 0 if way < LEAST_WAY or gain > (tol or 0) * way else idle + 1
        if total < best_loss:
            best, best_loss = at, total
        # Noise goes up and down; a loss that only rises is on its way to `bound`.
        rising = rising + 1 if total > previous else 0
        previous = total
        converged = tol is not None and idle >= n_iter_no_change > rising
        if stop or converged:
            break
    return found._replace(converged=converged)


def rates(rows, lr, epoch, plan):
    """Learning rates of the steps of an epoch, and the rate to hand to the next epoch."""
    return scheduled(plan.schedule, lr, plan.decay, epoch, -(-rows.n_rows // plan.batch_size))


def one_epoch(rows, at, lrs, plan, rng) -> Iterate:
    """The iterate after one pass over the rows, shuffled if `rng` is given, with the learning rates `lrs` of its steps."""
    theta = at.theta.astype(rows.dtype)
    mean = at.mean.astype(rows.dtype) if plan.average else theta
    with np.errstate(over="ignore", invalid="ignore"):
        rows.textbook_epoch(theta, mean, at.n_steps, lrs, plan.batch_size, plan.alpha, rng)
    return Iterate(theta, mean, at.n_steps + len(lrs))


def loss(rows, at, alpha):
    """F (t,) of the parameters that predict."""
    beta, _ = at.predicting
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.mean_square(at.mean) / 2 + alpha / 2 * dot(beta, beta)
