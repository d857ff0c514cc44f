"""Rows from files and databases in chunks, and the memory that these and mapped arrays need."""

import json
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from .. import ROOT
from .rows import ALPHA, distance, table


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
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path / 'rows.db'}", poolclass=sqlalchemy.NullPool
    )
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


PEAK = """
import json, sys
from pathlib import Path
import numpy as np
from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, _data

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
    _data.mapped.SHARE_OF_MEMORY = 0  # as if the file were too large to be loaded
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
    for n in (600_000, 1_200_000):  # 82 and 163 MB
        write_parts(path, how, (rows + k for k in range(n // len(rows))))
        script = [sys.executable, "-c", textwrap.dedent(PEAK), str(path), str(n), how]
        out = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT)
        report = json.loads(out.stdout)
        assert report["passes"] >= 3
        grown.append(report["grown"])
    assert max(grown) < 150
    assert grown[1] - grown[0] < 40
