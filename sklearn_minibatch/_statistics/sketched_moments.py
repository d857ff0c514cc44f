"""Moments of rows with many columns, with a sketch instead of the exact products of x."""

from typing import Any

import numpy as np
from scipy import sparse

from .arrays import empty, like, minus, namespace, ones, pass_elements, to_numpy
from .blocks import row_blocks
from .linalg import dot
from .moments import (
    Moments,
    centred_where_full,
    column_moments,
    flag_underflow,
    rescaled_weights,
    total_weight,
)
from .second_moments import SecondMoments
from .sketch import DENSE_FEATURES, Sketch, count_sketch, n_buckets


def rows_per_sum(n_features: int, n_before: int) -> int:
    """Return how many rows are added to one sum of the sketch, after `n_before` rows.

    The first rows are not added to others, so that short data give enough sums. The number then
    grows until the Gram matrix of the sums takes no longer than reading the rows.
    """
    most = max(8, n_features // 32)
    return min(most, max(1, n_before // (2 * n_buckets(n_features))))


def sketched_moments(X: Any, y: Any, weight: Any, n_before: int, rng: Any) -> SecondMoments:
    """Return second moments with a sketch instead of the products of x, in one pass.

    X (n, d) is dense or CSR, y is (n, t), and the weights are (n,) or None.
    """
    y_moments = column_moments(y, weight)
    residual = minus(y, y_moments.mean)
    w = ones(y.shape[0], residual) if weight is None else weight
    gather = sparse_sketch if sparse.issparse(X) else dense_sketch
    return gather(X, w, y_moments, residual, n_before, rng)


def sparse_sketch(
    X: Any, w: np.ndarray, y: Moments, r: np.ndarray, n_before: int, rng: Any
) -> SecondMoments:
    """Compute `sketched_moments` of CSR rows, with r (n, t) the difference of y from its mean.

    Products and sums are computed about 0 in columns that have zeros.
    """
    x = column_moments(X, w)
    n_rows, d = X.shape
    share = rescaled_weights(w) / rescaled_weights(w).sum()
    # The mean of r is 0 up to rounding, which matters if the columns or y are far from 0.
    T, mean = centred_where_full(X, x.mean)
    covariance = T.T @ (share[:, None] * r) - np.outer(mean, share @ r)
    if d > DENSE_FEATURES:
        return SecondMoments(x, y, covariance)
    S = count_sketch(n_rows, -(-n_rows // rows_per_sum(d, n_before)), rng)
    S.data *= np.sqrt(share)
    sums = np.column_stack([(S @ T).toarray(), S.sum(axis=1)])
    return SecondMoments(x, y, covariance, None, Sketch(x.mean - mean, None, sums).folded())


def dense_sketch(X: Any, w: Any, y: Moments, r: Any, n_before: int, rng: Any) -> SecondMoments:
    """Compute `sketched_moments` of dense rows, with r (n, t) the difference of y from its mean.

    Products and sums are computed about an origin near the rows, in blocks that stay in cache.
    """
    n_rows, d = X.shape
    xp = namespace(r)
    weight = total_weight(X, w)
    w = rescaled_weights(w)
    # Sums of squares about this origin are accurate, and exactly 0 for a constant column.
    heaviest = int(xp.argmax(w))
    if bool(xp.min(w) == w[heaviest]):
        origin = np.median(to_numpy(X[: min(15, n_rows), :]), axis=0)
    else:
        origin = to_numpy(X[heaviest : heaviest + 1, :])[0]
    total = float(xp.sum(w))
    root = xp.sqrt(w)
    products = np.zeros((d + 1, 1 + r.shape[1]))
    squares = np.zeros(d)
    sums = []
    blocks = row_blocks(n_rows, d + 1, elements=pass_elements(X))
    buffer = empty((blocks[0].stop, d + 1), r)
    for rows in blocks:
        T = buffer[: rows.stop - rows.start, :]
        minus(X[rows, :], origin, out=T[:, :d])
        T[:, d] = 1.0
        T *= root[rows, None]
        products[:, :1] += to_numpy(T.T @ T[:, d:])
        products[:, 1:] += to_numpy(T.T @ (root[rows, None] * r[rows, :]))
        squares += to_numpy(dot(T[:, :d], T[:, :d]))
        if d <= DENSE_FEATURES:
            T *= like(rng.choice([-1.0, 1.0], (T.shape[0], 1)), T)
            sums.append(to_numpy(summed(T, rows_per_sum(d, n_before + rows.start))))
    products /= total
    offset = products[:d, 0]
    var = flag_underflow(np.maximum(squares / total - offset**2, 0.0), X)
    x = Moments(n_rows, weight, origin + offset, var)
    covariance = products[:d, 1:] - np.outer(offset, products[d, 1:])
    sketch = Sketch(origin, None, np.vstack(sums) / np.sqrt(total)).folded() if sums else None
    return SecondMoments(x, y, covariance, None, sketch)


def summed(T: Any, rows_per_sum: int) -> Any:
    """Return sums of up to `rows_per_sum` rows of T each; the rows of a sum are equally spaced."""
    xp = namespace(T)
    n_rows, width = T.shape
    m = -(-n_rows // rows_per_sum)
    rest = n_rows % m
    sums = xp.sum(xp.reshape(T[: n_rows - rest, :], (-1, m, width)), axis=0)
    sums[:rest, :] += T[n_rows - rest :, :]
    return sums
