"""The textbook algorithm: shuffled mini-batch steps on the ridge loss with a learning-rate schedule."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.kernels import stacked_parameters
from .._statistics.linalg import dot
from .learning_rate import scheduled, stable_rate
from .problem import Parameters, Problem, Settings, Solution

# The batch size that "auto" stands for.
BATCH_SIZE = 32
# F this many times that of predicting 0 is no noise: the steps are unstable.
DIVERGED = 10.0


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


def solve(problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Any) -> Solution:
    """Minimise F from `start`, in mini-batches that come in random order if the settings say so."""
    rows = problem.rows
    batch_size = min(BATCH_SIZE if settings.batch_size == "auto" else settings.batch_size, rows.n_rows)
    settings = replace(settings, batch_size=batch_size)
    stable = stable_rate(rows, batch_size, settings.alpha, rng) if settings.lr == "auto" else np.inf
    lr = stable if settings.lr == "auto" else float(settings.lr)
    course = Course(rows, settings, lr, stable)
    return descend(course, iterate(start, start, 0), rng, monitor)


class Course(NamedTuple):
    """What all epochs of a fit share."""

    rows: Any
    settings: Settings
    lr: float
    stable_lr: float

    def solution(self, at: Iterate, lr: float) -> Solution:
        """The `Solution` at an iterate, from which the next epoch would go on with the rate `lr`."""
        batch_size = self.settings.batch_size
        assert not isinstance(batch_size, str)
        factor = lr / self.lr
        return Solution(at.last, at.predicting, at.n_steps, self.lr, batch_size, lr_factor=factor, stable_lr=self.stable_lr)

    def divergence(self, epoch: int, rng: Any) -> str:
        """What to warn of where it diverged."""
        stable = self.stable_lr
        size = self.settings.batch_size
        if self.settings.lr != "auto":
            stable = stable_rate(self.rows, size, self.settings.alpha, rng)
        return (
            f"solver='sgd' diverged with lr={self.lr:.3g} in epoch {epoch}; the best iterate before that was kept. "
            f"With batch_size={size}, steps are stable up to about lr={2 * stable:.3g}."
        )

    def unfinished(self, gain: float) -> str:
        """What to warn of at the end of the last epoch."""
        return (
            f"Not converged after max_iter={self.settings.max_iter} epochs: the loss fell by a fraction of {gain:.1e} in the "
            f"last epoch, tol={self.settings.tol}. Increase max_iter or tol."
        )


def descend(course: Course, at: Iterate, rng: Any, monitor: Any) -> Solution:
    """Minimise F from the iterate `at`.

    It has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change` epochs. When it diverges it
    stops and returns the iterate with the least F. `monitor` is told where an epoch begins, and
    `monitor(found, beta, b, loss)` after it, with the `Solution` so far, stops the fit by returning True.
    """
    rows, settings, lr, _ = course
    max_iter, tol, patience = settings.max_iter, settings.tol, settings.n_iter_no_change
    steps_rng = rng if settings.shuffle else None
    best, best_loss, idle, rising = at, loss(rows, at, settings.alpha).sum(), 0, 0
    previous = best_loss
    nothing = iterate(at.last, (0 * at.last[0], 0 * at.last[1]), 0)
    bound = max(best_loss, loss(rows, nothing, settings.alpha).sum())
    for epoch in range(1, max_iter + 1):
        monitor.begin_epoch()
        at, lr = one_epoch(rows, at, lr, epoch, settings, steps_rng)
        losses = loss(rows, at, settings.alpha)
        total = losses.sum()
        # After the last epoch, to be worse than predicting 0 is enough.
        diverged = not total <= bound * (DIVERGED if epoch < max_iter else 1)
        found = replace(course.solution(best if diverged else at, lr), n_steps=at.n_steps)
        stop = monitor(found, *at.predicting, losses)
        if diverged:
            return replace(found, warning=course.divergence(epoch, rng))
        gain = 1 - total / best_loss if best_loss > 0 else 0.0
        idle = 0 if gain > (tol or 0) else idle + 1
        if total < best_loss:
            best, best_loss = at, total
        # Noise goes up and down; a loss that only rises is on its way to `bound`.
        rising = rising + 1 if total > previous else 0
        previous = total
        if tol is not None and idle >= patience > rising:
            return replace(found, converged=True)
        if stop:
            break
    if tol is not None and epoch == max_iter:
        return replace(found, warning=course.unfinished(gain))
    return found


def one_epoch(rows: Any, at: Iterate, lr: float, epoch: int, settings: Settings, rng: Any) -> tuple[Iterate, float]:
    """The iterate after one pass over the rows, shuffled if `rng` is given, and the learning rate for the next.

    The batch size of the settings is resolved.
    """
    size = settings.batch_size
    lrs, next_lr = scheduled(settings.lr_schedule, lr, settings.lr_decay, epoch, -(-rows.n_rows // size))
    theta = at.theta.astype(rows.dtype)
    mean = at.mean.astype(rows.dtype) if settings.average else theta
    with np.errstate(over="ignore", invalid="ignore"):
        rows.textbook_epoch(theta, mean, at.n_steps, lrs, size, settings.alpha, rng)
    return Iterate(theta, mean, at.n_steps + len(lrs)), next_lr


def loss(rows, at, alpha):
    """F (t,) of the parameters that predict."""
    beta, _ = at.predicting
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.mean_square(at.mean) / 2 + alpha / 2 * dot(beta, beta)
