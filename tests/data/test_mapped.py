"""Arrays mapped from a file: by the user, or by joblib on the way to its workers."""

import os

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import VotingRegressor
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.multioutput import MultiOutputRegressor

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._data.mapped import CHUNK_ELEMENTS, limits_of_groups, memory

from .rows import ALPHA, distance, map_to_file, table


@pytest.fixture
def as_if_too_large(monkeypatch):
    """Mapped arrays are read in chunks, however small they are."""
    monkeypatch.setattr("sklearn_minibatch._data.mapped.SHARE_OF_MEMORY", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("as_if_too_large")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_gives_the_closed_form(tmp_path, dtype, order):
    n, d = 5 * CHUNK_ELEMENTS // 24, 24
    rng = np.random.default_rng(0)
    rows = np.sort(rng.normal(size=(n, 1)), axis=0) + rng.normal(size=(n, d))
    X, y = map_to_file(tmp_path, rows, rows @ np.arange(d) + rng.normal(size=n), dtype, order=order)
    w = rng.uniform(size=n)
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X, y, w)
    assert model.n_passes_ <= 10
    assert distance(model, np.asarray(X), y, w) <= 2e-6
    with pytest.raises(ValueError, match=r"X has \d+ rows, but y has shape"):
        model.fit(X, y[1:])


@pytest.mark.usefixtures("as_if_too_large")
def test_a_large_array_with_other_targets_and_weights(tmp_path):
    rows = np.random.default_rng(0).normal(size=(CHUNK_ELEMENTS + 1, 5))
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", mode="r", dtype=float).reshape(-1, 5)
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(
        mapped[:, :4], np.asarray(mapped[:, 4]), 2.0
    )
    same = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(
        mapped[:, :4], mapped[:, 4], np.full(len(rows), 2.0)
    )
    assert model.n_passes_ == same.n_passes_
    np.testing.assert_array_equal(model.coef_, same.coef_)


@pytest.mark.usefixtures("as_if_too_large")
def test_a_large_array_refuses_what_chunks_refuse(tmp_path):
    X, y = map_to_file(tmp_path, *table())
    with pytest.raises(ValueError, match="needs all rows in memory"):
        MiniBatchRidgeSGD(early_stopping=True).fit(X, y)
    with pytest.raises(ValueError, match="requires y"):
        MiniBatchRidgeSGD().fit(X)


# What a search over the parameters of a fit would vary.
VARIED = [
    MiniBatchRidgeSGD(ALPHA),
    MiniBatchRidgeSGD(ALPHA, solver="svrg"),
    MiniBatchRidgeSGD(ALPHA, batch_size=4096),
    MiniBatchRidgeSGD(ALPHA, batch_size=4096, lr=0.05, max_iter=2, tol=None),
    MiniBatchRidgeSGD(ALPHA, batch_size=4096, preconditioner=4, shuffle=False, max_iter=3),
    MiniBatchRidgeSGD(ALPHA, early_stopping=True, max_iter=3),
    MiniBatchRidgeSGD(ALPHA, solver="sgd", batch_size=4096, max_iter=2, tol=None),
    MiniBatchRidgeSGD(ALPHA, solver="sgd", batch_size=1000, max_iter=2, tol=None, shuffle=False),
    MiniBatchRidgeSGD(
        ALPHA, solver="sgd", batch_size=4096, early_stopping=True, average=True, max_iter=2
    ),
    MiniBatchRidgeSGDCV(),
    MiniBatchRidgeSGDCV(cv=3, scoring="r2", one_standard_error=True),
    MiniBatchRidgeSGDCV(cv=KFold(4)),
    MiniBatchRidgeSGDCV(cv=KFold(4, shuffle=True, random_state=1)),
    MiniBatchRidgeSGDCV(cv=ShuffleSplit(2, random_state=1)),
]
VARIED = [model.set_params(random_state=0) for model in VARIED]
SHOWN = (
    "coef_",
    "intercept_",
    "loss_history_",
    "validation_scores_",
    "n_iter_",
    "batch_size_",
    "lr_",
    "mse_path_",
    "alpha_",
    "converged_",
)


def is_mapped(X):
    return isinstance(X.data if sparse.issparse(X) else X, np.memmap)


def fit_in_worker(model, *rows):
    """Fit in a process of joblib's, and tell that it is one and that the rows are mapped."""
    return os.getpid(), is_mapped(rows[0]), clone(model).fit(*rows)


def assert_same(model, same):
    assert vars(model).keys() == vars(same).keys()
    for name in SHOWN:
        if hasattr(same, name):
            np.testing.assert_allclose(
                getattr(model, name), getattr(same, name), rtol=1e-9, err_msg=f"{name} of {model!r}"
            )


def sorted_rows(n, targets=None):
    """Rows in an order that makes folds and mini-batches of the file's order special."""
    X, y = table(n=n, targets=targets)
    order = np.argsort(X[:, 0])
    w = np.random.default_rng(0).integers(0, 3, n).astype(float)
    return X[order], y[order], w


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
class TestProcesses:
    """`n_jobs` around the estimator changes no result, though joblib maps the rows to a file."""

    @pytest.mark.parametrize(
        ("n", "kind", "weighted"),
        [
            (20_000, np.asarray, False),
            (20_000, np.asarray, True),
            (20_000, sparse.csr_array, True),
            (20_000, lambda X: X.astype(np.float32), True),
            # More numbers than four chunks of a mapped array have.
            pytest.param(CHUNK_ELEMENTS // 2 + 1, np.asarray, False, marks=pytest.mark.slow),
        ],
    )
    def test_fits_in_workers_are_those_of_this_process(self, n, kind, weighted):
        X, y, w = sorted_rows(n)
        rows = (kind(X), y, w) if weighted else (kind(X), y)
        fits = Parallel(n_jobs=2, max_nbytes="100K")(
            delayed(fit_in_worker)(model, *rows) for model in VARIED
        )
        for model, (process, mapped, fitted) in zip(VARIED, fits, strict=True):
            assert process != os.getpid()
            assert mapped
            assert_same(fitted, clone(model).fit(*rows))

    @pytest.mark.slow
    def test_meta_estimators(self):
        X, y, _ = sorted_rows(20_000, targets=2)
        named = [(str(k), model) for k, model in enumerate(VARIED)]
        one, two = (VotingRegressor(named, n_jobs=n_jobs).fit(X, y[:, 0]) for n_jobs in (1, 2))
        for model, same in zip(two.estimators_, one.estimators_, strict=True):
            assert_same(model, same)
        model = MiniBatchRidgeSGD(ALPHA, early_stopping=True, max_iter=2, random_state=0)
        one, two = (MultiOutputRegressor(model, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2))
        for model, same in zip(two.estimators_, one.estimators_, strict=True):
            assert_same(model, same)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:solver='cholesky' does not use")
    def test_searches(self):
        X, y, _ = sorted_rows(20_000)
        few = {"max_iter": [2], "tol": [None]}
        grid = [
            {"solver": ["cholesky", "svrg"]},
            {"solver": ["svrg", "sgd"], "batch_size": [1000, 4096], "lr": ["auto", 0.05], **few},
            {"early_stopping": [True], "batch_size": [4096], **few},
        ]
        one, two = (
            GridSearchCV(MiniBatchRidgeSGD(ALPHA, random_state=0), grid, cv=3, n_jobs=n_jobs).fit(
                X, y
            )
            for n_jobs in (1, 2)
        )
        for name in ("mean_test_score", "split0_test_score"):
            np.testing.assert_allclose(two.cv_results_[name], one.cv_results_[name], rtol=1e-9)
        assert two.best_params_ == one.best_params_


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_an_array_that_fits_in_memory_is_one(tmp_path, dtype, mode):
    X, y = table()
    X = (10 * X).astype(dtype)
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", mode=mode, dtype=dtype, shape=X.shape)
    model = MiniBatchRidgeSGD(ALPHA, early_stopping=True, random_state=0).fit(mapped, y)
    assert not hasattr(model, "n_passes_")
    np.testing.assert_array_equal(model.coef_, clone(model).fit(X, y).coef_)
    assert model.score(mapped, y) == model.score(X, y)


@pytest.mark.parametrize(("dtype", "bytes_each"), [(np.float64, 8), (np.float32, 4), (np.int8, 8)])
def test_what_takes_more_than_half_of_the_memory_is_read_in_chunks(
    tmp_path, monkeypatch, dtype, bytes_each
):
    X, y = map_to_file(tmp_path, *table(), dtype)
    half = X.size * bytes_each
    for enough, in_chunks in ((2 * half, False), (2 * half - 1, True)):
        monkeypatch.setattr("sklearn_minibatch._data.mapped.memory", lambda enough=enough: enough)
        assert hasattr(MiniBatchRidgeSGD(ALPHA).fit(X, y), "n_passes_") == in_chunks


def test_the_memory_is_no_more_than_a_control_group_allows(tmp_path):
    """The files are those of a kernel with both versions of control groups, and of containers."""
    groups, root = tmp_path / "cgroup", tmp_path / "root"
    assert list(limits_of_groups(groups, root)) == []
    groups.write_text("4:cpu,memory:/job/step\n3:pids:/job\n1:name=systemd:/a:b\n0::/user.slice\n")
    for file, limit in {
        "memory/job/step/memory.limit_in_bytes": "9223372036854771712",
        "memory/job/memory.limit_in_bytes": "4096",
        "user.slice/memory.max": "max",
        "memory.max": "8192",
        "pids/job/memory.max": "1",
    }.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(limit + "\n")
    assert sorted(limits_of_groups(groups, root)) == [4096, 8192, 9223372036854771712]


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="asks the system")
def test_the_memory_is_that_of_the_machine_at_most():
    assert 2**20 < memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
