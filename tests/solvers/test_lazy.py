"""A stream is solved when it is asked: lazy equals eager, at every point."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import estimator_html_repr

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._solvers import state as state_module

from ..examples import examples
from ..oracles import closed_form, distance, regression
from ..tables import state


@examples(60)
@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=12),
    asked=st.integers(0, 2**12),
    solver=st.sampled_from(["auto", "qr"]),
    weighted=st.booleans(),
    is_sparse=st.booleans(),
)
def test_asking_in_between_changes_no_bit(sizes, asked, solver, weighted, is_sparse):
    n = sum(sizes)
    X, y = regression(n, 3)
    rows = sparse.csr_array(X) if is_sparse else X
    w = np.random.default_rng(0).exponential(size=n) if weighted else None
    quiet, curious = [MiniBatchRidgeSGD(0.1, solver=solver) for _ in range(2)]
    ends = np.cumsum(sizes)
    for k, end in enumerate(ends):
        part = slice(end - sizes[k], end)
        for model in (quiet, curious):
            model.partial_fit(rows[part], y[part], None if w is None else w[part])
        if asked >> k & 1:
            closed = closed_form(X[:end], y[:end], 0.1, None if w is None else w[:end])
            if end > 1:
                assert distance(curious.predict(X[:end]), closed, X[:end], y[:end]) < 1e-10
            copy.deepcopy(curious)
            pickle.dumps(curious)
    assert np.array_equal(quiet.coef_, curious.coef_)
    assert quiet.n_iter_ == len(sizes)
    assert quiet.t_ == len(sizes)
    assert quiet.batch_size_ == n


def counting(monkeypatch):
    """The number of closed forms that were solved, as a list that grows."""
    solved, honest = [], state_module.closed_form_of_state

    def counted(*args):
        solved.append(1)
        return honest(*args)

    monkeypatch.setattr(state_module, "closed_form_of_state", counted)
    return solved


def test_it_is_solved_once_and_not_before_it_is_asked(monkeypatch):
    solved = counting(monkeypatch)
    X, y = regression(400, 5)
    model = MiniBatchRidgeSGD()
    for start in range(0, 400, 50):
        model.partial_fit(X[start : start + 50], y[start : start + 50])
    model.merge(MiniBatchRidgeSGD().partial_fit(X, y))
    _ = model.n_iter_, model.t_, model.scaler_, model.solver_, model.loss_history_
    estimator_html_repr(model)
    repr(model), clone(model), pickle.dumps(model), copy.deepcopy(model), vars(model)
    assert not solved
    _ = model.coef_, model.intercept_, model.converged_, model.predict(X), model.score(X, y)
    _ = model.standardized_coef_, pickle.loads(pickle.dumps(model)).coef_
    assert len(solved) == 1


def test_threads_that_ask_at_once_get_one_solution(monkeypatch):
    solved = counting(monkeypatch)
    X, y = regression(300, 60)
    for _ in range(5):
        model = MiniBatchRidgeSGD().partial_fit(X, y)
        barrier, found = threading.Barrier(6), []

        def ask(model=model, barrier=barrier, found=found):
            barrier.wait()
            found.append(model.coef_)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(each, found[0]) for each in found)
    assert len(solved) == 5


@pytest.mark.parametrize("n", [1, 100, 1000])
def test_refusals_stay_with_the_call(n):
    X, y = regression(n, 3)
    model = MiniBatchRidgeSGD().partial_fit(X, y)
    before = state(model)
    for bad in (np.nan, np.inf, 1e200):
        for spoil_X in (True, False):
            X_bad, y_bad = X.copy(), y.copy()
            (X_bad if spoil_X else y_bad).flat[-1] = bad
            with pytest.raises(ValueError, match=r"NaN|infinity|too large"):
                model.partial_fit(X_bad, y_bad)
            assert state(model) == before


def test_parameters_count_as_they_were_when_rows_came():
    X, y = regression(100, 3)
    model = MiniBatchRidgeSGD(0.1).partial_fit(X, y)
    model.set_params(alpha=10.0)
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD(0.1).fit(X, y).coef_, rtol=1e-12)


@pytest.mark.parametrize("solver", ["cholesky", "qr"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", [None, 2])
def test_unchecked_input_is_learnt_like_checked_input(solver, weighted, targets):
    X, y = regression(700, 4, t=targets)
    w = np.random.default_rng(0).exponential(size=700) if weighted else None
    checked, unchecked = [MiniBatchRidgeSGD(0.1, solver=solver) for _ in range(2)]
    for start in range(0, 700, 23):
        part = slice(start, start + 23)
        weights = None if w is None else w[part]
        checked.partial_fit(X[part], y[part], weights)
        unchecked.partial_fit(X[part], y[part], weights, check_input=False)
        assert np.array_equal(checked.predict(X[:3]), unchecked.predict(X[:3], check_input=False))
    assert np.array_equal(checked.coef_, unchecked.coef_)
    assert state(checked) == state(unchecked)


def test_unchecked_input_may_be_overwritten_and_parameters_change():
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGD(0.1).partial_fit(X[:20], y[:20])
    buffer = X[20:40].copy()
    model.partial_fit(buffer, y[20:40], check_input=False)
    buffer[:] = np.nan
    model.set_params(alpha=1.0).partial_fit(X[40:], y[40:], check_input=False)
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD(1.0).fit(X, y).coef_, rtol=1e-12)


def test_a_parameter_that_is_changed_in_place_is_seen():
    X, Y = regression(60, 3, t=2)
    model = MiniBatchRidgeSGD(np.array([0.1, 0.1])).partial_fit(X[:20], Y[:20])
    model.alpha[:] = 1.0
    model.partial_fit(X[20:], Y[20:], check_input=False)
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD(1.0).fit(X, Y).coef_, rtol=1e-12)


def test_wide_samples_are_kept_as_they_were():
    X, y = regression(30, 40)
    rows = X[:20].copy()
    model = MiniBatchRidgeSGD(0.1).fit(rows, y[:20])
    rows[:] = 0.0
    model.partial_fit(X[20:], y[20:])
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD(0.1).fit(X, y).coef_, rtol=1e-9)


def test_check_input_is_no_metadata():
    request = MiniBatchRidgeSGD().get_metadata_routing()
    assert "check_input" not in request.partial_fit.requests
    assert "check_input" not in request.predict.requests


def test_coefficients_that_overflow_are_refused():
    first, second = np.random.default_rng(0).normal(size=(100, 2)).T
    X = 2e-153 * np.column_stack([first, first + 1e-6 * second])
    y = 1e150 * second
    with pytest.raises(ValueError, match="left the range of floating-point numbers"):
        MiniBatchRidgeSGD(alpha=0).fit(X, y)
    with pytest.raises(ValueError, match="left the range of floating-point numbers"):
        _ = MiniBatchRidgeSGD(alpha=0).partial_fit(X, y).coef_
    one, two = [MiniBatchRidgeSGD(alpha=0).fit(X[k : k + 1], y[k : k + 1]) for k in range(2)]
    two.partial_fit(X[2:3], y[2:3])
    before = state(one)
    with pytest.raises(ValueError, match="left the range of floating-point numbers"):
        one.merge(two)
    assert state(one) == before


@pytest.mark.parametrize("huge", [1e200, -1.7e308])
def test_a_single_huge_sample_is_refused_with_the_second(huge):
    """Alone it has no variance; what it does to others must not come out when they are asked."""
    X, y = regression(30, 3)
    model = MiniBatchRidgeSGD().partial_fit(X[:1], [huge])
    before = state(model)
    with pytest.raises(ValueError, match="Column 0 of y: too large"):
        model.partial_fit(X[1:], y[1:])
    assert state(model) == before
