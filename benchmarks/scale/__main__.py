"""Rows that do not fit in memory, or on one machine.

files       seconds per pass of fit against a plain read of the file, and peak memory
disk        the same by the clock, of a file a third larger than this machine's memory
sql         a table of ten million rows by queries, in chunks, and through pandas
dask        one and two worker processes against memory and against dask-ml
model       the cost model of docs/scale.md against measured rounds, and what it says for more
stragglers  a simulation of rounds on workers of unequal speed, with partitions of unequal size
"""

import argparse
from pathlib import Path

from ..machine import machine, versions
from .clusters import dask_clusters
from .files import disk, files
from .model import model
from .sql import sql
from .stragglers import stragglers

# What writes each table, and the packages it uses.
PARTS = {
    "files": (files, "h5py", "pyarrow"),
    "disk": (disk,),
    "sql": (sql, "duckdb", "pandas"),
    "dask": (dask_clusters, "dask", "distributed", "dask-ml"),
    "model": (model, "dask", "distributed"),
    "stragglers": (stragglers,),
}


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=form
    )
    parser.add_argument(
        "what",
        nargs="*",
        choices=[[], *PARTS],
        default=[],
        metavar="PART",
        help="of those above; all if none is named",
    )
    parser.add_argument("--tiny", action="store_true", help="a smoke run")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder to write to"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for what in options.what or PARTS:
        table, *packages = PARTS[what]
        text = f"{table(options.tiny)}\n\n{machine()}: {versions(*packages)}.\n"
        print(text, flush=True)
        (options.out / f"{what}.md").write_text(text)


if __name__ == "__main__":
    main()
