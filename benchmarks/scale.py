"""Rows that do not fit in memory, or on one machine: python -m benchmarks.scale [PART ...] [--tiny]

files       seconds per pass of fit against a plain read of the file, and peak memory
disk        the same by the clock, of a file a third larger than this machine's memory
dask        one and two worker processes against memory and against dask-ml
model       the cost model of docs/scale.md against measured rounds, and what it says for more
stragglers  a simulation of rounds on workers of unequal speed, with partitions of unequal size
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._chunked_rows import products
from sklearn_minibatch._scaler import Units
from sklearn_minibatch._summary import Chunk, summary

from .machine import machine, versions
from .report import markdown
from .timing import duration, interleaved, timed, use

COLUMNS = 50
ALPHA = 1e-6
WEIGHTS = np.random.default_rng(1).normal(size=COLUMNS)


def some_rows(n, seed, weights):
    """Correlated rows, and targets."""
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(n, len(weights))), axis=1) + 3
    return X, X @ weights + rng.normal(size=n) * len(weights)


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
    """A source of chunks over one of the three files."""

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
        for batch in rows.to_batches(batch_size=50_000, batch_readahead=1, fragment_readahead=1, use_threads=False):
            rows = np.column_stack([column.to_numpy() for column in batch.columns])
            yield rows[:, 1:], rows[:, 0]

    return ChunkSource({"raw": raw, "hdf5": hdf5, "parquet": parquet}[kind])


def one_fit(kind, path, clock):
    """In a process of its own: seconds of a plain read, and of a fit, its passes, and what it added to the peak memory."""
    small = some_rows(5000, 0, np.ones(COLUMNS))
    MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(lambda: iter([small])))
    before, model = peak_memory(), MiniBatchRidgeSGD(ALPHA, random_state=0)
    source = None if kind == "mapped" else chunks_of(kind, path)

    def read():
        plain_read(path) if source is None else [None for _ in source]

    def fit():
        if source is not None:
            return model.fit(source)
        rows = np.memmap(path, mode="r", dtype=float).reshape(-1, COLUMNS + 1)
        return model.fit(rows[:, 1:], rows[:, 0])

    use(clock)
    read()
    reading, fitting = timed(read)[1], timed(fit)[1]
    print(json.dumps({"read": reading, "fit": fitting, "passes": model.n_passes_, "grown": peak_memory() - before}))


def peak_memory():
    """Megabytes that this process has held at most; that of `resource` counts what its parent held, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def plain_read(path):
    """Read a file from end to end into the same 16 megabytes."""
    buffer = bytearray(2**24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


FILE_HEADS = ["file", "rows", "GB", "passes", "a plain read", "a pass of fit", "ratio", "million rows a second", "peak memory"]


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
        runs = [("raw", raw), ("mapped", raw), ("hdf5", raw.with_suffix(".h5")), ("parquet", raw.with_suffix(".parquet"))]
        table += [file_row(kind, path, n_short) for kind, path in runs]
        write_rows(raw, n_long)
        table += [file_row(kind, raw, n_long) for kind in ("raw", "mapped")]
    return markdown(FILE_HEADS, table)


def disk(tiny):
    """Reading and fitting a file that the system cannot keep in its cache."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    n_rows = 200_000 if tiny else memory * 4 // 3 // (8 * (COLUMNS + 1)) // 50_000 * 50_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        raw = Path(folder) / "rows"
        write_rows(raw, n_rows)
        table = [file_row(kind, raw, n_rows, "wall") for kind in ("raw", "mapped")]
    return f"On {memory / 1e9:.0f} GB of memory:\n\n{markdown(FILE_HEADS, table)}"


def file_row(kind, path, n_rows, clock="cpu"):
    command = [sys.executable, "-m", "benchmarks.scale", "--one-fit", kind, str(path), clock]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    a_pass = report["fit"] / report["passes"]
    return (
        *(kind, f"{n_rows:,}", f"{n_rows * (COLUMNS + 1) * 8 / 1e9:.2f}", report["passes"]),
        *(duration(report["read"]), duration(a_pass), f"{a_pass / report['read']:.1f}"),
        *(f"{n_rows / a_pass / 1e6:.1f}", f"+{report['grown']:.0f} MB"),
    )


class Traffic:
    """Bytes over the loopback interface and graphs sent to the scheduler while it is open."""

    def __enter__(self):
        from distributed import Client

        self.rounds, self.bytes, send = 0, self._sent(), Client._graph_to_futures

        def counted(*args, **kwargs):
            self.rounds += 1
            return send(*args, **kwargs)

        self._restore, Client._graph_to_futures = send, counted
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        from distributed import Client

        self.seconds, self.bytes = time.perf_counter() - self.start, self._sent() - self.bytes
        Client._graph_to_futures = self._restore

    @staticmethod
    def _sent():
        import psutil

        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


@contextmanager
def cluster_of(n_workers):
    """A cluster of as many processes of one thread, as the default scheduler."""
    from distributed import Client, LocalCluster

    options = {"n_workers": n_workers, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster):
        yield


def partitions(n_rows, n_parts):
    """Rows and targets in the memory of the workers."""
    import dask
    import dask.array as da
    from distributed import wait

    parts = [dask.delayed(some_rows, nout=2)(n_rows // n_parts, seed, WEIGHTS) for seed in range(n_parts)]
    X = da.concatenate([da.from_delayed(x, (n_rows // n_parts, COLUMNS), float) for x, _ in parts])
    y = da.concatenate([da.from_delayed(v, (n_rows // n_parts,), float) for _, v in parts])
    X, y = dask.persist(X, y)
    wait([X, y])
    return X, y


def peers(n_workers):
    """Names, and functions of X and y that return coefficients and intercept in the units of X."""
    workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"

    def ours(X, y):
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X, y)
        return model.coef_, model.intercept_

    def scaled(make):
        def fit(X, y):
            from dask_ml.preprocessing import StandardScaler

            scaler = StandardScaler().fit(X)
            model = make().fit(scaler.transform(X), y)
            model = getattr(model, "estimator_", model)
            coef = np.ravel(model.coef_) / np.asarray(scaler.scale_)
            return coef, float(np.ravel(model.intercept_)[0]) - np.asarray(scaler.mean_) @ coef

        return fit

    def incremental():
        from dask_ml.wrappers import Incremental
        from sklearn.linear_model import SGDRegressor

        return Incremental(SGDRegressor(alpha=ALPHA, random_state=0))

    def linear(solver):
        from dask_ml.linear_model import LinearRegression

        return LinearRegression(C=1e6, solver=solver, solver_kwargs={"max_iter": 10})

    yield f"MiniBatchRidgeSGD, {workers}", ours
    yield f"dask-ml Incremental(SGDRegressor), {workers}", scaled(incremental)
    for solver in ("newton",):  # "admm" takes minutes and stays farther off
        yield f"dask-ml LinearRegression ({solver}, 10 iterations), {workers}", scaled(lambda solver=solver: linear(solver))


def measured(name, fit, X, y, in_memory):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(X, y)  # imports on every worker; Dask learns how long the tasks take
        runs = []
        for _ in range(5):
            with Traffic() as traffic:
                found = fit(X, y)
            runs.append(traffic)
    moved = f"{np.median([run.bytes for run in runs]) / 1e6:.1f} MB"
    seconds = duration(np.median([run.seconds for run in runs]))
    return name, runs[0].rounds, moved, seconds, f"{error(*found, *in_memory):.0e}"


def error(coef, intercept, X, y):
    """RMS distance of the predictions to those of the closed form, in standard deviations of y."""
    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = (X - mean) / scale
    beta = np.linalg.solve(Z.T @ Z / len(y) + ALPHA * np.eye(len(mean)), Z.T @ (y - y.mean()) / len(y))
    return np.sqrt(np.mean((X @ coef + intercept - Z @ beta - y.mean()) ** 2)) / y.std()


def dask_clusters(tiny):
    """One worker, then two."""
    n_rows, n_parts = (16_000, 4) if tiny else (1_600_000, 16)
    # Made here once more: rows gathered from a cluster leave copies behind, by which its work is no longer shared evenly.
    rows = [some_rows(n_rows // n_parts, seed, WEIGHTS) for seed in range(n_parts)]
    in_memory = np.concatenate([X for X, _ in rows]), np.concatenate([y for _, y in rows])
    del rows
    model = MiniBatchRidgeSGD(ALPHA, random_state=0)
    seconds = np.median([timed(lambda: model.fit(*in_memory))[1] for _ in range(5)])
    off = error(model.coef_, model.intercept_, *in_memory)
    table = [("in memory, one process", "", "", duration(seconds), f"{off:.0e}")]
    for n_workers in (1, 2):
        with cluster_of(n_workers):
            X, y = partitions(n_rows, n_parts)
            table += [measured(name, fit, X, y, in_memory) for name, fit in peers(n_workers)]
    heads = ["fit", "graphs computed", "bytes moved", "seconds", "distance to closed form"]
    return f"{n_rows:,} rows of {COLUMNS} columns in {n_parts} partitions, medians of five fits:\n\n{markdown(heads, table)}"


def round_seconds(n_rows, d, n_workers, n_parts, rate, overhead, latency):
    """The model of docs/scale.md: rows at `rate` bytes a second and worker, and what each partition and each round costs."""
    return 8 * n_rows * d / (rate * n_workers) + overhead * n_parts + latency


def fit_seconds(rounds, *sizes, rates, **costs):
    """All rounds of a fit: the first has a rate of its own."""
    first, other = [round_seconds(*sizes, rate=rate, **costs) for rate in rates]
    return first + (rounds - 1) * other


def model(tiny):
    """Constants from small runs, checked on others, then carried on."""
    sizes = [(20_000, 4), (40_000, 8)] if tiny else [(200_000, 16), (800_000, 16), (1_600_000, 64), (3_200_000, 16)]
    rates, table = rates_of_passes(20_000 if tiny else 400_000, COLUMNS), []
    with cluster_of(2):
        latency, overhead = empty_rounds()
        costs = {"rates": rates, "overhead": overhead, "latency": latency}
        for n_rows, n_parts in sizes:
            estimator = MiniBatchRidgeSGD(ALPHA, random_state=0)
            ((measured,), _) = interleaved([partial(estimator.fit, *partitions(n_rows, n_parts))], 3)
            said = fit_seconds(estimator.n_passes_, n_rows, COLUMNS, 2, n_parts, **costs)
            shown = duration(said), duration(measured), f"{measured / said:.1f}"
            table.append((f"{n_rows:,}", n_parts, estimator.n_passes_, *shown))
    constants = (
        f"B = {rates[1] / 1e9:.1f} GB/s a worker ({rates[0] / 1e9:.1f} in the first round), "
        f"a = {duration(overhead)} a partition, l = {duration(latency)} a round:"
    )
    checked = markdown(["rows", "partitions", "rounds", "a fit by the model", "a fit measured", "ratio"], table)
    cases = [(n, k) for n in (10**9, 10**12) for k in (1, 10, 100, 1000)]
    said = markdown(["rows", "machines", "TB", "eight rounds"], [far(n, k, **costs) for n, k in cases])
    return f"{constants}\n\n{checked}\n\nThe same for 100 columns on machines of 16 cores:\n\n{said}"


def far(n_rows, n_machines, d=100, cores=16, **costs):
    """One partition to a core."""
    n_workers = n_machines * cores
    seconds = fit_seconds(8, n_rows, d, n_workers, n_workers, **costs)
    return f"{n_rows:.0e}", n_machines, f"{8 * n_rows * d / 1e12:.1f}", duration(seconds)


def rates_of_passes(n_rows, d):
    """Bytes of rows that the first pass and each other one take in per second."""
    X, y = some_rows(n_rows, 0, np.ones(d))
    units, p = Units(X.mean(axis=0), X.std(axis=0), None, np.ones(1)), np.ones((d, 1))
    chunk = Chunk(1, X, y[:, None], None)
    (medians, _) = interleaved([lambda: summary(chunk, 0), lambda: products(chunk, units, p, 1.0)], 5)
    return X.nbytes / medians


def empty_rounds():
    """Seconds of a round, and of each partition in it, where there is next to nothing to add up."""
    import dask.array as da

    from sklearn_minibatch._chunked_rows import add
    from sklearn_minibatch._dask import Partitions

    few, many = [rounds_of(Partitions, add, da.ones((n, 1), chunks=(1, 1)).persist()) for n in (8, 72)]
    (few, many), _ = interleaved([few, many], 5)
    overhead = (many - few) / 64
    return max(few - 8 * overhead, 0.0), overhead


def rounds_of(Partitions, add, ones):
    partitions = Partitions(ones, ones[:, 0], None, unchecked)
    return lambda: partitions.reduce(nothing, add)


def unchecked(X, y, w, first, finite):
    return X, y[:, None], w


def nothing(chunk):
    return (np.zeros(COLUMNS),)


def stragglers(tiny):
    """Time of a round, in units of one in which no worker is ever idle."""
    rng, trials, n_workers = np.random.default_rng(0), 5 if tiny else 100, 64
    table = []
    for per_worker in (1, 4, 16):
        for name, even in (("equal", True), ("unequal", False)):
            times = [
                np.mean([a_round(rng, n_workers, per_worker, even, spread, slow) for _ in range(trials)])
                for spread, slow in ((0.0, 1.0), (0.3, 1.0), (0.0, 5.0))
            ]
            table.append((per_worker, name, *[f"{time:.2f}" for time in times]))
    heads = ["partitions a worker", "of size", "equal workers", "speeds vary by 30 %", "one of 64 workers 5 times slower"]
    return markdown(heads, table)


def a_round(rng, n_workers, per_worker, even, spread, slow):
    """Workers take the next partition when they are free; the round ends with the last partition."""
    n_parts = n_workers * per_worker
    sizes = np.ones(n_parts) if even else rng.exponential(1.0, n_parts)
    pace = np.exp(rng.normal(0, spread, n_workers))
    pace[0] *= slow
    free = np.zeros(n_workers)
    for size in sizes:
        worker = np.argmin(free)
        free[worker] += size * pace[worker]
    return free.max() / (sizes.sum() / (1 / pace).sum())


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parts = {"files": files, "disk": disk, "dask": dask_clusters, "model": model, "stragglers": stragglers}
    parser.add_argument("what", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--tiny", action="store_true", help="a smoke run")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder to write to")
    parser.add_argument("--one-fit", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_fit:
        kind, path, clock = options.one_fit
        return one_fit(kind, Path(path), clock)
    options.out.mkdir(parents=True, exist_ok=True)
    for what in options.what or parts:
        text = f"{parts[what](options.tiny)}\n\n{machine()}: {versions()}.\n"
        print(text, flush=True)
        (options.out / f"{what}.md").write_text(text)
    return None


if __name__ == "__main__":
    main()
