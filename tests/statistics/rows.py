"""Rows in chunks, drawn by Hypothesis, for statistics that are merged."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st


class ChunkedRows(NamedTuple):
    """Rows, weights or None, and the ends of chunks."""

    X: np.ndarray
    y: np.ndarray
    w: np.ndarray | None
    ends: list

    def parts(self, statistics, to_rows=np.asarray):
        """The statistics of each chunk that has rows."""
        X, y, w, ends = self
        for start, stop in pairwise(ends):
            if stop > start:
                part = slice(start, stop)
                yield statistics(to_rows(X[part]), y[part], None if w is None else w[part])


@st.composite
def chunked_rows(draw):
    """Rows of unlike columns, some constant or far from 0, in any chunks, with any weights."""
    n = draw(st.integers(1, 60))
    d, t = draw(st.integers(1, 12)), draw(st.integers(1, 15))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-5, 5, d)
    X += draw(st.sampled_from([0.0, 1.0, 1e6, 1e8])) * X.std(axis=0) * rng.choice([-1.0, 1.0], d)
    for j in draw(st.lists(st.integers(0, d - 1), max_size=2)):
        X[:, j] = draw(st.sampled_from([0.0, 0.1, -1e9]))
    y = rng.standard_normal((n, t)) + draw(st.sampled_from([0.0, 1e5]))
    weights = [None, rng.exponential(size=n) + 1e-3, 10.0 ** rng.uniform(-8, 8, n)]
    ends = sorted(draw(st.lists(st.integers(0, n), max_size=8)))
    return ChunkedRows(X, y, draw(st.sampled_from(weights)), [0, *ends, n])
