"""The change of units between scaled and original coefficients."""

from typing import NamedTuple

import numpy as np

from .moments import LEAST_VAR


def power_of_2(values):
    """The least power of 2 above all of the values."""
    return float(np.ldexp(1.0, np.frexp(np.max(values))[1]))


def spread(moments):
    """Standard deviations; the size of a constant target, and 1 if that is 0."""
    size = np.where(moments.var >= LEAST_VAR, np.sqrt(moments.var), np.abs(moments.mean))
    return np.where(size > 0, size, 1.0)


class Units(NamedTuple):
    """The change of variables z = (x - x_mean) / x_scale, v = (y - y_mean) / y_scale that a solver works in."""

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray


def to_scaled(coef, intercept, units):
    """Parameters for z, v that predict what `coef` (d, t), `intercept` (t,) predict for x, y."""
    beta = coef * units.x_scale[:, None] / units.y_scale
    return beta, (intercept + units.x_mean @ coef - units.y_mean) / units.y_scale


def to_original(beta, b, units):
    """Parameters for x, y that predict what `beta` (d, t), `b` (t,) predict for z, v."""
    coef = beta * units.y_scale / units.x_scale[:, None]
    return coef, units.y_mean + b * units.y_scale - units.x_mean @ coef
