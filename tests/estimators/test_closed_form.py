"""The defaults reach closed-form Ridge.

Predictions are within `tol` of it, root mean square, in units of std(y).
"""

import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from ..examples import examples
from ..fits import TOL, assert_lands, fitted
from ..oracles import closed_form, distance, objective, regression

FORMATS = {"dense": np.asarray, "csr": sparse.csr_array, "csc": sparse.csc_matrix}


class TestTheOracleItself:
    """The float64 closed form, against 50 digits and against scikit-learn's own pipeline."""

    @pytest.mark.parametrize("alpha", [0.0, 1e-4, 10.0])
    @pytest.mark.parametrize("offset", [0.0, 1e8])
    def test_fifty_digits(self, alpha, offset):
        X, y = regression(12, 3, condition=1e4)
        X = X * [1e-3, 1.0, 1e3] + offset * np.array([1e-3, 1.0, 1e3])
        w = np.arange(12.0)
        exact = fifty_digits(X, y, alpha, w)
        np.testing.assert_allclose(closed_form(X, y, alpha, w).coef[:, 0], exact, rtol=1e-7)

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize("alpha", [1e-4, 10.0])
    def test_pipeline(self, alpha, fit_intercept):
        X, y = regression(50, 4, t=2)
        w = np.linspace(0, 2, 50)
        scaler = StandardScaler(with_mean=fit_intercept)
        ridge = Ridge(alpha=alpha * w.sum(), fit_intercept=fit_intercept, solver="svd")
        pipeline = make_pipeline(scaler, ridge)
        pipeline.fit(X, y, standardscaler__sample_weight=w, ridge__sample_weight=w)
        closed = closed_form(X, y, alpha, w, fit_intercept)
        np.testing.assert_allclose(closed.predict(X), pipeline.predict(X), rtol=1e-9, atol=1e-9)


def fifty_digits(X, y, alpha, w):
    """Coefficients in original units from the normal equations at 50 digits, intercept fitted."""
    with mpmath.workdps(50):
        n, d = X.shape
        X, y, w = mpmath.matrix(X.tolist()), mpmath.matrix(y.tolist()), mpmath.matrix(w.tolist())
        W = mpmath.fsum(w)
        means = [mpmath.fsum(w[i] * X[i, j] for i in range(n)) / W for j in range(d)]
        sigma = [
            mpmath.sqrt(mpmath.fsum(w[i] * (X[i, j] - means[j]) ** 2 for i in range(n)) / W)
            for j in range(d)
        ]
        Z = mpmath.matrix(n, d)
        for i in range(n):
            for j in range(d):
                Z[i, j] = (X[i, j] - means[j]) / sigma[j]
        V = mpmath.diag([weight / W for weight in w])
        beta = mpmath.lu_solve(Z.T * V * Z + mpmath.mpf(alpha) * mpmath.eye(d), Z.T * V * y)
        return np.array([float(beta[j] / sigma[j]) for j in range(d)])


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 10.0])
def test_fifty_digit_coefficients(alpha):
    X, y = regression(12, 3, condition=100)
    w = np.arange(12.0)
    model = fitted(X, y, w, alpha=alpha, batch_size=4, tol=1e-12)
    np.testing.assert_allclose(model.coef_, fifty_digits(X, y, alpha, w), rtol=1e-9)


@pytest.mark.parametrize("n", [40, 2000])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
def test_scales_and_offsets_of_columns(offset, n):
    X, y = regression(n, 7)
    scale = np.geomspace(1e-6, 1e6, 7)
    assert_lands(scale * X + offset * scale, y, batch_size=16)
    assert_lands(X + offset, y, batch_size=16)


def test_scale_and_offset_of_y():
    X, y = regression(2000, 5)
    assert_lands(X, 1e6 * y + 1e9, batch_size=16)
    assert_lands(X, 1e-6 * y - 1, batch_size=16)


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
@pytest.mark.parametrize("n", [100, 1500])
def test_weights(n, batch_size):
    X, y = regression(n, 5)
    rng = np.random.default_rng(0)
    assert_lands(X, y, rng.exponential(size=n), batch_size=batch_size)
    assert_lands(X, y, rng.integers(0, 3, n), batch_size=batch_size)
    assert_lands(X, y, 10.0 ** rng.uniform(-6, 6, n), batch_size=batch_size)


def awkward_columns(kind, n):
    X, y = regression(n, 5)
    rng = np.random.default_rng(1)
    extra = {
        "constant": np.full((n, 2), [0.1, 1e8]),
        "zero": np.zeros((n, 2)),
        "duplicated": X[:, [0, 0, 3]],
        "collinear": X[:, :3] @ rng.standard_normal((3, 2)),
        "nearly collinear": X[:, :2] + 1e-7 * rng.standard_normal((n, 2)),
        "rare": np.eye(n)[:, [1, n // 2]],
    }[kind]
    return np.hstack([X, extra]), y


@pytest.mark.parametrize("n", [60, 1500])
@pytest.mark.parametrize(
    "kind", ["constant", "zero", "duplicated", "collinear", "nearly collinear", "rare"]
)
def test_awkward_columns(kind, n):
    X, y = awkward_columns(kind, n)
    assert_lands(X, y, batch_size=8)
    assert_lands(X, y)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 10), (20, 60), (50, 400)])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_fewer_rows_than_columns(n, d, batch_size):
    X, y = regression(n, d)
    assert_lands(X, y, batch_size=batch_size)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n", [60, 1500])
def test_conventions(n, standardize, fit_intercept):
    X, y = regression(n, 5)
    X = X * np.geomspace(0.01, 100, 5) + 5
    w = np.linspace(0, 1, n)
    model = assert_lands(
        X, y, w, batch_size=16, alpha=0.1, standardize=standardize, fit_intercept=fit_intercept
    )
    assert fit_intercept or model.intercept_ == 0


@pytest.mark.parametrize("n", [60, 1500])
def test_several_targets(n):
    X, y = regression(n, 5, t=4)
    y *= [1e-3, 1, 1e3, 1]
    y[:, 3] = np.random.default_rng(1).standard_normal(n)
    model = assert_lands(X, y, batch_size=16)
    assert model.coef_.shape == (4, 5)
    assert model.intercept_.shape == (4,)
    assert model.predict(X).shape == y.shape


def test_one_target_in_two_dimensions():
    X, y = regression(60, 3)
    model = assert_lands(X, y[:, None])
    assert model.coef_.shape == (1, 3)
    assert model.intercept_.shape == (1,)
    assert model.predict(X).shape == (60, 1)


@pytest.mark.parametrize("to_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [200, 2500])
def test_formats_and_dtypes(n, dtype, to_format):
    X, y = regression(n, 8)
    X = ((X + 0.3) * (np.random.default_rng(1).random(X.shape) < 0.3)).astype(dtype)
    for batch_size in (7, "auto"):
        assert_lands(to_format(X), y, batch_size=batch_size)


@pytest.mark.parametrize("to_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("offset", [10.0, 2013.0, 1e5])
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_float32_with_an_offset(batch_size, offset, to_format):
    X, y = regression(2500, 8)
    assert_lands(
        to_format((X + offset).astype(np.float32)), y.astype(np.float32), batch_size=batch_size
    )


def test_float32_that_is_ill_conditioned():
    """A gradient that was only updated in float32 would say that it is there too early."""
    X, y = regression(3000, 30, condition=1e4)
    assert_lands(X.astype(np.float32), y, batch_size=64)


def test_a_constant_sparse_column_whose_variance_rounds_below_zero():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(24)
    for _ in range(300):
        column, w = np.full((24, 1), rng.standard_normal()), rng.uniform(0, 3, 24)
        model = MiniBatchRidgeSGD(random_state=0).fit(sparse.csr_array(column), y, sample_weight=w)
        assert model.scaler_.var_ >= 0
        assert model.coef_ == pytest.approx(0, abs=1e-9)


def test_sparse_equals_dense():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((2500, 12)) * (rng.random((2500, 12)) < 0.2))
    y = X @ np.arange(12.0) + 1
    w = np.linspace(0, 1, 2500)
    models = [
        fitted(to_format(X.toarray()), y, w, batch_size=32, tol=1e-10)
        for to_format in FORMATS.values()
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model.coef_, models[0].coef_, atol=1e-8)
        np.testing.assert_allclose(model.intercept_, models[0].intercept_, rtol=1e-8)
        np.testing.assert_allclose(model.scaler_.var_, models[0].scaler_.var_, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1e-8, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("n", [60, 1500])
def test_alpha(n, alpha):
    X, y = regression(n, 6, condition=1e3)
    assert_lands(X, y, alpha=alpha, batch_size=16)


@pytest.mark.slow
def test_many_rows_and_columns():
    X, y = regression(21_000, 150, condition=1e6)
    model = assert_lands(X, y)
    assert model.n_iter_ <= 20


@st.composite
def problems(draw):
    """A small problem with some of the difficulties of real data, and parameters for it."""
    n, d, t = draw(st.integers(2, 80)), draw(st.integers(1, 8)), draw(st.sampled_from([None, 1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    X = rng.standard_normal((n, d))
    if draw(st.booleans()):
        X = np.round(X)
    if draw(st.booleans()):
        X[:, rng.integers(d)] = X[:, rng.integers(d)]
    if draw(st.booleans()):
        X[:, rng.integers(d)] = 0.1
    X = (
        X
        * 10.0 ** rng.uniform(-6, 6, d)
        * (draw(st.sampled_from([0.0, 1.0])) + rng.integers(0, 2, d))
    )
    X = X + np.abs(X).max(axis=0) * draw(st.sampled_from([0.0, 1.0, 1e4]))
    y = (
        X
        / np.maximum(np.abs(X).max(axis=0), 1e-300)
        @ rng.standard_normal(d if t is None else (d, t))
    )
    y = y + rng.standard_normal(y.shape)
    w = draw(
        st.sampled_from([None, rng.exponential(size=n), rng.integers(0, 3, n) + (np.arange(n) < 2)])
    )
    params = draw(
        st.fixed_dictionaries(
            {
                "alpha": st.sampled_from([1e-6, 1e-4, 1e-2, 1.0, 1e3]),
                "batch_size": st.sampled_from([1, 2, 7, 64, "auto"]),
                "lr": st.one_of(st.just("auto"), st.floats(-6, 6).map(lambda e: 10**e)),
                "fit_intercept": st.booleans(),
                "shuffle": st.booleans(),
                "random_state": st.integers(0, 100),
            }
        )
    )
    return draw(st.sampled_from([np.asarray, sparse.csr_array]))(X), y, w, params


@examples(200)
@given(problems())
def test_generated_problems(problem):
    X, y, w, params = problem
    assert_lands(X, y, w, **params)


def in_chunks_of_37(X, y):
    return ChunkSource(lambda: ((X[i : i + 37], y[i : i + 37]) for i in range(0, len(y), 37)))


@st.composite
def special_columns(draw):
    """Rows with constant, zero, repeated or tiny columns at any position."""
    n, d = draw(st.integers(5, 300)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3, 3, d)
    kinds = draw(
        st.lists(st.sampled_from(["constant", "zero", "repeated", "tiny", "once"]), max_size=4)
    )
    for kind in kinds:
        j = draw(st.integers(0, d - 1))
        X[:, j] = {
            "constant": np.full(n, draw(st.sampled_from([7.0, 0.1, -1e6]))),
            "zero": np.zeros(n),
            "repeated": X[:, draw(st.integers(0, d - 1))],
            "tiny": 3e-170 * rng.standard_normal(n),
            "once": np.eye(1, n, draw(st.integers(0, n - 1)))[0],
        }[kind]
    constant = np.ptp(X, axis=0) < 1e-150
    varying = np.where(constant, 0.0, X)
    y = rng.standard_normal((n, draw(st.integers(1, 2))))
    y += (
        varying
        / np.maximum(np.abs(varying).max(axis=0), 1e-200)
        @ rng.standard_normal((d, 1))
        * draw(st.sampled_from([0, 1, 100]))
    )
    return X, y, constant


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the variance underflows:UserWarning")
@examples(300)
@given(
    special_columns(),
    st.sampled_from([0, 0, 1e-12, 1e-4]),
    st.sampled_from(["dense", "csr", "chunks"]),
    st.booleans(),
)
def test_special_columns_at_any_position(problem, alpha, rows, standardize):
    X, y, constant = problem
    model = MiniBatchRidgeSGD(alpha=alpha, standardize=standardize, random_state=0)
    if rows == "chunks":
        model.fit(in_chunks_of_37(X, y))
    else:
        model.fit(FORMATS[rows](X), y)
    assert not np.atleast_2d(model.coef_)[:, np.ptp(X, axis=0) == 0].any()
    # A column whose variance underflows is taken for constant.
    varying = np.where(constant, 0.0, X)
    far = distance(
        model.predict(X), closed_form(varying, y, alpha, standardize=standardize), varying, y
    )
    assert far <= TOL or not model.converged_
    # Without a penalty on columns of unlike scales some digits may be lost, but then it is said.
    assert far <= 1e-3
    if alpha == 0:
        scaled = varying / np.maximum(np.abs(varying).max(axis=0), 1e-200)
        assert model.score(X, y) == pytest.approx(
            LinearRegression().fit(scaled, y).score(scaled, y), abs=1e-5
        )


@pytest.mark.parametrize("standardize", [True, False])
def test_the_optimum_beats_its_neighbours(standardize):
    X, y = regression(1500, 5, t=2)
    w = np.linspace(0, 1, 1500)
    model = fitted(X, y, w, alpha=0.01, batch_size=16, standardize=standardize)

    def loss(coef, intercept):
        return objective(coef, intercept, X, y, 0.01, w, standardize=standardize)

    least = loss(model.coef_, model.intercept_)
    rng = np.random.default_rng(0)
    for _ in range(50):
        by = 1e-3 * rng.standard_normal(model.coef_.shape)
        assert loss(model.coef_ + by, model.intercept_) > least
        assert loss(model.coef_, model.intercept_ + by[:, 0]) > least


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_loss_history_is_the_objective(solver, fit_intercept):
    X, y = regression(1500, 5, t=2, condition=100)
    w = np.linspace(0, 1, 1500)
    for max_iter in (1, 2, 3):
        params = {
            "solver": solver,
            "max_iter": max_iter,
            "tol": None,
            "alpha": 0.01,
            "fit_intercept": fit_intercept,
        }
        model = fitted(X, y, w, lr=0.05, batch_size=50, **params)
        assert len(model.loss_history_) == model.n_iter_ == max_iter
        value = objective(model.coef_, model.intercept_, X, y, 0.01, w, fit_intercept)
        np.testing.assert_allclose(model.loss_history_[-1], value, rtol=1e-9)


def test_tol_is_the_distance_to_the_closed_form():
    X, y = regression(3000, 30, condition=1e4)
    closed = closed_form(X, y, 1e-4)
    for tol in (1e-1, 1e-3, 1e-6, 1e-9):
        model = fitted(X, y, tol=tol, batch_size=64)
        assert distance(model.predict(X), closed, X, y) <= tol


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_sparse_rows_are_not_densified(solver):
    n, d, per_row = 20_000, 5_000, 5
    rng = np.random.default_rng(0)
    indices = rng.integers(0, d, n * per_row)
    X = sparse.csr_array(
        (rng.random(n * per_row), indices, np.arange(0, n * per_row + 1, per_row)), shape=(n, d)
    )
    X.sum_duplicates()
    y = X @ rng.standard_normal(d) + 1
    model = MiniBatchRidgeSGD(solver=solver, lr=1e-3, max_iter=3, tol=None, random_state=0)
    tracemalloc.start()
    try:
        model.fit(X, y).partial_fit(X[:1000], y[:1000])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * d * 8 / 8
