"""Fitting a table of a DuckDB file: by queries, in chunks, and after reading it into pandas."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from ..report import markdown
from ..timing import duration
from .files import peak_memory

COLUMNS = 20
FEATURES = [f"x{j}" for j in range(COLUMNS)]
HEADS = ["way", "rows", "seconds", "of the processor", "peak memory", "distance of coef_"]


def write_table(path, n_rows):
    """A table of n_rows with features x0, x1, ..., far from 0 and of several units, and y."""
    import duckdb

    features = ", ".join(f"{10.0 ** (j % 4)} * (random() + {j}) AS x{j}" for j in range(COLUMNS))
    target = " + ".join(f"x{j} / {10.0 ** (j % 4)}" for j in range(COLUMNS))
    with duckdb.connect(str(path)) as database:
        database.execute("SELECT setseed(0.5)")
        database.execute(
            f"CREATE TABLE samples AS SELECT *, {target} + random() AS y "
            f"FROM (SELECT {features} FROM range({n_rows}))"
        )


NAMES = [*FEATURES, "y"]
PAIRS = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[: i + 1]]


def by_covar_pop(database):
    """The number, means and covariances from aggregates, in one read of the table."""
    covariances = ", ".join(f"covar_pop({a}, {b})" for a, b in PAIRS)
    means = ", ".join(f"favg({a})" for a in NAMES)
    return of_answer(database, f"SELECT count(*), {means}, {covariances} FROM samples")


def by_products(database):
    """The same from averages of products about the means, in two reads."""
    means = ", ".join(f"avg({a}) AS {a}" for a in NAMES)
    products = ", ".join(f"avg((r.{a} - m.{a}) * (r.{b} - m.{b}))" for a, b in PAIRS)
    again = ", ".join(f"avg(r.{a})" for a in NAMES)
    return of_answer(
        database,
        f"WITH m AS (SELECT {means} FROM samples) "
        f"SELECT count(*), {again}, {products} FROM samples AS r, m",
    )


def of_answer(database, query):
    """The model of the number, means and covariances that a query returns."""
    n_samples, *numbers = database.execute(query).fetchone()
    m = len(NAMES)
    covariance = np.zeros((m, m))
    covariance[np.tril_indices(m)] = numbers[m:]
    covariance += np.tril(covariance, -1).T
    return MiniBatchRidgeSGD().fit_moments(n_samples, numbers[:m], covariance)


def in_chunks(database):
    """The rows from chunks of about a hundred thousand."""

    def chunks():
        rows = database.execute("SELECT * FROM samples")
        while len(frame := rows.fetch_df_chunk(50)):
            yield frame[FEATURES].to_numpy(), frame["y"].to_numpy()

    return MiniBatchRidgeSGD().fit(ChunkSource(chunks))


def through_pandas(database):
    """The whole table in memory."""
    frame = database.execute("SELECT * FROM samples").df()
    return MiniBatchRidgeSGD().fit(frame[FEATURES].to_numpy(), frame["y"].to_numpy())


WAYS = {
    "covar_pop": by_covar_pop,
    "products about the means": by_products,
    "chunks": in_chunks,
    "pandas": through_pandas,
}


def one_way(way, path):
    """Print what a way takes, in a process of its own."""
    import duckdb
    import pandas  # noqa: F401  (its import is not what is measured)

    before = peak_memory()
    with duckdb.connect(path, read_only=True) as database:
        start, used = time.perf_counter(), time.process_time()
        coef = WAYS[way](database).coef_
        seconds, used = time.perf_counter() - start, time.process_time() - used
    grown = peak_memory() - before
    print(json.dumps({"seconds": seconds, "used": used, "grown": grown, "coef": coef.tolist()}))


def sql(tiny):
    """Seconds and memory of each way, the file being in the cache of the system."""
    n_rows = 100_000 if tiny else 10_000_000
    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.duckdb"
        write_table(path, n_rows)
        for way in WAYS:
            command = [sys.executable, "-m", __spec__.name, way, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            reports[way] = json.loads(done.stdout)
    coef = np.array(reports["pandas"]["coef"])
    return markdown(
        HEADS,
        [
            (
                *(way, f"{n_rows:,}", duration(each["seconds"]), duration(each["used"])),
                *(f"+{each['grown']:,.0f} MB", f"{np.abs(each['coef'] / coef - 1).max():.0e}"),
            )
            for way, each in reports.items()
        ],
    )


if __name__ == "__main__":
    one_way(*sys.argv[1:])
