"""Variance-reduced mini-batch SGD that converges to the closed form.

Each epoch of mini-batch steps gives a direction for an exact line search by conjugate gradients. So
the objective falls in every epoch, whatever the learning rate and the batch size.
"""

from typing import Any

import numpy as np

from .._rows.protocol import Rows, Steps
from .._statistics.linalg import TINY, dot
from .conjugate_gradients import MiniBatches, Point, Quadratic, cut_rate, minimise
from .learning_rate import largest_eigenvalue
from .penalty import least_of_targets
from .preconditioner import Diagonal, Preconditioner, preconditioner
from .problem import Monitor, Parameters, Problem, Settings, Solution

# The batch size that "auto" stands for: large enough for NumPy, small enough for many steps.
BATCH_SIZE = 2048
# Fewer mini-batches than this give a direction no better than a full-batch step, which needs no
# additional pass.
FEW_BATCHES = 8
# Squares of such numbers do not overflow.
HUGE = 1e100


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Monitor
) -> Solution:
    """Minimise F from `start`, with mini-batches in random order if `settings.shuffle`."""
    rows = problem.rows
    P = preconditioner(problem, settings, rng)
    batch_size = resolved_batch_size(settings.batch_size, rows, P)
    quadratic = Quadratic(rows, settings.penalty, P, problem.lengths)
    mini_batches = None
    lr = 1.0 if settings.lr == "auto" else float(settings.lr)
    if batch_size < rows.n_rows:
        if settings.lr == "auto":
            lr = rate_of_batches(settings, rows, batch_size, P, rng)
        order_rng = rng if settings.shuffle else None

        def epoch(at: Point, lr: float) -> tuple[np.ndarray, float]:
            steps = Steps(batch_size, at.g, settings.penalty, P.solve, lr)
            return safeguarded(rows.epoch(steps, order_rng), lr, at)

        mini_batches = MiniBatches(epoch, batch_size)
    return minimise(quadratic, start[0], settings, monitor, mini_batches, lr)


def resolved_batch_size(batch_size: int | str, rows: Rows, P: Preconditioner) -> int:
    """Return the rows per mini-batch.

    "auto" takes so many that their products take longer than the work between two mini-batches, or
    all rows if mini-batches would not pay.
    """
    if not isinstance(batch_size, str):
        return min(batch_size, rows.n_rows)
    chosen = max(BATCH_SIZE, 2 * rows.n_features)
    few = rows.n_rows < FEW_BATCHES * chosen
    return rows.n_rows if isinstance(P, Diagonal) or rows.passes_are_expensive or few else chosen


def rate_of_batches(
    settings: Settings, rows: Rows, batch_size: int, P: Preconditioner, rng: Any
) -> float:
    """Return 1 / (the largest curvature of a few mini-batches)."""
    largest = largest_eigenvalue(
        rows.batches(batch_size, 8, rng), least_of_targets(settings.penalty), P.solve, rng
    )
    # With constant columns and alpha=0 there is no curvature, and any rate will do.
    return 1 / largest if largest > TINY else 1.0


def safeguarded(v: np.ndarray, lr: float, at: Point) -> tuple[np.ndarray, float]:
    """Return `v` (d, t) and `lr`, or a lower rate if some `v` is huge or no descent direction.

    For these targets `v` is replaced by -P^-1 g.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        descends = (dot(at.g, v) < 0) & (np.abs(v).max(axis=0) < HUGE)
    failed = ~descends & at.g.any(axis=0)
    if not failed.any():
        return v, lr
    return np.where(failed, -at.Pg, v), cut_rate(lr)
