"""A table, what is decided about its columns, and the pipeline that is fitted to it."""

import argparse
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold

from .. import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from .arguments import AUTO
from .columns import LEFT_OUT, LEVELS, NUMBERS, Planner
from .dialect import BadInput
from .pipeline import code_for, encoded_names, pipeline_for
from .reading import OPENERS, CsvFile, ParquetTable, Table, shown

FOLDS = KFold(5, shuffle=True, random_state=0)
PART_CELLS = 2_000_000
MOST_BYTES = 2**30  # of a table that is read as a whole; the fits need several times as much


class Diabetes(Table):
    """The diabetes data of scikit-learn."""

    def __init__(self) -> None:
        super().__init__("diabetes data of scikit-learn", "load_diabetes")

    def code(self, **more: Any) -> str:
        frame = "load_diabetes(as_frame=True, scaled=False).frame"
        return f"{frame}.rename(columns={{'target': 'progression'}})"

    def read(self, **more: Any) -> pd.DataFrame:
        frame = load_diabetes(as_frame=True, scaled=False).frame
        return frame.rename(columns={"target": "progression"})

    def _parts(self, rows: int) -> Iterator[pd.DataFrame]:
        yield self.read()


class Job:
    """The encoded rows, which are X (n, d) and y (n,), or a source of chunks and None.

    `frame` has the rows with a target, or a sample of them.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.table = open_table(args)
        self.planner = Planner(self.table, args.decimal)
        names = self.planner.names
        target = self._known(args.target if args.table else "progression")
        self.wishes = self._wishes(args, target)
        self.in_chunks = args.chunks or n_bytes(self.table.path) > MOST_BYTES
        self.part_rows = max(1, PART_CELLS // len(names))
        frame = self._sample() if self.in_chunks else self.table.read()
        self.target, self.columns = self.planner.plan(frame, target, self.wishes)
        y = self.target.numbers(frame[target])
        self.frame = frame[y.notna()]
        self.n_without_target = len(frame) - len(self.frame)
        alpha = MiniBatchRidgeSGD().alpha if args.alpha == AUTO else args.alpha
        self.model: Any = MiniBatchRidgeSGD(
            alpha, solver=args.solver, batch_size=args.batch_size, random_state=0
        )
        self.pipeline = pipeline_for(self.columns, len(self.frame), self.model)
        self.encoder = self.pipeline[:-1]
        self.X: Any = self.encoder.fit_transform(self.frame)
        self.y: Any = y[y.notna()].to_numpy()
        self.names = encoded_names(self.pipeline)
        if self.in_chunks:
            self.X, self.y = ChunkSource(self._encoded), None

    def _known(self, name: str | None) -> str:
        """Return the column with this name, but for blanks around it."""
        path, names = self.table.path, self.planner.names
        if not names:
            raise BadInput(f"{path} is empty")
        columns = f"columns: {', '.join(shown(each.strip()) for each in names[:20])}"
        columns += f", and {len(names) - 20:,} more" if len(names) > 20 else ""
        if name is None:
            raise BadInput(f"--target is missing; {columns}")
        name = name.strip()
        given = self.table.dialect.names if isinstance(self.table, CsvFile) else names
        if (n_found := sum(each.strip() == name for each in given)) > 1:
            raise BadInput(f"{path} has {n_found} columns {shown(name)}; {columns}")
        found = [each for each in names if each.strip() == name]
        if not found:
            raise BadInput(f"{path} has no column {shown(name)}; {columns}")
        return found[0]

    def _wishes(self, args: argparse.Namespace, target: str) -> dict[str, str]:
        """Return how the columns that the options name are used."""
        found: dict[str, str] = {}
        for option, use in (("drop", LEFT_OUT), ("text", LEVELS), ("numbers", NUMBERS)):
            for name in map(self._known, getattr(args, option)):
                if name == target:
                    raise BadInput(f"--{option} names {shown(name)}, which is the target")
                if found.setdefault(name, use) != use:
                    raise BadInput(f"--{option} names {shown(name)}, and so does another option")
        return found

    def _parts(self) -> Iterator[pd.DataFrame]:
        """Yield the parts, and show in a terminal how many rows have been read."""
        in_terminal = sys.stderr is not None and sys.stderr.isatty()
        for part in self.table.parts(self.part_rows):
            if in_terminal:
                print(f"\r{part.index[-1] + 1:,} rows", end="\r", file=sys.stderr, flush=True)
            yield part
        if in_terminal:
            print(" " * 20, end="\r", file=sys.stderr, flush=True)

    def _sample(self) -> pd.DataFrame:
        """Return no more rows than those of one part, drawn at random."""
        sample: list[pd.DataFrame] = []
        share = 1.0
        for part in self._parts():
            sample.append(part.sample(frac=share, random_state=0))
            if sum(map(len, sample)) > self.part_rows:
                share /= 2
                sample = [pd.concat(sample).sample(frac=0.5, random_state=0)]
        return pd.concat(sample)

    def _encoded(self) -> Iterator[tuple[Any, Any]]:
        for part in self._parts():
            y = self.target.numbers(part[self.target.name])
            try:
                with warnings.catch_warnings():
                    # Of levels that the sample does not have.
                    warnings.filterwarnings("ignore", "Found unknown categories")
                    X = self.encoder.transform(part[y.notna()])
                yield X, y[y.notna()]
            except ValueError as error:
                self.planner.plan(part, self.target.name, self.wishes)  # Names the cell.
                where = self.table.where(part.index[0])
                raise BadInput(f"{where} and after: {error}") from error

    def choose_alpha(self) -> str:
        """Set alpha by cross-validation, and return a text that says so."""
        folds = {"cv": 5, "random_state": 0} if self.in_chunks else {"cv": FOLDS}
        try:
            choice = MiniBatchRidgeSGDCV(**folds).fit(self.X, self.y)
        except ValueError as error:
            raise BadInput(f"--alpha auto: {error}") from error
        self.model.set_params(alpha=float(choice.alpha_))
        return (
            f"alpha={choice.alpha_:.3g} has the least mean squared error on rows held out, "
            f"of {len(choice.alphas_)} alphas in 5 folds"
        )

    def code(self, save: str | None) -> str:
        """Return Python that does the same."""
        rows = self.part_rows if self.in_chunks else 0
        return code_for(self.table, self.target, self.columns, self.pipeline, save, rows)

    def save(self, path: str) -> str:
        """Write the fitted pipeline, and return a text that says how to use it."""
        try:
            joblib.dump(self.pipeline, path)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror or error}") from error
        load = f"joblib.load({path!r})"
        return f"Fit written to {path}: {load}.predict({self.table.code()})"


def open_table(args: argparse.Namespace) -> Table:
    """Return the table that the arguments name."""
    path = args.table
    if path is None:
        return Diabetes()
    if "://" in path:
        if not args.sql:
            raise BadInput("--sql is missing: the name of a table of the database, or a query")
        return Table(path, "read_sql", args.sql, path)
    paths = (args.save or "", path)
    if all(map(os.path.exists, paths)) and os.path.samefile(*paths):
        raise BadInput(f"--save {args.save} would overwrite the data")
    if Path(path).is_dir() or path.endswith(".parquet"):
        return ParquetTable(path)
    separator = {"tab": "\t", r"\t": "\t"}.get(args.sep, args.sep)
    if separator is not None and (len(separator) != 1 or separator in '\r\n"\0'):
        raise BadInput(f"--sep must be one character or tab, got {args.sep!r}")
    return CsvFile(path, separator, args.encoding, not args.no_header)


def n_bytes(path: str) -> int:
    """Return about how many bytes a table takes in memory, or 0 if that is not known."""
    if not os.path.exists(path):
        return 0
    files = [Path(path), *Path(path).rglob("*")]
    larger = 1 if Path(path).is_file() and Path(path).suffix not in OPENERS else 5
    return larger * sum(file.stat().st_size for file in files)
