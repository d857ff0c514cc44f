"""Second moments from any chunks, merged in any order, are those of all rows at once.

With weights too.
"""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import NotFittedError

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._statistics.moments import merge_columns, no_moments
from sklearn_minibatch._statistics.second_moments import (
    cross_moments,
    merge,
    second_moments,
)

from ..examples import examples
from ..oracles import closed_form, distance, regression
from .rows import chunked_rows

EPS = np.finfo(float).eps


def two_passes(X, y, w):
    """Mean and centred products in long double, by the definition."""
    rows = np.hstack([X, y]).astype(np.longdouble)
    share = w.astype(np.longdouble) / w.astype(np.longdouble).sum()
    # From the first row on, the distances of a constant column are 0.
    offset = share @ (rows - rows[0])
    centred = rows - rows[0] - offset
    return rows[0] + offset, (share[:, None] * centred).T @ centred


@examples(300)
@given(
    chunked_rows(),
    st.randoms(use_true_random=False),
    st.sampled_from([np.asarray, sparse.csr_array]),
)
def test_any_chunks_in_any_order_of_merging(problem, random, to_rows):
    X, y, w, _ = problem
    heap = list(problem.parts(second_moments, to_rows))
    while len(heap) > 1:
        a, b = (heap.pop(random.randrange(len(heap))) for _ in range(2))
        heap.append(merge(a, b))
    (found,) = heap
    mean, products = two_passes(X, y, np.ones(len(y)) if w is None else w)
    d = X.shape[1]
    spread = np.sqrt(np.diag(products)).astype(float)
    unit = np.where(spread > 0, spread, 1.0)
    # Columns at 1e6 spreads have their means to 1e6 EPS of a spread.
    assert np.all(np.abs(found.x.mean - mean[:d]) <= 50 * EPS * (unit[:d] + np.abs(mean[:d])))
    xx, xy = products[:d, :d], products[:d, d:]
    assert np.all(np.abs(found.xx - xx) <= 500 * EPS * np.multiply.outer(unit[:d], unit[:d]))
    assert np.all(np.abs(found.xy - xy) <= 500 * EPS * np.multiply.outer(unit[:d], unit[d:]))
    constant = np.ptp(X, axis=0) == 0
    assert not found.xx[constant].any()
    assert not found.xx[:, constant].any()
    assert not found.xy[constant].any()
    assert found.x.n_rows == len(X)


def test_more_rows_than_a_float_can_count():
    """Each row of weight 1 counts, although 2**53 + 1 is no float."""
    rows = no_moments(1)
    moments = replace(rows, n_rows=2**53, weight=2.0**53)
    for _ in range(4):
        moments = merge_columns(moments, replace(rows, n_rows=1, weight=1.0))
    assert moments.weight == moments.n_rows == 2**53 + 4


@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_have_the_moments_of_dense_ones(weighted):
    X, y = regression(200, 40, t=2)
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.05, X + 3, 0.0)
    w = np.random.default_rng(1).exponential(size=200) if weighted else None
    dense, rows = second_moments(X, y, w), sparse.csr_array(X)
    for found in (second_moments(rows, y, w), cross_moments(rows, y, w)):
        np.testing.assert_allclose(found.xy, dense.xy, atol=1e-14)
        np.testing.assert_allclose(found.x.var, dense.x.var, rtol=1e-12)


@pytest.mark.parametrize("elements", [1, 100, 2**18])
def test_products_of_many_sparse_samples_in_blocks(elements, monkeypatch):
    monkeypatch.setattr("sklearn_minibatch._statistics.second_moments.PASS_ELEMENTS", elements)
    X, y = regression(3001, 10)
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.1, X, 0.0)
    found = second_moments(sparse.csr_array(X), y[:, None], None)
    np.testing.assert_allclose(found.xx, np.cov(X.T, ddof=0), rtol=1e-12, atol=1e-14)


def test_sparse_columns_far_from_0_keep_their_digits():
    """A column that is 0 in a row that hardly counts cannot be centred as it is."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((300, 40)) < 0.05, rng.standard_normal((300, 40)), 0.0)
    X[:, 0] = 1e7 + rng.standard_normal(300)
    X[7, 0] = 0.0
    y, w = rng.standard_normal((300, 1)), np.ones(300)
    w[7] = 1e-14
    found = second_moments(sparse.csr_array(X), y, w)
    _, products = two_passes(X, y, w)
    unit = np.sqrt(np.diag(products)).astype(float)
    off = np.abs(found.xx - products[:40, :40]) / np.multiply.outer(unit[:40], unit[:40])
    assert off.max() < 1e-13


def test_more_targets_than_columns_need_no_products_of_targets():
    X, y = regression(500, 3, t=40)
    found = second_moments(X, y, None)
    _, products = two_passes(X, y, np.ones(500))
    np.testing.assert_allclose(found.xy, products[:3, 3:].astype(float), atol=1e-13)
    np.testing.assert_allclose(found.y.var, np.diag(products)[3:].astype(float))


@pytest.mark.parametrize("position", [0, 7, 14, 200, 999])
def test_an_origin_among_outliers(position):
    """The first rows, from which an origin is taken, are far from the mean.

    As far as the number of rows allows.
    """
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 2))
    X[position : position + 15] += 1e7
    found = second_moments(X, X[:, :1], None)
    _, products = two_passes(X, X[:, :1], np.ones(1000))
    np.testing.assert_allclose(found.xx, products[:2, :2].astype(float), rtol=50 * EPS)


def learnt(X, y, w=None, size=7, **params):
    model = MiniBatchRidgeSGD(**params)
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        model.partial_fit(X[rows], y[rows], None if w is None else w[rows])
    return model


def drifting(n, d, seed=0):
    """Rows whose mean drifts by a million spreads and whose scale by a thousand.

    Some columns are constant for long.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.geomspace(1, 1e3, n)[:, None]
    X[:, rng.integers(d)] += np.linspace(0, 1e6, n)
    late = rng.integers(d)
    X[: n - 10, late] = 0.3
    y = X / np.abs(X).max(axis=0) @ rng.standard_normal(d) + 0.1 * rng.standard_normal(n)
    return X, y


STREAMS = {
    "as drawn": lambda: regression(2000, 8),
    "sorted": lambda: tuple(
        a[np.argsort(regression(2000, 8)[0][:, 3])] for a in regression(2000, 8)
    ),
    "drifting": lambda: drifting(2000, 8),
    "several targets": lambda: regression(2000, 8, t=3),
    "dependent columns": lambda: (
        regression(2000, 4)[0][:, [0, 1, 2, 3, 0]],
        regression(2000, 4)[1],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("name", STREAMS)
def test_partial_fit_equals_fit(name, size, weighted):
    X, y = STREAMS[name]()
    w = np.random.default_rng(1).exponential(size=len(y)) if weighted else None
    stream = learnt(X, y, w, size)
    whole = MiniBatchRidgeSGD().fit(X, y, sample_weight=w)
    assert stream.solver_ == whole.solver_ == "cholesky"
    far = np.sqrt(np.mean((stream.predict(X) - whole.predict(X)) ** 2)) / np.std(y)
    assert far <= 1e-9
    assert distance(whole.predict(X), closed_form(X, y, 1e-4, w), X, y, w) <= 1e-8
    assert stream.scaler_.n_samples_seen_ == pytest.approx(whole.scaler_.n_samples_seen_)


def test_a_stream_may_begin_with_fewer_rows_than_columns():
    X, y = regression(40, 12)
    for alpha in (0, 1e-4):
        model = MiniBatchRidgeSGD(alpha=alpha)
        for stop in range(1, 41):
            model.partial_fit(X[stop - 1 : stop], y[stop - 1 : stop])
            closed = closed_form(X[:stop], y[:stop], alpha)
            # A single row has no spread to measure with.
            assert np.abs(
                model.predict(X[:stop]) - closed.predict(X[:stop])[:, 0]
            ).max() <= 1e-6 * np.std(y)


def test_fit_then_partial_fit_and_a_pickle_elsewhere():
    X, y = regression(300, 5)
    model = MiniBatchRidgeSGD().fit(X[:100], y[:100])
    model = pickle.loads(pickle.dumps(model)).partial_fit(X[100:180], y[100:180])
    source = [(X[180:200], y[180:200]), (X[200:], y[200:])]
    model = pickle.loads(pickle.dumps(model)).merge(
        MiniBatchRidgeSGD().fit(ChunkSource(lambda: iter(source)))
    )
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD().fit(X, y).coef_, rtol=1e-12)
    assert model.scaler_.n_samples_seen_ == 300


@examples(100)
@given(chunked_rows(), st.randoms(use_true_random=False), st.sampled_from([1e-6, 1e-3, 1.0]))
def test_models_merge_in_any_order(problem, random, alpha):
    X, y, w, ends = problem
    models = []
    for start, stop in pairwise(ends):
        if stop > start:
            model = MiniBatchRidgeSGD(alpha, random_state=start)
            models.append(
                model.fit(X[start:stop], y[start:stop], None if w is None else w[start:stop])
            )
    while len(models) > 1:
        a, b = (models.pop(random.randrange(len(models))) for _ in range(2))
        before = pickle.dumps(b)
        models.append(a.merge(b))
        assert pickle.dumps(b) == before
    closed = closed_form(X, y, alpha, w)
    if np.ptp(y, axis=0).all():
        # A prediction is a sum of numbers as large as the column is far from 0, in its spreads.
        share = np.ones(len(y)) if w is None else w
        mean = np.average(X, axis=0, weights=share)
        spread = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=share))
        far = np.max(np.abs(mean) / np.where(spread > 0, spread, np.inf), initial=1)
        assert distance(models[0].predict(X), closed, X, y, w) <= 1e-8 + 100 * EPS * far


X, Y = regression(60, 3)
REFUSED = {
    "another alpha": (lambda: MiniBatchRidgeSGD(1.0).fit(X, Y), "alpha is 0.0001 and 1.0"),
    "other columns": (lambda: MiniBatchRidgeSGD().fit(X[:, :2], Y), "columns: 3 and 2"),
    "more targets": (
        lambda: MiniBatchRidgeSGD().fit(X, np.c_[Y, Y]),
        r"shapes of y: \(n,\) and \(n, 2\)",
    ),
    "mini-batches": (
        lambda: MiniBatchRidgeSGD(solver="svrg").fit(X, Y),
        "same parameters; solver is 'auto' and 'svrg'",
    ),
    "other names": (
        lambda: MiniBatchRidgeSGD().fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y),
        r"names of columns: None and \['a', 'b', 'c'\]",
    ),
    "not fitted": (MiniBatchRidgeSGD, "two fitted models"),
    "something else": (lambda: "a string", "string|str"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_merged_is_refused_and_nothing_changes(kind):
    make, message = REFUSED[kind]
    model = MiniBatchRidgeSGD().fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises((ValueError, NotFittedError, TypeError), match=message):
        model.merge(make())
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_models_of_steps_cannot_be_merged(solver, method):
    models = [MiniBatchRidgeSGD(solver=solver, max_iter=3, tol=None) for _ in range(2)]
    one, two = [getattr(model, method)(X, Y) for model in models]
    with pytest.raises(ValueError, match=f"solver='{solver}' did not keep them"):
        one.merge(two)


def test_a_stream_whose_solver_changes_goes_on_or_says_why_not():
    X, y = regression(400, 4)
    model = MiniBatchRidgeSGD(random_state=0).partial_fit(X[:200], y[:200])
    model.set_params(solver="svrg").partial_fit(X[200:300], y[200:300])
    assert model.solver_ == "svrg"
    half = X[:300], y[:300]
    assert distance(model.predict(half[0]), closed_form(*half, 1e-4), *half) < 1e-12
    model.set_params(solver="sgd").partial_fit(X[300:], y[300:])
    assert distance(model.predict(X), closed_form(X, y, 1e-4), X, y) < 0.1
    with pytest.raises(ValueError, match="needs statistics of all rows so far"):
        model.set_params(solver="cholesky").partial_fit(X, y)
    model.set_params(solver="auto").partial_fit(X, y)
    assert model.solver_ == "svrg"


@examples(60)
@given(st.integers(0, 2**20), st.integers(1, 40), st.booleans())
def test_sparse_columns_of_which_few_entries_are_0(seed, n_full, weighted):
    """Flags that are mostly 1, and columns far from 0, anywhere among sparse ones."""
    rng = np.random.default_rng(seed)
    n, d = 200, 60
    X = np.where(rng.random((n, d)) < 0.03, rng.standard_normal((n, d)), 0.0)
    full = rng.permutation(d)[:n_full]
    level = 10.0 ** rng.uniform(0, 5, n_full) * rng.choice([-1.0, 1.0], n_full)
    values = level + rng.choice([0.0, 1.0], n_full) * rng.standard_normal((n, n_full))
    X[:, full] = np.where(rng.random((n, n_full)) < rng.uniform(0.9, 1, n_full), values, 0.0)
    y = rng.standard_normal((n, 2)) + 100
    w = rng.exponential(size=n) if weighted else None
    found = second_moments(sparse.csr_array(X), y, w)
    _, products = two_passes(X, y, np.ones(n) if w is None else w)
    spread = np.sqrt(np.diag(products)).astype(float)
    unit = np.where(spread > 0, spread, 1.0)
    assert np.all(np.abs(found.xx - products[:d, :d]) <= 1e-12 * np.outer(unit[:d], unit[:d]))
    assert np.all(np.abs(found.xy - products[:d, d:]) <= 1e-12 * np.outer(unit[:d], unit[d:]))
