"""The rows of which files and partitions are made."""

import numpy as np

COLUMNS = 50
ALPHA = 1e-6
WEIGHTS = np.random.default_rng(1).normal(size=COLUMNS)


def some_rows(n, seed, weights):
    """Correlated rows, and targets."""
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(n, len(weights))), axis=1) + 3
    return X, X @ weights + rng.normal(size=n) * len(weights)
