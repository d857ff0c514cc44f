"""The same `random_state` gives the same bits.

In another process, in threads and for any `n_jobs`; and nothing outside a model is changed.
"""

import copy
import os
import pickle
import random
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import methodcaller
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from .. import ROOT
from ..oracles import regression
from ..tables import bits
from ..tools.interruptions import state

MODELS = {
    "auto": {},
    "svrg": {"solver": "svrg"},
    "svrg, small batches": {"batch_size": 16},
    "svrg, Nystrom": {"preconditioner": 3, "batch_size": 32},
    "svrg, early stopping": {"early_stopping": True, "batch_size": 32},
    "sgd": {"solver": "sgd", "lr": 0.01},
    "sgd, averaged": {
        "solver": "sgd",
        "lr": 0.01,
        "average": True,
        "lr_schedule": "inverse_time",
        "lr_decay": 0.1,
    },
}
KINDS = {
    "dense": np.asarray,
    "float32": np.float32,
    "sparse": sparse.csr_array,
    "frame": lambda X: pd.DataFrame(X).add_prefix("x"),
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def rows():
    X, y = regression(1200, 5, condition=100)
    return X, y, np.random.default_rng(1).uniform(0, 2, 1200)


def model_of(name, **params):
    return MiniBatchRidgeSGD(
        **{"random_state": 0, "max_iter": 4, "tol": None, **MODELS[name], **params}
    )


def learnt(model, X, y, w):
    """After a fit and three chunks."""
    model.fit(X, y, sample_weight=w)
    for start in (0, 100, 200):
        part = slice(start, start + 100)
        model.partial_fit(X[part], y[part], sample_weight=w[part])
    return model


SCRIPT = """
import pickle, sys
from sklearn_minibatch import MiniBatchRidgeSGD
with open(sys.argv[1], "rb") as file:
    models, X, y, w = pickle.load(file)
for model in models:
    model.fit(X, y, sample_weight=w).partial_fit(X[:100], y[:100])
with open(sys.argv[2], "wb") as file:
    pickle.dump(models, file)
"""


@pytest.mark.slow
def test_in_a_process_with_other_hashes(rows, tmp_path):
    models = [model_of(name) for name in MODELS]
    (tmp_path / "before").write_bytes(pickle.dumps((models, *rows)))
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "before"), str(tmp_path / "after")]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    X, y, w = rows
    for model, there in zip(models, pickle.loads((tmp_path / "after").read_bytes()), strict=True):
        assert state(model.fit(X, y, sample_weight=w).partial_fit(X[:100], y[:100])) == state(there)


@pytest.mark.slow
def test_in_a_spawned_process(rows):
    """Models go there as pickles, learn, and come back."""
    X, y, _ = rows
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        models = [model_of(name) for name in MODELS]
        fitted = list(pool.map(methodcaller("fit", X, y), models))
        for model, there in zip(models, fitted, strict=True):
            assert state(model.fit(X, y)) == state(there)
        predictions = pool.map(methodcaller("predict", X), models)
        further = pool.map(methodcaller("partial_fit", X[:100], y[:100]), models)
        for model, predicted, there in zip(models, predictions, further, strict=True):
            assert np.array_equal(predicted, model.predict(X))
            assert state(model.partial_fit(X[:100], y[:100])) == state(there)


OTHER_KERNEL = """
import hashlib
import numpy as np
from sklearn_minibatch._data.held_out import held_out
from tests.oracles import regression

rows = [regression(300, d, condition=1e6, t=t) for d, t in ((1, None), (7, None), (64, 2))]
print(hashlib.sha256(b"".join(part.tobytes() for both in rows for part in both)).hexdigest())
X, y = rows[2]
products = X @ np.random.default_rng(0).standard_normal((64, 64))
print(np.flatnonzero(held_out(products, y, 0.1, np.random.RandomState(0))))
"""


@pytest.mark.slow
def test_another_blas_kernel_changes_no_bit_of_the_data_and_no_row_that_is_held_out():
    """Another BLAS kernel does not change which rows are held out.

    The products differ in their last bits by kernel, where OpenBLAS has these kernels.
    """
    said = set()
    for kernel in ("Haswell", "Nehalem"):
        env = {**os.environ, "OPENBLAS_CORETYPE": kernel}
        command = [sys.executable, "-c", OTHER_KERNEL]
        said.add(
            subprocess.run(
                command, check=True, env=env, cwd=ROOT, capture_output=True, text=True
            ).stdout
        )
    assert len(said) == 1


@pytest.mark.slow
@EVERY_MODEL
def test_n_jobs_changes_no_bit(name):
    X, y = regression(60_000, 40)
    params = {"max_iter": 2, "batch_size": 500}
    fits = [
        model_of(name, n_jobs=n_jobs, **params).fit(X, y).partial_fit(X, y) for n_jobs in (1, 2, 3)
    ]
    states = [state(model, {"n_jobs", "_checked"}) for model in fits]
    assert states[0] == states[1] == states[2]


@pytest.mark.slow
@EVERY_MODEL
@EVERY_KIND
def test_separate_models_in_threads(rows, name, kind):
    X, y, w = rows
    X = KINDS[kind](X)
    models = [model_of(name, random_state=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        in_threads = list(pool.map(lambda model: learnt(clone(model), X, y, w), models))
    for model, there in zip(models, in_threads, strict=True):
        assert state(learnt(model, X, y, w)) == state(there)


@pytest.mark.slow
@EVERY_KIND
def test_one_model_predicts_in_many_threads(rows, kind):
    X, y, w = rows
    X = KINDS[kind](X)
    model = learnt(model_of("svrg"), X, y, w)
    parts = [slice(start, start + 40) for start in range(0, 1200, 40)] * 10
    before = state(model)
    with ThreadPoolExecutor(16) as pool:
        predictions = list(pool.map(lambda part: model.predict(X[part]), parts))
    for part, predicted in zip(parts, predictions, strict=True):
        assert np.array_equal(predicted, model.predict(X[part]))
    assert state(model) == before


# What may be asked of one model in threads; copies are what the threads change.
QUESTIONS = {
    "coef_": lambda model, X, y: model.coef_,
    "intercept_": lambda model, X, y: model.intercept_,
    "converged_": lambda model, X, y: model.converged_,
    "standardized_coef_": lambda model, X, y: model.standardized_coef_,
    "predict": lambda model, X, y: model.predict(X),
    "standard deviations": lambda model, X, y: model.predict(X, return_std=True),
    "score": lambda model, X, y: model.score(X, y),
    "coef_table": lambda model, X, y: vars(model.coef_table()),
    "pickle": lambda model, X, y: pickle.loads(pickle.dumps(model)).coef_,
    "deepcopy": lambda model, X, y: copy.deepcopy(model).coef_,
    "partial_fit of a copy": lambda model, X, y: copy.deepcopy(model).partial_fit(X, y).coef_,
    "merge into another": lambda model, X, y: (
        clone(model).partial_fit(X[:50], y[:50]).merge(model).coef_
    ),
}


def unsolved(kind, X, y, w):
    """A model of chunks, of which nothing has been asked."""
    model = {
        "cholesky": MiniBatchRidgeSGD(0.1),
        "qr": MiniBatchRidgeSGD(0.1, solver="qr"),
        "positive": MiniBatchRidgeSGD(0.1, positive=True),
        "cross-validation": MiniBatchRidgeSGDCV(random_state=0),
    }[kind]
    for start in range(0, 1200, 90):
        part = slice(start, start + 90)
        model.partial_fit(X[part], y[part], sample_weight=w[part])
    return model


@pytest.fixture
def threads_take_turns():
    """A thread may lose its turn after any few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cholesky", "qr", "positive", "cross-validation"])
def test_threads_ask_one_model_that_is_not_solved(rows, kind, threads_take_turns):
    X, y, _ = rows
    names = [
        name
        for name in QUESTIONS
        if kind != "positive" or name not in ("standard deviations", "coef_table")
    ]
    alone = {name: bits(QUESTIONS[name](unsolved(kind, *rows), X, y)) for name in names}
    barrier = Barrier(len(names))

    def ask(model, number):
        barrier.wait()
        order = names[number:] + names[:number]
        return {name: bits(QUESTIONS[name](model, X, y)) for name in order}

    with ThreadPoolExecutor(len(names)) as pool:
        for _ in range(5):
            model = unsolved(kind, *rows)
            for found in pool.map(partial(ask, model), range(len(names))):
                assert found == alone


class Counter:
    """A callback that models share: it keeps the coefficients of every task that ends."""

    def __init__(self):
        self.ended = []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.ended.append((estimator.alpha, context.task_name, bits(fitted_estimator.coef_)))

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("solver", ["auto", "svrg", "sgd"])
def test_models_in_threads_share_a_callback(rows, solver, threads_take_turns):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    alphas = [0.1 * 2.0**k for k in range(6)]

    def learn(alpha, counter):
        model = MiniBatchRidgeSGD(alpha, solver=solver, max_iter=3, tol=None, random_state=0)
        learnt(model.set_callbacks(counter), *rows)
        return bits(model.coef_)

    alone, shared = Counter(), Counter()
    expected = [learn(alpha, alone) for alpha in alphas]
    with ThreadPoolExecutor(len(alphas)) as pool:
        assert list(pool.map(learn, alphas, [shared] * len(alphas))) == expected
    for alpha in alphas:
        assert [each for each in shared.ended if each[0] == alpha] == [
            each for each in alone.ended if each[0] == alpha
        ]


@EVERY_MODEL
def test_a_pickle_loads_in_another_thread(rows, name):
    X, y, w = rows
    model = learnt(model_of(name), X, y, w)
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(pickle.loads, pickle.dumps(model)).result()
        there = pool.submit(loaded.partial_fit, X[:100], y[:100]).result()
    assert state(there) == state(model.partial_fit(X[:100], y[:100]))


def surroundings():
    """What a library could change behind the back of its caller."""
    return {
        "numpy's generator": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "Python's generator": random.getstate(),
        "BLAS and OpenMP": threadpoolctl.threadpool_info(),
        "floating-point errors": (np.geterr(), np.geterrcall()),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "printing": np.get_printoptions(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }


@EVERY_MODEL
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("fault", [None, "NaN", "diverging"])
def test_nothing_outside_is_touched(rows, name, n_jobs, fault):
    X, y, w = rows
    params = {"lr": 1e300} if fault == "diverging" else {}
    model = model_of(name, n_jobs=n_jobs, **params)
    before = surroundings()
    if fault == "NaN":
        for method in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match="NaN"):
                method(np.where(X > 1, np.nan, X), y)
    elif fault == "diverging" and "sgd" in name:
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
        with pytest.raises(ValueError, match="diverged"):
            model.partial_fit(X, y)
    else:
        learnt(model, X, y, w).predict(X)
    assert surroundings() == before


def parts(array):
    """The arrays behind rows, targets or weights."""
    if sparse.issparse(array):
        return [array.data, array.indices, array.indptr]
    return [array.to_numpy() if hasattr(array, "to_numpy") else array]


def untidy(X):
    """CSR with duplicates, explicit zeros and unsorted indices."""
    rows = sparse.coo_array(X)
    order = np.random.default_rng(0).permutation(rows.nnz)
    halves = [np.concatenate([a[order], a[order]]) for a in (rows.data / 2, rows.row, rows.col)]
    halves[0][:50] = 0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(halves[1], minlength=len(X)))])
    by_row = np.argsort(halves[1], kind="stable")
    return sparse.csr_array((halves[0][by_row], halves[2][by_row], indptr), shape=X.shape)


INPUTS = {
    **KINDS,
    "untidy sparse": untidy,
    "csc": sparse.csc_array,
    "columns first": np.asfortranarray,
    "a view": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "integers": lambda X: np.rint(4 * X).astype(int),
}


@pytest.mark.slow
@EVERY_MODEL
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("standardize", [True, False])
def test_arrays_that_come_in_are_not_written_to(rows, name, kind, standardize):
    X, y, w = INPUTS[kind](rows[0]), rows[1].copy(), rows[2].copy()
    if kind == "frame":
        y, w = pd.Series(y), pd.Series(w)
    w[:7] = 0.0
    arrays = [array for one in (X, y, w) for array in parts(one)]
    before = copy.deepcopy(arrays)
    model = model_of(name, standardize=standardize, fit_intercept=standardize)
    model.fit(X, y, sample_weight=w).partial_fit(X, y, sample_weight=w).predict(X)
    model.set_params(warm_start=True).fit(X, y).partial_fit(X, y)
    coef = model.coef_
    coef *= 2
    for array, as_it_was in zip(arrays, before, strict=True):
        assert np.array_equal(array, as_it_was)
        assert array.dtype == as_it_was.dtype
