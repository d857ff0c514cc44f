"""The textbook algorithm: shuffled mini-batch steps with a learning-rate schedule."""

from dataclasses import replace
from typing import Any, NamedTuple

from .._rows.kernels import stacked_parameters
from .._statistics.linalg import EPS, TINY
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling
from .learning_rate import stable_rate
from .penalty import largest_of, mean_of
from .problem import Monitor, Parameters, Problem, Settings, Solution
from .textbook import (
    DIVERGED,
    Descent,
    Evaluated,
    Iterate,
    best_constant,
    constant_iterate,
    is_left_alone,
    mean_squares_of_columns,
    products_of,
    resolved_batch_size,
    split,
)

# If an epoch moves the coefficients by a smaller fraction of their way, F cannot show it.
LEAST_REACH = 1e-8
# If an epoch moves them by a smaller fraction of their way than this, more epochs are no remedy.
SHORT_REACH = 0.01
# A rate of lr="auto" that proves too large is divided by this.
CUT = 10.0
# A fall of F by less than this fraction of the noise of the iterates does not count.
HIDDEN = 1e-3


class Progress(NamedTuple):
    """The decrease of F so far."""

    best: Evaluated
    previous_loss: float
    gain: float = 0.0  # the fraction by which the last epoch lowered the best F
    idle: int = 0  # epochs in a row without a gain
    rising: int = 0  # epochs in a row in which F rose

    def after(self, point: Evaluated, tol: float, moved: bool) -> "Progress":
        """Return the progress after an epoch that ended at this iterate.

        The epoch has a gain if F has fallen by more than the fraction `tol`, and noise does not
        hide this. Epochs that do not move are not counted as idle.
        """
        fall = self.best.loss - point.loss
        noise = point.last_loss - point.loss
        gained = fall > max(tol * self.best.loss, HIDDEN * noise)
        return Progress(
            point if fall > 0 else self.best,
            point.loss,
            fall / max(self.best.loss, TINY),
            0 if gained or not moved else self.idle + 1,
            self.rising + 1 if point.loss > self.previous_loss else 0,
        )

    def has_stopped(self, descent: Descent, rises: bool) -> bool:
        """Whether F has stopped falling, or is as small as rounding errors of the targets."""
        rounding = EPS**2 * float(descent.constant.losses_of_0.sum())
        is_idle = self.idle >= descent.settings.n_iter_no_change
        return self.previous_loss <= rounding or (is_idle and not rises)


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F from `start`, with mini-batches in random order if `settings.shuffle`."""
    rows, scaling, moments = problem.rows, problem.scaling, problem.statistics
    batch_size = resolved_batch_size(settings, rows.n_rows)
    constant = best_constant(moments.y, scaling, settings.fit_intercept)
    at = Iterate(stacked_parameters(*start), stacked_parameters(*start), 0)
    curvature = 1.0
    if is_left_alone(settings) and not any(each.any() for each in start):
        at = constant_iterate(rows.n_features, constant.b)
        curvature = curvature_of_columns(moments.x, scaling, mean_of(settings.penalty))
    elif not settings.fit_intercept:
        curvature = curvature_of_columns(moments.x, scaling, mean_of(settings.penalty))
    lr = settings.lr
    if lr == "auto":
        lr = stable_rate(rows, batch_size, largest_of(settings.penalty), rng)
    products = products_of(moments, scaling)
    descent = Descent(rows, settings, batch_size, float(lr), constant, curvature, products)
    return descend(descent, at, rng, monitor)


def curvature_of_columns(x: Moments, scaling: Scaling, alpha: float) -> float:
    """Return the mean curvature of F along the columns that are not 0, or 1 without any."""
    squares = mean_squares_of_columns(x, scaling)
    return float(squares[squares > 0].mean()) + alpha if squares.any() else 1.0


def descend(descent: Descent, at: Iterate, rng: Any, monitor: Monitor) -> Solution:
    """Minimise F from the iterate `at`.

    The fit has converged when F has not fallen by more than a fraction `tol` for `n_iter_no_change`
    epochs. `tol` is reduced if the learning rates of an epoch are so small that coefficients go
    only part of their way (`Descent.reach`). The fit has not converged if the noise of the steps
    keeps F above that of the best constant. If it diverges, it stops and returns the iterate with
    the least F, or the best constant; with lr="auto" it starts again at a lower rate. `monitor` is
    told when an epoch begins.
    `monitor(solution, beta, b, losses)` is called after it, with the `Solution` so far, and stops
    the fit by returning True.
    """
    settings, lr, tol = descent.settings, descent.lr, descent.settings.tol
    start, constant = descent.evaluated(at), descent.best_constant()
    bound = max(start.loss, constant.loss)
    progress = Progress(start, start.loss)
    n_steps = 0
    for epoch in range(1, settings.max_iter + 1):
        is_last = epoch == settings.max_iter
        monitor.begin_epoch()
        lrs, lr = descent.rates(lr, epoch)
        n_steps += len(lrs)
        point = descent.evaluated(descent.epoch(at, lrs, rng if settings.shuffle else None))
        at = point.at
        reach = descent.reach(lrs)
        progress = progress.after(point, (tol or 0) * reach, reach >= LEAST_REACH)
        # Noise goes up and down; a loss that only rises is on its way to `bound`.
        rises = progress.rising >= settings.n_iter_no_change
        too_high = is_last and point.loss > bound
        diverged = (rises and too_high) or not point.last_loss <= DIVERGED * bound
        kept = min(progress.best, constant, key=lambda each: each.loss) if diverged else point
        solution = solution_at(descent, kept, lr, n_steps)
        stop = monitor(solution, *split(point.predicting), point.losses)
        if diverged and settings.lr == "auto" and not is_last:
            descent = descent._replace(lr=descent.lr / CUT)
            at, lr, progress = start.at, descent.lr, Progress(start, start.loss)
        elif diverged:
            return replace(solution, warning=divergence(descent, epoch, rng))
        elif tol is not None and progress.has_stopped(descent, rises):
            if descent.constant.is_better(point.losses):
                return replace(solution, warning=too_noisy(descent))
            return replace(solution, converged=True)
        if stop:
            return solution
    if too_high:
        return replace(solution, warning=too_noisy(descent))
    if tol is not None:
        return replace(solution, warning=unfinished(settings, progress.gain, reach))
    return solution


def solution_at(descent: Descent, point: Evaluated, lr: float, n_steps: int) -> Solution:
    """Return the `Solution` at an iterate; the next epoch would continue with the rate `lr`."""
    return Solution(
        split(point.at.theta),
        split(point.predicting),
        n_steps,
        descent.lr,
        descent.batch_size,
        lr_factor=lr / descent.lr,
        n_averaged=point.n_averaged,
    )


def divergence(descent: Descent, epoch: int, rng: Any) -> str:
    """Return the warning for steps that diverged."""
    return (
        f"solver='sgd' diverged with lr={descent.lr:.3g} in epoch {epoch}; the best iterate "
        f"before that was kept, or the prediction of the mean if that is better. "
        f"{descent.remedy(rng)}"
    )


def too_noisy(descent: Descent) -> str:
    """Return the warning for steps that end with a larger F than that of the best constant."""
    return (
        f"With lr={descent.lr:.3g} the steps of solver='sgd' are so noisy that the model is worse "
        "than the prediction of the mean. Set a smaller lr, an lr_schedule that falls, or "
        "average=True; or leave all three at their defaults, which average out the noise."
    )


def unfinished(settings: Settings, gain: float, reach: float) -> str:
    """Return the warning for a fit that has used all epochs."""
    how_far = "the loss fell in one of the last epochs, though not in the last"
    if gain > 0:
        how_far = f"the loss fell by a fraction of {gain:.1e} in the last epoch"
    remedy = "Increase max_iter or tol."
    if reach < SHORT_REACH:
        how_far += f"; its learning rates cannot go more than a fraction of {reach:.1e} of the way"
        remedy = "Increase lr, or decay it less."
    return (
        f"Not converged after max_iter={settings.max_iter} epochs: {how_far}, "
        f"tol={settings.tol}. {remedy}"
    )
