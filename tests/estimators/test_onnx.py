"""Predictions of the ONNX graph in onnxruntime, against those of the model."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD, register_onnx_converter

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


def test_integers():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (200, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(200)
    model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    found = in_onnxruntime(model, X)
    assert found.dtype == np.float32
    assert_equal_to_float_precision(found, model, X, y)


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
