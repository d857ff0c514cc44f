"""Rows of other libraries than NumPy, under scikit-learn's array API dispatch."""

import pickle
from io import StringIO
from itertools import pairwise

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_minibatch import (
    ChunkSource,
    EpochProgressBar,
    LossHistoryDisplay,
    MiniBatchRidgeSGD,
    MiniBatchRidgeSGDCV,
)
from sklearn_minibatch._data.array_api import SUPPORTED
from sklearn_minibatch._statistics.arrays import place_of, to_numpy

from ..oracles import closed_form
from ..tables import FAULTS

pytest.importorskip("array_api_compat")
needs_dispatch = pytest.mark.skipif(not SUPPORTED, reason="needs scikit-learn >= 1.9")

ALPHA = 1e-3
# Libraries with a device and a data type, and how near predictions come to NumPy's, in std(y).
PLACES = {
    "strict": ("array_api_strict", "CPU_DEVICE", "float64", 1e-12),
    "a second device": ("array_api_strict", "device1", "float64", 1e-12),
    "strict, float32": ("array_api_strict", "device2", "float32", 1e-6),
    "no float64": ("array_api_strict", "no_float64", "float32", 5e-6),
    "torch": ("torch", "cpu", "float64", 1e-12),
    "torch, float32": ("torch", "cpu", "float32", 1e-6),
}
# Each library and data type is among them.
QUICK = ("a second device", "no float64", "torch")
SETTINGS = {
    "auto": {},
    "svrg": {"solver": "svrg"},
    "mini-batches": {"batch_size": 64},
    "small mini-batches": {"batch_size": 3},
    "Nystrom": {"preconditioner": 2, "batch_size": 128},
    "no preconditioner": {"preconditioner": None},
    "no intercept": {"fit_intercept": False},
    "as they are": {"standardize": False, "solver": "svrg"},
    "unshuffled": {"batch_size": 64, "shuffle": False},
}
STEPS = {
    "sgd": {"solver": "sgd", "max_iter": 4, "tol": None},
    "averaged": {"solver": "sgd", "max_iter": 4, "tol": None, "average": True},
    "early stopping": {"early_stopping": True, "solver": "sgd", "max_iter": 4, "tol": None},
}


class Place:
    """Moves NumPy arrays to a library, a device and a data type."""

    def __init__(self, library, device, dtype, tol):
        self.xp = pytest.importorskip(library)
        self.device = self.xp.Device(device) if library == "array_api_strict" else device
        self.dtype = dtype
        self.tol = tol

    def __call__(self, values):
        if values is None or sparse.issparse(values):
            return values
        values = np.asarray(values)
        kept = values.astype(self.dtype) if values.dtype == float else values
        return self.xp.asarray(np.ascontiguousarray(kept), device=self.device)

    def is_home_of(self, values):
        there = getattr(values, "device", None)
        return type(values) is type(self(np.zeros(1))) and str(there) == str(self.device)


@pytest.fixture(autouse=True)
def dispatch(monkeypatch):
    """Dispatch as users switch it on; scikit-learn looks for the variable."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    if SUPPORTED:
        with sklearn.config_context(array_api_dispatch=True):
            yield
    else:
        yield


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PLACES]
)
def place(request):
    return Place(*PLACES[request.param])


def problem(n_rows=1500, n_targets=1, weighted=False, seed=0):
    """Rows with a constant column and one far from 0, in numbers that float32 holds."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 6)) * [1, 3, 1, 0.1, 1, 1] + [0, 40, 0, 0, -2, 0]
    X[:, 2] = 4.0
    X[:, 5] += X[:, 0]
    X = X.astype(np.float32).astype(float)
    y = X @ rng.normal(size=(6, n_targets)) + rng.normal(size=(n_rows, n_targets))
    y = y.astype(np.float32).astype(float)
    w = None
    if weighted:
        w = rng.uniform(size=n_rows).astype(np.float32).astype(float)
        w[::7] = 0.0
    return X, y[:, 0] if n_targets == 1 else y, w


def apart(a, b, y):
    """The largest difference of predictions, in std(y)."""
    return np.max(np.abs(to_numpy(a) - to_numpy(b))) / np.std(y)


@needs_dispatch
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_solver_lands_on_the_closed_form(place, settings, weighted):
    X, y, w = problem(n_targets=1 + weighted, weighted=weighted)
    params = {"alpha": ALPHA, "random_state": 0, "max_iter": 300} | SETTINGS[settings]
    model = MiniBatchRidgeSGD(**params).fit(place(X), place(y), place(w))
    units = {name: params.get(name, True) for name in ("fit_intercept", "standardize")}
    exact = closed_form(X, y, ALPHA, w, **units).predict(X).reshape(y.shape)
    assert model.converged_
    # `tol` is 1e-6; what is left of it after the last step depends on the solver.
    assert apart(model.predict(place(X)), exact, y) <= 3e-6
    assert place.is_home_of(model.coef_)
    assert place.is_home_of(model.loss_history_)
    assert place.is_home_of(model.predict(place(X[:3])))


@needs_dispatch
@pytest.mark.parametrize("settings", ["auto", *STEPS], ids=str)
def test_the_same_as_numpy(place, settings):
    X, y, w = problem(weighted=True)
    params = {"alpha": ALPHA, "random_state": 0} | STEPS.get(settings, {})
    model = MiniBatchRidgeSGD(**params).fit(place(X), place(y), place(w))
    with sklearn.config_context(array_api_dispatch=False):
        same = MiniBatchRidgeSGD(**params).fit(X.astype(place.dtype), y, w)
        expected = same.predict(X)
        score = same.score(X, y, w)
    # Steps in float32 take in its rounding errors.
    tol = place.tol if settings == "auto" or place.dtype == "float64" else 1e-4
    assert apart(model.predict(place(X)), expected, y) <= tol
    assert abs(model.score(place(X), place(y), place(w)) - score) <= max(tol, 1e-6)
    assert len(to_numpy(model.loss_history_)) == len(same.loss_history_)


@needs_dispatch
@given(st.lists(st.integers(0, 300), max_size=5), st.booleans(), st.integers(0, 5))
def test_streams_of_any_chunks_are_the_closed_form_of_all_rows(cuts, weighted, at):
    # Hypothesis does not draw fixtures: every place takes the same stream.
    X, y, w = problem(300, weighted=weighted)
    X[:, at] = X[0, at]
    ends = sorted({0, 300, *cuts})
    for name in ("a second device", "no float64"):
        place = Place(*PLACES[name])
        model = MiniBatchRidgeSGD(ALPHA)
        for start, end in pairwise(ends):
            weights = None if w is None else np.maximum(w[start:end], 1e-3)
            model.partial_fit(
                place(X[start:end]),
                place(y[start:end]),
                None if w is None else place(weights),
            )
        all_w = None if w is None else np.maximum(w, 1e-3).astype(np.float32).astype(float)
        exact = closed_form(X, y, ALPHA, all_w).predict(X)[:, 0]
        assert apart(model.predict(place(X)), exact, y) <= 1e-5 if place.tol > 1e-9 else 1e-10
        assert to_numpy(model.coef_)[at] == 0


@needs_dispatch
@pytest.mark.parametrize("solver", ["auto", "svrg", "sgd"])
def test_a_stream_takes_the_steps_that_numpy_takes(place, solver):
    X, y, w = problem(weighted=True)
    there, here = [MiniBatchRidgeSGD(ALPHA, solver=solver, random_state=0) for _ in range(2)]
    for rows in (slice(0, 400), slice(400, 401), slice(401, 1500)):
        there.partial_fit(place(X[rows]), place(y[rows]), place(w[rows] + 1))
        here.partial_fit(X[rows].astype(place.dtype), y[rows], w[rows] + 1)
    steps_in_float32 = solver == "sgd" and place.dtype == "float32"
    tol = 1e-4 if steps_in_float32 else place.tol
    assert apart(there.predict(place(X)), here.predict(X), y) <= tol


@needs_dispatch
@pytest.mark.parametrize("settings", ["auto", "svrg", "mini-batches", "sgd"], ids=str)
def test_chunks_of_a_source(place, settings):
    X, y, w = problem(weighted=True)

    def chunks():
        for rows in (slice(0, 700), slice(700, 707), slice(707, 1500)):
            yield place(X[rows]), place(y[rows]), place(w[rows])

    params = {"alpha": ALPHA, "random_state": 0} | {**SETTINGS, **STEPS}[settings]
    source = ChunkSource(chunks)
    model = MiniBatchRidgeSGD(**params).fit(source)
    assert place.is_home_of(model.coef_)
    parts = list(model.predict(source))
    assert all(map(place.is_home_of, parts))
    with sklearn.config_context(array_api_dispatch=False):
        same = MiniBatchRidgeSGD(**params).fit(
            ChunkSource(lambda: [tuple(map(to_numpy, chunk)) for chunk in chunks()])
        )
        expected = same.predict(X)
        score = same.score(X, y, w)
    tol = 1e-4 if settings == "sgd" and place.dtype == "float32" else max(place.tol, 2e-12)
    assert apart(np.concatenate(list(map(to_numpy, parts))), expected, y) <= 3 * tol
    if settings == "auto":
        assert model.n_passes_ == 1
    assert abs(model.score(source) - score) <= 1e-6


@needs_dispatch
def test_many_columns_in_chunks(place, monkeypatch):
    monkeypatch.setattr("sklearn_minibatch._solvers.choose.EXACT_FEATURES", 20)
    monkeypatch.setattr("sklearn_minibatch._solvers.preconditioner.EXACT_FEATURES", 20)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 30)).astype(np.float32).astype(float)
    y = (X[:, :3].sum(axis=1) + rng.normal(size=300)).astype(np.float32).astype(float)

    def chunks():
        for start in range(0, 300, 100):
            yield place(X[start : start + 100]), place(y[start : start + 100])

    model = MiniBatchRidgeSGD(0.1, random_state=0, max_iter=300).fit(ChunkSource(chunks))
    assert model.solver_ == "svrg"
    assert model.converged_
    exact = closed_form(X, y, 0.1).predict(X)[:, 0]
    assert apart(model.predict(place(X)), exact, y) <= 1e-5


@needs_dispatch
@pytest.mark.parametrize("cv", [None, KFold(3, shuffle=True, random_state=0), TimeSeriesSplit(3)])
def test_alpha_by_cross_validation(place, cv):
    X, Y, w = problem(n_targets=2, weighted=True)
    for y in (Y[:, 0], Y):
        params = {"cv": cv, "random_state": 0, "alpha_per_target": y.ndim == 2}
        model = MiniBatchRidgeSGDCV(**params).fit(place(X), place(y), place(w))
        with sklearn.config_context(array_api_dispatch=False):
            same = MiniBatchRidgeSGDCV(**params).fit(X, y, w)
        assert np.allclose(to_numpy(model.mse_path_), same.mse_path_, rtol=1e-5)
        assert place.is_home_of(model.alphas_)
        assert place.is_home_of(model.coef_path_)
        assert apart(model.predict(place(X)), same.predict(X), y) <= 1e-5


@needs_dispatch
def test_float32_rows_far_from_0_keep_the_digits_that_they_have(place):
    # Sums of float32 numbers in float32 would keep two digits of these columns.
    rng = np.random.default_rng(0)
    X = (1000.0 + rng.normal(size=(20_000, 4))).astype(np.float32).astype(float)
    y = (X @ [1.0, -1.0, 0.5, 0.0] + rng.normal(size=20_000)).astype(np.float32).astype(float)
    exact = closed_form(X, y, ALPHA)
    for solver in ("auto", "svrg"):
        model = MiniBatchRidgeSGD(ALPHA, solver=solver, random_state=0).fit(place(X), place(y))
        assert model.converged_
        found = (X - exact.x_mean) @ to_numpy(model.coef_).astype(float)
        assert apart(found, (X - exact.x_mean) @ exact.coef[:, 0], y) <= 2e-6


def test_matrix_products_of_few_digits_are_corrected():
    """Where a user has allowed torch to round float32 products, gradients in float64 decide."""
    torch = pytest.importorskip("torch")
    X, y, _ = problem()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        for settings in ({}, {"solver": "svrg"}, {"batch_size": 64}):
            model = MiniBatchRidgeSGD(ALPHA, random_state=0, **settings)
            model.fit(torch.asarray(X, dtype=torch.float32), torch.asarray(y))
            exact = closed_form(X, y, ALPHA).predict(X)[:, 0]
            assert model.converged_
            assert apart(X @ to_numpy(model.coef_) + model.intercept_, exact, y) <= 2e-6
    finally:
        torch.set_float32_matmul_precision(before)


# Under dispatch: what is done to NumPy arrays X, y, w and then to those elsewhere, and the error.
DENSE_FAULTS = {
    name: fault
    for name, fault in FAULTS.items()
    if name not in ("text", "NaN in sparse X", "too large", "endless weights", "weights all zero")
}


@needs_dispatch
@pytest.mark.parametrize("kind", [MiniBatchRidgeSGD, MiniBatchRidgeSGDCV])
def test_what_numpy_refuses_is_refused_elsewhere(place, kind):
    X, y, _ = problem(60)
    model = kind().fit(place(X[:, :3]), place(y))
    before = pickle.dumps(vars(model))
    for fault, (change, message) in DENSE_FAULTS.items():
        if fault == "complex" and str(place.device).endswith("64')"):
            continue  # The device has no complex numbers of this size.
        faulty = [place(values) for values in change(X[:, :3], y, np.ones(60))]
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(*faulty)
            assert pickle.dumps(vars(model)) == before, fault


@needs_dispatch
def test_numbers_too_large_are_named(place):
    X, y, _ = problem(60)
    X[7, 3] = 1e160
    if place.dtype == "float32":
        pytest.skip("float32 holds no such numbers")
    with pytest.raises(ValueError, match="Column 3 of X: too large"):
        MiniBatchRidgeSGD().fit(place(X), place(y))


@needs_dispatch
def test_weights_of_zero_are_no_rows(place):
    X, y, w = problem(weighted=True)
    kept = w > 0
    a = MiniBatchRidgeSGD(ALPHA).fit(place(X), place(y), place(w))
    b = MiniBatchRidgeSGD(ALPHA).fit(place(X[kept]), place(y[kept]), place(w[kept]))
    assert np.array_equal(to_numpy(a.coef_), to_numpy(b.coef_))
    with pytest.raises(ValueError, match="zero"):
        MiniBatchRidgeSGD().fit(place(X), place(y), place(0 * w))


@needs_dispatch
def test_targets_and_weights_follow_the_rows(place):
    X, y, w = problem(weighted=True)
    expected = to_numpy(MiniBatchRidgeSGD(ALPHA).fit(place(X), place(y), place(w)).coef_)
    for to_y in (np.asarray, list, Place(*PLACES["strict"])):
        model = MiniBatchRidgeSGD(ALPHA).fit(place(X), to_y(y), to_y(w))
        assert place.is_home_of(model.coef_)
        assert np.allclose(to_numpy(model.coef_), expected, rtol=1e-5)
        assert abs(model.score(place(X), to_y(y)) - model.score(place(X), place(y))) < 1e-6
    model = MiniBatchRidgeSGD(ALPHA).fit(X, place(y), place(w))
    assert isinstance(model.coef_, np.ndarray)
    sparse_rows = MiniBatchRidgeSGD(ALPHA).fit(sparse.csr_array(X), place(y))
    assert isinstance(sparse_rows.coef_, np.ndarray)


@needs_dispatch
def test_predictions_need_the_place_of_the_fit(place):
    X, y, _ = problem()
    model = MiniBatchRidgeSGD().fit(place(X), place(y))
    with pytest.raises(ValueError, match="must use the same namespace"):
        model.predict(X)
    without = sklearn.config_context(array_api_dispatch=False)
    with without, pytest.raises(ValueError, match="array_api_dispatch=True"):
        model.predict(X)
    with pytest.raises(ValueError, match="must use the same namespace"):
        MiniBatchRidgeSGD().fit(X, y).predict(place(X))


@needs_dispatch
def test_a_model_moves_and_goes_on(place):
    from sklearn.utils._array_api import move_estimator_to

    X, y, _ = problem()
    model = MiniBatchRidgeSGD(ALPHA).fit(place(X[:1000]), place(y[:1000]))
    moved = move_estimator_to(model, np, "cpu")
    assert apart(moved.predict(X), model.predict(place(X)), y) <= place.tol
    moved.partial_fit(X[1000:], y[1000:])
    exact = closed_form(X, y, ALPHA).predict(X)[:, 0]
    assert apart(moved.predict(X), exact, y) <= max(place.tol, 1e-10)
    assert place.is_home_of(model.coef_)


@needs_dispatch
def test_a_model_is_saved_merged_and_drawn():
    torch = pytest.importorskip("torch")
    X, y, _ = problem()
    X, y = torch.asarray(X), torch.asarray(y)
    a, b = [
        MiniBatchRidgeSGD(ALPHA).fit(X[rows], y[rows]) for rows in (slice(500), slice(500, None))
    ]
    again = pickle.loads(pickle.dumps(a)).merge(b)
    assert isinstance(again.coef_, torch.Tensor)
    whole = MiniBatchRidgeSGD(ALPHA).fit(X, y)
    assert torch.allclose(again.coef_, whole.coef_, rtol=0, atol=1e-12)
    slow = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(X, y)
    shown = LossHistoryDisplay.from_estimator(slow)
    assert np.array_equal(shown.curves[0], slow.loss_history_.numpy())


@needs_dispatch
def test_callbacks_see_the_model_where_the_rows_are(place):
    X, y, _ = problem()
    shown = StringIO()
    model = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0)
    model.set_callbacks(EpochProgressBar(interval=0, file=shown)).fit(place(X), place(y))
    assert f"epoch {model.n_iter_:4d}" in shown.getvalue()
    assert f"loss {to_numpy(model.loss_history_)[-1]:.8g}" in shown.getvalue()


@needs_dispatch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "int8", "bool"])
def test_other_types_are_converted_to_float64(dtype):
    torch = pytest.importorskip("torch")
    X = torch.round(4 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))
    y = X.sum(axis=1) + 1
    model = MiniBatchRidgeSGD(0.0).fit(X.to(getattr(torch, dtype)), y)
    expected = MiniBatchRidgeSGD(0.0).fit(X.to(getattr(torch, dtype)).to(torch.float64), y)
    assert model.coef_.dtype == torch.float64
    assert torch.equal(model.coef_, expected.coef_)


@needs_dispatch
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_a_tensor_that_requires_grad_is_refused(method):
    torch = pytest.importorskip("torch")
    X, y, _ = problem()
    model = MiniBatchRidgeSGD().fit(torch.asarray(X), torch.asarray(y))
    rows = torch.asarray(X).requires_grad_()
    with pytest.raises(ValueError, match=r"requires grad.*detach"):
        getattr(model, method)(rows, *([] if method == "predict" else [torch.asarray(y)]))


@needs_dispatch
def test_a_data_loader_is_a_source():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    X, y, _ = problem()
    data = TensorDataset(torch.asarray(X), torch.asarray(y))
    model = MiniBatchRidgeSGD(ALPHA).fit(DataLoader(data, batch_size=256, shuffle=True))
    assert isinstance(model.coef_, torch.Tensor)
    assert model.n_passes_ == 1
    exact = closed_form(X, y, ALPHA).predict(X)[:, 0]
    assert apart(model.predict(torch.asarray(X)), exact, y) <= 1e-10


def test_without_dispatch_tensors_become_numpy_arrays():
    torch = pytest.importorskip("torch")
    X, y, _ = problem()
    with sklearn.config_context(array_api_dispatch=False):
        model = MiniBatchRidgeSGD(ALPHA).fit(torch.asarray(X), torch.asarray(y))
        assert isinstance(model.coef_, np.ndarray)
        assert np.array_equal(model.coef_, MiniBatchRidgeSGD(ALPHA).fit(X, y).coef_)


@pytest.mark.skipif(SUPPORTED, reason="this scikit-learn can")
def test_older_versions_of_scikit_learn_say_what_is_needed():
    # Older ones of SciPy are refused by scikit-learn itself.
    pytest.importorskip("scipy", "1.14")
    place = Place(*PLACES["strict"])
    X, y, _ = problem(50)
    dispatched = sklearn.config_context(array_api_dispatch=True)
    with dispatched, pytest.raises(ValueError, match=r"scikit-learn >= 1\.9"):
        MiniBatchRidgeSGD().fit(place(X), place(y))


@needs_dispatch
@pytest.mark.parametrize(
    "model",
    [
        MiniBatchRidgeSGD(),
        # As many epochs wherever the rows are: the checks compare the lengths of the histories.
        MiniBatchRidgeSGD(solver="svrg", tol=None, max_iter=3),
        MiniBatchRidgeSGD(batch_size=7, tol=None, max_iter=3),
        MiniBatchRidgeSGD(solver="sgd", tol=None, max_iter=5),
        MiniBatchRidgeSGDCV(cv=3),
    ],
    ids=str,
)
def test_scikit_learn_s_checks_of_dispatch_run(model):
    pytest.importorskip("torch")
    ran = set()
    for estimator, check in estimator_checks_generator(model):
        name = check.func.__name__
        if "array_api" not in name:
            continue
        try:
            check(estimator)
        except pytest.skip.Exception:
            continue
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                raise
            continue
        where = check.keywords.get("array_namespace", "mixed")
        ran.add((name, where))
    expected = [("check_array_api_input", xp) for xp in ("numpy", "array_api_strict", "torch")]
    expected += [("check_array_api_mixed_inputs", "mixed")]
    expected += [("check_array_api_same_namespace", "array_api_strict")]
    assert ran == set(expected)


def test_a_place_makes_copies():
    torch = pytest.importorskip("torch")
    values = np.ones(3)
    moved = place_of(torch.zeros(2, dtype=torch.float64))(values)
    moved[0] = 5.0
    assert values[0] == 1.0
