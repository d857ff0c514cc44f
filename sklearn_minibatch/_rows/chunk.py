"""A chunk of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse


class Chunk(NamedTuple):
    """Rows of positive weight.

    X (c, d) is dense or CSR, y is (c, t), and w is (c,) or None. Chunks are numbered from 1.
    """

    number: int
    X: Any
    y: np.ndarray
    w: np.ndarray | None

    def part(self, rows: Any) -> Chunk:
        """Return the given rows as a chunk; `rows` is a slice or an array of indices."""
        w = None if self.w is None else self.w[rows]
        return Chunk(self.number, self.X[rows], self.y[rows], w)


def joined(a: Chunk, b: Chunk) -> Chunk:
    """Return the rows of `a` followed by those of `b` as one chunk."""
    any_sparse = sparse.issparse(a.X) or sparse.issparse(b.X)
    X = (
        sparse.vstack([sparse.csr_array(each.X) for each in (a, b)], format="csr")
        if any_sparse
        else np.vstack([a.X, b.X])
    )
    w = None
    if a.w is not None or b.w is not None:
        w = np.concatenate([np.ones(len(one.y)) if one.w is None else one.w for one in (a, b)])
    return Chunk(b.number, X, np.vstack([a.y, b.y]), w)
