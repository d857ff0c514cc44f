"""The change of units between scaled and original coefficients."""

from typing import NamedTuple

import numpy as np

from .moments import LEAST_VAR, Moments
from .threads import one_blas_thread


def power_of_2(values: np.ndarray) -> float:
    """Return the least power of 2 that is greater than all of the values."""
    return float(np.ldexp(1.0, np.frexp(np.max(values))[1]))


def target_scale(moments: Moments) -> np.ndarray:
    """Return the scales (t,) of the targets.

    The scale is the standard deviation, or the absolute value of a constant target, or 1 if that
    is 0.
    """
    size = np.where(moments.var >= LEAST_VAR, np.sqrt(moments.var), np.abs(moments.mean))
    return np.where(size > 0, size, 1.0)


class Scaling(NamedTuple):
    """The means and scales of the variables in which a solver works.

    These are z = (x - x_mean) / x_scale and v = (y - y_mean) / y_scale. A column that is left out
    has an infinite scale.
    """

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray


def scaling_of(x: Moments, y: Moments, fit_intercept: bool, standardize: bool) -> Scaling:
    """Return the scaling of rows with these moments."""
    return Scaling(
        x.mean if fit_intercept else np.zeros(len(x.mean)),
        x.scale if standardize else np.ones(len(x.mean)),
        y.mean if fit_intercept else np.zeros(len(y.mean)),
        target_scale(y),
    )


def textbook_scaling(x: Moments, y: Moments, fit_intercept: bool, standardize: bool) -> Scaling:
    """Return the scaling for the textbook solver.

    This solver does not centre y, nor the columns if they are not standardized. All targets are
    divided by one power of 2, which causes no rounding and keeps the squares of the residuals from
    overflow and underflow.
    """
    d = len(x.mean)
    t = len(y.mean)
    return Scaling(
        x.mean if fit_intercept and standardize else np.zeros(d),
        x.scale if standardize else np.ones(d),
        np.zeros(t),
        np.full(t, power_of_2(target_scale(y))),
    )


def to_scaled(
    coef: np.ndarray, intercept: np.ndarray, scaling: Scaling
) -> tuple[np.ndarray, np.ndarray]:
    """Convert `coef` (d, t) and `intercept` (t,) from original to scaled variables."""
    beta = coef * np.where(np.isinf(scaling.x_scale), 0.0, scaling.x_scale)[:, None]
    beta /= scaling.y_scale
    return beta, (intercept + scaling.x_mean @ coef - scaling.y_mean) / scaling.y_scale


def to_original(beta: np.ndarray, b: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Convert `beta` (d, t) and `b` (t,) from scaled to original variables."""
    coef = beta * scaling.y_scale
    coef /= scaling.x_scale[:, None]
    # With more threads of BLAS, the last bit could differ.
    with one_blas_thread():
        return coef, scaling.y_mean + b * scaling.y_scale - scaling.x_mean @ coef
