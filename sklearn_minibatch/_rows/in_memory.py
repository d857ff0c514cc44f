"""Rows in memory: dense or sparse, in scaled units."""

from typing import Any

import numpy as np
from scipy import sparse

from .._statistics.scaling import Scaling
from .dense import DenseRows
from .protocol import Rows
from .sparse import SparseRows, StandardizedCSR


def in_memory(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    scaling: Scaling,
    fit_intercept: bool,
    mean_weight: float = 1.0,
    order: np.ndarray | None = None,
    n_jobs: int = 1,
) -> Rows:
    """Rows of X, (n, d) dense or CSR, targets y (n, t) and weights (n,) or None, in `scaling` and the given order."""
    relative = relative_weights(weight, len(y), mean_weight)
    s = np.ones((len(y), 1)) if relative is None else np.sqrt(relative)[:, None]
    v = (y - scaling.y_mean) / scaling.y_scale * s
    if sparse.issparse(X):
        return SparseRows(X, v, s, scaling, fit_intercept, order)
    if order is not None:
        v, s = v[order], s[order]
    return DenseRows(X, v, s, scaling, fit_intercept, order, n_jobs)


def relative_weights(weight, n_rows, mean_weight):
    """Weights (n,) in units of the mean weight; None where all rows have that. Rows without weights have 1."""
    if weight is None and mean_weight == 1:
        return None
    return np.broadcast_to(1.0 if weight is None else weight, n_rows) / mean_weight


def centred(X, rows, mean):
    """X[rows] - mean in float64, for X (n, d) dense or CSR: an array, or an operator."""
    if sparse.issparse(X):
        return StandardizedCSR(X[rows], np.ones((len(rows), 1)), mean, np.ones(len(mean)))
    # `take` is the faster one, but begins by copying the whole of an array whose rows are not
    # contiguous.
    taken = np.take(X, rows, axis=0) if X.flags.c_contiguous else X[rows]
    T = taken.astype(float, copy=False)
    T -= mean
    return T
