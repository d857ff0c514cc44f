"""A stream that is asked after every sample: the closed form, without all products anew."""

import pickle

import numpy as np
import pytest

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._solvers.few_more import MANY_COLUMNS

from ..oracles import closed_form, distance, regression

# A factor of few columns, and steps for many.
COLUMNS = [5, MANY_COLUMNS + 10]


def aged(w, half_life):
    age = np.arange(len(w))[::-1]
    return w if half_life is None else w * 0.5 ** (age / half_life)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("targets", "params"),
    [
        (None, {}),
        (3, {"alpha": 1.0}),
        (None, {"standardize": False}),
        (2, {"alpha": 0.0}),
        (None, {"half_life": 700.0, "alpha": 0.1}),
    ],
)
def test_it_is_the_closed_form_after_every_sample(d, weighted, targets, params):
    n = 4 * d + 300
    X, y = regression(n, d, t=targets, condition=100)
    X = X * np.geomspace(1e-3, 1e3, d) + 10.0
    w = np.random.default_rng(0).exponential(size=n) if weighted else np.ones(n)
    alpha = params.get("alpha", 1e-4)
    model = MiniBatchRidgeSGD(**params).partial_fit(X[:-40], y[:-40], w[:-40])
    for k in range(n - 40, n):
        model.predict(X[k : k + 1])
        part = slice(k, k + 1)
        model.partial_fit(X[part], y[part], w[part] if weighted else None)
        if k % 9 == 0 or k == n - 1:
            weights = aged(w[: k + 1], model.half_life)
            rows = X[: k + 1], y[: k + 1]
            closed = closed_form(*rows, alpha, weights, standardize=model.standardize)
            assert distance(model.predict(rows[0]), closed, *rows, weights) < 1e-11
            assert model._state.few_more is not None
            assert model.converged_


@pytest.mark.parametrize("d", COLUMNS)
def test_asking_changes_no_bit(d):
    X, y = regression(3 * d + 400, d)
    quiet, curious = [MiniBatchRidgeSGD(0.1).partial_fit(X[:-150], y[:-150]) for _ in range(2)]
    for k in range(len(y) - 150, len(y)):
        for model in (quiet, curious):
            model.partial_fit(X[k : k + 1], y[k : k + 1])
        if k % 3:
            assert curious._state.few_more or not curious._state.waiting
            _ = curious.coef_, curious.converged_
    assert np.array_equal(quiet.coef_, curious.coef_)
    assert np.array_equal(quiet.intercept_, curious.intercept_)


def test_the_target_in_other_units_changes_no_digit():
    X, y = regression(900, MANY_COLUMNS + 10)
    found = []
    for x_unit, y_unit in ((1, 1), (2.0**40, 2.0**-30)):
        model = MiniBatchRidgeSGD().partial_fit(X[:-5] * x_unit, y[:-5] * y_unit)
        model.partial_fit(X[-5:] * x_unit, y[-5:] * y_unit)
        assert model._state.few_more is not None
        found.append(model.coef_ * x_unit / y_unit)
    assert np.array_equal(*found)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("case", ["far", "constant", "collinear", "few", "penalty_factor"])
def test_what_needs_care_is_merged(d, case):
    n = 3 * d + 300
    X, y = regression(n, d)
    params = {"penalty_factor": np.linspace(0, 2, d)} if case == "penalty_factor" else {}
    if case == "far":
        X[-1, 0] = 1e7
    if case == "constant":
        X[:-1, 0] = 0.1
    if case == "collinear":
        X[:, 0] = X[:, 1] + 1e-4 * X[:, 0]
    start = d if case == "few" else n - 3
    model = MiniBatchRidgeSGD(1e-2 if case != "collinear" else 0.0, **params)
    model.partial_fit(X[:start], y[:start]).partial_fit(X[start : start + 2], y[start : start + 2])
    model.partial_fit(X[start + 2 : start + 3], y[start + 2 : start + 3])
    rows = X[: start + 3], y[: start + 3]
    assert model._state.few_more is None
    reference = MiniBatchRidgeSGD(model.alpha, **params).fit(*rows)
    np.testing.assert_allclose(model.predict(X), reference.predict(X), atol=1e-6)


def test_a_pickle_of_a_stream_that_was_asked_has_no_factor_and_no_samples():
    d = MANY_COLUMNS + 10
    X, y = regression(3 * d, d)
    model = MiniBatchRidgeSGD().partial_fit(X[:-30], y[:-30]).partial_fit(X[-30:], y[-30:])
    quiet = len(pickle.dumps(model))
    assert model._state.few_more is not None
    assert quiet < 8 * (d + 1) ** 2 + 30_000
    _ = model.coef_
    assert len(pickle.dumps(model)) < quiet + 8 * (d + 1) + 2_000
