"""A chunk of rows."""

from typing import NamedTuple

import numpy as np
from scipy import sparse


class Chunk(NamedTuple):
    """Rows of positive weight: X (c, d) dense or CSR, y (c, t), w (c,) or None; chunks count from 1."""

    number: int
    X: np.ndarray
    y: np.ndarray
    w: np.ndarray | None

    def part(self, rows):
        """Some of its rows."""
        return Chunk(
            self.number, self.X[rows], self.y[rows], None if self.w is None else self.w[rows]
        )


def joined(a, b):
    """The rows of `a`, then those of `b`, as one chunk."""
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
