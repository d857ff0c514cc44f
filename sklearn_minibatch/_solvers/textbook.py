"""The epochs of solver "sgd", each a pass of `fit` or a call of `partial_fit`.

Sums over a mini-batch are divided by `batch_size`, also if the last one has fewer rows. So every
row has the same effect.

What the user sets is taken literally. If learning rates and averaging are left at their defaults,
steps start from the prediction of the mean, and averaging removes the noise of the constant rate
(Bach and Moulines, 2013, "Non-strongly-convex smooth stochastic approximation with convergence rate
O(1/n)").
"""

from typing import Any, NamedTuple

import numpy as np

from .._rows.kernels import stacked_parameters
from .._rows.protocol import Rows
from .._statistics.linalg import EPS, dot
from .._statistics.moments import Moments, Statistics
from .._statistics.scaling import Scaling
from .._statistics.second_moments import (
    SecondMoments,
    Standardized,
    standardized,
)
from .learning_rate import scheduled, stable_rate
from .penalty import largest_of
from .problem import Parameters, Settings

# The batch size that "auto" stands for.
BATCH_SIZE = 32
# Noise alone does not bring F to this multiple of its value for a constant prediction: the steps
# are unstable.
DIVERGED = 10.0
# A mean square that is a smaller fraction of the terms that cancel in it loses three digits.
LEAST_PART = 1e-3
# F may exceed its value for a constant prediction by this fraction before it is called worse.
WORSE = 1e-9


class Iterate(NamedTuple):
    """An iterate theta = [beta; b; I], (d + 1 + t, t), and the average of the last `n_averaged`."""

    theta: np.ndarray
    mean: np.ndarray
    n_averaged: int


class Evaluated(NamedTuple):
    """An iterate, the parameters that predict, and their F (t,).

    The iterate predicts, or the average, or for each target whichever of these and the best
    constant has the lowest F.
    """

    at: Iterate
    predicting: np.ndarray  # stacked, as theta
    losses: np.ndarray
    last: np.ndarray  # (t,): F of the iterate, or of the average if only that predicts
    n_averaged: int = 0  # the number of iterates averaged

    @property
    def loss(self) -> float:
        """F, summed over the targets."""
        return float(self.losses.sum())

    @property
    def last_loss(self) -> float:
        """F of the iterate, summed over the targets."""
        return float(self.last.sum())


class Constant(NamedTuple):
    """The best prediction that is the same for all rows, in scaled units."""

    b: np.ndarray  # (t,): the mean, or 0 without an intercept
    losses: np.ndarray  # (t,): F
    losses_of_0: np.ndarray  # (t,): F of the prediction 0

    def is_better(self, losses: np.ndarray) -> bool:
        """Whether its F is lower for some target, by more than rounding errors."""
        return bool(np.any(losses > (1 + WORSE) * self.losses + EPS * self.losses_of_0))


def best_constant(y: Moments, scaling: Scaling, fit_intercept: bool) -> Constant:
    """Return the `Constant` for targets with these moments."""
    mean = (y.mean - scaling.y_mean) / scaling.y_scale
    half_var = y.var / scaling.y_scale / scaling.y_scale / 2  # the square may underflow
    of_0 = half_var + mean**2 / 2
    return Constant(mean, half_var, of_0) if fit_intercept else Constant(0 * mean, of_0, of_0)


class Products(NamedTuple):
    """Centred products of the scaled rows, and the means of both in scaled units."""

    centred: Standardized
    x_mean: np.ndarray  # (d,)
    y_mean: np.ndarray  # (t,)

    def mean_square(self, beta: np.ndarray, b: np.ndarray) -> np.ndarray | None:
        """Return the mean square of the residuals (t,), without a pass over the rows.

        Return None if cancellation would leave it few correct digits.
        """
        zz, zv, vv = self.centred
        whole = dot(beta, zz @ beta) + vv
        square = whole - 2 * dot(beta, zv) + (self.x_mean @ beta + b - self.y_mean) ** 2
        return square if np.all(square >= LEAST_PART * whole) else None


def products_of(moments: Statistics, scaling: Scaling) -> Products | None:
    """Return the `Products` of second moments, or None for other moments."""
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
    constant: Constant
    curvature: float = 1.0  # a typical curvature of F
    products: Products | None = None  # of the rows, if they were gathered

    def rates(self, lr: float, epoch: int) -> tuple[np.ndarray, float]:
        """Return the learning rates of an epoch, and the rate for the next epoch."""
        n_steps = -(-self.rows.n_rows // self.batch_size)
        settings = self.settings
        return scheduled(settings.lr_schedule, lr, settings.lr_decay, epoch, n_steps)

    def reach(self, lrs: np.ndarray) -> float:
        """Return the fraction of their way that coefficients go in an epoch with these rates."""
        return min(1.0, self.curvature * float(lrs.sum()))

    def epoch(self, at: Iterate, lrs: np.ndarray, rng: Any) -> Iterate:
        """Return the iterate after one pass over the rows, in random order if `rng` is given."""
        theta = at.theta.astype(self.rows.dtype)
        mean = at.mean.astype(self.rows.dtype) if averages(self.settings) else theta
        with np.errstate(over="ignore", invalid="ignore"):
            self.rows.textbook_epoch(
                theta, mean, at.n_averaged, lrs, self.batch_size, self.settings.penalty, rng
            )
        return Iterate(theta, mean, at.n_averaged + len(lrs))

    def losses(self, *thetas: np.ndarray) -> list[np.ndarray]:
        """Return F (t,) of each of these stacked parameters."""
        penalty = self.settings.penalty
        with np.errstate(over="ignore", invalid="ignore"):
            penalties = [dot(penalty * beta, beta) / 2 for beta, _ in map(split, thetas)]
            squares = self.mean_squares(thetas)
            return [s / 2 + p for s, p in zip(squares, penalties, strict=True)]

    def mean_squares(self, thetas: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """Return the mean squares of the residuals, from products or in one pass over the rows."""
        if self.products is not None:
            squares = [self.products.mean_square(*split(theta)) for theta in thetas]
            known = [square for square in squares if square is not None]
            if len(known) == len(thetas):
                return known
        return np.split(self.rows.mean_square(np.hstack(thetas)), len(thetas))

    def evaluated(self, at: Iterate) -> Evaluated:
        """Return the iterate with the parameters that predict, and with F."""
        if not averages(self.settings):
            (losses,) = self.losses(at.theta)
            return Evaluated(at, at.theta, losses, losses)
        if not is_left_alone(self.settings):
            (losses,) = self.losses(at.mean)
            return Evaluated(at, at.mean, losses, losses, at.n_averaged)
        last, mean = self.losses(at.theta, at.mean)
        constant = self.best_constant()
        losses = np.fmin(np.fmin(last, mean), constant.losses)
        predicting = np.where(losses == mean, at.mean, at.theta)
        predicting = np.where(losses == constant.losses, constant.predicting, predicting)
        n_averaged = at.n_averaged if np.all(losses == mean) else 0
        return Evaluated(at, predicting, losses, last, n_averaged)

    def best_constant(self) -> Evaluated:
        """Return the best constant prediction, with its F."""
        at = constant_iterate(self.rows.n_features, self.constant.b)
        return Evaluated(at, at.theta, self.constant.losses, self.constant.losses)

    def remedy(self, rng: Any) -> str:
        """Return the advice for steps that diverged."""
        largest = 2 * stable_rate(
            self.rows, self.batch_size, largest_of(self.settings.penalty), rng
        )
        if self.lr <= largest:
            return "Set a smaller lr."
        return f"With batch_size={self.batch_size}, steps are stable up to about lr={largest:.3g}."


def averages(settings: Settings) -> bool:
    """Whether the iterates are averaged."""
    return is_left_alone(settings) if settings.average == "auto" else bool(settings.average)


def is_left_alone(settings: Settings) -> bool:
    """Whether learning rates and averaging are left at their defaults.

    If so, `fit` predicts with the average, the last iterate, or a constant, whichever has the
    lowest F.
    """
    falls = settings.lr_schedule != "constant" and settings.lr_decay > 0
    return settings.lr == "auto" and settings.average == "auto" and not falls


def resolved_batch_size(settings: Settings, n_rows: int) -> int:
    """Return the rows per mini-batch, which are at most the rows of an epoch.

    One call of `partial_fit` is an epoch. So a call with fewer rows than `batch_size` takes one
    whole step over them; a share of a step would come with a whole step of the penalty.
    """
    wanted = BATCH_SIZE if isinstance(settings.batch_size, str) else settings.batch_size
    return min(wanted, n_rows)


def mean_squares_of_columns(x: Moments, scaling: Scaling) -> np.ndarray:
    """Return the mean squares (d,) of the scaled columns."""
    offset = (x.mean - scaling.x_mean) / scaling.x_scale
    return x.var / scaling.x_scale / scaling.x_scale + offset**2


def split(theta: np.ndarray) -> Parameters:
    """Return beta (d, t) and b (t,) of theta."""
    d = len(theta) - theta.shape[1] - 1
    return theta[:d], theta[d]


def constant_iterate(n_features: int, b: np.ndarray) -> Iterate:
    """Return the iterate whose prediction is b (t,) for all rows."""
    theta = stacked_parameters(np.zeros((n_features, len(b))), b)
    return Iterate(theta, theta, 0)
