"""Sums over the rows of a pass, which show whether a later pass has the same rows as the first.

They do not depend on the order of the rows or the sizes of the chunks. The sums of the first pass
follow from its moments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._rows.chunk import Chunk
from .._statistics.arrays import as_dtype, as_float64, like, namespace, numpy_dtype, put, to_numpy
from .._statistics.blocks import row_blocks
from .._statistics.second_moments import CrossMoments, SecondMoments

# Relative differences of sums that may be rounding errors, also of the rows, which a source may
# recompute with other threads. Float32 rows are summed in float32, in blocks of this size.
TOLERANCES = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5}
BLOCK_ELEMENTS = 2**16
TINY = 1e-300
# Rows of X are summed with their weights times 1 + LEAN (y - mean) / std.
LEAN = 0.618


class Sums(NamedTuple):
    """Sums over rows: the weights w, the weights that lean on y, and X' times these.

    `x` is 0 in passes that do not check X. `tolerance` is that of the data type of X.
    """

    weight: float
    leaning: float
    x: np.ndarray | float  # (d,)
    tolerance: float

    def plus(self, other: Sums | None) -> Sums:
        """Return the sums of the rows of both."""
        if other is None:
            return self
        return Sums(
            self.weight + other.weight,
            self.leaning + other.leaning,
            self.x + other.x,
            max(self.tolerance, other.tolerance),
        )


class SameRows:
    """The sums of the first pass, from its moments, and those of later passes.

    The columns of X are checked in passes 2, 4, 8, ..., since this takes up to a third of a pass.
    """

    def __init__(self, first: CrossMoments | SecondMoments) -> None:
        x, y = first.x, first.y
        t = len(y.mean)
        # A fixed mixture of the targets with random weights, so that changes do not cancel.
        mixture = np.random.RandomState(0).uniform(0.5, 1.5, t)
        # The size of a constant target is its value, unless its inverse would overflow.
        size = np.where(np.abs(y.mean) < TINY, 1.0, np.abs(y.mean))
        scale = np.where(y.is_constant, size, np.sqrt(y.var))
        self.mixture = LEAN * mixture / scale / np.sqrt(t)
        self.constant = float(1.0 - y.mean @ self.mixture)
        self.n_rows = x.n_rows
        self.mean_weight = float(x.weight / x.n_rows)
        self.x = x.mean + first.xy @ self.mixture
        self.x_size = np.hypot(x.mean, np.sqrt(x.var))
        # The rounding error if y lies far from 0.
        self.rounding = np.finfo(float).eps * (1.0 + np.abs(y.mean) @ self.mixture)

    def sums(self, chunk: Chunk, n_pass: int) -> Sums:
        """Return the sums of a chunk."""
        y = as_float64(chunk.y)
        leaning = y @ like(self.mixture, y) + self.constant
        weight = float(chunk.n_rows)
        if chunk.w is not None:
            w = as_float64(chunk.w) / self.mean_weight
            leaning *= w
            weight = float(namespace(w).sum(w))
        elif self.mean_weight != 1:
            leaning /= self.mean_weight
            weight /= self.mean_weight
        of_x = weighted_sum(chunk.X, leaning) if looks_at_columns(n_pass) else 0.0
        tolerance = TOLERANCES[numpy_dtype(chunk.X)]
        return Sums(weight, float(namespace(leaning).sum(leaning)), of_x, tolerance)

    def difference(self, found: Sums, n_pass: int) -> str | None:
        """Return what differs from the first pass, or None."""
        # Not the number of rows found: with half_life, passes may drop different negligible rows.
        n = self.n_rows
        tolerance = found.tolerance + n * np.finfo(float).eps + self.rounding
        if not abs(found.weight / n - 1) <= tolerance:
            return "other weights than the first"
        if not abs(found.leaning / n - 1) <= tolerance:
            return "other targets than the first, or other weights beside them"
        if not looks_at_columns(n_pass):
            return None
        same = np.abs(found.x / n - self.x) <= tolerance * self.x_size
        return (
            None if same.all() else "other rows of X than the first, or other targets beside them"
        )


def looks_at_columns(n_pass: int) -> bool:
    """Return whether a pass is numbered by a power of 2."""
    return n_pass & (n_pass - 1) == 0


def weighted_sum(X: Any, a: Any) -> np.ndarray:
    """Return X'a (d,) in float64, for rows that are dense or CSR."""
    if sparse.issparse(X):
        return X.T @ a
    a = as_dtype(put(a, X), X.dtype)
    if numpy_dtype(X) == np.float64:
        return to_numpy(X.T @ a)
    total = np.zeros(X.shape[1])
    for rows in row_blocks(X.shape[0], X.shape[1], elements=BLOCK_ELEMENTS):
        total += to_numpy(X[rows, :].T @ a[rows])
    return total
