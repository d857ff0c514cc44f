"""Which rows early stopping holds out: equal ones together, whatever the rounding errors of X."""

from typing import Any

import numpy as np
from scipy import sparse

# Bits of a number that count: those of float32, so that a copy in float32 has the same rows out.
SIGNIFICANT_BITS = 24
# What is so much smaller than the largest number of its column is a rounding error of 0.
NEGLIGIBLE = 2.0**-44


def held_out(X: Any, y: np.ndarray, fraction: float, rng: Any) -> np.ndarray:
    """Mask (n,) of the rows to hold out: about `fraction` of them, at least one, never all.

    Rows are drawn by their content, as float32 would hold it. Equal rows stay on one side, so a
    validation score is never flattered by copies of training rows, and a row with weight 2 still is
    the same as the row twice.

    The rows with the smallest keys are held out, and a key depends on its row alone, but for what
    is negligible in its column. So a row that changes moves itself, and at most one other at the
    limit. A change by a relative 1e-15, as by another BLAS, gives one number in 10^8 another key.
    """
    start, *multipliers = rng.randint(0, 2**64, size=1 + X.shape[1] + y.shape[1], dtype=np.uint64)
    multipliers = np.array(multipliers) | np.uint64(1)
    # Without a start the key of a row of zeros would be the smallest, whatever the multipliers.
    keys = start + _hash(X, multipliers[: X.shape[1]]) + _hash(y, multipliers[X.shape[1] :])
    distinct, inverse = np.unique(keys, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(
            "early_stopping=True needs at least 2 different rows to hold some out, got "
            f"n_samples={X.shape[0]} with {len(distinct)} different to seven digits. "
            "Set early_stopping=False."
        )
    n_out = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    return inverse < n_out


def _hash(X: Any, multipliers: np.ndarray) -> np.ndarray:
    """One random 64-bit key per row; absent and explicit zeros count alike."""
    if not sparse.issparse(X):
        values = X.astype(np.float64)
        return _mixed(values, np.abs(values).max(axis=0, initial=0.0)) @ multipliers
    values, largest = X.data.astype(np.float64), np.zeros(X.shape[1])
    np.maximum.at(largest, X.indices, np.abs(values))
    terms = np.append(_mixed(values, largest[X.indices]) * multipliers[X.indices], np.uint64(0))
    cumulated = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype=np.uint64)])
    return cumulated[X.indptr[1:]] - cumulated[X.indptr[:-1]]


def _mixed(values: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Numbers, beside the largest of their column, rounded and as mixed bits; 0 for 0."""
    values[np.abs(values) <= NEGLIGIBLE * largest] = 0.0
    bits = values.view(np.uint64)
    dropped = np.uint64(53 - SIGNIFICANT_BITS)
    # To even where in the middle. A carry runs on into the exponent, as it should.
    odd = (bits >> dropped) & np.uint64(1)
    bits = (bits + ((np.uint64(1) << (dropped - np.uint64(1))) - np.uint64(1)) + odd) >> dropped
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    return bits
