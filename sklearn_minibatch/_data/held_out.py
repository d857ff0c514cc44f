"""Selection of the rows that early stopping holds out.

Equal rows are held out together, and rounding errors of X do not change the selection.
"""

from typing import Any

import numpy as np
from scipy import sparse

# Numbers are rounded to the precision of float32, so that the same rows are held out of a float32
# copy of X.
SIGNIFICANT_BITS = 24
# A number counts as 0 if its ratio to the largest of its column is at most this.
NEGLIGIBLE = 2.0**-44


def held_out(X: Any, y: np.ndarray, fraction: float, rng: Any) -> np.ndarray:
    """Return the mask (n,) of the rows to hold out.

    About `fraction` of the distinct rows are held out, at least one and never all. Each row has a
    random key that is a hash of its values, rounded to float32, and the rows with the smallest keys
    are held out. Equal rows are held out together, so copies of training rows cannot improve the
    validation score, and a row of weight 2 is equivalent to two rows.

    The key depends on the row alone, except that the column decides which numbers are negligible. A
    change of one row therefore affects this row and at most one other. A relative change of 1e-15,
    as by another BLAS, changes the key of one number in 10^8.
    """
    start, *multipliers = rng.randint(0, 2**64, size=1 + X.shape[1] + y.shape[1], dtype=np.uint64)
    multipliers = np.array(multipliers) | np.uint64(1)
    # Without the random start, a row of zeros would always have the smallest key.
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
    """Return a random 64-bit key for each row (n,); implicit and explicit zeros are equal."""
    if not sparse.issparse(X):
        values = X.astype(np.float64)
        return _mixed(values, np.abs(values).max(axis=0, initial=0.0)) @ multipliers
    values = X.data.astype(np.float64)
    largest = np.zeros(X.shape[1])
    np.maximum.at(largest, X.indices, np.abs(values))
    terms = np.append(_mixed(values, largest[X.indices]) * multipliers[X.indices], np.uint64(0))
    cumulated = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype=np.uint64)])
    return cumulated[X.indptr[1:]] - cumulated[X.indptr[:-1]]


def _mixed(values: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Round numbers and hash their bits; 0 gives 0.

    `largest` has the largest absolute value of the column of each number. `values` is overwritten.
    """
    values[np.abs(values) <= NEGLIGIBLE * largest] = 0.0
    bits = values.view(np.uint64)
    dropped = np.uint64(53 - SIGNIFICANT_BITS)
    # Ties are rounded to even. A carry into the exponent is correct.
    odd = (bits >> dropped) & np.uint64(1)
    bits = (bits + ((np.uint64(1) << (dropped - np.uint64(1))) - np.uint64(1)) + odd) >> dropped
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    return bits
