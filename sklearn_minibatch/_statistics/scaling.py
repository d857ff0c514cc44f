"""The change of units between scaled and original coefficients."""

from typing import NamedTuple

import numpy as np

from .moments import LEAST_VAR, Moments


def power_of_2(values: np.ndarray) -> float:
    """The least power of 2 above all of the values."""
    return float(np.ldexp(1.0, np.frexp(np.max(values))[1]))


def target_scale(moments: Moments) -> np.ndarray:
    """Standard deviations; the size of a constant target, and 1 if that is 0."""
    size = np.where(moments.var >= LEAST_VAR, np.sqrt(moments.var), np.abs(moments.mean))
    return np.where(size > 0, size, 1.0)


class Scaling(NamedTuple):
    """The change of variables z = (x - x_mean) / x_scale, v = (y - y_mean) / y_scale that a solver works in."""

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray


def scaling_of(x: Moments, y: Moments, fit_intercept: bool, standardize: bool) -> Scaling:
    """The scaled units of rows with these moments."""
    return Scaling(
        x.mean if fit_intercept else np.zeros(len(x.mean)),
        x.scale if standardize else np.ones(len(x.mean)),
        y.mean if fit_intercept else np.zeros(len(y.mean)),
        target_scale(y),
    )


def textbook_scaling(x: Moments, y: Moments, fit_intercept: bool, standardize: bool) -> Scaling:
    """The same for the textbook solver, which leaves y, and columns that it is not told to scale, as they are.

    It divides all targets by one power of 2, which changes no digit of what the solver does, and
    keeps the squares of its residuals within the range of numbers.
    """
    d, t = len(x.mean), len(y.mean)
    return Scaling(
        x.mean if fit_intercept and standardize else np.zeros(d),
        x.scale if standardize else np.ones(d),
        np.zeros(t),
        np.full(t, power_of_2(target_scale(y))),
    )


def to_scaled(
    coef: np.ndarray, intercept: np.ndarray, scaling: Scaling
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters for z, v that predict what `coef` (d, t), `intercept` (t,) predict for x, y."""
    beta = coef * scaling.x_scale[:, None] / scaling.y_scale
    return beta, (intercept + scaling.x_mean @ coef - scaling.y_mean) / scaling.y_scale


def to_original(beta: np.ndarray, b: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Parameters for x, y that predict what `beta` (d, t), `b` (t,) predict for z, v."""
    coef = beta * scaling.y_scale / scaling.x_scale[:, None]
    return coef, scaling.y_mean + b * scaling.y_scale - scaling.x_mean @ coef
