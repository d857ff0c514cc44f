"""Predictions of the ONNX graph in onnxruntime, against those of the model."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.ensemble import BaggingRegressor, VotingRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV, register_onnx_converter

onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed (extra [onnx])"
)
skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed (extra [onnx])")
# skl2onnx and onnx call what numpy and others deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def registered():
    register_onnx_converter()


def in_onnxruntime(model, X):
    """Predictions of `model`, converted for rows like X, by onnxruntime."""
    graph = skl2onnx.to_onnx(model, X[:1])
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    columns = (
        {name: X[[name]].to_numpy() for name in X} if isinstance(X, pd.DataFrame) else {"X": X}
    )
    return session.run(None, columns)[0]


def assert_equal_to_float_precision(found, model, X, y):
    """Within a few units of the last place, of the type of `found`, of the spread of y."""
    expected = np.asarray(model.predict(X)).reshape(len(X), -1)
    assert found.shape == expected.shape
    scale = np.abs(y - np.mean(y, axis=0)).max() + np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(found.dtype).eps * scale)


@DTYPES
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "sgd", "tol": None}, {"fit_intercept": False}, {"standardize": False}],
    ids=str,
)
def test_one_target(dtype, params):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = MiniBatchRidgeSGD(random_state=0, max_iter=10, tol=None)
    model.set_params(**params).fit(X, y)
    found = in_onnxruntime(model, X.astype(dtype))
    assert found.dtype == dtype
    assert_equal_to_float_precision(found, model, X, y)


@DTYPES
def test_several_targets(dtype):
    X, y = load_linnerud(return_X_y=True)
    model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    found = in_onnxruntime(model, X.astype(dtype))
    assert found.shape == (20, 3)
    assert_equal_to_float_precision(found, model, X, y)


@DTYPES
def test_after_partial_fit(dtype):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = MiniBatchRidgeSGD(random_state=0)
    for part in np.array_split(np.arange(len(y)), 5):
        model.partial_fit(X[part], y[part])
    assert_equal_to_float_precision(in_onnxruntime(model, X.astype(dtype)), model, X, y)


def test_columns_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    # Multiples of 1/8 near 1e5 are exact in float32.
    X = 1e5 + rng.integers(-80, 80, (500, 4)) / 8
    y = X @ [1.0, -2.0, 0.5, 1.0] + rng.standard_normal(500)
    model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    found = in_onnxruntime(model, X.astype(np.float32))
    assert_equal_to_float_precision(found, model, X, y)
    # Without centring in the graph: coef' x alone loses all that float32 rounds off products of
    # 1e5.
    naive = X.astype(np.float32) @ model.coef_.astype(np.float32) + np.float32(model.intercept_)
    error = np.abs(found[:, 0] - model.predict(X)).max()
    assert error < np.abs(naive - model.predict(X)).max() / 2


ESTIMATORS = pytest.mark.parametrize("estimator", [MiniBatchRidgeSGD(), MiniBatchRidgeSGDCV()])


@ESTIMATORS
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8, bool])
def test_small_integers(estimator, dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (200, 3)).astype(dtype)
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(200)
    model = clone(estimator).fit(X, y)
    found = in_onnxruntime(model, X)
    assert found.dtype == np.float32
    assert_equal_to_float_precision(found, model, X, y)


@ESTIMATORS
@pytest.mark.parametrize(
    ("start", "step", "dtype"),
    [
        (1_700_000_000, 1, np.int64),  # seconds since 1970
        (1_700_000_000, 1, np.int32),
        (1_700_000_000 * 10**9, 10**9, np.int64),  # nanoseconds since 1970
        (30_000_000, 1, np.int64),  # identifiers
        (-(10**12), 7, np.int64),
    ],
)
def test_integers_far_from_zero_keep_their_digits(estimator, start, step, dtype):
    """The oracle fits the same times from their beginning on."""
    rng = np.random.default_rng(0)
    t = np.arange(360)
    k = rng.integers(0, 9, 360)
    y = np.column_stack([t / 36 + k, -k]) + 0.1 * rng.standard_normal((360, 2))
    expected = clone(estimator).fit(np.column_stack([t, k]), y).predict(np.column_stack([t, k]))
    X = np.column_stack([start + step * t, k]).astype(dtype)
    found = in_onnxruntime(clone(estimator).fit(X, y), X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_contributions_of_float32_columns_that_cancel():
    """Products of float32 would be wrong by about 1e4 times its precision."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 1)) + 1e-4 * rng.normal(size=(500, 3))).astype(np.float32)
    y = X.astype(float) @ [1e4, -2e4, 1e4] + rng.normal(size=500)
    model = MiniBatchRidgeSGD(1e-12).fit(X, y)
    assert np.abs(model.coef_).max() > 5000
    assert_equal_to_float_precision(in_onnxruntime(model, X), model, X, y)


def test_coefficients_beyond_float32():
    rng = np.random.default_rng(0)
    X = (1e-35 * rng.normal(size=(200, 2))).astype(np.float32)
    y = 1e41 * X.astype(float).sum(axis=1)
    model = MiniBatchRidgeSGD().fit(X, y)
    assert_equal_to_float_precision(in_onnxruntime(model, X), model, X, y)


@pytest.mark.parametrize(
    "around",
    [
        lambda model: GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2),
        lambda model: BaggingRegressor(model, n_estimators=2, random_state=0),
        lambda model: VotingRegressor([("a", model), ("b", clone(model).set_params(alpha=1.0))]),
    ],
    ids=["search", "bagging", "voting"],
)
def test_inside_searches_and_ensembles(around):
    X = 1_700_000_000 + np.random.default_rng(0).integers(0, 300, (100, 2))
    y = X @ [1.0, -1.0]
    model = around(MiniBatchRidgeSGD()).fit(X, y)
    assert_equal_to_float_precision(in_onnxruntime(model, X), model, X, y)


def test_models_of_tensors(torch):
    X, Y = load_linnerud(return_X_y=True)
    for y in (Y, Y[:, 0]):
        model = MiniBatchRidgeSGD().fit(torch.asarray(X), torch.asarray(y))
        expected = MiniBatchRidgeSGD().fit(X, y).predict(X).reshape(20, -1)
        np.testing.assert_allclose(in_onnxruntime(model, X), expected, rtol=1e-12)


def test_text_is_refused():
    model = MiniBatchRidgeSGD().fit(*load_linnerud(return_X_y=True))
    with pytest.raises(RuntimeError, match="StringTensorType"):
        skl2onnx.to_onnx(model, np.array([["1", "2", "3"]]))


@DTYPES
def test_inside_a_pipeline(dtype):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = make_pipeline(StandardScaler(), MiniBatchRidgeSGD(random_state=0)).fit(X, y)
    assert_equal_to_float_precision(in_onnxruntime(model, X.astype(dtype)), model, X, y)


def test_behind_a_column_transformer_of_a_frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "size": rng.uniform(20, 200, 300).astype(np.float32),
            "city": rng.choice(["A", "B", "C"], 300),
        }
    )
    X["city"] = X["city"].astype(object)
    y = X["size"].to_numpy() * 3 + 50 * (X["city"] == "B").to_numpy() + rng.standard_normal(300)
    columns = ColumnTransformer(
        [("city", OneHotEncoder(), ["city"])], remainder="passthrough", sparse_threshold=0
    )
    model = make_pipeline(columns, MiniBatchRidgeSGD(random_state=0)).fit(X, y)
    assert_equal_to_float_precision(in_onnxruntime(model, X), model, X, y)
