"""What is watched while a solver runs: the loss history, a validation score, a line per epoch."""

import time
from functools import partial
from typing import NamedTuple

import numpy as np

from .._solvers.problem import Solution
from .._statistics.scaling import to_original


class Checkpoint(NamedTuple):
    """Where a fit stands at the end of an epoch."""

    solution: Solution  # what the solver would return
    n_epochs: int
    best: tuple | None  # coefficients and intercept with the best score so far, with early stopping


class Monitor:
    """Called by a solver after each epoch; returns True to stop it.

    Parameters
    ----------
    units : Units
        Those the solver works in.
    validation : tuple or None
        X, y, weights and a baseline (t,) to score on, with early stopping.
    tol, patience : float, int
        Early stopping: stop after `patience` epochs without a gain of more than `tol` in the score.
    verbose : bool
        Print a line per epoch.
    task : Task
        Tells the callbacks.
    attributes : callable
        ``attributes(coef, intercept, losses, distances)`` are those of the estimator, as if the fit
        ended there.
    """

    def __init__(self, scaling, validation, tol, patience, verbose, task, attributes):
        self.scaling, self.validation, self.task, self.attributes = (
            scaling,
            validation,
            task,
            attributes,
        )
        self.tol, self.patience, self.verbose = tol, patience, verbose
        self.loss_history, self.distances, self.scores = [], [], []
        self.best, self.best_score, self.idle = None, -np.inf, 0
        self.last_checkpoint: Checkpoint | None = None
        self.started = time.perf_counter()

    def begin_epoch(self):
        """Called by a solver before each epoch."""
        self.task.begin_epoch()

    @property
    def n_epochs(self) -> int:
        """How many epochs are complete."""
        return len(self.loss_history)

    def checkpoint(self, solution):
        """An epoch is complete: an interrupted fit holds its `solution`, whose arrays must not change any more."""
        self.last_checkpoint = Checkpoint(solution, self.n_epochs, self.best)

    def __call__(self, solution, beta, b, loss, distance=None):
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
        # An epoch that overflowed has no model to show.
        shown = partial(self._attributes, beta, b) if np.isfinite(self.loss_history[-1]) else None
        return self.task.end_epoch(shown) or enough

    def histories(self):
        """Losses and distances after each epoch, as arrays."""
        return np.array(self.loss_history), np.array(self.distances)

    def _attributes(self, beta, b):
        return self.attributes(*to_original(beta, b, self.scaling), *self.histories())

    def _validate(self, beta, b):
        coef, intercept = to_original(beta, b, self.scaling)
        score = r2_against(coef, intercept, *self.validation)
        self.scores.append(score)
        self.idle = 0 if score > self.best_score + (self.tol or 0) else self.idle + 1
        if score > self.best_score:
            self.best, self.best_score = (coef, intercept), score
        return self.idle >= self.patience


def r2_against(coef, intercept, X, y, w, baseline):
    """R^2 of held-out rows against predicting `baseline`, averaged over targets; defined for a single row too."""
    error = w @ (X @ coef + intercept - y) ** 2
    spread = np.maximum(w @ (y - baseline) ** 2, np.finfo(float).tiny)
    return float(np.mean(1 - error / spread))
