"""The sketch of a stream against the rows that are in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sklearn_minibatch._solvers.curvature import (
    add_rows,
    flush_pending,
    initial_curvature,
    scaled_sketch,
)
from sklearn_minibatch._statistics.moments import column_moments, merge_columns


def sketched(chunks, weights, seed):
    """The curvature of a stream of chunks, of which none waits, and the moments of its rows."""
    rng = np.random.RandomState(seed)
    before = column_moments(chunks[0], weights[0])
    curvature = add_rows(
        initial_curvature(before, "auto"), chunks[0], weights[0], before, before, rng
    )
    for X, w in zip(chunks[1:], weights[1:], strict=True):
        now = merge_columns(before, column_moments(X, w))
        curvature = add_rows(curvature, X, w, before, now, rng)
        before = now
    return flush_pending(curvature, rng), before


def gram_of_sketch(curvature, moments):
    rows = scaled_sketch(curvature, moments.mean, moments.scale)
    return rows.T @ rows


def gram_of_rows(X, w, moments):
    Z = (X - moments.mean) / moments.scale
    return (w[:, None] * Z).T @ Z / w.sum()


@given(
    seed=st.integers(0, 2**16),
    sizes=st.lists(st.one_of(st.integers(1, 5), st.integers(100, 600)), min_size=1, max_size=4),
    offset=st.sampled_from([0.0, 1e3]),
    kind=st.sampled_from(["dense", "float32", "sparse"]),
)
def test_with_no_more_rows_than_sums_the_sketch_has_the_gram_matrix_of_the_rows(
    seed, sizes, offset, kind
):
    rng = np.random.default_rng(seed)
    sizes = sizes[: 1 + int(np.searchsorted(np.cumsum(sizes), 1000))]
    sizes[-1] -= max(0, sum(sizes) - 1000)
    X = (rng.normal(size=(sum(sizes), 3)) + offset).astype(
        np.float32 if kind == "float32" else float
    )
    w = rng.uniform(0.1, 10, len(X))
    starts = np.cumsum(sizes)[:-1]
    chunks = np.split(X, starts)
    if kind == "sparse":
        chunks = [sparse.csr_array(each) for each in chunks]
    curvature, moments = sketched(chunks, np.split(w, starts), seed)
    exact = gram_of_rows(X, w, moments)
    np.testing.assert_allclose(gram_of_sketch(curvature, moments), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("n", "size", "n_streams"), [(2100, 7, 100), (2100, 700, 100), (24000, 1500, 40)]
)
def test_with_more_rows_than_sums_it_has_the_gram_matrix_in_the_mean(n, size, n_streams):
    """Of 24,000 rows, some chunks are passed over, and the others have larger weights."""
    rng = np.random.default_rng(0)
    # Far from the origin of the sketch, which is the mean of the first chunk, signs matter.
    X = rng.normal(size=(n, 2)) + 5 * (np.arange(n) >= size)[:, None]
    w = rng.uniform(0.5, 2, n)
    starts = range(size, n, size)
    grams = []
    for seed in range(n_streams):
        curvature, moments = sketched(np.split(X, starts), np.split(w, starts), seed)
        grams.append(gram_of_sketch(curvature, moments))
    error = np.mean(grams, axis=0) - gram_of_rows(X, w, moments)
    assert np.abs(error).max() < 5 * np.std(grams, axis=0).max() / np.sqrt(n_streams)


def test_rows_that_are_added_leave_the_curvature_before_as_it_was():
    rng = np.random.default_rng(0)
    chunks, weights = np.split(rng.normal(size=(1800, 2)), 3), np.ones((3, 600))
    before, moments = sketched(chunks[:2], weights[:2], 0)
    blocks = [each.copy() for each in before.blocks]
    now = merge_columns(moments, column_moments(chunks[2], weights[2]))
    after = add_rows(before, chunks[2], weights[2], moments, now, np.random.RandomState(1))
    np.testing.assert_array_equal(before.blocks, blocks)
    assert after.n_added == before.n_added + 600
