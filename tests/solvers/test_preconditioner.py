"""Preconditioners against the Hessian that they stand for."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._solvers import preconditioner
from sklearn_minibatch._solvers.preconditioner import nystrom

from ..examples import examples


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("rank", [3, 8])
def test_nystrom_is_the_hessian_where_the_rows_have_no_more_directions(alpha, rank):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8))
    gram = Z.T @ Z / 50
    rows = SimpleNamespace(hessian_product=gram.dot, n_features=8, dtype=np.dtype(float))
    P = nystrom(rows, rank, alpha, np.random.RandomState(0))
    g = rng.normal(size=(8, 2))
    # With rank 3 the flat rest is the least of the three eigenvalues, not alpha.
    in_span = gram @ g
    exact = np.linalg.solve(gram + alpha * np.eye(8), in_span)
    np.testing.assert_allclose(P.solve(in_span), exact, rtol=1e-6, atol=1e-8)
    if rank == 8:
        whole = np.linalg.solve(gram + alpha * np.eye(8), g)
        np.testing.assert_allclose(P.solve(g), whole, rtol=1e-6, atol=1e-8)


def word_counts(n, d, words, seed):
    """Counts of words in CSR, whose frequencies fall like those of a language (Zipf)."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, d + 1)
    columns = rng.permutation(d)[rng.choice(d, size=n * words, p=frequency / frequency.sum())]
    entries = np.ones(n * words), (np.repeat(np.arange(n), words), columns)
    X = sparse.csr_array(entries, shape=(n, d))
    return X, X @ rng.normal(size=d) + rng.normal(size=n)


def wide_fit(X, y, alpha, **params):
    model = MiniBatchRidgeSGD(alpha, standardize=False, solver="svrg", max_iter=5000, tol=1e-5)
    return model.set_params(batch_size=X.shape[0], random_state=0, **params).fit(X, y)


def assert_is_ridge(model, X, y):
    exact = Ridge(alpha=model.alpha * X.shape[0], tol=1e-12, solver="sparse_cg").fit(X, y)
    np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=1e-4 * y.std())


def test_more_words_than_texts_take_fewer_epochs_than_with_columns_of_one_length(monkeypatch):
    X, y = word_counts(400, 3000, 200, seed=0)
    model = wide_fit(X, y, 1e-3)
    assert_is_ridge(model, X, y)
    monkeypatch.setattr(preconditioner, "levelled", lambda D: D)
    assert model.n_iter_ < 0.7 * wide_fit(X, y, 1e-3).n_iter_


@pytest.mark.parametrize("seed", range(3))
def test_columns_of_about_one_length_take_hardly_more_epochs_than_without_a_preconditioner(seed):
    """The bound is a little less tight with P, so that a fit ends a few epochs later."""
    rng = np.random.default_rng(seed)
    entries = np.repeat(np.arange(500), 40), rng.integers(2000, size=500 * 40)
    X = sparse.csr_array((rng.normal(size=500 * 40), entries), shape=(500, 2000))
    y = X @ rng.normal(size=2000) + rng.normal(size=500)
    model = wide_fit(X, y, 1e-5)
    assert_is_ridge(model, X, y)
    plain = wide_fit(X, y, 1e-5, preconditioner=None)
    assert model.n_iter_ <= 1.3 * plain.n_iter_ + 1


@examples(30)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(20, 300),
    spread=st.sampled_from([0.0, 1.0, 3.0]),
    alpha=st.sampled_from([1e-6, 1e-3, 1.0]),
    tol=st.sampled_from([1e-3, 1e-6]),
)
def test_a_wide_fit_that_has_converged_is_within_tol(seed, n, spread, alpha, tol):
    """Columns of lengths exp(spread) apart, against the closed form by ZZ'."""
    rng = np.random.default_rng(seed)
    entries = np.repeat(np.arange(n), 15), rng.integers(600, size=15 * n)
    X = sparse.csr_array((rng.normal(size=15 * n), entries), shape=(n, 600))
    X = sparse.csr_array(X * np.exp(spread * rng.normal(size=600)))
    y = X @ rng.normal(size=600) + rng.normal(size=n)
    model = MiniBatchRidgeSGD(alpha, standardize=False, solver="svrg", max_iter=500, tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(random_state=0).fit(X, y)
    Z = X.toarray() - X.toarray().mean(axis=0)
    gram = Z @ Z.T
    exact = gram @ np.linalg.solve(gram + alpha * n * np.eye(n), y - y.mean()) + y.mean()
    distance = np.sqrt(np.mean((model.predict(X) - exact) ** 2))
    assert distance <= tol * y.std() or not model.converged_
    # Columns of about one length are no hard problem.
    assert model.converged_ or spread > 0
