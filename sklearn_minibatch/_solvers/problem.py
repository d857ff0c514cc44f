"""What a solver is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from .._rows.protocol import Rows
from .._statistics.scaling import Units
from .._statistics.second_moments import SecondMoments

Parameters: TypeAlias = tuple[np.ndarray, np.ndarray]  # coefficients (d, t) and intercept (t,)


@dataclass(frozen=True)
class Settings:
    """The parameters of the estimator that solvers read, under the same names."""

    alpha: float
    batch_size: int | Literal["auto"]
    lr: float | Literal["auto"]
    lr_schedule: str
    lr_decay: float
    preconditioner: int | Literal["auto"] | None
    average: bool
    max_iter: int
    tol: float | None
    n_iter_no_change: int
    fit_intercept: bool
    shuffle: bool


@dataclass(frozen=True)
class Problem:
    """Rows to fit, by their moments and, where a solver asks for them, one by one; both in scaled units."""

    moments: SecondMoments
    scaling: Units
    make_rows: Callable[[Units], Rows]

    @cached_property
    def rows(self) -> Rows:
        """The rows, put into scaled units when they are first asked for."""
        return self.make_rows(self.scaling)


@dataclass(frozen=True)
class Solution:
    """Where a solver stands: at its end, or after an epoch."""

    last: Parameters
    predicting: Parameters  # the same, but for an average of iterates
    n_steps: int
    lr: float  # to publish, and to go on with
    batch_size: int
    converged: bool = False
    preconditioner: Any = None
    lr_factor: float = 1.0  # what a schedule has made of lr
    stable_lr: float = np.inf  # the largest stable rate, where it was looked for
    warning: str | None = None
