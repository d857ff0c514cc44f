"""Standardised rows in memory, dense or CSR, and the passes over them that the solvers ask for.

Every row i is held times s_i = sqrt(w_i / mean(w)), so that the weighted objective is the plain one:

    F(beta, b) = 1/(2n) ||Z beta + s b - y||^2 + alpha/2 ||beta||^2

Both kinds hold the stacked rows A = [Z, s, -y] of the textbook kernels.

The same is asked of these and of rows that come in chunks: `n_rows`, `n_features`, `dtype`; for "svrg" `residual_gradient`,
`curvature`, `sketch`, `batches`, `epoch`; for "sgd" `mean_square`, `largest_square_norm`, `batches`, `textbook_epoch`; and
for the choice of P and of the batch size `affords_dense` and `passes_are_dear`.
"""

import numpy as np
from scipy import sparse

from .dense import DenseRows
from .sparse import SparseRows, StandardizedCSR


def in_memory(X, y, weight, units, fit_intercept, mean_weight=1.0, order=None, n_jobs=1):
    """Rows of X, (n, d) dense or CSR, targets y (n, t) and weights (n,) or None, in `units` and the given order."""
    relative = relative_weights(weight, len(y), mean_weight)
    s = np.ones((len(y), 1)) if relative is None else np.sqrt(relative)[:, None]
    v = (y - units.y_mean) / units.y_scale * s
    if sparse.issparse(X):
        return SparseRows(X, v, s, units, fit_intercept, order)
    if order is not None:
        v, s = v[order], s[order]
    return DenseRows(X, v, s, units, fit_intercept, order, n_jobs)


def relative_weights(weight, n_rows, mean_weight):
    """Weights (n,) in units of the mean weight; None where all rows have that. Rows without weights have 1."""
    if weight is None and mean_weight == 1:
        return None
    return np.broadcast_to(1.0 if weight is None else weight, n_rows) / mean_weight


def centred(X, rows, mean):
    """X[rows] - mean in float64, for X (n, d) dense or CSR: an array, or an operator."""
    if sparse.issparse(X):
        return StandardizedCSR(X[rows], np.ones((len(rows), 1)), mean, np.ones(len(mean)))
    # `take` is the faster one, but begins by copying the whole of an array whose rows are not contiguous.
    taken = np.take(X, rows, axis=0) if X.flags.c_contiguous else X[rows]
    T = taken.astype(float, copy=False)
    T -= mean
    return T
