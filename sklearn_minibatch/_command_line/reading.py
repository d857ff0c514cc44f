"""Tables that pandas reads: CSV files, Parquet files and folders, tables of databases."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from .dialect import BadInput, find_dialect, parsed

SAMPLE = 2**20  # characters that show the dialect
RAW_ROWS = 10_000  # rows that show how numbers are written
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
CTRL_Z = "\x1a"  # the end of a text file under DOS


def shown(text: str) -> str:
    """Return a cell or a name in quotation marks, on one line and shortened if it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn any error of a library that reads a table into BadInput."""
    try:
        yield
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if "out of memory" in why:  # pandas
            raise MemoryError from error
        raise BadInput(f"cannot read {name}: {why.splitlines()[0][:200]}") from error


class Table:
    """A table that a function of pandas reads from `arguments`."""

    separator = ","

    def __init__(self, path: str, reader: str, *arguments: str) -> None:
        self.path = path
        self.reader = reader
        self.arguments = arguments
        self.options: dict[str, Any] = {}

    def code(self, **more: Any) -> str:
        """Return the expression that reads the table."""
        options = {**self.options, **more}
        given = [*map(repr, self.arguments), *(f"{k}={v!r}" for k, v in options.items())]
        return f"pd.{self.reader}({', '.join(given)})"

    def parts_code(self, rows: int) -> str:
        """Return the expression of an iterator over frames of at most so many rows."""
        return self.code(chunksize=rows)

    def read(self, **more: Any) -> pd.DataFrame:
        """Return the table, with its rows numbered."""
        with refusing(self.path):
            frame = getattr(pd, self.reader)(*self.arguments, **self.options, **more)
            return frame.reset_index(drop=True)

    def parts(self, rows: int) -> Iterator[pd.DataFrame]:
        """Yield frames of at most so many rows, which are numbered through."""
        start = 0
        with refusing(self.path):
            for frame in self._parts(rows):
                yield frame.set_axis(range(start, start + len(frame)))
                start += len(frame)

    def _parts(self, rows: int) -> Iterator[pd.DataFrame]:
        yield from getattr(pd, self.reader)(*self.arguments, **self.options, chunksize=rows)

    def first_rows(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the first rows, and the same as they are written where that is known."""
        first = next(self.parts(RAW_ROWS), pd.DataFrame())
        return first, first

    def where(self, row: int) -> str:
        """Return the place of a row for a message."""
        return f"{self.path}, row {row + 1}"


class ParquetTable(Table):
    """A Parquet file, or a folder of them."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "read_parquet", path)

    def parts_code(self, rows: int) -> str:
        source = f"pyarrow.dataset.dataset({self.path!r}, partitioning='hive')"
        return f"(batch.to_pandas() for batch in {source}.to_batches(batch_size={rows}))"

    def _parts(self, rows: int) -> Iterator[pd.DataFrame]:
        import pyarrow.dataset

        source = pyarrow.dataset.dataset(self.path, partitioning="hive")
        yield from (batch.to_pandas() for batch in source.to_batches(batch_size=rows))


class CsvFile(Table):
    """A file of separated values; separator and encoding are found if they are None."""

    def __init__(
        self, path: str, separator: str | None, encoding: str | None, has_header: bool
    ) -> None:
        super().__init__(path, "read_csv", path)
        with refusing(path), _open(path, "rb") as file:
            start = file.read(4)
        known = (name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark))
        self.encoding = encoding or next(known, "utf-8")
        with self._lines() as lines:
            sample = ""
            while len(sample) < SAMPLE and (line := next(lines, "")):
                sample += line
        if not sample.strip():
            raise BadInput(f"{path} is empty")
        self.dialect = find_dialect(sample, separator, has_header)
        self.separator = self.dialect.cells["sep"]
        self.options = {**self.dialect.cells, **self.dialect.options}
        if self.separator == ",":
            del self.options["sep"]
        if self.encoding != "utf-8":
            self.options["encoding"] = self.encoding
        self._check()

    def _check(self) -> None:
        """Raise BadInput unless there are rows, all as wide as the header.

        pandas fills short rows up, shifts long ones, and reads '"1"2' as 12.
        """
        line = self.dialect.first_line
        names: set[str] = set()
        for line, row in self._rows():
            if row == [CTRL_Z]:
                self.options["comment"] = CTRL_Z
                continue
            is_known = self.dialect.has_row_names and row[0] in names
            if len(row) != self.dialect.width or is_known:
                cells = f"{len(row)} instead of {self.dialect.width - is_known} cells"
                content = f": {shown(row[0])}" if len(row) == 1 else ""
                raise BadInput(f"{self.path}, line {line}: {cells}{content}")
            if self.dialect.has_row_names:
                names.add(row[0])
        if line == self.dialect.first_line:
            raise BadInput(f"{self.path} has a header but no rows")

    def read(self, **more: Any) -> pd.DataFrame:
        return super().read(low_memory=False, **more)

    def first_rows(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.read(nrows=RAW_ROWS), self.read(nrows=RAW_ROWS, dtype=str)

    def where(self, row: int) -> str:
        line, _ = next(islice(self._rows(), row, None))
        return f"{self.path}, line {line}"

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows after the header, each with the number of its last line."""
        with self._lines() as lines:
            for line, row in parsed(lines, self.dialect.cells):
                if line > self.dialect.first_line:
                    yield line, row

    @contextmanager
    def _lines(self) -> Iterator[Iterator[str]]:
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        with refusing(self.path):
            try:
                with _open(self.path, "rt", encoding=encoding, newline="") as text:
                    yield _without_nul(text)
            except UnicodeError as error:
                raise BadInput(f"{self.path}, {self._undecodable()}") from error
            except BadInput as error:
                raise BadInput(f"{self.path}, {error}") from error

    def _undecodable(self) -> str:
        """Return a message that locates the first byte that cannot be read."""
        with _open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode(self.encoding)
                except UnicodeDecodeError as error:
                    byte = f"line {number}: byte 0x{line[error.start]:02x}"
                    another = "--encoding names another, cp1252 for example"
                    return f"{byte} is not {self.encoding.upper()}; {another}"
        return f"this is not {self.encoding.upper()}"


def _without_nul(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise BadInput(f"line {number}: NUL byte; this is not a CSV file in UTF-8")
        yield line


def _open_zip(path: str, mode: str, **options: Any) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if len(names) != 1:  # pandas reads such archives only
        raise ValueError(f"{len(names)} files are in it; unpack the one with the table")
    only: Any = zipfile.Path(path, names[0])
    return only.open(mode.removesuffix("t"), **options)


OPENERS: dict[str, Callable] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
}


def _open(path: str, mode: str, **options: Any) -> Any:
    return OPENERS.get(Path(path).suffix, open)(path, mode, **options)
