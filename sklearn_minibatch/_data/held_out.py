"""Which rows early stopping holds out: equal ones together."""

import numpy as np
from scipy import sparse


def held_out(X, y, fraction, rng):
    """Mask (n,) of the rows to hold out for validation: about `fraction` of them, at least one, never all.

    Rows are drawn by their content. Equal rows stay on one side, so a validation score is never flattered by copies of
    training rows, and a row with weight 2 still is the same as the row twice.
    """
    multipliers = rng.randint(1, 2**62, size=X.shape[1] + y.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = _hash(X, multipliers[: X.shape[1]]) + _hash(y, multipliers[X.shape[1] :])
    distinct, inverse = np.unique(keys, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(
            f"early_stopping=True needs at least 2 different rows to hold some out, got n_samples={X.shape[0]} with "
            f"{len(distinct)} different. Set early_stopping=False."
        )
    n_out = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    return inverse < n_out


def _hash(X, multipliers):
    """One random 64-bit key per row (multiply and add, modulo 2^64); absent and explicit zeros count alike."""
    values = (X.data if sparse.issparse(X) else X).astype(np.float64)
    bits = (values + 0.0).view(np.uint64)
    bits ^= bits >> np.uint64(32)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    if not sparse.issparse(X):
        return bits @ multipliers
    terms = np.append(bits * multipliers[X.indices], np.uint64(0))
    cumulated = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype=np.uint64)])
    return cumulated[X.indptr[1:]] - cumulated[X.indptr[:-1]]
