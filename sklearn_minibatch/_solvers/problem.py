"""What a solver is given, and what it returns."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from .._statistics.moments import Moments
from .._statistics.row_products import Units
from .._statistics.scaling import Scaling, scaling_of, textbook_scaling
from .._statistics.triangular_factor import Rotated, rotated_rows
from .penalty import Penalty, penalty_of

Parameters: TypeAlias = tuple[np.ndarray, np.ndarray]  # coefficients (d, t) and intercept (t,)


@dataclass(frozen=True)
class Settings:
    """The parameters of the estimator that solvers read, under the same names."""

    solver: str
    alpha: float | np.ndarray  # (t,)
    penalty_factor: np.ndarray | None  # (d,)
    batch_size: int | Literal["auto"]
    lr: float | Literal["auto"]
    lr_schedule: str
    lr_decay: float
    preconditioner: int | Literal["auto"] | None
    average: bool | Literal["auto"]
    max_iter: int
    tol: float | None
    n_iter_no_change: int
    fit_intercept: bool
    standardize: bool
    shuffle: bool
    early_stopping: bool
    half_life: float | None
    positive: np.ndarray | None  # (d,), a mask

    @property
    def has_free_features(self) -> bool:
        """Whether some features are not penalised, although others are."""
        return self.penalty_factor is not None and bool(np.any(self.penalty_factor == 0))

    @property
    def row_units(self) -> Units:
        """The units of products of the rows, in which all features have one penalty."""
        factor = self.penalty_factor
        divisor = 1.0 if factor is None else np.sqrt(factor)
        return Units(self.fit_intercept, self.standardize, divisor)

    def __getstate__(self) -> dict[str, Any]:
        # Another thread may add a cached property while the fields are copied.
        return {name: getattr(self, name) for name in self.__match_args__}

    @cached_property
    def penalty(self) -> Penalty:
        """The penalty on the coefficients in scaled units."""
        return penalty_of(self.alpha, self.penalty_factor)


class UnitSettings(Protocol):
    """The parameters that the units depend on."""

    @property
    def fit_intercept(self) -> bool:
        """Whether columns are centred."""

    @property
    def standardize(self) -> bool:
        """Whether columns are divided by their standard deviations."""

    @property
    def penalty_factor(self) -> np.ndarray | None:
        """The factors (d,) of the penalty."""


def standard_units(x: Moments, y: Moments, settings: UnitSettings) -> Scaling:
    """Return the units of solvers that find the minimiser."""
    scaling = scaling_of(x, y, settings.fit_intercept, settings.standardize)
    return without_columns(scaling, settings)


def units_of_rows(x: Moments, y: Moments, settings: Settings) -> Scaling:
    """Return the units of products of the rows."""
    scaling = scaling_of(x, y, settings.fit_intercept, settings.standardize)
    return scaling._replace(x_scale=settings.row_units.of(x)[1])


def textbook_units(x: Moments, y: Moments, settings: Settings) -> Scaling:
    """Return the units of the textbook solver."""
    scaling = textbook_scaling(x, y, settings.fit_intercept, settings.standardize)
    return without_columns(scaling, settings)


def without_columns(scaling: Scaling, settings: UnitSettings) -> Scaling:
    """Return the units in which columns with an infinite penalty are 0."""
    if settings.penalty_factor is None:
        return scaling
    scale = np.where(np.isinf(settings.penalty_factor), np.inf, scaling.x_scale)
    return scaling._replace(x_scale=scale)


class Samples(Protocol):
    """Samples that can be read again."""

    def gather(self, kind: str) -> Any:
        """Return statistics of the samples, in one read."""

    def scaled(self, statistics: Any, scaling: Scaling) -> Any:
        """Return the samples in scaled units."""


@dataclass(frozen=True)
class Problem:
    """Samples to fit in scaled units: their statistics, and the samples if a solver asks."""

    statistics: Any  # of a kind that the solver knows
    scaling: Scaling
    samples: Samples

    @cached_property
    def rows(self) -> Any:
        """The samples, put into scaled units when they are first asked for."""
        return self.samples.scaled(self.statistics, self.scaling)

    @property
    def lengths(self) -> np.ndarray:
        """The root mean squares (d, 1) of the scaled columns."""
        x, (x_mean, x_scale, _, _) = self.statistics.x, self.scaling
        return (np.hypot(np.sqrt(x.var), x.mean - x_mean) / x_scale)[:, None]

    @cached_property
    def rotated(self) -> Rotated:
        """The triangular factor of the scaled samples, from one more read of them."""
        return rotated_rows(self.samples.gather("factor"), self.scaling)


@dataclass(frozen=True)
class Solution:
    """The result of a solver, at its end or after an epoch."""

    last: Parameters
    predicting: Parameters  # equal to `last` unless iterates are averaged
    n_steps: int
    lr: float  # to publish, and to continue with
    batch_size: int
    converged: bool = False
    solver: str | None = None  # the one that finished, if another one began
    statistics: Any = (
        None  # second moments, if a solver gathered them instead of those it was given
    )
    lr_factor: float = 1.0  # the rate to continue with, divided by lr
    n_averaged: int = 0  # the number of iterates averaged
    warning: str | None = None


class Monitor(Protocol):
    """The receiver of reports on the epochs of a solver."""

    @property
    def n_epochs(self) -> int:
        """How many epochs have ended."""

    def begin_epoch(self) -> None:
        """Report that an epoch begins."""

    def __call__(
        self,
        solution: Solution,
        beta: np.ndarray,
        b: np.ndarray,
        loss: np.ndarray,
        distance: np.ndarray | None = None,
    ) -> bool:
        """Report that an epoch has ended at these parameters; return whether to stop there."""


def without_intercept(parameters: Parameters, fit_intercept: bool) -> Parameters:
    """Return the parameters, with an intercept of 0 if none is fitted."""
    coef, intercept = parameters
    return coef, intercept if fit_intercept else 0 * intercept
