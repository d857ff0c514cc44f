"""The triangular factor of any chunks, merged in any order, has the products of all rows at once.

They are compared with products in double-double arithmetic, and, where columns nearly follow from
others, with what distinguishes them.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sklearn_minibatch._solvers.qr import closed_form
from sklearn_minibatch._statistics import triangular_factor as module
from sklearn_minibatch._statistics.blocks import row_blocks
from sklearn_minibatch._statistics.scaling import scaling_of
from sklearn_minibatch._statistics.second_moments import merge, second_moments
from sklearn_minibatch._statistics.triangular_factor import (
    no_triangular_factor,
    rotated_rows,
    triangular_factor,
)

from ..double_double import as_double_double, hstack
from ..examples import examples
from ..least_squares import gram_schmidt, standardized
from .rows import ChunkedRows, chunked_rows

EPS = np.finfo(float).eps


def merged(parts, random):
    """The parts merged in any order."""
    heap = list(parts)
    while len(heap) > 1:
        a, b = (heap.pop(random.randrange(len(heap))) for _ in range(2))
        heap.append(merge(a, b))
    return heap[0]


def exact_rows(X, y, w):
    """The centred rows [x, y] times sqrt(w / W) in double-double, and the means."""
    rows = standardized(np.hstack([X, y]), np.zeros(len(y)), w, standardize=False)
    return rows.A, np.array(rows.x_mean)


def assert_reduced(R):
    assert R.shape[0] <= R.shape[1]


@examples(100)
@given(
    chunked_rows(),
    st.randoms(use_true_random=False),
    st.sampled_from([np.asarray, sparse.csr_array, np.asfortranarray]),
)
def test_any_chunks_in_any_order_of_merging(problem, random, to_rows):
    X, y, w, _ = problem
    d = X.shape[1]
    found = merged(problem.parts(triangular_factor, to_rows), random)
    A, mean = exact_rows(X, y, w)
    length = np.linalg.norm(A.high, axis=0)
    assert found.R.shape[1] == d
    assert_reduced(found.R)
    assert found.x.n_rows == len(X)
    assert np.all(np.abs(found.x.mean - mean[:d]) <= 20 * EPS * (length[:d] + np.abs(mean[:d])))
    own = hstack([as_double_double(found.R), as_double_double(found.Q)])
    for j in range(d):
        exact = np.array((A[:, j : j + 1] * A).sum())
        ours = np.array((own[:, j : j + 1] * own).sum())
        assert np.all(np.abs(ours - exact) <= 100 * EPS * length[j] * length)
    squares = np.array((own * own).sum())[d:] + found.rest
    np.testing.assert_allclose(squares, length[d:] ** 2, rtol=100 * EPS, atol=1e-300)
    np.testing.assert_allclose(found.y.var, length[d:] ** 2, rtol=1e-9)
    constant = np.ptp(X, axis=0) == 0
    assert not found.R[:, constant].any()


@examples(50)
@given(chunked_rows(), st.randoms(use_true_random=False), st.sampled_from([0.0, 1e-20, 1e-3]))
def test_coefficients_of_constant_columns_are_exactly_0(problem, random, alpha):
    found = merged(problem.parts(triangular_factor), random)
    for fit_intercept, standardize in [(True, True), (True, False)]:
        scaling = scaling_of(found.x, found.y, fit_intercept, standardize)
        beta = closed_form(rotated_rows(found, scaling), alpha).beta
        assert not beta[np.ptp(problem.X, axis=0) == 0].any()
        assert np.isfinite(beta).all()


def volume(R):
    """What is left of all columns together, each relative to its length."""
    return float(np.abs(np.prod(np.diag(R) / np.linalg.norm(R, axis=0))))


@examples(100)
@given(
    seed=st.integers(0, 2**20),
    n=st.integers(10, 60),
    d=st.integers(2, 5),
    exponent=st.floats(3, 13),
    far=st.sampled_from([0.0, 1.0, 1e3]),
    weighted=st.booleans(),
    size=st.sampled_from([1, 2, 7, 60]),
    random=st.randoms(use_true_random=False),
)
def test_digits_where_products_have_none(seed, n, d, exponent, far, weighted, size, random):
    """The last column is 10^-exponent of its length apart from a sum of the others."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + far
    X[:, -1] = X[:, :-1].sum(axis=1) + 10**-exponent * rng.standard_normal(n)
    y = rng.standard_normal((n, 1))
    w = rng.exponential(size=n) if weighted else None
    found = merged(ChunkedRows(X, y, w, [*range(0, n, size), n]).parts(triangular_factor), random)
    A, _ = exact_rows(X, y, w)
    exact = gram_schmidt(A[:, :d], A[:, d:])
    of_all = volume(np.array(exact.R)[:, exact.order])
    assert abs(volume(found.R) - of_all) <= 200 * EPS * (1 + far)
    rotated = closed_form(rotated_rows(found, scaling_of(found.x, found.y, True, True)), 0.0)
    fitted = A.high[:, :d] / found.x.scale @ rotated.beta * found.y.scale
    truth = np.array(A[:, d:] - exact.residuals[-1])
    noise = 100 * EPS * (1 + far) * np.linalg.norm(A.high[:, d:]) * 10**exponent
    assert np.linalg.norm(fitted - truth) <= noise


def test_products_have_none_of_these_digits():
    """What the factor is for: at 1e-10 the Gram matrix is wrong in all digits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 2))
    X[:, 1] = X[:, 0] + 1e-10 * X[:, 1]
    y = X[:, :1]
    gram = second_moments(X, y, None).xx
    of_products = np.sqrt(max(1 - gram[0, 1] ** 2 / gram[0, 0] / gram[1, 1], 0.0))
    A, _ = exact_rows(X, y, None)
    exact = gram_schmidt(A[:, :2], A[:, 2:]).lengths[1]
    assert volume(triangular_factor(X, y, None).R) == pytest.approx(exact, rel=1e-5)
    assert abs(of_products - exact) > 0.1 * exact


@examples(50)
@given(chunked_rows(), st.randoms(use_true_random=False))
def test_a_weight_is_a_repetition(problem, random):
    X, y, _, ends = problem
    w = np.random.default_rng(len(X)).integers(1, 4, len(X))
    weighted = merged(ChunkedRows(X, y, w.astype(float), ends).parts(triangular_factor), random)
    repeated = triangular_factor(np.repeat(X, w, axis=0), np.repeat(y, w, axis=0), None)
    length = np.linalg.norm(repeated.R, axis=0)
    unit = np.where(length > 0, length, 1.0)
    off = weighted.R.T @ weighted.R - repeated.R.T @ repeated.R
    assert np.all(np.abs(off) <= 1e-13 * np.multiply.outer(unit, unit))
    off = weighted.R.T @ weighted.Q - repeated.R.T @ repeated.Q
    assert np.all(np.abs(off) <= 1e-10 * unit[:, None])
    squares = [(each.Q**2).sum(axis=0) + each.rest for each in (weighted, repeated)]
    np.testing.assert_allclose(*squares, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1e200])
def test_the_unit_of_the_weights_is_of_no_account(unit):
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), rng.exponential(size=30)
    found, other = (triangular_factor(X, y, weights) for weights in (w, unit * w))
    np.testing.assert_allclose(np.abs(other.R), np.abs(found.R), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(other.rest, found.rest, rtol=1e-12)


def test_nothing_merged_with_something_is_that():
    rng = np.random.default_rng(0)
    found = triangular_factor(rng.standard_normal((7, 3)), rng.standard_normal((7, 2)), None)
    nothing = no_triangular_factor(3, 2)
    for both in (merge(nothing, found), merge(found, nothing)):
        assert all(np.array_equal(a, b) for a, b in zip(both[2:], found[2:], strict=True))
    assert merge(nothing, nothing).x.n_rows == 0


def test_blocks_of_one_chunk_are_merged(monkeypatch):
    """Rows of one call are factored in blocks, of which small problems have one."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((500, 3)) + 1e6, rng.standard_normal((500, 2))
    w = rng.exponential(size=500)
    whole = triangular_factor(X, y, w)

    def small(n_rows, n_columns, least):
        return row_blocks(n_rows, n_columns, least=least, elements=1)

    monkeypatch.setattr(module, "row_blocks", small)
    found = triangular_factor(X, y, w)
    assert not np.array_equal(found.R, whole.R)
    np.testing.assert_allclose(np.abs(found.R), np.abs(whole.R), rtol=1e-9)
    np.testing.assert_allclose(found.rest, whole.rest, rtol=1e-12)


def test_single_precision_far_from_0_keeps_the_digits_that_it_has():
    rng = np.random.default_rng(0)
    X = (rng.integers(-9, 10, (40, 3)) + 2**20).astype(np.float32)
    y = rng.standard_normal((40, 1)).astype(np.float32)
    found = triangular_factor(X, y, None)
    same = triangular_factor(X.astype(float) - 2**20, y.astype(float), None)
    np.testing.assert_allclose(np.abs(found.R), np.abs(same.R), atol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(bad):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    X[3, 1] = bad
    with np.errstate(invalid="ignore"):
        assert not triangular_factor(X, y, None).is_finite
