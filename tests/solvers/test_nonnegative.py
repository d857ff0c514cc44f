"""Coefficients that must not be negative: KKT conditions, Ridge(positive=True), every door."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._solvers.closed_form import ClosedForm
from sklearn_minibatch._solvers.nonnegative import feasible

from ..examples import examples
from ..oracles import regression
from ..tables import state


def assert_kkt(model, X, y, positive, factor=1.0):
    """The gradient of F is 0 where a coefficient is free, and points outward where it is 0."""
    scale = X.std(axis=0)
    Z, v = (X - X.mean(axis=0)) / scale, y - y.mean()
    beta = model.coef_ * scale
    g = Z.T @ (Z @ beta - v) / len(y) + model.alpha * factor * beta
    at_zero = positive & (beta == 0)
    assert np.all(beta[positive] >= 0)
    assert np.abs(g[~at_zero]).max(initial=0) <= 1e-10 * y.std()
    assert g[at_zero].min(initial=0) >= -1e-10 * y.std()


@examples(60)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(5, 80),
    d=st.integers(1, 30),
    alpha=st.sampled_from([1e-4, 1e-2, 1.0]),
    share=st.sampled_from([0.3, 1.0]),
    solver=st.sampled_from(["auto", "qr"]),
)
def test_the_kkt_conditions_hold(seed, n, d, alpha, share, solver):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    y = X @ rng.standard_normal(d) + rng.standard_normal(n)
    positive = rng.random(d) < share
    model = MiniBatchRidgeSGD(alpha, positive=positive, solver=solver).fit(X, y)
    assert model.converged_
    assert_kkt(model, X, y, positive)


def test_is_ridge_with_positive_coefficients():
    X, y = regression(200, 6, condition=10)
    ridge = make_pipeline(StandardScaler(), Ridge(0.1 * 200, positive=True, tol=1e-14)).fit(X, y)
    model = MiniBatchRidgeSGD(0.1, positive=True).fit(X, y)
    np.testing.assert_allclose(model.predict(X), ridge.predict(X), rtol=1e-8)


def test_is_least_squares_of_more_rows():
    X, y = regression(80, 5)
    scale = X.std(axis=0)
    Z = np.vstack([(X - X.mean(axis=0)) / scale / np.sqrt(80), np.sqrt(0.05) * np.eye(5)])
    beta, _ = nnls(Z, np.concatenate([(y - y.mean()) / np.sqrt(80), np.zeros(5)]))
    model = MiniBatchRidgeSGD(0.05, positive=True).fit(X, y)
    np.testing.assert_allclose(model.coef_ * scale, beta, atol=1e-12)
    assert (model.coef_ == 0).any()


@pytest.mark.parametrize("beta", [[1.0, -1e-9], [1.0, 0.0]], ids=["negative", "held at 0"])
def test_what_rounding_has_done_to_signs_is_in_the_bound(beta):
    """The minimiser of |beta - b| is b; a coefficient became negative, or is 0 by mistake."""
    A, b = np.eye(2), np.array([1.0, 0.5])
    closed = ClosedForm(
        beta=np.array(beta)[:, None],
        loss=np.zeros(1),
        rounding=np.zeros(1),
        inverse_norm=1.0,
        noise=0.0,
        is_unique=True,
    )
    found = feasible(closed, A, b, np.array([True, True]))
    assert np.all(found.beta >= 0)
    assert found.rounding >= np.linalg.norm(found.beta[:, 0] - b)


def test_every_door_and_several_targets():
    X, Y = regression(150, 7, t=2)
    params = {"alpha": 0.01, "positive": True, "penalty_factor": np.linspace(0.5, 2, 7)}
    whole = MiniBatchRidgeSGD(**params).fit(X, Y)
    parts = [slice(i, i + 30) for i in range(0, 150, 30)]
    stream = MiniBatchRidgeSGD(**params)
    for part in parts:
        stream.partial_fit(X[part], Y[part])
    source = ChunkSource(lambda: ((X[part], Y[part]) for part in parts))
    shards = [MiniBatchRidgeSGD(**params).fit(X[i::2], Y[i::2]) for i in range(2)]
    single = MiniBatchRidgeSGD(**params).fit(X, Y[:, 1])
    for model in (stream, MiniBatchRidgeSGD(**params).fit(source), shards[0].merge(shards[1])):
        np.testing.assert_allclose(model.coef_, whole.coef_, atol=1e-12)
    np.testing.assert_allclose(single.coef_, whole.coef_[1], atol=1e-14)
    for target in range(2):
        one = MiniBatchRidgeSGD(**params).fit(X, Y[:, target])
        assert_kkt(one, X, Y[:, target], np.ones(7, dtype=bool), params["penalty_factor"])


def test_alpha_is_chosen_for_such_models():
    X, y = regression(90, 6)
    alphas = [1e-3, 1.0]
    cv = MiniBatchRidgeSGDCV(alphas, positive=True, cv=3).fit(X, y)
    for k, test in enumerate(np.array_split(np.arange(90), 3)):
        train = np.setdiff1d(np.arange(90), test)
        for i, alpha in enumerate(alphas):
            model = MiniBatchRidgeSGD(alpha, positive=True).fit(X[train], y[train])
            mse = np.mean((model.predict(X[test]) - y[test]) ** 2)
            assert cv.mse_path_[i, k] == pytest.approx(mse, rel=1e-8)
    whole = MiniBatchRidgeSGD(cv.alpha_, positive=True).fit(X, y)
    np.testing.assert_allclose(cv.coef_, whole.coef_, atol=1e-13)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"solver": "svrg"}, "positive needs second moments"),
        ({"solver": "sgd"}, "positive needs second moments"),
        ({"batch_size": 5}, "no parameter of mini-batches"),
        ({"positive": [True, False]}, "a mask of 3 booleans"),
        ({"positive": [1, 0, 1]}, "a mask of 3 booleans"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_refused(params, match, method):
    X, y = regression(30, 3)
    model = MiniBatchRidgeSGD(positive=True).fit(X, y)
    model.set_params(**params)
    before = state(model)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(X, y)
    assert state(model) == before
