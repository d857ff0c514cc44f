"""The textbook algorithm: shuffled mini-batch steps with a learning-rate schedule.

Sums over a mini-batch are divided by `batch_size`, also those over a last one with fewer rows, as
if it were filled up with rows that fit exactly. So every row has the same effect.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._rows.in_memory import in_memory
from .._rows.kernels import stacked_parameters
from .._rows.protocol import Rows
from .._statistics.linalg import dot
from .._statistics.scaling import Scaling, textbook_scaling, to_original, to_scaled
from .._statistics.second_moments import (
    ColumnMoments,
    SecondMoments,
    Standardized,
    standardized,
)
from .learning_rate import scheduled, stable_rate
from .problem import Monitor, Parameters, Problem, Settings, Solution, without_intercept
from .state import ModelState

# The batch size that "auto" stands for.
BATCH_SIZE = 32
# Noise does not bring F to so many times its value for the prediction 0: the steps are unstable.
DIVERGED = 10.0
# An epoch that takes the coefficients a smaller part of their way moves nothing that F could show.
LEAST_REACH = 1e-8
# A mean square that is a smaller part of the numbers it is the difference of loses three digits.
LEAST_PART = 1e-3
# If an epoch takes them a smaller part of their way than this, more epochs are no remedy.
SHORT_REACH = 0.01


class Iterate(NamedTuple):
    """An iterate theta = [beta; b; I], (d + 1 + t, t), and the average of all so far."""

    theta: np.ndarray
    mean: np.ndarray
    n_steps: int

    @property
    def last(self) -> Parameters:
        """beta (d, t) and b (t,)."""
        return split(self.theta)

    @property
    def predicting(self) -> Parameters:
        """The averages of both, or both themselves if nothing is averaged."""
        return split(self.mean)


class Products(NamedTuple):
    """Centred products of the scaled rows, and the means of both in scaled units."""

    centred: Standardized
    x_mean: np.ndarray  # (d,)
    y_mean: np.ndarray  # (t,)

    def mean_square(self, beta: np.ndarray, b: np.ndarray) -> np.ndarray | None:
        """Return the mean square of the residuals (t,), without a pass over the rows.

        Return None if it is a small part of what it is the difference of, so that few digits of it
        would be right.
        """
        zz, zv, vv = self.centred
        whole = dot(beta, zz @ beta) + vv
        square = whole - 2 * dot(beta, zv) + (self.x_mean @ beta + b - self.y_mean) ** 2
        return square if np.all(square >= LEAST_PART * whole) else None


def products_of(moments: ColumnMoments | SecondMoments, scaling: Scaling) -> Products | None:
    """Return the `Products` of the rows with these moments, if they have any."""
    if not isinstance(moments, SecondMoments):
        return None
    x, y = moments.x.mean, moments.y.mean
    centred = standardized(moments, scaling._replace(x_mean=x, y_mean=y))
    return Products(
        centred, (x - scaling.x_mean) / scaling.x_scale, (y - scaling.y_mean) / scaling.y_scale
    )


class Descent(NamedTuple):
    """What all epochs of a fit share."""

    rows: Rows
    settings: Settings
    batch_size: int
    lr: float
    stable_lr: float = np.inf
    curvature: float = 1.0  # one that F has along some direction
    products: Products | None = None  # of the rows, if they were gathered

    def rates(self, lr: float, epoch: int) -> tuple[np.ndarray, float]:
        """The learning rates of the steps of an epoch, and the rate for the next epoch."""
        n_steps = -(-self.rows.n_rows // self.batch_size)
        settings = self.settings
        return scheduled(settings.lr_schedule, lr, settings.lr_decay, epoch, n_steps)

    def reach(self, lrs: np.ndarray) -> float:
        """The part of their way that coefficients go in an epoch with these learning rates."""
        return min(1.0, self.curvature * float(lrs.sum()))

    def epoch(self, at: Iterate, lrs: np.ndarray, rng: Any) -> Iterate:
        """Return the iterate after one pass over the rows, in random order if `rng` is given."""
        theta = at.theta.astype(self.rows.dtype)
        mean = at.mean.astype(self.rows.dtype) if self.settings.average else theta
        with np.errstate(over="ignore", invalid="ignore"):
            self.rows.textbook_epoch(
                theta, mean, at.n_steps, lrs, self.batch_size, self.settings.alpha, rng
            )
        return Iterate(theta, mean, at.n_steps + len(lrs))

    def loss(self, at: Iterate) -> np.ndarray:
        """F (t,) of the parameters that predict."""
        beta, b = at.predicting
        alpha = self.settings.alpha
        with np.errstate(over="ignore", invalid="ignore"):
            square = None if self.products is None else self.products.mean_square(beta, b)
            if square is None:
                square = self.rows.mean_square(at.mean)
            return square / 2 + alpha / 2 * dot(beta, beta)

    def solution(self, at: Iterate, lr: float) -> Solution:
        """Return the `Solution` at an iterate; the next epoch would go on with the rate `lr`."""
        return Solution(
            at.last,
            at.predicting,
            at.n_steps,
            self.lr,
            self.batch_size,
            lr_factor=lr / self.lr,
            stable_lr=self.stable_lr,
        )

    def divergence(self, epoch: int, rng: Any) -> str:
        """What to warn of if it diverged."""
        stable = self.stable_lr
        if self.settings.lr != "auto":
            stable = stable_rate(self.rows, self.batch_size, self.settings.alpha, rng)
        return (
            f"solver='sgd' diverged with lr={self.lr:.3g} in epoch {epoch}; the best iterate "
            f"before that was kept. With batch_size={self.batch_size}, steps are stable up to "
            f"about lr={2 * stable:.3g}."
        )

    def unfinished(self, gain: float, reach: float) -> str:
        """What to warn of at the end of the last epoch."""
        how_far = f"the loss fell by a fraction of {gain:.1e} in the last epoch"
        remedy = "Increase max_iter or tol."
        if reach < SHORT_REACH:
            how_far += (
                f", whose learning rates cannot go more than a fraction of {reach:.1e} of the way"
            )
            remedy = "Increase lr, or decay it less."
        return (
            f"Not converged after max_iter={self.settings.max_iter} epochs: {how_far}, "
            f"tol={self.settings.tol}. {remedy}"
        )


class Progress(NamedTuple):
    """How F has fallen so far."""

    best: Iterate
    best_loss: float
    previous_loss: float
    idle: int = 0  # epochs in a row without a gain
    rising: int = 0  # epochs in a row in which F rose

    def after(self, at: Iterate, loss: float, gained: bool) -> "Progress":
        """The same after an epoch that ended at an iterate with this F."""
        is_best = loss < self.best_loss
        return Progress(
            at if is_best else self.best,
            loss if is_best else self.best_loss,
            loss,
            0 if gained else self.idle + 1,
            self.rising + 1 if loss > self.previous_loss else 0,
        )


def iterate(last: Parameters, mean: Parameters, n_steps: int) -> Iterate:
    """Return the `Iterate` with the given (beta, b) and averages."""
    return Iterate(stacked_parameters(*last), stacked_parameters(*mean), n_steps)


def split(theta: np.ndarray) -> Parameters:
    """Return beta (d, t) and b (t,) of theta."""
    d = len(theta) - theta.shape[1] - 1
    return theta[:d], theta[d]


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F from `start`, in mini-batches that come in random order if the settings say so."""
    rows = problem.rows
    batch_size = resolved_batch_size(settings, rows.n_rows)
    stable = np.inf
    if settings.lr == "auto":
        stable = stable_rate(rows, batch_size, settings.alpha, rng)
    lr = stable if settings.lr == "auto" else float(settings.lr)
    curvature = least_curvature(problem, settings)
    products = products_of(problem.moments, problem.scaling)
    descent = Descent(rows, settings, batch_size, lr, stable, curvature, products)
    return descend(descent, iterate(start, start, 0), rng, monitor)


def resolved_batch_size(settings: Settings, n_rows: int) -> int:
    """Return the rows per mini-batch, which are at most the rows of an epoch.

    One call of `partial_fit` is an epoch. So a call with fewer rows than `batch_size` takes one
    whole step over them; a share of a step would come with a whole step of the penalty.
    """
    wanted = BATCH_SIZE if isinstance(settings.batch_size, str) else settings.batch_size
    return min(wanted, n_rows)


def least_curvature(problem: Problem, settings: Settings) -> float:
    """Return a curvature of F along some direction: the intercept, or the mean over the columns."""
    if settings.fit_intercept:
        return 1.0
    x, scaling = problem.moments.x, problem.scaling
    columns = (x.var + (x.mean - scaling.x_mean) ** 2) / scaling.x_scale**2
    return float(np.mean(columns)) + settings.alpha


def descend(descent: Descent, at: Iterate, rng: Any, monitor: Monitor) -> Solution:
    """Minimise F from the iterate `at`.

    It has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change`
    epochs, for another reason than a lack of movement: if the learning rates of an epoch take the
    coefficients only a part of their way (`Descent.reach`), F falls by so much less. If it
    diverges, it stops and returns the iterate with the least F. `monitor` is told when an epoch
    begins. `monitor(solution, beta, b, loss)` is called after it, with the `Solution` so far, and
    stops the fit by returning True.
    """
    settings, lr, tol = descent.settings, descent.lr, descent.settings.tol
    first_loss = float(descent.loss(at).sum())
    progress = Progress(at, first_loss, first_loss)
    nothing = iterate(at.last, (0 * at.last[0], 0 * at.last[1]), 0)
    bound = max(first_loss, float(descent.loss(nothing).sum()))
    for epoch in range(1, settings.max_iter + 1):
        monitor.begin_epoch()
        lrs, lr = descent.rates(lr, epoch)
        at = descent.epoch(at, lrs, rng if settings.shuffle else None)
        losses = descent.loss(at)
        loss = float(losses.sum())
        # After the last epoch it is enough to be worse than the prediction 0.
        diverged = not loss <= bound * (DIVERGED if epoch < settings.max_iter else 1)
        solution = descent.solution(progress.best if diverged else at, lr)
        solution = replace(solution, n_steps=at.n_steps)
        stop = monitor(solution, *at.predicting, losses)
        if diverged:
            return replace(solution, warning=descent.divergence(epoch, rng))
        gain = 1 - loss / progress.best_loss if progress.best_loss > 0 else 0.0
        reach = descent.reach(lrs)
        progress = progress.after(at, loss, reach < LEAST_REACH or gain > (tol or 0) * reach)
        # Noise goes up and down; a loss that only rises is on its way to `bound`.
        if tol is not None and progress.idle >= settings.n_iter_no_change > progress.rising:
            return replace(solution, converged=True)
        if stop:
            break
    if tol is not None and epoch == settings.max_iter:
        return replace(solution, warning=descent.unfinished(gain, reach))
    return solution


def learn(
    chunk: Chunk, before: ModelState, moments: ColumnMoments, settings: Settings
) -> ModelState:
    """Return the state after one epoch over a chunk of a stream.

    `moments` are those of all rows so far, the chunk included.
    """
    scaling = textbook_scaling(moments.x, moments.y, settings.fit_intercept, settings.standardize)
    rng, order = before.order(chunk.n_rows, settings.shuffle)
    mean_weight = moments.x.weight / moments.x.n_rows
    rows = in_memory(chunk.X, chunk.y, chunk.w, scaling, settings.fit_intercept, mean_weight, order)
    batch_size = resolved_batch_size(settings, chunk.n_rows)
    stable = before.stable_lr
    if settings.lr == "auto":
        stable = min(stable, stable_rate(rows, batch_size, settings.alpha, rng))
    lr = stable if settings.lr == "auto" else float(settings.lr)
    descent = Descent(rows, settings, batch_size, lr * before.lr_factor)
    last, predicting = [
        to_scaled(*without_intercept(each, settings.fit_intercept), scaling)
        for each in (before.last, before.predicting)
    ]
    start = iterate(last, predicting, before.n_steps)
    lrs, next_lr = descent.rates(descent.lr, chunk.number)
    at = descent.epoch(start, lrs, None)
    square = (moments.y.var + moments.y.mean**2) / scaling.y_scale**2
    bound = max(descent.loss(start).sum(), square.sum() / 2)
    if not descent.loss(at).sum() <= DIVERGED * bound:
        stable = stable_rate(rows, batch_size, settings.alpha, rng)
        raise ValueError(
            f"solver='sgd' diverged with lr={descent.lr:.3g}; the chunk was not learnt. With "
            f"batch_size={batch_size}, steps on it are stable up to about lr={2 * stable:.3g}."
        )
    return before.stepped(
        to_original(*at.last, scaling),
        to_original(*at.predicting, scaling),
        moments=moments,
        settings=settings,
        n_steps=at.n_steps,
        lr=lr,
        batch_size=batch_size,
        lr_factor=next_lr / lr,
        stable_lr=stable,
    )
