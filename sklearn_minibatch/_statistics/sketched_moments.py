"""Moments of rows with many columns, with a sketch instead of the exact products of x."""

from typing import Any

import numpy as np
from scipy import sparse

from .blocks import row_blocks
from .moments import Moments, centred_where_full, column_moments, flag_underflow, rescaled_weights
from .second_moments import SecondMoments
from .sketch import DENSE_FEATURES, Sketch, count_sketch, n_buckets


def rows_per_sum(n_features: int, n_before: int) -> int:
    """Return how many rows are added to one sum of the sketch, after `n_before` rows.

    The first rows are not added to others, so that short data give enough sums. The number then
    grows until the Gram matrix of the sums takes no longer than reading the rows.
    """
    most = max(8, n_features // 32)
    return min(most, max(1, n_before // (2 * n_buckets(n_features))))


def sketched_moments(
    X: Any, y: np.ndarray, weight: np.ndarray | None, n_before: int, rng: Any
) -> SecondMoments:
    """Return second moments with a sketch instead of the products of x, in one pass.

    X (n, d) is dense or CSR, y is (n, t), and the weights are (n,) or None.
    """
    y_moments = column_moments(y, weight)
    w = np.ones(len(y)) if weight is None else weight
    gather = sparse_sketch if sparse.issparse(X) else dense_sketch
    return gather(X, w, y_moments, y - y_moments.mean, n_before, rng)


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


def dense_sketch(
    X: np.ndarray, w: np.ndarray, y: Moments, r: np.ndarray, n_before: int, rng: Any
) -> SecondMoments:
    """Compute `sketched_moments` of dense rows, with r (n, t) the difference of y from its mean.

    Products and sums are computed about an origin near the rows, in blocks that stay in cache.
    """
    n_rows, d = X.shape
    # Sums of squares about this origin are accurate, and exactly 0 for a constant column.
    origin = np.median(X[:15], axis=0) if w.min() == w.max() else X[w.argmax()]
    weight = float(w.sum())
    w = rescaled_weights(w)
    targets = w[:, None] * np.column_stack([np.ones(n_rows), r])
    products = np.zeros((d + 1, targets.shape[1]))
    squares = np.zeros(d)
    sums = []
    blocks = row_blocks(n_rows, d + 1)
    buffer = np.empty((blocks[0].stop, d + 1))
    for rows in blocks:
        T = buffer[: rows.stop - rows.start]
        np.subtract(X[rows], origin, out=T[:, :d])
        T[:, d] = 1.0
        products += T.T @ targets[rows]
        squares += np.einsum("i,ij,ij->j", w[rows], T[:, :d], T[:, :d])
        if d <= DENSE_FEATURES:
            T *= (np.sqrt(w[rows]) * rng.choice([-1.0, 1.0], len(T)))[:, None]
            sums.append(summed(T, rows_per_sum(d, n_before + rows.start)))
    products /= w.sum()
    offset = products[:d, 0]
    var = flag_underflow(np.maximum(squares / w.sum() - offset**2, 0.0), X)
    x = Moments(n_rows, weight, origin + offset, var)
    covariance = products[:d, 1:] - np.outer(offset, products[d, 1:])
    sketch = Sketch(origin, None, np.vstack(sums) / np.sqrt(w.sum())).folded() if sums else None
    return SecondMoments(x, y, covariance, None, sketch)


def summed(T: np.ndarray, rows_per_sum: int) -> np.ndarray:
    """Return sums of up to `rows_per_sum` rows of T each; the rows of a sum are equally spaced."""
    m = -(-len(T) // rows_per_sum)
    rest = len(T) % m
    sums = T[: len(T) - rest].reshape(-1, m, T.shape[1]).sum(axis=0)
    sums[:rest] += T[len(T) - rest :]
    return sums
