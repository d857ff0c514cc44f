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
from sklearn_minibatch import MiniBatchRidgeSGD

from .. import ROOT

MODELS = pytest.mark.parametrize(
    "params",
    [
        {},
        {"solver": "sgd"},
        {"preconditioner": 3},
        {"preconditioner": None},
        {"early_stopping": True},
    ],
    ids=str,
)
HISTORIES = pytest.mark.parametrize("history", ["fit", "partial_fit", "both", "sparse"])
ONLY_TYPE = "sklearn_minibatch._estimator.MiniBatchRidgeSGD"


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
        assert np.array_equal(loaded.predict(X), model.predict(X))
        assert np.array_equal(loaded.scaler_.var_, model.scaler_.var_)
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
def test_pickles_name_one_type_of_this_package(rows, params, history, protocol):
    model = trained(params, history, *rows)
    data = pickle.dumps(model, protocol)
    assert data.count(b"sklearn_minibatch") == 1
    assert_same(pickle.loads(data), model, *rows)


@MODELS
@HISTORIES
def test_skops_asks_to_trust_the_estimator_only(rows, params, history, tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    model = trained(params, history, *rows)
    skops.dump(model, tmp_path / "model.skops")
    # Rows of the last chunks may wait in the model, as they came.
    waiting = ["scipy.sparse._csr.csr_array"] if history == "sparse" else []
    found = skops.get_untrusted_types(file=tmp_path / "model.skops")
    assert found in ([ONLY_TYPE], [*waiting, ONLY_TYPE])
    assert_same(skops.load(tmp_path / "model.skops", trusted=found), model, *rows)


def test_a_wide_sparse_model():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.standard_normal((300, 2000)) * (rng.random((300, 2000)) < 0.005))
    y = rng.standard_normal(300)
    model = MiniBatchRidgeSGD(alpha=1.0, random_state=0).fit(X, y)
    data = pickle.dumps(model)
    assert data.count(b"sklearn_minibatch") == 1
    loaded = pickle.loads(data)
    for _ in range(2):
        assert np.array_equal(loaded.coef_, model.coef_)
        loaded.partial_fit(X[:50], y[:50])
        model.partial_fit(X[:50], y[:50])


def test_skops_inside_a_pipeline(rows):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    X, y = rows
    model = make_pipeline(StandardScaler(), MiniBatchRidgeSGD(random_state=0)).fit(X, y)
    data = skops.dumps(model)
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException):
        skops.loads(data)
    assert np.array_equal(skops.loads(data, trusted=[ONLY_TYPE]).predict(X), model.predict(X))


def load(state):
    model = MiniBatchRidgeSGD.__new__(MiniBatchRidgeSGD)
    model.__setstate__(state)
    return model


@HISTORIES
def test_a_pickle_of_another_version_loads_with_a_warning(rows, history):
    model = trained({}, history, *rows)
    state = model.__getstate__()
    assert state["_version"] == sklearn_minibatch.__version__
    with pytest.warns(
        UserWarning, match=r"written by sklearn_minibatch 0\.0\.7, this is .*load it with 0\.0\.7"
    ):
        loaded = load({**state, "_version": "0.0.7"})
    assert state["_version"] == sklearn_minibatch.__version__
    assert_same(loaded, model, *rows)


@HISTORIES
def test_a_pickle_that_lacks_what_this_version_needs_says_who_wrote_it(rows, history):
    model = trained({}, history, *rows)
    for name in model.__getstate__().keys() - {"_version", "_checked"}:
        state = {**model.__getstate__(), "_version": "0.0.7"}
        del state[name]
        message = (
            r"written by sklearn_minibatch 0\.0\.7, "
            f"this is {sklearn_minibatch.__version__}, .*{name} missing.*refit"
        )
        if name == "n_iter_":  # what a model has that only predicts
            with pytest.warns(UserWarning, match=r"0\.0\.7"):
                assert np.array_equal(load(state).predict(rows[0]), model.predict(rows[0]))
        else:
            with pytest.raises(ValueError, match=message):
                load(state)
    del (state := model.__getstate__())["_version"], state["_seed"]
    with pytest.raises(
        ValueError, match=r"sklearn_minibatch before 0\.1\.0, this is .*_seed missing"
    ):
        load(state)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("history", ["fit", "partial_fit"])
@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_models_of_version_0_1_load_and_learn_on(solver, history):
    """Models written by 0.1.0 predict what they predicted there, and learn on.

    They lack the names that attributes have today.
    """
    saved = pickle.loads((ROOT / "tests" / "files" / "models_0_1.pickle").read_bytes())[
        solver, history
    ]
    model = saved["model"]
    assert model.solver_ == solver
    np.testing.assert_allclose(model.predict(saved["X"]), saved["predictions"], rtol=1e-12)
    np.testing.assert_allclose(model.scaler_.mean_, saved["X"].mean(axis=0))
    model.partial_fit(saved["X"][:20] + 1, saved["y"][:20])
    gap = np.abs(model.predict(saved["X"]) - saved["later"]).max() / np.std(saved["y"])
    # The steps of "svrg" are not those of 0.1.0: its stream now forgets what a column was before it
    # changed.
    assert gap <= (0.5 if solver == "svrg" else 1e-9)
    with pytest.raises(ValueError, match="second moments of all rows so far"):
        model.set_params(solver="cholesky").partial_fit(saved["X"], saved["y"])


@MODELS
@HISTORIES
@pytest.mark.parametrize("change", ["a field less", "a field more", "another kind"])
def test_a_pickle_whose_parts_are_others_says_who_wrote_it(rows, params, history, change):
    state = trained(params, history, *rows).__getstate__()
    kinds = [name for name, value in state.items() if isinstance(value, dict)]
    assert "_moments" in kinds
    for name in kinds:
        part = dict(state[name])
        if change == "a field less":
            del part[next(field for field in part if field != "kind")]
        elif change == "a field more":
            part["shape"] = 1
        else:
            part["kind"] = "Other"
        with pytest.raises(
            ValueError,
            match=rf"by sklearn_minibatch 0\.0\.7, .*a {part['kind']} of .*load it with 0\.0\.7",
        ):
            load({**state, name: part, "_version": "0.0.7"})


def test_html_links_to_our_documentation(rows):
    page = f"https://sklearn-minibatch.readthedocs.io/en/stable/api.html#sklearn_minibatch.{MiniBatchRidgeSGD.__name__}"
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
