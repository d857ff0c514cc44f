"""What a solver is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

import numpy as np

from .._rows.protocol import Rows
from .._statistics.moments import Statistics
from .._statistics.scaling import Scaling
from .._statistics.triangular_factor import Rotated, TriangularFactor, rotated_rows

Parameters: TypeAlias = tuple[np.ndarray, np.ndarray]  # coefficients (d, t) and intercept (t,)


@dataclass(frozen=True)
class Settings:
    """The parameters of the estimator that solvers read, under the same names."""

    solver: str
    alpha: float
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


@dataclass(frozen=True)
class Problem:
    """Samples to fit in scaled units: their moments, and the samples if a solver asks."""

    moments: Statistics
    scaling: Scaling
    make_rows: Callable[[Scaling], Rows]
    read_factor: Callable[[], TriangularFactor]

    @cached_property
    def rows(self) -> Rows:
        """The samples, put into scaled units when they are first asked for."""
        return self.make_rows(self.scaling)

    @cached_property
    def rotated(self) -> Rotated:
        """The triangular factor of the scaled samples, from one more read of them."""
        return rotated_rows(self.read_factor(), self.scaling)


@dataclass(frozen=True)
class Solution:
    """Where a solver stands: at its end, or after an epoch."""

    last: Parameters
    predicting: Parameters  # the same, but for an average of iterates
    n_steps: int
    lr: float  # to publish, and to go on with
    batch_size: int
    converged: bool = False
    lr_factor: float = 1.0  # what a schedule has made of lr
    n_averaged: int = 0  # iterates that what predicts is an average of
    warning: str | None = None


class Monitor(Protocol):
    """What a solver tells of its epochs."""

    @property
    def n_epochs(self) -> int:
        """How many epochs have ended."""

    def begin_epoch(self) -> None:
        """Tell that an epoch begins."""

    def __call__(
        self,
        solution: Solution,
        beta: np.ndarray,
        b: np.ndarray,
        loss: np.ndarray,
        distance: np.ndarray | None = None,
    ) -> bool:
        """Tell that an epoch has ended at these parameters; return whether to stop there."""


def without_intercept(parameters: Parameters, fit_intercept: bool) -> Parameters:
    """Return the parameters, with an intercept of 0 where none is fitted (any more)."""
    coef, intercept = parameters
    return coef, intercept if fit_intercept else 0 * intercept
