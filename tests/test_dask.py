"""Rows on a Dask cluster of real processes, against the closed form of all rows."""

import os
import signal
from contextlib import contextmanager

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV

from sklearn_minibatch import EpochProgressBar, MiniBatchRidgeSGD

from .test_source import ALPHA, distance, table

pytestmark = pytest.mark.slow

NAMES = list("abcdefgh")


@contextmanager
def two_processes():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def client():
    with two_processes() as client:
        yield client


@pytest.fixture
def doomed_client():
    """A cluster of its own for a test that kills one of its workers."""
    with two_processes() as client:
        yield client


def unequal(n_rows, n_parts):
    """Sizes of so many parts of n_rows rows, the largest many times the smallest."""
    share = np.random.default_rng(n_parts).dirichlet(np.full(n_parts, 0.7))
    ends = np.round(np.cumsum(share) * n_rows).astype(int)
    ends[-1] = n_rows
    return tuple(int(size) for size in np.diff(ends, prepend=0))


def collections(X, y, sizes):
    return da.from_array(X, chunks=(sizes, X.shape[1])), da.from_array(y, chunks=(sizes, *y.shape[1:]))


def frames(X, y, n_parts):
    frame = dd.from_pandas(pd.DataFrame(X, columns=NAMES).assign(y=y), npartitions=n_parts, sort=False)
    return frame[NAMES], frame["y"]


@pytest.mark.parametrize("n_parts", [1, 2, 16, 64])
@pytest.mark.parametrize("order", ["shuffled", "by y", "by column"])
def test_partitions_of_unequal_size_give_the_closed_form(n_parts, order):
    X, y = table()
    if order != "shuffled":
        rows = np.argsort(y if order == "by y" else X[:, 0])
        X, y = X[rows], y[rows]
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*collections(X, y, unequal(len(y), n_parts)))
    assert distance(model, X, y) <= model.tol
    assert model.n_passes_ <= 10


@pytest.mark.parametrize("params", [{"batch_size": 64}, {"batch_size": 64, "lr": 0.3, "shuffle": False}], ids=str)
def test_mini_batches_within_partitions_averaged(params):
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, random_state=0, **params).fit(*collections(X, y, unequal(len(y), 16)))
    assert distance(model, X, y) <= model.tol


def test_weights_and_several_targets():
    X, y = table(targets=3)
    w = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    w[:500] = 0.0
    Xd, yd = da.from_array(X, chunks=(500, 3)), da.from_array(y, chunks=(700, 2))
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, yd, da.from_array(w, chunks=1000))
    assert distance(model, X, y, w) <= model.tol
    predicted = model.predict(Xd)
    assert isinstance(predicted, da.Array)
    assert predicted.shape == (6000, 3)
    np.testing.assert_allclose(predicted.compute(), model.predict(X))


def test_dataframes_on_processes(client):
    X, y = table()
    Xd, yd = frames(X, y, 7)
    keep = Xd["a"] < np.quantile(X[:, 0], 0.3)
    Xd, yd = Xd[keep], yd[keep]  # of sizes that are not known
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, yd)
    assert distance(model, Xd.compute(), yd.compute().to_numpy()) <= model.tol
    assert list(model.feature_names_in_) == NAMES
    predicted = model.predict(Xd)
    assert isinstance(predicted, da.Array)
    np.testing.assert_allclose(predicted.compute(), model.predict(Xd.compute()))


def test_processes_and_threads_give_the_same(client):
    X, y = table()
    on_processes = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*collections(X, y, (1000,) * 6))
    with dask.config.set(scheduler="threads"):
        on_threads = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*collections(X, y, (1000,) * 6))
    np.testing.assert_array_equal(on_processes.coef_, on_threads.coef_)


def test_callbacks_stay_with_the_client(client, tmp_path):
    pytest.importorskip("sklearn.callback")
    X, y = collections(*table(), (3000, 3000))
    with (tmp_path / "bar").open("w") as file:
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).set_callbacks(EpochProgressBar(interval=0, file=file)).fit(X, y)
        model.predict(X).compute()
    assert "epoch" in (tmp_path / "bar").read_text()


def test_no_scheduler_is_started(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a client was started")

    monkeypatch.setattr(Client, "__init__", refuse)
    X, y = table()
    with dask.config.set(scheduler="synchronous"):
        MiniBatchRidgeSGD(ALPHA).fit(*collections(X, y, (3000, 3000)))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_killed_in_the_middle_of_a_fit(doomed_client, tmp_path):
    X, y = table()
    calls, killed = tmp_path / "calls", tmp_path / "killed"

    def load(part):
        with calls.open("ab") as file:
            file.write(b".")
        if calls.stat().st_size > 20 and not killed.exists():  # the third round over 8 partitions
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return X[part::8]

    parts = [dask.delayed(load, pure=False)(part) for part in range(8)]
    Xd = da.concatenate([da.from_delayed(part, (750, X.shape[1]), float) for part in parts])
    y = np.concatenate([y[part::8] for part in range(8)])
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, y)
    assert int(killed.read_text()) != os.getpid()
    assert distance(model, np.concatenate([X[part::8] for part in range(8)]), y) <= model.tol


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_killed_that_held_rows_in_memory(doomed_client, monkeypatch):
    X, y = table()
    Xd, yd = dask.persist(*collections(X, y, (500,) * 12))
    before = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, yd)
    killed, units = [], MiniBatchRidgeSGD._units

    def killing(self, *moments):
        killed.append(next(iter(doomed_client.run(os.getpid).values())))
        os.kill(killed[-1], signal.SIGKILL)
        return units(self, *moments)

    monkeypatch.setattr(MiniBatchRidgeSGD, "_units", killing)  # between the first round and the second
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, yd)
    assert len(killed) == 1
    np.testing.assert_allclose(model.coef_, before.coef_, rtol=1e-12)


def test_searches_under_joblib(client):
    X, y = table(n=1000)
    grid = {"alpha": [1e-4, 1e-2, 1.0]}
    search = GridSearchCV(MiniBatchRidgeSGD(random_state=0), grid, cv=3)
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    halving = HalvingRandomSearchCV(
        MiniBatchRidgeSGD(random_state=0), grid, n_candidates=3, min_resources=300, random_state=0, cv=3
    )
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_allclose(search.fit(X, y).cv_results_["mean_test_score"], alone, rtol=1e-12)
        assert halving.fit(X, y).best_params_["alpha"] in grid["alpha"]


def test_incremental_of_dask_ml(client):
    Incremental = pytest.importorskip("dask_ml.wrappers").Incremental
    X, y = table()
    Xd, yd = collections(X, y, (1000, 2000, 500, 2500))
    incremental = Incremental(MiniBatchRidgeSGD(ALPHA, random_state=0), shuffle_blocks=False).fit(Xd, yd)
    model = MiniBatchRidgeSGD(ALPHA, random_state=0)
    for start, stop in ((0, 1000), (1000, 3000), (3000, 3500), (3500, 6000)):
        model.partial_fit(X[start:stop], y[start:stop])
    np.testing.assert_array_equal(incremental.estimator_.coef_, model.coef_)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (lambda X, y: (X, None), "needs y"),
        (
            lambda X, y: (da.where(da.arange(6000, chunks=700)[:, None] == 2500, np.nan, X), y),
            "Partition 4: Input X contains NaN",
        ),
        (lambda X, y: (X, da.where(da.arange(6000, chunks=700) == 9, np.inf, y)), "Partition 1: Input y contains infinity"),
        (lambda X, y: (X, y[:-1]), "has 8 partitions|Partition 9: .*inconsistent"),
        (lambda X, y: (X, y[:3500]), "X has 9 partitions, and y is a Array"),
        (lambda X, y: (X, y, 0 * y), "All sample weights are zero"),
        (lambda X, y: (frames(X.compute(), y.compute(), 3)[0], np.ones(6000)), "X has 3 partitions, and y is a ndarray"),
    ],
)
def test_errors_name_the_partition_and_leave_the_estimator(args, match):
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
    before = vars(model).copy()
    with pytest.raises(ValueError, match=match):
        model.fit(*args(*collections(X, y, (700,) * 8 + (400,))))
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_textbook_steps_are_refused():
    with pytest.raises(ValueError, match="Incremental"):
        MiniBatchRidgeSGD(solver="sgd").fit(*collections(*table(), (3000, 3000)))
