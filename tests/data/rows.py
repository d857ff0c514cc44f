"""Rows, chunks of them, and the distance to their closed form."""

import numpy as np
from hypothesis import strategies as st
from scipy import sparse

from sklearn_minibatch import ChunkSource

from ..oracles import closed_form, columns

ALPHA = 1e-3
KINDS = {
    "array": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "columns first": np.asfortranarray,
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "list": lambda X: X.tolist(),
}
CHUNK = st.tuples(
    st.integers(0, 60), st.sampled_from(sorted(KINDS)), st.sampled_from(["none", "ones", "some"])
)


def table(n=6000, d=8, targets=None, seed=0):
    """Correlated columns far from 0 and of unlike scales, one of them constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-3, 3, d) + 50 * np.arange(
        d
    )
    X[:, 2] = 7.0
    y = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9) @ rng.normal(size=(d, targets or 1))
    y += rng.normal(size=y.shape) + 3
    return X, y if targets else y[:, 0]


def cut(X, y, w=None, sizes=(700,)):
    """A source of the rows in chunks of the given sizes, the last of which repeats."""

    def chunks():
        start = k = 0
        while start < X.shape[0]:
            rows = slice(start, start + sizes[min(k, len(sizes) - 1)])
            yield (X[rows], y[rows]) if w is None else (X[rows], y[rows], w[rows])
            start, k = rows.stop, k + 1

    return ChunkSource(chunks)


def distance(model, X, y, w=None, **options):
    """RMS distance of the predictions to those of the closed form.

    In standard deviations of y; the largest over the targets.
    """
    exact = closed_form(X, y, model.alpha, w, **options).predict(X)
    weights = np.ones(len(exact)) if w is None else w
    gap = np.average((columns(model.predict(X)) - exact) ** 2, axis=0, weights=weights)
    y = columns(y)
    spread = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    return np.sqrt(np.max(gap / spread))


def map_to_file(path, X, y, dtype=np.float64, **options):
    """X and y as arrays mapped from files."""
    arrays = []
    for name, values in (("X", X), ("y", y)):
        array = np.memmap(path / name, dtype=dtype, mode="w+", shape=values.shape, **options)
        array[...] = values
        array.flush()
        arrays.append(np.memmap(path / name, dtype=dtype, mode="r", shape=values.shape, **options))
    return arrays


def spoilt(chunks, k, value):
    X = chunks[k][0].copy()
    X[3, 1] = value
    return [*chunks[:k], (X, chunks[k][1]), *chunks[k + 1 :]]
