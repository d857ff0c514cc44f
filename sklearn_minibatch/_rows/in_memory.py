"""Dense or sparse rows in memory, in scaled units."""

from typing import Any

import numpy as np
from scipy import sparse

from .._statistics.arrays import as_float64, like, minus, namespace, ones, take
from .._statistics.moments import centred_where_full
from .._statistics.scaling import Scaling
from .dense import DenseRows
from .protocol import Rows
from .sparse import CentredCSR, SparseRows


def in_memory(
    X: Any,
    y: Any,
    weight: Any,
    scaling: Scaling,
    fit_intercept: bool,
    mean_weight: float = 1.0,
    order: np.ndarray | None = None,
    n_jobs: int = 1,
) -> Rows:
    """Return the rows in scaled units, in the given order.

    X (n, d) is dense or CSR, y is (n, t), the weights are (n,) or None, and the order is (n,) or
    None.
    """
    v = minus(y, scaling.y_mean)
    relative = relative_weights(weight, v, mean_weight)
    s = (ones(v.shape[0], v) if relative is None else namespace(relative).sqrt(relative))[:, None]
    v = v / like(scaling.y_scale, v) * s
    if sparse.issparse(X):
        return SparseRows(X, v, s, scaling, fit_intercept, order)
    if order is not None:
        v = take(v, order)
        s = take(s, order)
    return DenseRows(X, v, s, scaling, fit_intercept, order, n_jobs)


def relative_weights(weight: Any, y: Any, mean_weight: float) -> Any:
    """Return the weights (n,) divided by the mean weight, on the device of y (n, t).

    Without weights, rows have weight 1; the result is then None if the mean weight is also 1.
    """
    if weight is None and mean_weight == 1:
        return None
    w = ones(y.shape[0], as_float64(y)) if weight is None else as_float64(weight)
    return w / mean_weight


def centred(X: Any, rows: np.ndarray, mean: np.ndarray) -> Any:
    """Return X[rows] - mean in float64, an array for dense X and an operator for CSR.

    X is (n, d), rows (m,), and mean (d,).
    """
    if sparse.issparse(X):
        # Full columns are centred here, so that a constant column is exactly 0.
        taken, mean = centred_where_full(X[rows], mean)
        return CentredCSR(taken, np.ones((len(rows), 1)), mean)
    # `take` is faster, but copies the whole array first if its rows are not contiguous.
    taken = np.take(X, rows, axis=0) if X.flags.c_contiguous else X[rows]
    T = taken.astype(float, copy=False)
    T -= mean
    return T
