"""solver="cholesky", and what "auto" takes.

One read, a bound on rounding errors, and a refinement where the bound is too large.
"""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._rows.dense import DenseRows

from ..oracles import closed_form, distance, objective, regression
from ..tables import METHODS


class CountedChunks:
    """Chunks of rows, and how often they were read."""

    def __init__(self, X, y, size=100):
        self.X, self.y, self.size, self.n_reads = X, y, size, 0

    def __iter__(self):
        self.n_reads += 1
        for start in range(0, len(self.y), self.size):
            yield self.X[start : start + self.size], self.y[start : start + self.size]


AUTO = {
    "plain": ({}, 5, "cholesky"),
    "many columns": ({}, 1100, "cholesky"),
    "batch_size": ({"batch_size": 32}, 5, "svrg"),
    "lr": ({"lr": 0.5}, 5, "svrg"),
    "preconditioner": ({"preconditioner": None}, 5, "svrg"),
    "early stopping": ({"early_stopping": True}, 5, "svrg"),
    "asked for": ({"solver": "cholesky"}, 1100, "cholesky"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["memory", "chunks", "stream"])
@pytest.mark.parametrize("name", AUTO)
def test_what_auto_takes(name, how):
    params, d, expected = AUTO[name]
    X, y = regression(300, d)
    model = MiniBatchRidgeSGD(**params, random_state=0)
    if how == "memory":
        model.fit(X, y)
    elif how == "stream":
        model.partial_fit(X, y)
    elif not model.early_stopping:
        model.fit(ChunkSource(CountedChunks(X, y).__iter__))
    else:
        return
    assert model.solver_ == expected


def entries(shape, density, rng):
    """Numbers at a fraction of the places, and zeros elsewhere."""
    return np.where(rng.random(shape) < density, rng.random(shape), 0.0)


def test_auto_takes_products_of_sparse_rows_where_they_are_cheap():
    rng = np.random.default_rng(0)
    narrow = sparse.csr_array(entries((2000, 30), 0.2, rng))
    wide = sparse.csr_array(entries((200, 900), 0.005, rng))
    thin = sparse.csr_array(entries((900, 800), 0.003, rng))
    for X, alpha, expected in (
        (narrow, 1e-4, "cholesky"),
        (wide, 1e-4, "cholesky"),
        (thin, 1.0, "svrg"),
        # "svrg" does not arrive, and the closed form is at hand.
        (thin, 1e-6, "cholesky"),
    ):
        y = X @ rng.standard_normal(X.shape[1]) + rng.standard_normal(X.shape[0])
        model = MiniBatchRidgeSGD(alpha, random_state=0).fit(X, y)
        assert model.solver_ == expected
        assert model.n_iter_ <= model.max_iter
        assert distance(model.predict(X), closed_form(X, y, alpha), X, y) <= 1e-6


@pytest.mark.parametrize("density", [0.02, 0.6])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows(density, weighted):
    rng = np.random.default_rng(0)
    X = entries((500, 20), density, rng)
    X[:, 3] = 1e6 + rng.standard_normal(500)
    X[7, 5] = 1e9
    X = sparse.csr_array(X)
    y = rng.standard_normal(500)
    w = rng.exponential(size=500) if weighted else None
    model = MiniBatchRidgeSGD(solver="cholesky").fit(X, y, sample_weight=w)
    assert distance(model.predict(X), closed_form(X, y, 1e-4, w), X, y, w) <= 1e-8
    dense = MiniBatchRidgeSGD(solver="cholesky").fit(X.toarray(), y, sample_weight=w)
    np.testing.assert_allclose(model.scaler_.scale_, dense.scaler_.scale_, rtol=1e-12)


@pytest.mark.parametrize("condition", [1e1, 1e6])
def test_a_source_is_read_once(condition):
    X, y = regression(1000, 20, condition=condition)
    chunks = CountedChunks(X, y)
    model = MiniBatchRidgeSGD().fit(chunks)
    assert chunks.n_reads == model.n_passes_ == 1
    assert model.n_iter_ == 1
    assert model.converged_
    assert distance(model.predict(X), closed_form(X, y, 1e-4), X, y) <= 1e-9


def test_no_copy_of_the_rows():
    X, y = regression(20_000, 50)
    tracemalloc.start()
    MiniBatchRidgeSGD().fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A buffer of one block, and the orders that a shuffle would need.
    assert peak < 0.4 * X.nbytes


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e8, 1e10])
@pytest.mark.parametrize("alpha", [0.0, 1e-10, 1e-6])
@pytest.mark.parametrize("n", [60, 2000])
def test_the_bound_on_rounding_holds(n, alpha, condition):
    """The first entry of distance_history_ is no less than the true distance.

    The true one comes from least squares of the rows.
    """
    X, y = regression(n, 8, condition=condition)
    model = MiniBatchRidgeSGD(alpha, solver="cholesky", tol=1.0).fit(X, y)
    true = distance(model.predict(X), closed_form(X, y, alpha), X, y)
    assert true <= model.distance_history_[0] <= 1e-3


def test_gradients_from_the_rows_refine_where_rounding_costs_too_much():
    X, y = regression(500, 10, condition=1e9)
    coarse = MiniBatchRidgeSGD(1e-9, tol=1e-3).fit(X, y)
    fine = MiniBatchRidgeSGD(1e-9, tol=1e-10).fit(X, y)
    closed = closed_form(X, y, 1e-9)
    assert coarse.n_iter_ == 1
    assert fine.n_iter_ > 1
    assert fine.converged_
    assert distance(fine.predict(X), closed, X, y) <= 1e-10
    assert distance(coarse.predict(X), closed, X, y) > distance(fine.predict(X), closed, X, y)
    source = CountedChunks(X, y)
    model = MiniBatchRidgeSGD(1e-9, tol=1e-10).fit(source)
    assert source.n_reads == model.n_passes_ > 1
    assert distance(model.predict(X), closed, X, y) <= 1e-10


def test_an_epoch_that_may_not_be_refined_warns():
    X, y = regression(500, 10, condition=1e9)
    with pytest.warns(ConvergenceWarning, match="Columns nearly follow from others"):
        model = MiniBatchRidgeSGD(1e-9, tol=1e-11, max_iter=1).fit(X, y)
    assert not model.converged_


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("t", [None, 1, 7])
def test_the_loss_is_the_objective(t, standardize, fit_intercept):
    X, y = regression(200, 4, t=t)
    X = X * [1e-3, 1, 10, 1e3] + [1, 0, 5, -1e4]
    w = np.linspace(0, 2, 200)
    params = {"alpha": 0.1, "fit_intercept": fit_intercept, "standardize": standardize}
    model = MiniBatchRidgeSGD(**params).fit(X, y, sample_weight=w)
    assert model.solver_ == "cholesky"
    expected = objective(model.coef_, model.intercept_, X, y, w=w, **params)
    assert model.loss_history_[-1] == pytest.approx(expected, rel=1e-9)
    stream = (
        MiniBatchRidgeSGD(**params)
        .partial_fit(X[:90], y[:90], w[:90])
        .partial_fit(X[90:], y[90:], w[90:])
    )
    np.testing.assert_allclose(stream.coef_, model.coef_, rtol=1e-8)


def test_rows_are_put_into_scaled_units_only_if_gradients_are_needed(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a copy of the rows was made")

    monkeypatch.setattr(DenseRows, "__init__", refuse)
    X, y = regression(100, 3)
    MiniBatchRidgeSGD().fit(X, y)


@pytest.mark.parametrize("n_jobs", [2, 3, -1])
def test_threads_change_no_bit(n_jobs):
    X, y = regression(60_000, 60)
    one = MiniBatchRidgeSGD(n_jobs=1).fit(X, y)
    many = MiniBatchRidgeSGD(n_jobs=n_jobs).fit(X, y)
    assert pickle.dumps((one.coef_, one.intercept_)) == pickle.dumps((many.coef_, many.intercept_))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_layouts_and_dtypes(dtype, order):
    X, y = regression(3000, 6)
    X = np.round(100 * X).astype(dtype)
    model = MiniBatchRidgeSGD().fit(np.asarray(X, order=order), y)
    np.testing.assert_allclose(
        model.coef_, MiniBatchRidgeSGD().fit(X.astype(float), y).coef_, rtol=1e-12
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["X", "y", "X of weight 0", "y of weight 0"])
@METHODS
def test_numbers_that_are_not_finite_are_found_at_any_place(method, where, bad):
    rng = np.random.default_rng(0)
    for _ in range(5):
        X, y = regression(50, 4)
        w = np.ones(50)
        i, j = rng.integers(50), rng.integers(4)
        if where.startswith("X"):
            X[i, j] = bad
        else:
            y[i] = bad
        if "weight" in where:
            w[i] = 0
        model = MiniBatchRidgeSGD()
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            getattr(model, method)(X, y, w)
        assert not hasattr(model, "coef_")


def test_least_squares_of_dependent_columns_has_the_least_norm():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4))
    X = np.column_stack([X[:, 0], X[:, 1], X[:, 0], X[:, 2] + X[:, 3], X[:, 2], X[:, 3]])
    y = X @ rng.standard_normal(6) + rng.standard_normal(200)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = np.linalg.pinv(Z) @ (y - y.mean()) / X.std(axis=0)
    for model in (
        MiniBatchRidgeSGD(0).fit(X, y),
        MiniBatchRidgeSGD(0).fit(CountedChunks(X, y, 30)),
    ):
        np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)
    stream = MiniBatchRidgeSGD(0)
    for start in range(0, 200, 25):
        stream.partial_fit(X[start : start + 25], y[start : start + 25])
    with pytest.warns(ConvergenceWarning, match="Columns nearly follow from others"):
        assert not stream.converged_
    np.testing.assert_allclose(stream.coef_, expected, rtol=1e-6)


def test_tol_none_takes_the_closed_form_as_it_is():
    X, y = regression(300, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MiniBatchRidgeSGD(tol=None, max_iter=7).fit(X, y)
    assert model.n_iter_ == 1
    assert distance(model.predict(X), closed_form(X, y, 1e-4), X, y) <= 1e-12
