"""Penalties per feature and per target, through every door, against least squares of more rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..fits import cut, merged, streamed
from ..oracles import regression, weighted_mean
from ..tables import state


def by_least_squares(X, Y, alpha, factor, w=None, fit_intercept=True, standardize=True):
    """Coefficients (t, d) and intercept (t,): a row for each penalty, features at inf left out."""
    n, d = X.shape
    w = np.ones(n) if w is None else w
    mean = weighted_mean(X, w)
    scale = np.sqrt(w @ (X - mean) ** 2 / w.sum()) if standardize else np.ones(d)
    mean = mean if fit_intercept else np.zeros(d)
    y_mean = weighted_mean(Y, w) if fit_intercept else np.zeros(Y.shape[1])
    kept = np.isfinite(factor)
    root = np.sqrt(w / w.sum())[:, None]
    Z = (root * (X - mean) / scale)[:, kept]
    coef = np.zeros((Y.shape[1], d))
    for t, a in enumerate(np.broadcast_to(alpha, Y.shape[1])):
        A = np.vstack([Z, np.diag(np.sqrt(a * factor[kept]))])
        b = np.concatenate([root[:, 0] * (Y[:, t] - y_mean[t]), np.zeros(kept.sum())])
        coef[t, kept] = np.linalg.lstsq(A, b, rcond=None)[0] / scale[kept]
    return coef, y_mean - coef @ mean


EXACT = {"tol": 1e-11, "max_iter": 1000, "random_state": 0}
DOORS = {
    "memory": lambda model, X, Y, w: model.fit(X, Y, w),
    "sparse": lambda model, X, Y, w: model.fit(sparse.csr_array(X), Y, w),
    "qr": lambda model, X, Y, w: model.set_params(solver="qr").fit(X, Y, w),
    "svrg": lambda model, X, Y, w: model.set_params(solver="svrg", **EXACT).fit(X, Y, w),
    "mini-batches": lambda model, X, Y, w: model.set_params(batch_size=16, **EXACT).fit(X, Y, w),
    "chunks": lambda model, X, Y, w: model.fit(ChunkSource(lambda: cut(X, Y, w))),
    "stream": lambda model, X, Y, w: streamed(model, cut(X, Y, w)),
    "stream by qr": lambda model, X, Y, w: streamed(model.set_params(solver="qr"), cut(X, Y, w, 3)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shape", [(240, 6), (30, 40)], ids=["tall", "wide"])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("alpha", [0.1, [0.3, 1e-3]], ids=["one alpha", "per target"])
@pytest.mark.parametrize(
    ("params", "weighted"),
    [({}, True), ({"fit_intercept": False}, False), ({"standardize": False}, True)],
    ids=str,
)
def test_penalties_per_feature_and_target(door, shape, free, alpha, params, weighted):
    n, d = shape
    rng = np.random.default_rng(7)
    X = rng.standard_normal((n, d)) * np.geomspace(0.5, 5, d) + rng.standard_normal(d)
    Y = (X / X.std(axis=0))[:, :5] @ rng.standard_normal((5, 2)) + rng.standard_normal((n, 2))
    factor = rng.uniform(0.1, 4, d)
    factor[2] = np.inf
    if free:
        factor[1] = 0.0
    w = rng.exponential(size=n) + 0.1 if weighted else None
    model = MiniBatchRidgeSGD(alpha, penalty_factor=factor, **params)
    with warnings.catch_warnings():
        # At this tol a bound may not be reached; the coefficients are compared.
        warnings.simplefilter("ignore", ConvergenceWarning)
        DOORS[door](model, X, Y, w)
    coef, intercept = by_least_squares(X, Y, alpha, factor, w, **params)
    size = np.abs(coef).max(axis=1, keepdims=True)
    np.testing.assert_allclose(model.coef_ / size, coef / size, atol=3e-8)
    np.testing.assert_allclose(model.intercept_, intercept, atol=1e-6 * np.abs(Y).max())
    assert not model.coef_[:, 2].any()


def test_merged_models():
    X, Y = regression(120, 5, t=2)
    factor = np.array([1.0, 0.0, 3.0, np.inf, 0.5])
    model = merged(MiniBatchRidgeSGD([0.1, 2.0], penalty_factor=factor), cut(X, Y, None))
    coef, _ = by_least_squares(X, Y, [0.1, 2.0], factor)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-10)


def test_alpha_per_target_is_that_of_ridge():
    X, Y = regression(90, 4, t=3)
    alpha = np.array([1e-3, 0.1, 5.0])
    ridge = make_pipeline(StandardScaler(), Ridge(alpha * len(Y))).fit(X, Y)
    model = MiniBatchRidgeSGD(alpha).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), ridge.predict(X), rtol=1e-9)


def test_a_choice_per_target_gives_the_model_of_its_alphas():
    X, Y = regression(90, 4, t=3)
    Y = Y * [1.0, 0.0, 0.1] + 3 * np.random.default_rng(0).standard_normal(Y.shape)
    cv = MiniBatchRidgeSGDCV(np.logspace(-4, 1, 8), alpha_per_target=True).fit(X, Y)
    assert len(set(cv.alpha_)) > 1
    model = MiniBatchRidgeSGD(cv.alpha_).fit(X, Y)
    np.testing.assert_allclose(model.coef_, cv.coef_, rtol=1e-12)


@pytest.mark.parametrize("standardize", [True, False])
def test_errors_of_a_choice_have_the_factors(standardize):
    X, y = regression(60, 4)
    params = {"penalty_factor": [0.0, 2.0, 1.0, np.inf], "standardize": standardize}
    cv = MiniBatchRidgeSGDCV([0.01, 1.0], cv=3, **params).fit(X, y)
    for k, test in enumerate(np.array_split(np.arange(60), 3)):
        train = np.setdiff1d(np.arange(60), test)
        for i, alpha in enumerate([0.01, 1.0]):
            model = MiniBatchRidgeSGD(alpha, **params).fit(X[train], y[train])
            mse = np.mean((model.predict(X[test]) - y[test]) ** 2)
            assert cv.mse_path_[i, k] == pytest.approx(mse, rel=1e-8)


def test_no_penalty_beside_others_leaves_a_target_all_its_digits():
    X, Y = regression(200, 5, t=2, condition=1e10)
    both = MiniBatchRidgeSGD([0.0, 1.0]).fit(X, Y)
    single = MiniBatchRidgeSGD(0.0).fit(X, Y[:, 0])
    # The samples have 6 digits or more of the coefficients, their products none.
    np.testing.assert_allclose(both.coef_[0], single.coef_, rtol=1e-7)


def test_factors_by_name():
    X, y = regression(50, 3)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    by_name = MiniBatchRidgeSGD(0.1, penalty_factor={"c": 0.0, "a": 2.0}).fit(frame, y)
    by_number = MiniBatchRidgeSGD(0.1, penalty_factor=[2.0, 1.0, 0.0]).fit(X, y)
    np.testing.assert_array_equal(by_name.coef_, by_number.coef_)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"penalty_factor": [1.0, 2.0]}, "3 numbers that are at least 0"),
        ({"penalty_factor": [1.0, -2.0, 1.0]}, "3 numbers that are at least 0"),
        ({"penalty_factor": [1.0, np.nan, 1.0]}, "3 numbers that are at least 0"),
        ({"penalty_factor": {"d": 1.0}}, "'d', which X does not have"),
        ({"alpha": [1.0, 2.0]}, r"one for each of the 1 target\(s\)"),
        ({"alpha": [-1.0]}, "a number that is at least 0"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_refused(params, match, method):
    X, y = regression(30, 3)
    model = MiniBatchRidgeSGD().fit(X, y)
    model.set_params(**params)
    before = state(model)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(X, y)
    assert state(model) == before


def test_steps_of_the_textbook_solver_have_the_penalty_of_each_feature():
    """A plain loop, with mini-batches that would otherwise be taken several at a time."""
    X, y = regression(64, 3)
    factor = np.array([0.0, 2.0, 5.0])
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    beta, b = np.zeros(3), 0.0
    for _ in range(3):
        for start in range(0, 64, 4):
            r = Z[start : start + 4] @ beta + b - y[start : start + 4]
            beta = beta - 0.05 * (Z[start : start + 4].T @ r / 4 + 0.1 * factor * beta)
            b -= 0.05 * r.mean()
    model = MiniBatchRidgeSGD(
        0.1,
        penalty_factor=factor,
        solver="sgd",
        batch_size=4,
        lr=0.05,
        max_iter=3,
        tol=None,
        shuffle=False,
    ).fit(X, y)
    np.testing.assert_allclose(model.coef_ * X.std(axis=0), beta, rtol=1e-10)
