"""The textbook algorithm: shuffled mini-batch steps on the ridge loss with a learning-rate schedule."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._rows.in_memory import in_memory
from .._rows.kernels import stacked_parameters
from .._statistics.linalg import dot
from .._statistics.scaling import textbook_scaling, to_original, to_scaled
from .._statistics.second_moments import SecondMoments
from .learning_rate import scheduled, stable_rate
from .problem import ModelState, Parameters, Problem, Settings, Solution, without_intercept

# The batch size that "auto" stands for.
BATCH_SIZE = 32
# F this many times that of predicting 0 is no noise: the steps are unstable.
DIVERGED = 10.0
# An epoch that takes coefficients less of their way than this moves nothing that F could show.
LEAST_REACH = 1e-8
# Where an epoch goes less of the way than this, more epochs are no remedy.
SHORT_REACH = 0.01


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


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Any
) -> Solution:
    """Minimise F from `start`, in mini-batches that come in random order if the settings say so."""
    rows = problem.rows
    batch_size = min(
        BATCH_SIZE if settings.batch_size == "auto" else settings.batch_size, rows.n_rows
    )
    settings = replace(settings, batch_size=batch_size)
    stable = stable_rate(rows, batch_size, settings.alpha, rng) if settings.lr == "auto" else np.inf
    lr = stable if settings.lr == "auto" else float(settings.lr)
    descent = Descent(rows, settings, lr, stable, least_curvature(problem, settings))
    return descend(descent, iterate(start, start, 0), rng, monitor)


def least_curvature(problem: Problem, settings: Settings) -> float:
    """A curvature that F has along some direction: 1 along the intercept, else the mean of those along the columns."""
    if settings.fit_intercept:
        return 1.0
    x, scaling = problem.moments.x, problem.scaling
    columns = (x.var + (x.mean - scaling.x_mean) ** 2) / scaling.x_scale**2
    return float(np.mean(columns)) + settings.alpha


class Descent(NamedTuple):
    """What all epochs of a fit share."""

    rows: Any
    settings: Settings
    lr: float
    stable_lr: float
    curvature: float

    def reach(self, lrs: np.ndarray) -> float:
        """The fraction of their way to the minimiser that the learning rates of an epoch can take the coefficients."""
        return min(1.0, self.curvature * float(lrs.sum()))

    def solution(self, at: Iterate, lr: float) -> Solution:
        """The `Solution` at an iterate, from which the next epoch would go on with the rate `lr`."""
        batch_size = self.settings.batch_size
        assert not isinstance(batch_size, str)
        factor = lr / self.lr
        return Solution(
            at.last,
            at.predicting,
            at.n_steps,
            self.lr,
            batch_size,
            lr_factor=factor,
            stable_lr=self.stable_lr,
        )

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

    def unfinished(self, gain: float, reach: float) -> str:
        """What to warn of at the end of the last epoch."""
        settings = self.settings
        how_far = f"the loss fell by a fraction of {gain:.1e} in the last epoch"
        remedy = "Increase max_iter or tol."
        if reach < SHORT_REACH:
            how_far += (
                f", whose learning rates cannot go more than a fraction of {reach:.1e} of the way"
            )
            remedy = "Increase lr, or decay it less."
        return f"Not converged after max_iter={settings.max_iter} epochs: {how_far}, tol={settings.tol}. {remedy}"


def descend(descent: Descent, at: Iterate, rng: Any, monitor: Any) -> Solution:
    """Minimise F from the iterate `at`.

    It has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change`
    epochs, in none of which that was for want of moving: where the learning rates of an epoch take
    the coefficients only a fraction of their `reach`, F falls by so much less. When it diverges it
    stops and returns the iterate with the least F. `monitor` is told where an epoch begins, and
    `monitor(found, beta, b, loss)` after it, with the `Solution` so far, stops the fit by returning
    True.
    """
    rows, settings, lr = descent[:3]
    max_iter, tol, patience = settings.max_iter, settings.tol, settings.n_iter_no_change
    steps_rng = rng if settings.shuffle else None
    best, best_loss, idle, rising = at, loss(rows, at, settings.alpha).sum(), 0, 0
    previous = best_loss
    nothing = iterate(at.last, (0 * at.last[0], 0 * at.last[1]), 0)
    bound = max(best_loss, loss(rows, nothing, settings.alpha).sum())
    for epoch in range(1, max_iter + 1):
        monitor.begin_epoch()
        lrs, lr = rates(rows, lr, epoch, settings)
        reach = descent.reach(lrs)
        at = one_epoch(rows, at, lrs, settings, steps_rng)
        losses = loss(rows, at, settings.alpha)
        total = losses.sum()
        # After the last epoch, to be worse than predicting 0 is enough.
        diverged = not total <= bound * (DIVERGED if epoch < max_iter else 1)
        solution = replace(descent.solution(best if diverged else at, lr), n_steps=at.n_steps)
        stop = monitor(solution, *at.predicting, losses)
        if diverged:
            return replace(solution, warning=descent.divergence(epoch, rng))
        gain = 1 - total / best_loss if best_loss > 0 else 0.0
        idle = 0 if reach < LEAST_REACH or gain > (tol or 0) * reach else idle + 1
        if total < best_loss:
            best, best_loss = at, total
        # Noise goes up and down; a loss that only rises is on its way to `bound`.
        rising = rising + 1 if total > previous else 0
        previous = total
        if tol is not None and idle >= patience > rising:
            return replace(solution, converged=True)
        if stop:
            break
    if tol is not None and epoch == max_iter:
        return replace(solution, warning=descent.unfinished(gain, reach))
    return solution


def rates(rows: Any, lr: float, epoch: int, settings: Settings) -> tuple[np.ndarray, float]:
    """Learning rates of the steps of an epoch, and the rate to hand to the next; the batch size is resolved."""
    n_steps = -(-rows.n_rows // settings.batch_size)
    return scheduled(settings.lr_schedule, lr, settings.lr_decay, epoch, n_steps)


def one_epoch(rows: Any, at: Iterate, lrs: np.ndarray, settings: Settings, rng: Any) -> Iterate:
    """The iterate after one pass over the rows, shuffled if `rng` is given, with the learning rates of its steps."""
    theta = at.theta.astype(rows.dtype)
    mean = at.mean.astype(rows.dtype) if settings.average else theta
    with np.errstate(over="ignore", invalid="ignore"):
        rows.textbook_epoch(theta, mean, at.n_steps, lrs, settings.batch_size, settings.alpha, rng)
    return Iterate(theta, mean, at.n_steps + len(lrs))


def loss(rows, at, alpha):
    """F (t,) of the parameters that predict."""
    beta, _ = at.predicting
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.mean_square(at.mean) / 2 + alpha / 2 * dot(beta, beta)


def learn(
    chunk: Chunk, before: ModelState, moments: SecondMoments, settings: Settings
) -> ModelState:
    """The state after one epoch over a chunk of a stream; `moments` are those of all rows so far, the chunk included."""
    scaling = textbook_scaling(moments.x, moments.y, settings.fit_intercept, settings.standardize)
    rng, order = before.order(len(chunk.y), settings.shuffle)
    mean_weight = moments.x.weight / moments.x.n_rows
    rows = in_memory(chunk.X, chunk.y, chunk.w, scaling, settings.fit_intercept, mean_weight, order)
    batch_size = BATCH_SIZE if settings.batch_size == "auto" else settings.batch_size
    settings = replace(settings, batch_size=batch_size)
    stable = before.stable_lr
    if settings.lr == "auto":
        stable = min(stable, stable_rate(rows, batch_size, settings.alpha, rng))
    lr = stable if settings.lr == "auto" else float(settings.lr)
    last, predicting = [
        to_scaled(*without_intercept(each, settings.fit_intercept), scaling)
        for each in (before.last, before.predicting)
    ]
    lrs, next_lr = rates(rows, lr * before.lr_factor, before.n_chunks + 1, settings)
    start = iterate(last, predicting, before.n_steps)
    at = one_epoch(rows, start, lrs, settings, None)
    square = (moments.y.var + moments.y.mean**2) / scaling.y_scale**2
    bound = max(loss(rows, start, settings.alpha).sum(), square.sum() / 2)
    if not loss(rows, at, settings.alpha).sum() <= DIVERGED * bound:
        stable = stable_rate(rows, batch_size, settings.alpha, rng)
        raise ValueError(
            f"solver='sgd' diverged with lr={lr * before.lr_factor:.3g}; the chunk was not learnt. With "
            f"batch_size={batch_size}, steps on it are stable up to about lr={2 * stable:.3g}."
        )
    return replace(
        before,
        n_chunks=chunk.number,
        last=to_original(*at.last, scaling),
        predicting=to_original(*at.predicting, scaling),
        moments=moments,
        n_steps=at.n_steps,
        lr=lr,
        batch_size=batch_size,
        converged=False,
        curvature=None,
        lr_factor=next_lr / lr,
        stable_lr=stable,
    )
