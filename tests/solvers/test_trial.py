""" "auto" tries "svrg" on sparse samples, and takes the closed form where that is faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._solvers.trial import Trial


def words(n, d, per_row, seed=0):
    """Random texts: a few words are frequent, and most are rare."""
    rng = np.random.default_rng(seed)
    columns = rng.zipf(1.5, (n, per_row)) % d
    entries = rng.exponential(size=columns.size), columns.ravel()
    X = sparse.csr_array((*entries, np.arange(0, columns.size + 1, per_row)), shape=(n, d))
    X.sum_duplicates()
    return X, X @ rng.standard_normal((d, 2)) + rng.standard_normal((n, 2))


CASES = {
    "easy": ((4_000, 800, 4), {"alpha": 0.1}, "svrg"),
    "hard": ((1_500, 800, 8), {"alpha": 1e-9}, "cholesky"),
    "wide and easy": ((900, 4_000, 6), {"alpha": 1.0}, "svrg"),
    "wide and hard": ((900, 4_000, 6), {"alpha": 1e-9}, "cholesky"),
    "raw": ((1_500, 800, 8), {"alpha": 1e-9, "standardize": False}, "cholesky"),
    "no intercept": ((900, 4_000, 6), {"alpha": 1e-9, "fit_intercept": False}, "cholesky"),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "params", "solver"), CASES.values(), ids=list(CASES))
def test_the_result_is_the_closed_form_whoever_arrives(shape, params, solver, weighted):
    X, Y = words(*shape)
    w = np.random.default_rng(1).exponential(size=len(Y)) if weighted else None
    model = MiniBatchRidgeSGD(random_state=0, **params).fit(X, Y, w)
    exact = MiniBatchRidgeSGD(solver="cholesky", **params).fit(X, Y, w)
    assert (model.solver_, model.converged_) == (solver, True)
    assert len(model.loss_history_) > 1  # "svrg" was tried.
    error = model.predict(X) - exact.predict(X)
    assert np.all(np.sqrt(np.mean(error**2, axis=0)) <= 1e-6 * Y.std(axis=0))


def test_the_closed_form_keeps_its_moments_for_streams_and_standard_errors():
    X, Y = words(1_500, 800, 8)
    model, exact = [MiniBatchRidgeSGD(1e-9, solver=s, random_state=0) for s in ("auto", "cholesky")]
    model.fit(X[:1_400], Y[:1_400]).partial_fit(X[1_400:], Y[1_400:])
    exact.fit(X, Y)
    np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=1e-8 * Y.std())
    assert len(model.coef_table()) == len(exact.coef_table()) == 2


def test_without_a_tolerance_it_is_the_closed_form():
    X, Y = words(1_500, 800, 8)
    model = MiniBatchRidgeSGD(1e-9, tol=None).fit(X, Y)
    assert (model.solver_, model.n_iter_) == ("cholesky", 1)


def test_a_fit_that_is_stopped_computes_no_closed_form():
    class Stops(Epochs):
        def __call__(self, *told):
            return True

    trial = Trial(Stops(), 1e-6, 100)
    assert all(trial(None, None, None, None, np.array([1.0])) for _ in range(9))
    assert not trial.is_vain


class Epochs:
    """A monitor that never stops a fit."""

    n_epochs = 0

    def __call__(self, *told):
        return False


@given(
    rate=st.floats(0.01, 0.99),
    first=st.floats(1e-3, 1e3),
    worth=st.integers(60, 1000),
    n=st.integers(6, 60),
)
def test_a_constant_rate_is_known_after_a_few_epochs(rate, first, worth, n):
    trial = Trial(Epochs(), 1e-6, worth)
    for k in range(n):
        trial(None, None, None, None, np.array([first * rate**k, 0.0]))
    needed = max(1 + np.log(1e-6 / first) / np.log(rate), n)
    if first * rate ** (n - 1) > 1e-6:
        assert trial.epochs_needed() == pytest.approx(needed, rel=1e-6)
        assert trial.is_vain == (trial.epochs_needed() > 1.2 * worth)
    else:
        assert not trial.is_vain


def test_a_fit_that_comes_no_closer_is_given_up():
    trial = Trial(Epochs(), 1e-6, 100)
    stops = [trial(None, None, None, None, np.array([1.0])) for _ in range(5)]
    assert stops == [False] * 4 + [True]
