"""Reading and fitting rows in files."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._data import mapped

from ..report import markdown
from ..timing import duration, timed, use
from .rows import ALPHA, COLUMNS, WEIGHTS, some_rows

HEADS = [
    "file",
    "rows",
    "GB",
    "passes",
    "a plain read",
    "a pass of fit",
    "ratio",
    "million rows a second",
    "peak memory",
]


def write_rows(path, n_rows):
    """A plain file of rows [y, x_1, ..., x_d] in float64, made of one block with other noise."""
    X, y = some_rows(50_000, 0, WEIGHTS)
    block = np.column_stack([y, X])
    with path.open("wb") as file:
        for k in range(n_rows // len(block)):
            block[:, 0] = y + np.random.default_rng(k).normal(size=len(y))
            block.tofile(file)


def write_hdf5(path, raw):
    """The same in HDF5."""
    import h5py

    rows = np.memmap(raw, mode="r", dtype=float).reshape(-1, COLUMNS + 1)
    with h5py.File(path, "w") as file:
        file.create_dataset("rows", data=rows, chunks=(10_000, COLUMNS + 1))


def write_parquet(path, raw):
    """The same in Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = np.memmap(raw, mode="r", dtype=float).reshape(-1, COLUMNS + 1)
    names = [f"c{j}" for j in range(COLUMNS + 1)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in names])) as writer:
        for start in range(0, len(rows), 50_000):
            part = rows[start : start + 50_000]
            writer.write_table(pa.table({name: part[:, j] for j, name in enumerate(names)}))


def chunks_of(kind, path):
    """A source of chunks over one of the files."""

    def raw():
        with path.open("rb") as file:
            while len(rows := np.fromfile(file, count=40_000 * (COLUMNS + 1))):
                rows = rows.reshape(-1, COLUMNS + 1)
                yield rows[:, 1:], rows[:, 0]

    def hdf5():
        import h5py

        with h5py.File(path) as file:
            for start in range(0, len(file["rows"]), 40_000):
                rows = file["rows"][start : start + 40_000]
                yield rows[:, 1:], rows[:, 0]

    def parquet():
        import pyarrow.dataset as ds

        rows = ds.dataset(path, format=ds.ParquetFileFormat(pre_buffer=False))
        for batch in rows.to_batches(
            batch_size=50_000, batch_readahead=1, fragment_readahead=1, use_threads=False
        ):
            rows = np.column_stack([column.to_numpy() for column in batch.columns])
            yield rows[:, 1:], rows[:, 0]

    functions = {"raw": raw, "raw, a chunk ahead": raw, "hdf5": hdf5, "parquet": parquet}
    return ChunkSource(functions[kind], prefetch=kind.endswith("ahead"))


def one_fit(kind, path, clock):
    """Measure a plain read and a fit, in a process of its own.

    Returns the seconds of both, the passes of the fit, and what it added to the peak memory.
    """
    small = some_rows(5000, 0, np.ones(COLUMNS))
    MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(lambda: iter([small])))
    before, model = peak_memory(), MiniBatchRidgeSGD(ALPHA, random_state=0)
    source = None if kind == "mapped" else chunks_of(kind, path)

    def read():
        if source is None:
            plain_read(path)
        else:
            for _ in source.function():
                pass

    def fit():
        if source is not None:
            return model.fit(source)
        # As if the file were too large to be loaded.
        mapped.SHARE_OF_MEMORY = 0
        rows = np.memmap(path, mode="r", dtype=float).reshape(-1, COLUMNS + 1)
        return model.fit(rows[:, 1:], rows[:, 0])

    use(clock)
    read()
    reading, fitting = timed(read)[1], timed(fit)[1]
    print(
        json.dumps(
            {
                "read": reading,
                "fit": fitting,
                "passes": model.n_passes_,
                "grown": peak_memory() - before,
            }
        )
    )


def peak_memory():
    """Peak memory of this process in megabytes.

    The figure of `resource` would also count what the parent process held.
    """
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) / 2**10


def plain_read(path):
    """Read a file from end to end into the same 16 megabytes."""
    buffer = bytearray(2**24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def files(tiny):
    """Reading and fitting, for a short and a long file that the system has in its cache.

    Seconds are those of the processor, in the system too: the machine may be busy.
    """
    n_short, n_long = (200_000, 300_000) if tiny else (2_500_000, 12_500_000)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "rows"
        write_rows(raw, n_short)
        write_hdf5(raw.with_suffix(".h5"), raw)
        write_parquet(raw.with_suffix(".parquet"), raw)
        runs = [
            ("raw", raw),
            ("mapped", raw),
            ("hdf5", raw.with_suffix(".h5")),
            ("parquet", raw.with_suffix(".parquet")),
        ]
        table += [file_row(kind, path, n_short) for kind, path in runs]
        write_rows(raw, n_long)
        table += [file_row(kind, raw, n_long) for kind in ("raw", "mapped")]
    return markdown(HEADS, table)


def disk(tiny):
    """Reading and fitting a file that the system cannot keep in its cache."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    n_rows = 200_000 if tiny else memory * 4 // 3 // (8 * (COLUMNS + 1)) // 50_000 * 50_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        raw = Path(folder) / "rows"
        write_rows(raw, n_rows)
        table = [
            file_row(kind, raw, n_rows, "wall") for kind in ("raw", "raw, a chunk ahead", "mapped")
        ]
    return f"On {memory / 1e9:.0f} GB of memory:\n\n{markdown(HEADS, table)}"


def file_row(kind, path, n_rows, clock="cpu"):
    command = [sys.executable, "-m", __spec__.name, kind, str(path), clock]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    a_pass = report["fit"] / report["passes"]
    return (
        *(kind, f"{n_rows:,}", f"{n_rows * (COLUMNS + 1) * 8 / 1e9:.2f}", report["passes"]),
        *(duration(report["read"]), duration(a_pass), f"{a_pass / report['read']:.1f}"),
        *(f"{n_rows / a_pass / 1e6:.1f}", f"+{report['grown']:.0f} MB"),
    )


if __name__ == "__main__":
    one_fit(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
