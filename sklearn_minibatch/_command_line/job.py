"""A table, the use of its columns, and the pipeline that is fitted to it."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from fsspec.utils import infer_compression
from sklearn.model_selection import KFold

from .. import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from .arguments import AUTO
from .columns import LEFT_OUT, NUMBERS, TEXT, Planner
from .dialect import BadInput
from .pipeline import code_for, encoded_names, pipeline_for
from .reading import CsvFile, Diabetes, ParquetTable, Table, shown

FOLDS = KFold(5, shuffle=True, random_state=0)
PART_CELLS = 2_000_000
MOST_BYTES = 2**30  # of a table that is read as a whole; the fits need several times as much


class Job:
    """A table and its encoded rows: X (n, d) and y (n,), or a source of chunks and None.

    `frame` has the rows with a target, or a sample of them.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.table = open_table(args)
        self.in_chunks = args.chunks or n_bytes(self.table.path) > MOST_BYTES
        self.names = list(next(self.table.parts(1), pd.DataFrame()))
        self.part_rows = max(1, PART_CELLS // max(1, len(self.names)))
        target = self._known(args.target or ("progression" if args.table is None else None))
        options = ((args.drop, LEFT_OUT), (args.text, TEXT), (args.numbers, NUMBERS))
        self.wishes = {self._known(name): use for names, use in options for name in names}
        if target in self.wishes:
            raise BadInput(f"{shown(target)} is the target; --drop, --text and --numbers are not")
        self.share = 1.0  # the fraction of the rows that are sampled
        frame = self._sample() if self.in_chunks else self.table.read()
        self.planner = Planner(self.table, frame, args.decimal)
        self.target, self.columns = self.planner.plan(frame, target, self.wishes)
        y = self.target.numbers(frame[target])
        self.frame = frame[y.notna()]
        self.n_without_target = len(frame) - len(self.frame)
        alpha = MiniBatchRidgeSGD().alpha if args.alpha == AUTO else args.alpha
        self.model: Any = MiniBatchRidgeSGD(alpha, random_state=0)
        if args.batch_size is not None:
            self.model.set_params(batch_size=args.batch_size)
        self.pipeline = pipeline_for(self.columns, len(self.frame), self.model)
        self.encoder = self.pipeline[:-1]
        self.X: Any = self.encoder.fit_transform(self.frame)
        self.y: Any = y[y.notna()].to_numpy()
        self.encoded = encoded_names(self.pipeline)
        if self.in_chunks:
            self.X, self.y = ChunkSource(self._encoded), None

    def _known(self, name: str | None) -> str:
        """Return the column with this name, ignoring blanks around it."""
        path, names = self.table.path, self.names
        if not names:
            raise BadInput(f"{path} is empty")
        columns = f"columns: {', '.join(shown(each.strip()) for each in names[:20])}"
        columns += f", and {len(names) - 20:,} more" if len(names) > 20 else ""
        if name is None:
            raise BadInput(f"--target is missing; {columns}")
        given = self.table.dialect.names if isinstance(self.table, CsvFile) else names
        if (n_found := sum(each.strip() == name.strip() for each in given)) > 1:
            raise BadInput(f"{path} has {n_found} columns {shown(name)}; {columns}")
        found = [each for each in names if each.strip() == name.strip()]
        if not found:
            raise BadInput(f"{path} has no column {shown(name)}; {columns}")
        return found[0]

    def _sample(self) -> pd.DataFrame:
        """Return a random sample of about as many rows as a part has."""
        n_rows = sum(map(len, self.table.parts(self.part_rows)))
        self.share = max(min(1.0, self.part_rows / max(n_rows, 1)), 1 / self.part_rows)
        return pd.concat(
            part.sample(frac=self.share, random_state=0)
            for part in self.table.parts(self.part_rows)
        )

    def _encoded(self) -> Iterator[tuple[Any, Any]]:
        for part in self.table.parts(self.part_rows):
            try:
                y = self.target.numbers(part[self.target.name])
                yield self.encoder.transform(part[y.notna()]), y[y.notna()]
            except ValueError as error:
                self.planner.plan(part, self.target.name, self.wishes)  # Its error names the cell.
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
        return f"alpha={choice.alpha_:.3g} has the least mean squared error in 5 folds"

    def code(self) -> str:
        """Return Python that does the same."""
        rows = self.part_rows if self.in_chunks else 0
        return code_for(self.table, self.target, self.pipeline, rows, self.share)

    def save(self, path: str) -> str:
        """Write the fitted pipeline, and return a text that says how to use it."""
        try:
            joblib.dump(self.pipeline, path)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror or error}") from error
        return f"Fit written to {path}: joblib.load({path!r}).predict({self.table.code()})"


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
        return ParquetTable(path, "read_parquet", path)
    separator = {"tab": "\t", r"\t": "\t"}.get(args.sep, args.sep)
    if separator is not None and (len(separator) != 1 or separator in '\r\n"\0'):
        raise BadInput(f"--sep must be one character or tab, got {args.sep!r}")
    return CsvFile(path, separator, args.encoding, not args.no_header)


def n_bytes(path: str) -> int:
    """Return about how many bytes a table takes in memory, or 0 if that is not known."""
    if not os.path.exists(path):
        return 0
    files = [Path(path), *Path(path).rglob("*")]
    is_packed = Path(path).is_dir() or infer_compression(path) or path.endswith(".parquet")
    return (5 if is_packed else 1) * sum(file.stat().st_size for file in files)
