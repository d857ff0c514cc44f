"""Rounds on workers of unequal speed, with partitions of unequal size, simulated."""

import numpy as np

from ..report import markdown


def stragglers(tiny):
    """Time of a round, in units of one in which no worker is ever idle."""
    rng, trials, n_workers = np.random.default_rng(0), 5 if tiny else 100, 64
    table = []
    for per_worker in (1, 4, 16):
        for name, even in (("equal", True), ("unequal", False)):
            times = [
                np.mean(
                    [a_round(rng, n_workers, per_worker, even, spread, slow) for _ in range(trials)]
                )
                for spread, slow in ((0.0, 1.0), (0.3, 1.0), (0.0, 5.0))
            ]
            table.append((per_worker, name, *[f"{time:.2f}" for time in times]))
    heads = [
        "partitions a worker",
        "of size",
        "equal workers",
        "speeds vary by 30 %",
        "one of 64 workers 5 times slower",
    ]
    return markdown(heads, table)


def a_round(rng, n_workers, per_worker, even, spread, slow):
    """Workers take the next partition when they are free.

    The round ends with the last partition.
    """
    n_parts = n_workers * per_worker
    sizes = np.ones(n_parts) if even else rng.exponential(1.0, n_parts)
    pace = np.exp(rng.normal(0, spread, n_workers))
    pace[0] *= slow
    free = np.zeros(n_workers)
    for size in sizes:
        worker = np.argmin(free)
        free[worker] += size * pace[worker]
    return free.max() / (sizes.sum() / (1 / pace).sum())
