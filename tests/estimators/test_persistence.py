"""Models that leave the process: joblib, pickle, skops; and how they show themselves."""

import pickle

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import sklearn_minibatch
from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import regression

MODELS = pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "sgd", "tol": 1e-3},
        {"preconditioner": 3},
        {"preconditioner": None},
        {"early_stopping": True},
    ],
    ids=str,
)
HISTORIES = pytest.mark.parametrize("history", ["fit", "partial_fit", "both", "sparse"])


@pytest.fixture
def rows():
    return load_diabetes(return_X_y=True)


def trained(params, history, X, y):
    model = MiniBatchRidgeSGD(random_state=0, **params)
    X = sparse.csr_array(X) if history == "sparse" else X
    if history in ("fit", "both"):
        model.fit(X, y)
    if history != "fit":
        for start in range(0, 300, 50):
            model.partial_fit(X[start : start + 50], y[start : start + 50])
    return model


def assert_same(loaded, model, X, y):
    """The same attributes and predictions, and the same again after more rows."""
    assert type(loaded) is MiniBatchRidgeSGD
    assert loaded.get_params() == model.get_params()
    assert vars(loaded).keys() == vars(model).keys()
    for _ in range(2):
        # Rows that wait enter the moments when a model is saved: a rounding earlier.
        np.testing.assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-11)
        np.testing.assert_allclose(loaded.scaler_.var_, model.scaler_.var_, rtol=1e-13)
        assert (loaded.n_iter_, loaded.t_, loaded.lr_) == (model.n_iter_, model.t_, model.lr_)
        loaded.partial_fit(X[300:], y[300:])
        model.partial_fit(X[300:], y[300:])


@MODELS
@HISTORIES
def test_joblib(rows, params, history, tmp_path):
    model = trained(params, history, *rows)
    joblib.dump(model, tmp_path / "model.joblib")
    assert_same(joblib.load(tmp_path / "model.joblib"), model, *rows)


@MODELS
def test_a_memory_mapped_model_predicts_and_learns_on(rows, params, tmp_path):
    model = trained(params, "both", *rows)
    joblib.dump(model, tmp_path / "model.joblib")
    assert_same(joblib.load(tmp_path / "model.joblib", mmap_mode="r"), model, *rows)


@MODELS
@HISTORIES
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle(rows, params, history, protocol):
    model = trained(params, history, *rows)
    assert_same(pickle.loads(pickle.dumps(model, protocol)), model, *rows)


@MODELS
@HISTORIES
def test_skops_asks_to_trust_types_of_this_package_only(rows, params, history, tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    model = trained(params, history, *rows)
    skops.dump(model, tmp_path / "model.skops")
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException):
        skops.load(tmp_path / "model.skops")
    found = skops.get_untrusted_types(file=tmp_path / "model.skops")
    assert all(name.startswith("sklearn_minibatch.") for name in found)
    assert_same(skops.load(tmp_path / "model.skops", trusted=found), model, *rows)


def test_a_wide_sparse_model():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.standard_normal((300, 3100)) * (rng.random((300, 3100)) < 0.005))
    y = rng.standard_normal(300)
    model = MiniBatchRidgeSGD(alpha=1.0, solver="svrg", random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    for _ in range(2):
        assert np.array_equal(loaded.coef_, model.coef_)
        loaded.partial_fit(X[:50], y[:50])
        model.partial_fit(X[:50], y[:50])


def test_a_model_of_another_version_loads_with_a_warning(rows):
    model = MiniBatchRidgeSGD().fit(*rows)
    state = {**model.__getstate__(), "_version": "0.0.7"}
    loaded = MiniBatchRidgeSGD.__new__(MiniBatchRidgeSGD)
    with pytest.warns(UserWarning, match=r"written by sklearn_minibatch 0\.0\.7, this is"):
        loaded.__setstate__(state)
    assert_same(loaded, model, *rows)


def test_the_same_data_give_the_same_pickle(rows):
    assert pickle.dumps(MiniBatchRidgeSGD().fit(*rows)) == pickle.dumps(
        MiniBatchRidgeSGD().fit(*rows)
    )


@pytest.mark.parametrize("chunk", [1, 50])
def test_a_pickle_of_a_stream_holds_moments_and_no_rows(chunk):
    X, y = regression(240, 60)
    model = MiniBatchRidgeSGD()
    sizes = []
    for start in range(0, 240, chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
        sizes.append(len(pickle.dumps(model)))
    assert max(sizes) <= 8 * 61**2 + 8000


@pytest.mark.parametrize("model", [MiniBatchRidgeSGD(), MiniBatchRidgeSGDCV(cv=3)])
@pytest.mark.parametrize("targets", [0, 2])
def test_without_statistics_a_model_predicts_and_no_more(rows, model, targets):
    X, y = rows
    y = np.column_stack([y, y**2]) if targets else y
    model.fit(X, y)
    small = model.without_statistics()
    assert np.array_equal(small.predict(X), model.predict(X))
    assert np.array_equal(small.standardized_coef_, model.standardized_coef_)
    assert small.score(X, y) == model.score(X, y)
    assert small.converged_
    assert len(pickle.dumps(small)) < 4000 < len(pickle.dumps(model)) + 2000
    again = pickle.loads(pickle.dumps(small)).predict(X)
    assert np.array_equal(again, model.predict(X))
    before = pickle.dumps(vars(small))
    with pytest.raises(ValueError, match=r"removed by without_statistics\(\)"):
        small.partial_fit(X, y)
    assert pickle.dumps(vars(small)) == before
    with pytest.raises(AttributeError, match=r"removed by without_statistics\(\)"):
        _ = small.scaler_
    small.fit(X, y).partial_fit(X, y)


def test_a_model_without_statistics_is_not_merged(rows):
    small = MiniBatchRidgeSGD().fit(*rows).without_statistics()
    for a, b in ((MiniBatchRidgeSGD().fit(*rows), small), (small, MiniBatchRidgeSGD().fit(*rows))):
        with pytest.raises(ValueError, match=r"removed by without_statistics\(\)"):
            a.merge(b)


def test_html_links_to_our_documentation(rows):
    pages = "https://sklearn-minibatch.readthedocs.io/en/stable/api.html"
    page = f"{pages}#sklearn_minibatch.{MiniBatchRidgeSGD.__name__}"
    for model in (
        MiniBatchRidgeSGD(),
        make_pipeline(StandardScaler(), MiniBatchRidgeSGD()),
        MiniBatchRidgeSGD().fit(*rows),
    ):
        assert f'href="{page}"' in estimator_html_repr(model)
    assert hasattr(sklearn_minibatch, page.split(".")[-1])


def test_html_shows_the_fitted_attributes(rows):
    pytest.importorskip(
        "sklearn.utils._repr_html.fitted_attributes", reason="scikit-learn shows them from 1.9 on"
    )
    html = estimator_html_repr(MiniBatchRidgeSGD(random_state=0).fit(*rows))
    table = html[html.index("Fitted attributes") :]
    public = [
        "coef_",
        "intercept_",
        "scaler_",
        "loss_history_",
        "distance_history_",
        "n_iter_",
        "t_",
        "lr_",
        "batch_size_",
    ]
    for name in [*public, "converged_", "n_features_in_"]:
        assert name in table
    assert "Fitted attributes" not in estimator_html_repr(MiniBatchRidgeSGD())
