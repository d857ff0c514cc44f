"""scikit-learn's own checks, and the tools that people put around an estimator."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import closed_form, distance_to_ridge, regression
from ..tables import METHODS, bits, state

# The two that SGDRegressor is excused from as well: single steps see the order of the rows.
ORDER_OF_ROWS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "steps depend on the order of the rows"
    for kind in ("dense", "sparse")
}
CHECKED = [
    {},
    {"batch_size": 7},
    {"early_stopping": True},
    {"solver": "sgd"},
]
CHECKED_AMONG_SLOW_TESTS = [
    {"batch_size": 1},
    {"standardize": False},
    {"fit_intercept": False},
    {"solver": "sgd", "average": True},
    {"shuffle": False},
    {"warm_start": True},
    {"preconditioner": None},
    {"solver": "sgd", "batch_size": 1},
    {"solver": "sgd", "average": True, "early_stopping": True},
]


def excused(estimator):
    return ORDER_OF_ROWS if estimator.solver == "sgd" else {}


@parametrize_with_checks(
    [MiniBatchRidgeSGD(**params) for params in CHECKED], expected_failed_checks=excused
)
def test_scikit_learn_checks(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [MiniBatchRidgeSGD(**params) for params in CHECKED_AMONG_SLOW_TESTS],
    expected_failed_checks=excused,
)
def test_scikit_learn_checks_with_other_parameters(estimator, check):
    run(check, estimator)


def run(check, estimator):
    with warnings.catch_warnings():
        if estimator.solver == "sgd":
            warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


@pytest.fixture
def data():
    return regression(200, 4)


SVRG_AND_SGD = pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 7},
        {"solver": "sgd", "lr": 0.01},
        {"solver": "sgd", "lr": 0.01, "average": True},
    ],
)


def model_of(params):
    """Ten epochs of either solver: no warning that they are not enough."""
    return MiniBatchRidgeSGD(**{"tol": None, "max_iter": 10, "random_state": 0, **params})


def test_pipeline(data):
    X, y = data
    pipeline = make_pipeline(
        PolynomialFeatures(2, include_bias=False), MiniBatchRidgeSGD(batch_size=16, random_state=0)
    )
    pipeline.fit(X, y)
    assert distance_to_ridge(pipeline[-1], pipeline[0].transform(X), y) <= 1e-6


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search(data, n_jobs):
    X, y = data
    grid = {"batch_size": [1, 16, "auto"], "lr": [1e-3, "auto"], "alpha": [1e-4, 1.0, 100.0]}
    search = GridSearchCV(MiniBatchRidgeSGD(random_state=0), grid, cv=3, n_jobs=n_jobs).fit(X, y)
    assert search.best_params_["alpha"] == 1e-4
    scores = search.cv_results_["mean_test_score"].reshape(3, 6)
    np.testing.assert_allclose(scores, scores[:, :1] * np.ones(6), atol=1e-6)


def test_grid_search_with_the_textbook_solver(data):
    X, y = data
    grid = {"batch_size": [4, 32], "lr": [1e-4, 0.02]}
    search = GridSearchCV(
        MiniBatchRidgeSGD(solver="sgd", tol=None, max_iter=20, random_state=0), grid, cv=3
    ).fit(X, y)
    assert search.best_params_["lr"] == 0.02


def test_cross_val_score_is_that_of_the_closed_form(data):
    X, y = data
    scores = cross_val_score(MiniBatchRidgeSGD(random_state=0), X, y, cv=4)
    for score, test in zip(scores, np.array_split(np.arange(200), 4), strict=True):
        train = np.setdiff1d(np.arange(200), test)
        residual = y[test] - closed_form(X[train], y[train], 1e-4).predict(X[test])[:, 0]
        np.testing.assert_allclose(
            score, 1 - residual @ residual / np.sum((y[test] - y[test].mean()) ** 2), atol=1e-6
        )


def test_transformed_target(data):
    X, y = data
    model = TransformedTargetRegressor(
        MiniBatchRidgeSGD(random_state=0), transformer=StandardScaler()
    ).fit(X, y)
    closed = closed_form(X, y, 1e-4)
    np.testing.assert_allclose(model.predict(X), closed.predict(X)[:, 0], atol=1e-5)


def test_score_is_r2_with_weights(data):
    X, y = data
    w = np.linspace(0, 1, 200)
    model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    residual = w @ (y - model.predict(X)) ** 2
    spread = w @ (y - np.average(y, weights=w)) ** 2
    np.testing.assert_allclose(model.score(X, y, sample_weight=w), 1 - residual / spread)


def test_clone_and_params():
    params = {
        "alpha": 0.5,
        "batch_size": 9,
        "lr": 0.1,
        "solver": "sgd",
        "lr_schedule": "compound",
        "lr_decay": 0.25,
    }
    model = MiniBatchRidgeSGD(**params)
    assert {name: clone(model).get_params()[name] for name in params} == params
    assert MiniBatchRidgeSGD().set_params(**params).get_params() == model.get_params()
    assert len(model.get_params()) == 23


@pytest.mark.parametrize("kind", [np.array, pd.Series, list, tuple])
def test_parameters_of_features_may_be_in_any_container(kind):
    X, y = regression(60, 3)
    params = {"alpha": [0.5], "penalty_factor": [1.0, 0.0, 2.0]}
    model = MiniBatchRidgeSGD(**{name: kind(value) for name, value in params.items()})
    for rows in (slice(0, 20), slice(20, 40)):
        model.partial_fit(X[rows], y[rows])
    model.merge(clone(model).fit(X[40:], y[40:]))
    whole = MiniBatchRidgeSGD(**params).fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9)


def test_a_generator_is_no_new_parameter_at_each_call(monkeypatch):
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGD(random_state=np.random.RandomState(0)).partial_fit(X, y)
    monkeypatch.setattr(MiniBatchRidgeSGD, "_validate_params", None)  # is not called again
    model.partial_fit(X, y)


ASKED = {
    "predict": lambda model: model.predict(np.ones((2, 2)), check_input=False),
    "score": lambda model: model.score(np.ones((2, 2)), np.ones(2)),
    "table": lambda model: model.coef_table(),
    "copy": lambda model: model.without_statistics(),
    "attribute": lambda model: model.coef_,
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=list(ASKED))
def test_an_unfitted_model_says_so(ask):
    with pytest.raises(NotFittedError):
        ask(MiniBatchRidgeSGD())


@pytest.mark.slow
def test_threads_change_no_bit():
    X, y = regression(60_000, 40)
    fits = [
        MiniBatchRidgeSGD(random_state=0, n_jobs=n_jobs, batch_size=64).fit(X, y)
        for n_jobs in (None, 1, 2, 5)
    ]
    for model in fits[1:]:
        np.testing.assert_array_equal(model.coef_, fits[0].coef_)
        np.testing.assert_array_equal(model.loss_history_, fits[0].loss_history_)


@pytest.mark.parametrize(
    "name",
    ["coef_", "scaler_", "loss_history_", "n_iter_", "t_", "lr_", "batch_size_", "converged_"],
)
def test_clone_is_unfitted(data, name):
    model = MiniBatchRidgeSGD().fit(*data)
    assert hasattr(model, name)
    assert not hasattr(clone(model), name)


def fitted_attributes(model):
    """All public attributes that a fit has set, to the last bit."""
    values = {
        name: getattr(model, name)
        for name in dir(model)
        if name.endswith("_") and not name.startswith("_") and hasattr(model, name)
    }
    return bits({**values, "scaler_": vars(values["scaler_"])})


# Other values for any parameter.
OTHERS = {
    "none": lambda value: None,
    "negated": lambda value: not value,
    "nothing of use": lambda value: object(),
}
MODELS = [
    MiniBatchRidgeSGD(),
    MiniBatchRidgeSGD(solver="svrg", early_stopping=True),
    MiniBatchRidgeSGD(solver="sgd", lr=0.01),
    MiniBatchRidgeSGD(standardize=False, fit_intercept=False, alpha=[0.1, 1.0]),
    MiniBatchRidgeSGDCV(3),
    MiniBatchRidgeSGDCV(3, standardize=False, fit_intercept=False, alpha_per_target=True),
    MiniBatchRidgeSGDCV(3, positive=True),
    MiniBatchRidgeSGDCV(3, penalty_factor=[1.0, 0.0, 2.0, np.inf], cv="gcv"),
]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: " ".join(str(model).split()))
def test_parameters_set_after_a_fit_change_no_fitted_attribute(model, first, other):
    """Nor do they change what is computed when it is first read."""
    X, y = regression(60, 4, t=2)
    before, after = (clone(model).set_params(random_state=0) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in (before, after):
            getattr(each, first)(X, y)
    expected = fitted_attributes(before)
    after.set_params(**{name: other(value) for name, value in after.get_params().items()})
    assert fitted_attributes(after) == expected


@SVRG_AND_SGD
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_pickle(data, params, first):
    X, y = data
    model = model_of(params)
    getattr(model, first)(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    for _ in range(3):
        model.partial_fit(X[:50], y[:50])
        copy.partial_fit(X[:50], y[:50])
        # Rows that wait have entered the moments of the copy.
        np.testing.assert_allclose(copy.coef_, model.coef_, rtol=1e-12)
        np.testing.assert_allclose(copy.intercept_, model.intercept_, rtol=1e-12)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@METHODS
def test_frames(data, library, method):
    frame = pytest.importorskip(library).DataFrame
    X, y = data
    table = frame(dict(zip("abcd", X.T, strict=True)))
    model, plain = MiniBatchRidgeSGD(random_state=0), MiniBatchRidgeSGD(random_state=0)
    getattr(model, method)(table, y)
    getattr(plain, method)(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-12)
    np.testing.assert_allclose(model.predict(table), plain.predict(X), rtol=1e-12)
    assert model.feature_names_in_.tolist() == list("abcd")
    wrong = frame(dict(zip("abce", X.T, strict=True)))
    for call in (model.predict, lambda table: model.partial_fit(table, y)):
        with pytest.raises(ValueError, match="feature names"):
            call(wrong)


def test_frames_of_targets(data):
    X, y = data
    targets = pd.DataFrame({"one": y, "two": -2 * y})
    model = MiniBatchRidgeSGD(random_state=0).fit(pd.DataFrame(X, columns=list("abcd")), targets)
    np.testing.assert_allclose(model.coef_[1], -2 * model.coef_[0], rtol=1e-9)


def test_the_frame_may_leave_through_set_output(data):
    X, y = data
    scaled = make_pipeline(
        StandardScaler().set_output(transform="pandas"), MiniBatchRidgeSGD(random_state=0)
    )
    scaled.fit(pd.DataFrame(X, columns=list("abcd")), y)
    assert scaled[-1].feature_names_in_.tolist() == list("abcd")


def test_metadata_routing_through_a_pipeline(data):
    X, y = data
    w = np.linspace(0, 1, 200)
    with sklearn.config_context(enable_metadata_routing=True):
        model = MiniBatchRidgeSGD(random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, y, sample_weight=w)
        search = GridSearchCV(model.set_score_request(sample_weight=True), {"alpha": [1e-4]}, cv=3)
        search.fit(X, y, sample_weight=w)
    Z = pipeline[0].transform(X)
    assert distance_to_ridge(pipeline[-1], Z, y, w) <= 1e-6
    assert distance_to_ridge(search.best_estimator_, X, y, w) <= 1e-6


def test_metadata_routing_of_partial_fit():
    with sklearn.config_context(enable_metadata_routing=True):
        model = MiniBatchRidgeSGD().set_partial_fit_request(sample_weight=True)
        assert model.get_metadata_routing().partial_fit.requests["sample_weight"] is True


@pytest.mark.parametrize("n", [200, 3000])
@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 7}, {"fit_intercept": False}, {"alpha": 1.0, "batch_size": 64}]
)
def test_warm_start_refits_in_an_epoch(n, params):
    X, y = regression(n, 6, condition=1e4)
    model = MiniBatchRidgeSGD(warm_start=True, random_state=0, **params).fit(X, y)
    for _ in range(2):
        model.fit(X, y)
        assert model.converged_
        assert model.n_iter_ <= 1
        assert distance_to_ridge(model, X, y) <= 1e-6


def test_warm_start_after_a_change(data):
    X, y = data
    model = MiniBatchRidgeSGD(warm_start=True, random_state=0).fit(X, y)
    model.set_params(alpha=1.0).fit(3 * X + 1, y - 2)
    assert distance_to_ridge(model, 3 * X + 1, y - 2) <= 1e-6


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@METHODS
def test_an_intercept_that_is_no_longer_fitted_is_zero(data, solver, method):
    X, y = data
    model = MiniBatchRidgeSGD(
        solver=solver, lr=0.01, warm_start=True, random_state=0, max_iter=3, tol=None
    ).fit(X, y)
    getattr(model.set_params(fit_intercept=False), method)(X, y)
    assert model.intercept_ == 0
    if method == "fit":
        Z, beta = X / model.scaler_.scale_, model.coef_ * model.scaler_.scale_
        loss = np.mean((Z @ beta - y) ** 2) / 2 + model.alpha / 2 * beta @ beta
        np.testing.assert_allclose(model.loss_history_[-1], loss, rtol=1e-9)


def test_steps_over_all_rows_leave_the_rate_as_it_is():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 1)) + 0.1 * rng.normal(
        size=(100, 30)
    )  # columns alike, so that gradients are too long
    model = MiniBatchRidgeSGD(
        preconditioner=None, lr=0.5, batch_size=100, max_iter=3, tol=None
    ).fit(X, X.sum(axis=1))
    assert model.lr_ == 0.5


def test_warm_start_goes_on_where_the_textbook_solver_stood(data):
    X, y = data
    params = {"solver": "sgd", "lr": 0.01, "shuffle": False, "tol": None}
    once = MiniBatchRidgeSGD(max_iter=6, **params).fit(X, y)
    twice = MiniBatchRidgeSGD(max_iter=3, warm_start=True, **params).fit(X, y).fit(X, y)
    np.testing.assert_allclose(twice.coef_, once.coef_, rtol=1e-10)


@SVRG_AND_SGD
@pytest.mark.parametrize("early_stopping", [True, False])
def test_random_state_fixes_every_bit(params, early_stopping):
    X, y = regression(1500, 4)
    models = [
        model_of({"early_stopping": early_stopping, "random_state": 3, **params}) for _ in range(2)
    ]
    states = [state(model.fit(X, y).partial_fit(X[:90], y[:90])) for model in models]
    assert states[0] == states[1]


@SVRG_AND_SGD
def test_fitting_again_starts_anew(data, params):
    X, y = data
    model = model_of(params)
    first = state(model.fit(X, y))
    assert state(model.partial_fit(X, y).fit(X, y)) == first


@SVRG_AND_SGD
def test_the_global_generator_is_left_alone(data, params):
    X, y = data
    before = pickle.dumps(check_random_state(None).get_state())
    model_of(params).fit(X, y).partial_fit(X, y)
    assert pickle.dumps(check_random_state(None).get_state()) == before


@SVRG_AND_SGD
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("standardize", [True, False])
def test_read_only_arrays(data, params, dtype, standardize):
    X, y = (a.astype(dtype) for a in data)
    w = np.linspace(0, 1, 200)
    for a in (X, y, w):
        a.setflags(write=False)
    model = model_of({"standardize": standardize, "fit_intercept": standardize, **params})
    model.fit(X, y, sample_weight=w).partial_fit(X, y, sample_weight=w).predict(X)


@SVRG_AND_SGD
def test_read_only_sparse_rows(data, params):
    X, y = data
    rows = sparse.csr_array(X)
    for a in (rows.data, rows.indices, rows.indptr):
        a.setflags(write=False)
    model_of(params).fit(rows, y).partial_fit(rows, y).predict(rows)


@SVRG_AND_SGD
def test_memory_maps(data, params, tmp_path):
    X, y = data
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = model_of(params).fit(mapped, y).partial_fit(mapped, y)
    np.testing.assert_array_equal(model.coef_, model_of(params).fit(X, y).partial_fit(X, y).coef_)
    np.testing.assert_array_equal(mapped, data[0])


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_layout_of_the_array_does_not_matter(data, solver, order):
    X, y = data
    model = model_of({"solver": solver, "lr": 0.01})
    expected = clone(model).fit(X, y).coef_
    np.testing.assert_allclose(model.fit(np.asarray(X, order=order), y).coef_, expected, rtol=1e-12)
    np.testing.assert_allclose(
        model.fit(np.repeat(X, 2, axis=1)[:, ::2], y).coef_, expected, rtol=1e-12
    )


def test_unsorted_indices_and_repeated_entries(data):
    X, y = data
    rows = sparse.coo_array(X)
    order = np.random.default_rng(0).permutation(rows.nnz)
    halves = [np.concatenate([a[order], a[order]]) for a in (rows.data / 2, rows.row, rows.col)]
    messy = sparse.coo_array((halves[0], (halves[1], halves[2])), shape=X.shape)
    assert (
        distance_to_ridge(MiniBatchRidgeSGD(batch_size=7, random_state=0).fit(messy, y), X, y)
        <= 1e-6
    )


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_resolved_values(data, solver):
    X, y = data
    model = model_of({"solver": solver, "batch_size": 500, "lr": "auto"}).fit(X, y)
    assert model.batch_size_ == 200
    assert model.lr_ > 0
    assert model.t_ == model.n_iter_ == len(model.loss_history_) == 10
    assert model_of({"solver": solver, "batch_size": 7, "lr": 1e-3}).fit(X, y).t_ == 10 * 29


def test_scaler_is_that_of_scikit_learn(data):
    X, y = data
    w = np.linspace(0, 1, 200)
    model, scaler = (
        MiniBatchRidgeSGD().fit(X, y, sample_weight=w),
        StandardScaler().fit(X, sample_weight=w),
    )
    for name in ("mean_", "var_", "scale_", "n_samples_seen_"):
        np.testing.assert_allclose(getattr(model.scaler_, name), getattr(scaler, name), rtol=1e-12)
    np.testing.assert_allclose(model.scaler_.transform(X), scaler.transform(X), atol=1e-12)


def test_early_stopping_returns_the_best_epoch():
    X, y = regression(80, 50, noise=10)
    model = MiniBatchRidgeSGD(
        early_stopping=True, solver="sgd", lr=0.01, tol=0, n_iter_no_change=3, random_state=0
    )
    model.fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_ < 100
    best = np.argmax(model.validation_scores_) + 1
    assert 1 < best == model.n_iter_ - 3
    stopped = clone(model).set_params(max_iter=best, tol=None).fit(X, y)
    np.testing.assert_array_equal(stopped.coef_, model.coef_)
