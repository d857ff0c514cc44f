"""What a solver is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from .._rows.protocol import Rows
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments

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
    average: bool
    max_iter: int
    tol: float | None
    n_iter_no_change: int
    fit_intercept: bool
    standardize: bool
    shuffle: bool
    early_stopping: bool


@dataclass(frozen=True)
class Problem:
    """Rows to fit in scaled units: their moments, and the rows themselves if a solver asks."""

    moments: SecondMoments
    scaling: Scaling
    make_rows: Callable[[Scaling], Rows]

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


@dataclass(frozen=True)
class ModelState:
    """A model, and the statistics of the rows it has learnt: a stream goes on from it."""

    last: Parameters  # in original units, as are those that predict
    predicting: Parameters
    moments: SecondMoments
    seed: int
    n_chunks: int = 0
    n_steps: int = 0
    lr: float = 1.0
    batch_size: int = 1
    converged: bool = False
    curvature: Any = None  # what "svrg" knows of the Hessian
    lr_factor: float = 1.0
    stable_lr: float = np.inf

    def order(self, n_rows: int, shuffle: bool) -> tuple[np.random.Generator, np.ndarray]:
        """A generator for the next chunk, and the order of its rows."""
        rng = np.random.default_rng((self.seed, self.n_chunks))
        return rng, rng.permutation(n_rows) if shuffle and n_rows > 1 else np.arange(n_rows)


def without_intercept(parameters: Parameters, fit_intercept: bool) -> Parameters:
    """The parameters, with an intercept of 0 where none is fitted (any more)."""
    coef, intercept = parameters
    return coef, intercept if fit_intercept else 0 * intercept
