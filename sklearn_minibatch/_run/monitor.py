"""Monitoring of a solver: loss history, validation scores, and a printed line per epoch."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._solvers.problem import Solution
from .._solvers.state import ModelState
from .._statistics.arrays import times, to_numpy
from .._statistics.scaling import Scaling, to_original
from .callbacks import Task


class Checkpoint(NamedTuple):
    """A fit at the end of an epoch."""

    solution: Solution  # what the solver would return
    best: tuple | None  # coefficients and intercept with the best score, with early stopping
    losses: np.ndarray  # (n_epochs,)
    distances: np.ndarray  # (n_epochs,), or empty
    scores: list[float]


class Monitor:
    """A callable that a solver calls after each epoch, and that returns True to stop it.

    Parameters
    ----------
    scaling : Scaling
        The scaling of the variables in which the solver works.
    validation : tuple or None
        X, y, weights and a baseline (t,) to score on, with early stopping.
    tol, patience : float, int
        With early stopping, the solver stops after `patience` epochs in which the score did not
        increase by more than `tol`.
    verbose : bool
        Whether to print a line per epoch.
    task : Task
        The task whose callbacks are called.
    state_at : callable
        ``state_at(checkpoint)`` returns the state of the estimator if the fit ended there.
    """

    def __init__(
        self,
        scaling: Scaling,
        validation: tuple[Any, ...] | None,
        tol: float | None,
        patience: int,
        verbose: bool | int,
        task: Task,
        state_at: Callable[[Checkpoint], ModelState],
    ) -> None:
        self.scaling = scaling
        self.validation = validation
        self.tol = tol
        self.patience = patience
        self.verbose = verbose
        self.task = task
        self.state_at = state_at
        self.loss_history: list[float] = []
        self.distances: list[float] = []
        self.scores: list[float] = []
        self.best: tuple[np.ndarray, np.ndarray] | None = None
        self.best_score = -np.inf
        self.idle = 0
        self.last_checkpoint: Checkpoint | None = None
        self.started = time.perf_counter()

    def begin_epoch(self) -> None:
        """Tell the callbacks that an epoch begins."""
        self.task.begin_epoch()

    @property
    def n_epochs(self) -> int:
        """The number of complete epochs."""
        return len(self.loss_history)

    def checkpoint(self, solution: Solution) -> None:
        """Record the `solution` that an interrupted fit keeps; its arrays must not change later."""
        losses, distances = np.array(self.loss_history), np.array(self.distances)
        scores = self.scores[: self.n_epochs]
        self.last_checkpoint = Checkpoint(solution, self.best, losses, distances, scores)

    def __call__(
        self,
        solution: Solution,
        beta: np.ndarray,
        b: np.ndarray,
        loss: np.ndarray,
        distance: np.ndarray | None = None,
    ) -> bool:
        self.loss_history.append(float((loss * self.scaling.y_scale) @ self.scaling.y_scale))
        if distance is not None:
            self.distances.append(float(np.max(distance)))
        if self.verbose:
            seconds = time.perf_counter() - self.started
            far = (
                ""
                if distance is None
                else f"  distance to closed form {self.distances[-1]:.1e} std(y)"
            )
            print(
                f"epoch {self.n_epochs:4d}  loss {self.loss_history[-1]:.8g}{far}  {seconds:.3f} s"
            )
        enough = self.validation is not None and self._validate(beta, b)
        self.checkpoint(solution)
        # Callbacks receive no model if the epoch overflowed.
        shown = self._attributes if np.isfinite(self.loss_history[-1]) else None
        return self.task.end_epoch(shown) or enough

    def _attributes(self) -> dict[str, Any]:
        assert self.last_checkpoint is not None
        return {"_state": self.state_at(self.last_checkpoint)}

    def _validate(self, beta: np.ndarray, b: np.ndarray) -> bool:
        assert self.validation is not None
        coef, intercept = to_original(beta, b, self.scaling)
        score = r2_against(coef, intercept, *self.validation)
        self.scores.append(score)
        self.idle = 0 if score > self.best_score + (self.tol or 0) else self.idle + 1
        if score > self.best_score:
            self.best = (coef, intercept)
            self.best_score = score
        return self.idle >= self.patience


def r2_against(
    coef: np.ndarray,
    intercept: np.ndarray,
    X: Any,
    y: np.ndarray,
    w: np.ndarray,
    baseline: np.ndarray,
) -> float:
    """Return R^2 relative to the prediction `baseline` (t,), averaged over the targets.

    Unlike the usual R^2, it is defined for a single held-out row. X is (m, d), y (m, t), w (m,),
    coef (d, t), and intercept (t,).
    """
    error = w @ (to_numpy(times(X, coef)) + intercept - y) ** 2
    spread = np.maximum(w @ (y - baseline) ** 2, np.finfo(float).tiny)
    return float(np.mean(1 - error / spread))
