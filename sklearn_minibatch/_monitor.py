"""What is watched while a solver runs: the loss history, a validation score, a line per epoch."""

import time
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ._scaler import to_original


class Stand(NamedTuple):
    """Where a fit stands at the end of an epoch."""

    found: Any  # what the solver would return
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
    """

    def __init__(self, units, validation, tol, patience, verbose, task):
        self.units, self.validation, self.task = units, validation, task
        self.tol, self.patience, self.verbose = tol, patience, verbose
        self.loss_history, self.distances, self.scores = [], [], []
        self.best, self.best_score, self.idle = None, -np.inf, 0
        self.stand = None
        self.started = time.perf_counter()

    def begin_epoch(self):
        """Called by a solver before each epoch."""
        self.task.begin_epoch()

    def keep(self, found):
        """An epoch is complete: an interrupted fit holds its `found`, whose arrays must not change any more."""
        self.stand = Stand(found, len(self.loss_history), self.best)

    def __call__(self, found, beta, b, loss, distance=None):
        self.loss_history.append(float((loss * self.units.y_scale) @ self.units.y_scale))
        if distance is not None:
            self.distances.append(float(np.max(distance)))
        if self.verbose:
            seconds = time.perf_counter() - self.started
            far = "" if distance is None else f"  distance to closed form {self.distances[-1]:.1e} std(y)"
            print(f"epoch {len(self.loss_history):4d}  loss {self.loss_history[-1]:.8g}{far}  {seconds:.3f} s")
        enough = self.validation is not None and self._validate(beta, b)
        self.keep(found)
        # An epoch that overflowed has no model to show.
        shown = (lambda: self._attributes(beta, b)) if np.isfinite(self.loss_history[-1]) else None
        return self.task.end_epoch(shown) or enough

    def histories(self):
        """Losses and distances after each epoch, as arrays."""
        return np.array(self.loss_history), np.array(self.distances)

    def _attributes(self, beta, b):
        coef, intercept = self.task.estimator._in_shape(*to_original(beta, b, self.units))
        losses, distances = self.histories()
        history = {"loss_history_": losses, "distance_history_": distances, "n_iter_": len(losses)}
        return {"coef_": coef, "intercept_": intercept, **history}

    def _validate(self, beta, b):
        coef, intercept = to_original(beta, b, self.units)
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


def held_out(X, y, fraction, rng):
    """Mask (n,) of the rows to hold out for validation: about `fraction` of them, at least one, never all.

    Rows are drawn by their content. Equal rows stay on one side, so a validation score is never flattered by copies of
    training rows, and a row with weight 2 still is the same as the row twice.
    """
    multipliers = rng.randint(1, 2**62, size=X.shape[1] + y.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = _hash(X, multipliers[: X.shape[1]]) + _hash(y, multipliers[X.shape[1] :])
    distinct, inverse = np.unique(keys, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(
            f"early_stopping=True needs at least 2 different rows to hold some out, got n_samples={X.shape[0]} with "
            f"{len(distinct)} different. Set early_stopping=False."
        )
    n_out = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    return inverse < n_out


def _hash(X, multipliers):
    """One random 64-bit key per row (multiply and add, modulo 2^64); absent and explicit zeros count alike."""
    values = (X.data if sparse.issparse(X) else X).astype(np.float64)
    bits = (values + 0.0).view(np.uint64)
    bits ^= bits >> np.uint64(32)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    if not sparse.issparse(X):
        return bits @ multipliers
    terms = np.append(bits * multipliers[X.indices], np.uint64(0))
    cumulated = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype=np.uint64)])
    return cumulated[X.indptr[1:]] - cumulated[X.indptr[:-1]]
