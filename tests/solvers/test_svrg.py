"""Steps of solver="svrg" land on the closed form for any batch size, rate and preconditioner."""

import numpy as np
import pytest
from scipy import sparse

from sklearn_minibatch import MiniBatchRidgeSGD

from ..fits import assert_lands, fitted
from ..oracles import closed_form, distance, distance_to_ridge, regression


# 1500 rows are more than the 1000 of the smallest sketch, so here the preconditioner is only near
# the Hessian.
@pytest.mark.parametrize("lr", ["auto", 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("batch_size", [1, 7, 64, "auto", 5000])
def test_any_batch_size_and_lr(batch_size, lr):
    X, y = regression(1500, 6, condition=1e3)
    assert_lands(X, y, batch_size=batch_size, lr=lr)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-6, 1e-2])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("n", [66, 200, 1500])
def test_no_lr_overflows(n, batch_size, alpha):
    """With too large a rate an epoch may end in finite numbers whose squares overflow."""
    X, y = regression(n, 2)
    for lr in np.geomspace(1e-6, 1e6, 25):
        assert_lands(X, y, lr=lr, alpha=alpha, batch_size=batch_size)


@pytest.mark.parametrize("lr", [1e-6, "auto", 1e6])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_heavy_tailed_rows(batch_size, lr):
    X, y = regression(1500, 6)
    X *= 1 + np.random.default_rng(1).pareto(1.0, (1500, 1))
    assert_lands(X, y, batch_size=batch_size, lr=lr)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_sorted_rows(batch_size, shuffle):
    X, y = regression(3000, 6)
    for order in (np.argsort(y), np.argsort(-X[:, 0])):
        assert_lands(X[order], y[order], batch_size=batch_size, shuffle=shuffle)


@pytest.mark.parametrize("preconditioner", [None, 3, 20, "auto"])
@pytest.mark.parametrize("batch_size", [4, 100, 5000])
def test_preconditioners(preconditioner, batch_size):
    X, y = regression(2000, 20, condition=30)
    assert_lands(X, y, preconditioner=preconditioner, batch_size=batch_size)


@pytest.mark.slow
def test_more_columns_than_a_dense_preconditioner_holds():
    X, y = regression(1600, 1510, condition=10)
    assert_lands(X, y, alpha=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", ["auto", 1, 32])
@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6])
def test_sparse_levels_and_their_slopes(alpha, batch_size):
    """24 levels, each with its own slopes on eleven numbers that are nearly one.

    A row has entries in 12 of 288 columns.
    """
    n, levels, slopes = 1500, 24, 11
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n, 1)) + 0.03 * rng.normal(size=(n, slopes))
    first = (slopes + 1) * rng.integers(levels, size=n)[:, None]
    columns = rng.permutation(levels * (slopes + 1))[first + np.arange(slopes + 1)]
    entries = np.hstack([np.ones((n, 1)), numbers])
    X = sparse.coo_array(
        (entries.ravel(), (np.repeat(np.arange(n), slopes + 1), columns.ravel())), shape=(n, 288)
    ).tocsr()
    y = X @ rng.normal(size=288) + rng.normal(size=n)
    model = MiniBatchRidgeSGD(alpha, batch_size=batch_size, random_state=0).fit(X, y)
    assert model.converged_
    assert model.batch_size_ == (n if batch_size == "auto" else batch_size)
    assert distance_to_ridge(model, X, y) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("d", [1200, 1510])
def test_wide_sparse_rows(d):
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((1600, d)) * (rng.random((1600, d)) < 10 / d))
    y = X @ rng.standard_normal(d)
    assert_lands(X, y, alpha=0.1)


def test_eight_sketch_rows_per_column():
    X, y = regression(2500, 200, condition=1e4)
    assert_lands(X, y, batch_size=32)


@pytest.mark.parametrize("lr", [1e-6, "auto", 1e6])
def test_loss_falls_at_every_epoch(lr):
    X, y = regression(1500, 20, condition=1e4)
    model = fitted(X, y, lr=lr, batch_size=4, max_iter=8, tol=None)
    assert np.all(np.diff(model.loss_history_) <= 1e-12 * model.loss_history_[0])


def rare_levels(n, d, seed):
    """One-hot like CSR rows, of which a few columns are frequent and most are rare; and y."""
    rng = np.random.default_rng(seed)
    columns = (5 * rng.pareto(1.0, size=(n, 8))).astype(int) % d
    X = np.zeros((n, d))
    np.add.at(X, (np.arange(n)[:, None], columns), 1.0)
    return sparse.csr_array(X), X @ rng.normal(size=d) + rng.normal(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize(("n", "d"), [(900, 600), (500, 700)])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_with_a_diagonal_preconditioner_converged_is_within_tol(alpha, n, d, standardize, seed):
    X, y = rare_levels(n, d, seed)
    how = {"alpha": alpha, "standardize": standardize}
    model = MiniBatchRidgeSGD(solver="svrg", max_iter=1000, random_state=0, **how).fit(X, y)
    assert model.converged_
    gap = distance(model.predict(X), closed_form(X, y, **how), X, y)
    assert gap <= model.distance_history_[-1] <= model.tol


@pytest.mark.parametrize("alpha", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("choice", [None, "auto"])
def test_the_bound_of_conjugate_gradients_is_one(alpha, choice):
    """By Gauss-Radau quadrature the distance is never less than it is, from the first epoch on."""
    X, y = rare_levels(900, 600, 0)
    closed = closed_form(X, y, alpha)
    for n_epochs in (1, 2, 3, 5, 8, 13, 21, 34):
        model = MiniBatchRidgeSGD(
            alpha,
            solver="svrg",
            preconditioner=choice,
            batch_size=len(y),
            lr=1.0,
            max_iter=n_epochs,
            tol=None,
            random_state=0,
        ).fit(X, y)
        gap = distance(model.predict(X), closed, X, y)
        assert gap <= (1 + 1e-6) * model.distance_history_[-1] + 1e-12
        # It is a bound, and not a guess that is far too large.
        assert gap >= 1e-4 * model.distance_history_[-1] - 1e-12


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [64, "auto"])
def test_a_fit_ends_when_its_slowest_target_has_arrived(batch_size, at):
    """The other targets are constant, so that they have arrived at the start."""
    X, y = regression(600, 8, condition=1e2)
    Y = np.full((600, 3), 3.0)
    Y[:, at] = y
    params = {"preconditioner": None, "batch_size": batch_size, "max_iter": 3000}
    model = MiniBatchRidgeSGD(1e-4, solver="svrg", tol=1e-4, random_state=0, **params).fit(X, Y)
    assert model.converged_
    assert distance(model.predict(X)[:, at], closed_form(X, y, 1e-4), X, y) <= 5e-4
