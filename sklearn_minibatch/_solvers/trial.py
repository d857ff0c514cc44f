"""A trial of "svrg" on sparse samples in memory, and the closed form if it takes too long.

If sparse samples have few entries but many products, "svrg" may converge in a fraction of the time
of the closed form. Whether it does depends on the eigenvalues, which are not known beforehand. So
it is tried, and given up as soon as its convergence rate shows that it will take longer.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from . import cholesky, dual, svrg
from .problem import Monitor, Parameters, Problem, Settings, Solution

# With fewer epochs than this, the rate is unknown.
FIRST_LOOK = 5
# Conjugate gradients accelerate, so a trial may seem to need this many times more epochs.
PATIENCE = 1.2


def solve(
    problem: Problem,
    start: Parameters,
    settings: Settings,
    rng: Any,
    monitor: Monitor,
    n_epochs: int,
) -> Solution:
    """Minimise F by "svrg", or by "cholesky" if that does not converge in `n_epochs`."""
    assert settings.tol is not None, "without a tolerance nothing tells when to stop"
    trial = Trial(monitor, settings.tol, n_epochs)
    solution = svrg.solve(problem, start, replace(settings, max_iter=n_epochs), rng, trial)
    if not trial.is_vain and solution.warning is None:
        return solution
    if problem.statistics.x.n_rows < len(problem.scaling.x_scale):
        exact = replace(problem, statistics=problem.samples.gather("row products"))
        return replace(dual.solve(exact, start, settings, rng, monitor), solver="cholesky")
    exact = replace(problem, statistics=problem.samples.gather("products"))
    solution = cholesky.solve(exact, start, settings, rng, monitor)
    return replace(solution, solver="cholesky", statistics=exact.statistics)


class Trial:
    """A monitor that also stops a fit whose rate shows that it takes more than `n_epochs`."""

    def __init__(self, monitor: Monitor, tol: float, n_epochs: int) -> None:
        self.monitor = monitor
        self.tol = tol
        self.n_epochs_worth = n_epochs
        self.distances: list[float] = []
        self.is_vain = False

    @property
    def n_epochs(self) -> int:
        """How many epochs have ended."""
        return self.monitor.n_epochs

    def begin_epoch(self) -> None:
        """Report that an epoch begins."""
        self.monitor.begin_epoch()

    def __call__(
        self,
        solution: Solution,
        beta: np.ndarray,
        b: np.ndarray,
        loss: np.ndarray,
        distance: np.ndarray | None = None,
    ) -> bool:
        """Report that an epoch has ended at these parameters; return whether to stop there."""
        stop = self.monitor(solution, beta, b, loss, distance)
        assert distance is not None
        self.distances.append(float(np.max(distance)))
        self.is_vain = not stop and self.epochs_needed() > PATIENCE * self.n_epochs_worth
        return stop or self.is_vain

    def epochs_needed(self) -> float:
        """Return the number of epochs to `tol` at the rate of the later half of the epochs."""
        n = len(self.distances)
        if n < FIRST_LOOK or self.distances[-1] <= self.tol:
            return n
        half = n // 2
        fall = np.log(self.distances[half - 1] / self.distances[-1])
        if not fall > 0:
            return np.inf
        return n + (n - half) * np.log(self.distances[-1] / self.tol) / fall
