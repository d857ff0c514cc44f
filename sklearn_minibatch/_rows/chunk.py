"""A chunk of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._statistics.arrays import (
    as_float64,
    concatenated,
    copied,
    is_numpy,
    like,
    ones,
    take,
    to_numpy,
)

# Rows with a smaller fraction of the largest weight do not change any digit.
NEGLIGIBLE = 1e-200


class Chunk(NamedTuple):
    """Rows of positive weight.

    X (c, d) is dense or CSR, y is (c, t), and w is (c,) or None; all are on one device. Chunks are
    numbered from 1.
    """

    number: int
    X: Any
    y: Any
    w: Any

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self.y.shape[0]

    def part(self, rows: slice) -> Chunk:
        """Return the rows of a slice as a chunk."""
        w = None if self.w is None else self.w[rows]
        return Chunk(self.number, self.X[rows, :], self.y[rows, :], w)

    def taken(self, rows: np.ndarray) -> Chunk:
        """Return a copy of the rows with these indices as a chunk."""
        w = None if self.w is None else take(self.w, rows)
        return Chunk(self.number, take(self.X, rows), take(self.y, rows), w)

    def copied(self) -> Chunk:
        """Return a copy of the rows as a chunk."""
        w = None if self.w is None else copied(self.w)
        return Chunk(self.number, copied(self.X), copied(self.y), w)

    def aged(self, half_life: float | None, share: float = 1.0) -> Chunk:
        """Return the chunk with weights that halve for every `half_life` rows before the last.

        `share` multiplies these weights. The first rows are left out if their weight is negligible.
        Without a half-life the chunk is returned unchanged.
        """
        if half_life is None:
            return self
        age = np.arange(self.n_rows)[::-1]
        weights = share * 0.5 ** (age / half_life)
        if self.w is not None:
            weights = weights * to_numpy(as_float64(self.w))
        kept = np.flatnonzero(weights >= NEGLIGIBLE * weights.max())
        chunk = self if len(kept) == self.n_rows else self.part(slice(int(kept[0]), None))
        return chunk._replace(w=like(weights[-chunk.n_rows :], as_float64(chunk.y)))

    def in_numpy(self) -> Chunk:
        """Return the chunk in NumPy arrays."""
        if is_numpy(self.X):
            return self
        w = None if self.w is None else to_numpy(as_float64(self.w))
        return Chunk(self.number, to_numpy(self.X), to_numpy(as_float64(self.y)), w)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return the rows of several chunks, in their order, as one chunk."""
    if len(chunks) == 1:
        return chunks[0]
    if any(sparse.issparse(each.X) for each in chunks):
        X = sparse.vstack([sparse.csr_array(each.X) for each in chunks], format="csr")
    else:
        X = concatenated([each.X for each in chunks])
    w = None
    if any(each.w is not None for each in chunks):
        parts = [ones(each.n_rows, each.y) if each.w is None else each.w for each in chunks]
        w = concatenated(parts)
    return Chunk(chunks[-1].number, X, concatenated([each.y for each in chunks]), w)
