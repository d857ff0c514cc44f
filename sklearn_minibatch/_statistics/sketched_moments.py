"""Moments of rows with more columns than exact products are made of: a sketch stands for those."""

from typing import Any

import numpy as np
from scipy import sparse

from .blocks import row_blocks
from .moments import Moments, centred_where_full, column_moments, flag_underflow, rescaled_weights
from .second_moments import SecondMoments
from .sketch import DENSE_FEATURES, Sketch, count_sketch, n_buckets


def rows_per_sum(n_features: int, n_before: int) -> int:
    """How many rows the sketch adds up, after so many.

    The first stay as they are, so that short data make enough sums; then ever more are added up,
    until the Gram matrix of the sums takes no longer than reading the rows.
    """
    most = max(8, n_features // 32)
    return min(most, max(1, n_before // (2 * n_buckets(n_features))))


def sketched_moments(
    X: Any, y: np.ndarray, weight: np.ndarray | None, n_before: int, rng: Any
) -> SecondMoments:
    """Moments of rows X (n, d), dense or CSR, and a sketch in place of the products of x with itself, in one read."""
    y_moments = column_moments(y, weight)
    w = np.ones(len(y)) if weight is None else weight
    gather = sparse_sketch if sparse.issparse(X) else dense_sketch
    return gather(X, w, y_moments, y - y_moments.mean, n_before, rng)


def sparse_sketch(
    X: Any, w: np.ndarray, y: Moments, r: np.ndarray, n_before: int, rng: Any
) -> SecondMoments:
    """The same of CSR rows, with the residuals r of y from its mean; about 0 in columns with zeros."""
    x = column_moments(X, w)
    n_rows, d = X.shape
    share = rescaled_weights(w) / rescaled_weights(w).sum()
    # The mean of r is 0 but for rounding, which counts where the columns or y are far from 0.
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
    """The same of dense rows, about an origin near them, block by block while they are in cache."""
    n_rows, d = X.shape
    # Sums of squares about it lose no digits, and those of a constant column are exactly 0.
    origin = np.median(X[:15], axis=0) if w.min() == w.max() else X[w.argmax()]
    weight, w = float(w.sum()), rescaled_weights(w)
    targets = w[:, None] * np.column_stack([np.ones(n_rows), r])
    products, squares, sums = np.zeros((d + 1, targets.shape[1])), np.zeros(d), []
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
    """Sums of up to so many rows of T each, taken at equal distances."""
    m = -(-len(T) // rows_per_sum)
    rest = len(T) % m
    sums = T[: len(T) - rest].reshape(-1, m, T.shape[1]).sum(axis=0)
    sums[:rest] += T[len(T) - rest :]
    return sums
