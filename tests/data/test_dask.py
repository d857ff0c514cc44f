"""Rows on a Dask cluster of real processes, or in its threads, against the closed form."""

import os
import pickle
import signal
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV

from sklearn_minibatch import (
    EpochProgressBar,
    MiniBatchRidgeSGD,
    MiniBatchRidgeSGDCV,
    _estimator,
)

from .rows import ALPHA, distance, table

# dask.dataframe says by an ImportError of its own that pyarrow is not there.
pytest.importorskip("pyarrow")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")
from sklearn_minibatch._data.dask import combined, on_partition  # noqa: E402

NAMES = list("abcdefgh")


@contextmanager
def two_processes():
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": ":0",
    }
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
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
    return da.from_array(X, chunks=(sizes, X.shape[1])), da.from_array(
        y, chunks=(sizes, *y.shape[1:])
    )


def frames(X, y, n_parts):
    frame = dd.from_pandas(
        pd.DataFrame(X, columns=NAMES).assign(y=y), npartitions=n_parts, sort=False
    )
    return frame[NAMES], frame["y"]


@pytest.mark.parametrize(
    "n_parts",
    [2, 16, *(pytest.param(n_parts, marks=pytest.mark.slow) for n_parts in (1, 64))],
)
@pytest.mark.parametrize("order", ["shuffled", "by y", "by column"])
def test_partitions_of_unequal_size_give_the_closed_form(n_parts, order):
    X, y = table()
    if order != "shuffled":
        rows = np.argsort(y if order == "by y" else X[:, 0])
        X, y = X[rows], y[rows]
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(
        *collections(X, y, unequal(len(y), n_parts))
    )
    assert distance(model, X, y) <= model.tol
    assert model.n_passes_ <= 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "params", [{"batch_size": 64}, {"batch_size": 64, "lr": 0.3, "shuffle": False}], ids=str
)
def test_mini_batches_within_partitions_averaged(params):
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, random_state=0, **params).fit(
        *collections(X, y, unequal(len(y), 16))
    )
    assert distance(model, X, y) <= model.tol


def test_partitions_without_rows():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit(*collections(X, y, (0, 2500, 0, 3500)))
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_processes_and_threads_give_the_same(client):
    X, y = table()
    on_processes = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*collections(X, y, (1000,) * 6))
    with dask.config.set(scheduler="threads"):
        on_threads = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*collections(X, y, (1000,) * 6))
    np.testing.assert_array_equal(on_processes.coef_, on_threads.coef_)


@pytest.mark.slow
def test_callbacks_stay_with_the_client(client, tmp_path):
    pytest.importorskip("sklearn.callback")
    X, y = collections(*table(), (3000, 3000))
    with (tmp_path / "bar").open("w") as file:
        model = (
            MiniBatchRidgeSGD(ALPHA, random_state=0)
            .set_callbacks(EpochProgressBar(interval=0, file=file))
            .fit(X, y)
        )
        model.predict(X).compute()
    assert "epoch" in (tmp_path / "bar").read_text()


def test_no_scheduler_is_started(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a client was started")

    monkeypatch.setattr(distributed.Client, "__init__", refuse)
    X, y = table()
    with dask.config.set(scheduler="synchronous"):
        MiniBatchRidgeSGD(ALPHA).fit(*collections(X, y, (3000, 3000)))


def test_a_round_is_one_small_task_for_each_partition_and_a_tree_of_sums():
    sent = []

    def get(graph, keys, **_):
        for task in graph.__dask_graph__().values():
            function = getattr(task, "func", None)
            if function in (on_partition, combined):
                # Python's own pickle refuses a function that it cannot send by name.
                sent.append((function, len(pickle.dumps(task))))
        return dask.get(graph, keys)

    X, y = table()
    with dask.config.set(scheduler=get):
        model = MiniBatchRidgeSGD(ALPHA).fit(*collections(X, y, (300,) * 20))
    assert model.n_passes_ == 1
    functions, sizes = zip(*sent, strict=True)
    assert functions.count(on_partition) == 20
    assert functions.count(combined) == 3 + 1
    assert max(sizes) < 2000


@pytest.mark.slow
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
    model = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(Xd, y)
    assert int(killed.read_text()) != os.getpid()
    assert distance(model, np.concatenate([X[part::8] for part in range(8)]), y) <= model.tol


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_killed_that_held_rows_in_memory(doomed_client, monkeypatch):
    X, y = table()
    Xd, yd = dask.persist(*collections(X, y, (500,) * 12))
    before = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(Xd, yd)
    killed, check = [], _estimator.check_moments

    def killing(moments):
        killed.append(next(iter(doomed_client.run(os.getpid).values())))
        os.kill(killed[-1], signal.SIGKILL)
        return check(moments)

    monkeypatch.setattr(
        _estimator, "check_moments", killing
    )  # between the first round and the second
    model = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(Xd, yd)
    assert len(killed) == 1
    np.testing.assert_allclose(model.coef_, before.coef_, rtol=1e-12)


@pytest.mark.slow
def test_searches_under_joblib(client):
    X, y = table(n=1000)
    grid = {"alpha": [1e-4, 1e-2, 1.0]}
    search = GridSearchCV(MiniBatchRidgeSGD(random_state=0), grid, cv=3)
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    halving = HalvingRandomSearchCV(
        MiniBatchRidgeSGD(random_state=0),
        grid,
        n_candidates=3,
        min_resources=300,
        random_state=0,
        cv=3,
    )
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_allclose(
            search.fit(X, y).cv_results_["mean_test_score"], alone, rtol=1e-12
        )
        assert halving.fit(X, y).best_params_["alpha"] in grid["alpha"]


@pytest.mark.slow
def test_incremental_of_dask_ml(client):
    Incremental = pytest.importorskip("dask_ml.wrappers").Incremental
    X, y = table()
    Xd, yd = collections(X, y, (1000, 2000, 500, 2500))
    incremental = Incremental(MiniBatchRidgeSGD(ALPHA, random_state=0), shuffle_blocks=False).fit(
        Xd, yd
    )
    model = MiniBatchRidgeSGD(ALPHA, random_state=0)
    for start, stop in ((0, 1000), (1000, 3000), (3000, 3500), (3500, 6000)):
        model.partial_fit(X[start:stop], y[start:stop])
    np.testing.assert_array_equal(incremental.estimator_.coef_, model.coef_)


def unequal_filters(X, y):
    X, y = frames(X.compute(), y.compute(), 3)
    return X[X["a"] > 0], y[y > 3]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (lambda X, y: (X, None), "needs y"),
        (
            lambda X, y: (da.where(da.arange(6000, chunks=700)[:, None] == 2500, np.nan, X), y),
            "Partition 4: Input X contains NaN",
        ),
        (
            lambda X, y: (X, da.where(da.arange(6000, chunks=700) == 9, np.inf, y)),
            "Partition 1: Input y contains infinity",
        ),
        (lambda X, y: (X, y[:-1]), "X has 6000 rows in 9 partitions, and y has 5999 rows"),
        (lambda X, y: (X, y[:3500]), "X has 6000 rows in 9 partitions, and y has 3500 rows"),
        (
            lambda X, y: (X, da.concatenate([y[:500], y[:300], y[1500:]])),
            "X has 6000 rows .* and y has 5300 rows",
        ),
        (lambda X, y: (X, y, 0 * y), "All sample weights are zero"),
        (
            lambda X, y: (frames(X.compute(), y.compute(), 3)[0], np.ones(5999)),
            "X has 6000 rows .* and y has 5999 rows",
        ),
        (
            unequal_filters,
            r"X has \d+ rows in 3 partitions, and y has \d+ rows\. "
            "Take X, y and the weights from one collection",
        ),
        (lambda X, y: (X[:, 0], y), r"Expected 2D array, got 1D array instead.*frame\[\[name\]\]"),
        (lambda X, y: (frames(X.compute(), y.compute(), 3)[0]["a"], y), "X is a Dask Series"),
        (lambda X, y: (X[:0], y[:0]), "X has no rows"),
        (lambda X, y: (X[X[:, 0] > 1e9], y[X[:, 0] > 1e9]), "X has no rows: its 9 partitions"),
        (
            lambda X, y: (da.from_delayed(dask.delayed(X.compute()), (6000, np.nan), float), y),
            "The number of columns of X is not known",
        ),
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


MODELS = pytest.mark.parametrize(
    "model", [MiniBatchRidgeSGD(ALPHA), MiniBatchRidgeSGDCV(random_state=0)], ids=str
)


@MODELS
def test_what_is_no_table_of_rows_is_refused_by_every_method(model):
    X, y = collections(*table(), (700,) * 8 + (400,))
    model.fit(X, y)
    column = X[:, 0]
    for call in (model.fit, model.partial_fit, model.score, lambda X, y: model.predict(X)):
        with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
            call(column, y)
    for call in (model.fit, model.partial_fit, model.score):
        with pytest.raises(ValueError, match=r"X has no rows|0 sample\(s\)"):
            call(X[X[:, 0] > 1e9], y[X[:, 0] > 1e9])


def test_values_that_change_between_rounds_are_refused(tmp_path):
    X, y = table()
    calls = tmp_path / "calls"

    def load(part):
        with calls.open("ab") as file:
            file.write(b".")
        return X[part::4] if calls.stat().st_size <= 4 else X[part::4][::-1]

    parts = [dask.delayed(load, pure=False)(part) for part in range(4)]
    Xd = da.concatenate([da.from_delayed(part, (1500, X.shape[1]), float) for part in parts])
    y = np.concatenate([y[part::4] for part in range(4)])
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(ValueError, match=r"Round 2 found other rows of X.*persist it"),
    ):
        MiniBatchRidgeSGD(ALPHA, solver="svrg").fit(Xd, y)


def test_textbook_steps_are_refused():
    with pytest.raises(ValueError, match="Incremental"):
        MiniBatchRidgeSGD(solver="sgd").fit(*collections(*table(), (3000, 3000)))


def wide_table(n=3000, d=20):
    """Rows of many columns, of which y is read with few.

    Dask then merges the partitions of a Parquet file.
    """
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        rng.normal(size=(n, d)) + np.arange(d), columns=[f"x{j}" for j in range(d)]
    )
    y = frame.to_numpy() @ rng.normal(size=d) + rng.normal(size=n)
    return frame.assign(y=y, w=rng.integers(0, 4, n).astype(float))


def write_parts(frame, path, kind, n_parts=8):
    """The frame in so many files of unequal size, read by Dask."""
    ends = np.cumsum(unequal(len(frame), n_parts))
    for k, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        rows = frame[start:stop]
        rows.to_parquet(path / f"{k}.parquet") if kind == "parquet" else rows.to_csv(
            path / f"{k}.csv", index=False
        )
    return dd.read_parquet(path) if kind == "parquet" else dd.read_csv(path / "*.csv")


def as_in_memory(model, frame, columns, w=None):
    """Whether the model is that of the rows of a frame in memory."""
    X = frame[columns] if hasattr(model, "feature_names_in_") else frame[columns].to_numpy()
    return distance(model, X, frame["y"].to_numpy(), w) <= 1e-6


@pytest.fixture(params=["parquet", "csv"])
def stored(request, tmp_path):
    """A frame in memory, and the same in eight files."""
    frame = wide_table()
    return frame, write_parts(frame, tmp_path, request.param)


WIDE = [f"x{j}" for j in range(20)]


@pytest.mark.slow
class TestFiles:
    """Frames read from Parquet and CSV.

    X, y and weights come from one file, whatever Dask's optimiser does with each of them.
    """

    @pytest.mark.parametrize("columns", [WIDE, WIDE[3:5]], ids=["all", "two columns"])
    @pytest.mark.parametrize("weighted", [True, False])
    def test_taken_from_one_frame(self, client, stored, columns, weighted):
        frame, ddf = stored
        w = ddf["w"] if weighted else None
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(ddf[columns], ddf["y"], w)
        assert as_in_memory(model, frame, columns, frame["w"].to_numpy() if weighted else None)
        assert list(model.feature_names_in_) == columns

    def test_dropped_columns_filters_and_computed_targets(self, client, stored):
        frame, ddf = stored
        kept = ddf[ddf["x0"] > -0.5]
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(
            kept.drop(columns=["y", "w"]), 2 * kept["y"] - kept["x1"]
        )
        rows = frame[frame["x0"] > -0.5]
        assert as_in_memory(model, rows.assign(y=2 * rows["y"] - rows["x1"]), WIDE)

    def test_several_targets(self, client, stored):
        frame, ddf = stored
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(ddf[WIDE[2:]], ddf[["x1", "y"]])
        assert distance(model, frame[WIDE[2:]], frame[["x1", "y"]].to_numpy()) <= 1e-6

    def test_predictions_and_score(self, client, stored):
        frame, ddf = stored
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(ddf[WIDE], ddf["y"])
        np.testing.assert_allclose(model.predict(ddf[WIDE]).compute(), model.predict(frame[WIDE]))
        expected = r2_score(frame["y"], model.predict(frame[WIDE]), sample_weight=frame["w"])
        np.testing.assert_allclose(model.score(ddf[WIDE], ddf["y"], ddf["w"]), expected, rtol=1e-12)

    def test_two_folders_with_equal_partitions(self, client, tmp_path):
        frame = wide_table()
        folders = tmp_path / "rows", tmp_path / "targets"
        for folder in folders:
            folder.mkdir()
        X, y = (write_parts(frame, folder, "parquet") for folder in folders)
        assert as_in_memory(
            MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X[WIDE], y["y"]), frame, WIDE
        )

    @pytest.mark.parametrize(
        "given",
        [
            lambda ddf, frame: ((1 * ddf[WIDE]).persist(), ddf["y"].persist()),
            lambda ddf, frame: ((1 * ddf[WIDE]).persist(), ddf["y"]),
            lambda ddf, frame: (ddf[WIDE], ddf["y"].persist(), ddf["w"].persist()),
            lambda ddf, frame: (ddf[WIDE].values, ddf["y"].values, ddf["w"].values),
            lambda ddf, frame: (ddf[WIDE], ddf["y"].values),
            lambda ddf, frame: (ddf[WIDE].values, ddf["y"]),
            lambda ddf, frame: (ddf[WIDE], frame["y"]),
            lambda ddf, frame: (ddf[WIDE].values, frame["y"].to_numpy(), frame["w"].to_numpy()),
            lambda ddf, frame: (ddf[WIDE], da.from_array(frame["y"].to_numpy(), chunks=700), 2.0),
        ],
        ids=[
            *(
                "persisted apart",
                "X persisted",
                "y and w persisted",
                "arrays of frames",
                "frame and array",
            ),
            *("array and frame", "y in memory", "y and w in memory", "y in other chunks"),
        ],
    )
    def test_in_partitions_of_their_own(self, client, tmp_path, given):
        frame = wide_table()
        args = given(write_parts(frame, tmp_path, "parquet"), frame)
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*args)
        w = frame["w"].to_numpy() if len(args) == 3 and np.ndim(args[2]) else None
        assert as_in_memory(model, frame, WIDE, w)

    def test_columns_of_parquet_that_dask_cannot_take_up_again(self, client, tmp_path):
        """Dask 2026.8 loses them: even their number of rows is gone."""
        frame = wide_table()
        ddf = write_parts(frame, tmp_path, "parquet")
        X = ddf[WIDE[:2]].persist()
        model = MiniBatchRidgeSGD(ALPHA, random_state=0)
        try:
            raised = nullcontext(len(X))
        except CancelledError:
            raised = pytest.raises(
                RuntimeError, match=r"after it was persisted: frame = frame\.persist\(\)"
            )
        with raised:
            model.fit(X, ddf["y"])
        ddf = ddf.persist()
        assert as_in_memory(model.fit(ddf[WIDE[:2]], ddf["y"]), frame, WIDE[:2])

    def test_partitions_left_without_rows(self, client, tmp_path):
        frame = wide_table().sort_values("x0", ignore_index=True)
        ddf = write_parts(frame, tmp_path, "parquet")
        between = frame["x0"].quantile([0.3, 0.8]).to_list()
        kept, rows = (
            each[(each["x0"] < between[0]) | (each["x0"] > between[1])] for each in (ddf, frame)
        )
        assert 0 in kept.map_partitions(len).compute().to_list()
        for y in (kept["y"], kept["y"].persist(), rows["y"].to_numpy()):
            assert as_in_memory(
                MiniBatchRidgeSGD(ALPHA, random_state=0).fit(kept[WIDE], y), rows, WIDE
            )


@pytest.mark.slow
def test_a_round_reads_each_file_once_and_only_the_columns_it_needs(tmp_path):
    frame, log = wide_table(), tmp_path / "log"

    def load(part, columns=None):
        with log.open("a") as file:
            file.write(f"{part} {','.join(sorted(columns))}\n")
        return frame[part::4][columns]

    ddf = dd.from_map(load, range(4), meta=frame[:0])
    with dask.config.set(scheduler="synchronous"):
        model = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(
            ddf[["x2", "x3"]], ddf["y"]
        )
    assert model.n_passes_ > 1
    assert sorted(log.read_text().splitlines()) == sorted(
        f"{part} x2,x3,y" for part in range(4) for _ in range(model.n_passes_)
    )


class TestScore:
    @pytest.mark.parametrize("n_parts", [1, 5])
    def test_is_that_of_all_rows(self, n_parts):
        X, y = table(targets=3)
        y = 1e8 + y
        w = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X, y)
        Xd, yd = collections(X, y, unequal(len(y), n_parts))
        np.testing.assert_allclose(model.score(Xd, yd), r2_score(y, model.predict(X)), rtol=1e-6)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(
            model.score(Xd, yd, da.from_array(w, chunks=700)), expected, rtol=1e-6
        )

    def test_refuses_what_fit_does(self):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        Xd, yd = collections(X, y, (3000, 3000))
        with pytest.raises(ValueError, match="needs y"):
            model.score(Xd)
        with pytest.raises(ValueError, match=r"Partition \d: .*X has 7 features"):
            model.score(Xd[:, 1:], yd)
        with pytest.raises(
            ValueError, match=r"Partition \d: y has 2 target\(s\), the model was fitted to 1"
        ):
            model.score(Xd, da.stack([yd, yd], axis=1))
        with pytest.raises(ValueError, match="All sample weights are zero"):
            model.score(Xd, yd, 0 * yd)
        with pytest.warns(UndefinedMetricWarning):
            assert np.isnan(model.score(Xd[:1], yd[:1]))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
class TestSparseBlocks:
    """Dask arrays whose blocks are CSR matrices, as text vectorisers leave them."""

    @staticmethod
    def rows(targets=None):
        X, y = table(targets=targets)
        return np.where(np.abs(X - X.mean(axis=0)) > X.std(axis=0), X, 0.0), y

    @pytest.mark.parametrize("solver", ["auto", "svrg"])
    @pytest.mark.parametrize("column_chunks", [8, 3])
    def test_fit_gives_the_closed_form(self, kind, solver, column_chunks):
        X, y = self.rows(targets=2)
        w = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
        Xd = da.from_array(X, chunks=(700, column_chunks)).map_blocks(kind)
        model = MiniBatchRidgeSGD(ALPHA, solver=solver, random_state=0)
        model.fit(Xd, da.from_array(y, chunks=(500, 2)), da.from_array(w, chunks=700))
        assert distance(model, X, y, w) <= model.tol

    def test_other_methods_give_what_one_matrix_gives(self, kind):
        X, y = self.rows()
        Xd, yd = collections(X, y, (700,) * 8 + (400,))
        Xd = Xd.map_blocks(kind)
        whole = MiniBatchRidgeSGD(ALPHA).fit(kind(X), y)
        np.testing.assert_allclose(whole.predict(Xd).compute(), whole.predict(kind(X)))
        np.testing.assert_allclose(whole.score(Xd, yd), whole.score(kind(X), y))
        in_parts = MiniBatchRidgeSGD(ALPHA).partial_fit(Xd, yd)
        assert distance(in_parts, X, y) <= 1e-6
        chosen = MiniBatchRidgeSGDCV([ALPHA]).fit(Xd, yd)
        np.testing.assert_allclose(chosen.predict(X), whole.predict(X), rtol=1e-6)

    @pytest.mark.slow
    def test_of_sizes_that_dask_does_not_know(self, kind, client):
        X, y = self.rows()
        Xd, yd = collections(X, y, (700,) * 8 + (400,))
        keep = Xd[:, 0] > 0
        Xd, yd = Xd[keep].map_blocks(kind), yd[keep]
        rows = X[:, 0] > 0
        for targets in (yd, y[rows]):
            model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(Xd, targets)
            assert distance(model, X[rows], y[rows]) <= model.tol


class TestBesideMemory:
    """Dask collections where the other arrays, or the method, are in memory."""

    @MODELS
    @pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
    @pytest.mark.parametrize("of_frame", [True, False], ids=["series", "array"])
    def test_targets_and_weights_of_rows_in_memory(self, model, method, of_frame):
        X, y = table()
        w = np.random.default_rng(0).uniform(1, 2, len(y))
        frame = dd.from_pandas(pd.DataFrame({"y": y, "w": w}), npartitions=3)
        given = [frame[name] if of_frame else frame[name].to_dask_array() for name in ("y", "w")]
        model = clone(model).fit(X, y)
        same = clone(model).fit(X, y)
        found = getattr(model, method)(X, *given)
        expected = getattr(same, method)(X, y, w)
        if method == "score":
            assert found == expected
        else:
            np.testing.assert_array_equal(found.coef_, expected.coef_)

    def test_a_stream_takes_collections(self):
        X, y = table()
        w = np.random.default_rng(0).uniform(1, 2, len(y))
        Xd, yd = frames(X, y, 7)
        model = MiniBatchRidgeSGD(ALPHA).partial_fit(Xd, yd, da.from_array(w, chunks=500))
        assert list(model.feature_names_in_) == NAMES
        assert distance(model, pd.DataFrame(X, columns=NAMES), y, w) <= model.tol

    @pytest.mark.slow
    def test_a_stream_reads_a_file_once_for_rows_and_targets(self, tmp_path):
        frame, log = wide_table(), tmp_path / "log"

        def load(part, columns=None):
            with log.open("a") as file:
                file.write(f"{part}\n")
            return frame[part::4][columns]

        ddf = dd.from_map(load, range(4), meta=frame[:0])
        MiniBatchRidgeSGD(ALPHA).partial_fit(ddf[["x2", "x3"]], ddf["y"], ddf["w"])
        assert sorted(log.read_text().split()) == list("0123")

    def test_chunks_of_collections(self):
        X, y = table()
        Xd, yd = collections(X, y, (3000, 3000))
        chunks = [(Xd[:2000], yd[:2000]), (Xd[2000:], y[2000:])]
        assert distance(MiniBatchRidgeSGD(ALPHA).fit(chunks), X, y) <= 1e-6


def test_partitions_of_other_sizes_are_matched_by_their_order():
    """As many partitions of other sizes are matched as other numbers of partitions are."""
    X, y = table()
    Xd = frames(X, y, 3)[0]
    for sizes in ((1000, 4000, 1000), (1000, 5000)):
        parts = np.split(y, np.cumsum(sizes)[:-1])
        yd = dd.concat([dd.from_pandas(pd.Series(part), npartitions=1) for part in parts])
        for rows in (Xd, Xd.to_dask_array()):
            model = MiniBatchRidgeSGD(ALPHA, solver="svrg", random_state=0).fit(rows, yd)
            given = pd.DataFrame(X, columns=NAMES) if rows is Xd else X
            assert distance(model, given, y) <= model.tol
            np.testing.assert_allclose(model.score(rows, yd), model.score(given, y))


@pytest.mark.slow
class TestLabelledArrays:
    """Arrays of xarray follow Dask's protocol, and are in memory."""

    @pytest.mark.parametrize("of_dask", [False, True], ids=["numpy", "dask"])
    @MODELS
    def test_are_the_arrays_inside(self, model, of_dask):
        xarray = pytest.importorskip("xarray")
        X, y = table()
        w = np.random.default_rng(0).uniform(1, 2, len(y))
        labelled = [
            xarray.DataArray(da.from_array(a, chunks=500) if of_dask else a) for a in (X, y, w)
        ]
        same = clone(model)
        for method in ("fit", "partial_fit"):
            getattr(model, method)(*labelled)
            getattr(same, method)(X, y, w)
            np.testing.assert_array_equal(model.coef_, same.coef_)
        np.testing.assert_array_equal(model.predict(labelled[0]), model.predict(X))
        assert model.score(*labelled) == model.score(X, y, w)
        chunks = [tuple(labelled)]
        np.testing.assert_allclose(model.fit(chunks).coef_, same.fit([(X, y, w)]).coef_)
