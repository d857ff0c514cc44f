"""Tables that pandas reads: CSV files, Parquet files and folders, database tables."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import fsspec
import pandas as pd
from sklearn.datasets import load_diabetes

from .dialect import BadInput, find_dialect, parsed

SAMPLE = 2**20  # characters that show the dialect
DIABETES = "load_diabetes(as_frame=True, scaled=False).frame"
PARQUET = (
    "(batch.to_pandas() for batch in pyarrow.dataset.dataset({!r}, partitioning='hive')"
    ".to_batches(batch_size={chunksize}))"
)
# The second is the message of pandas for a MemoryError of a codec.
PANDAS_WITHOUT_MEMORY = ("out of memory", "Calling read(nbytes) on source failed")
NO_TEXT = "[\0\udc80-\udcff]"  # the range stands for bytes that cannot be decoded
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
        if any(text in why for text in PANDAS_WITHOUT_MEMORY):
            raise MemoryError from error
        raise BadInput(f"cannot read {name}: {why.splitlines()[0][:200]}") from error


class Table:
    """A table that a function of pandas reads from `arguments`."""

    separator = ""

    def __init__(self, path: str, reader: str, *arguments: str) -> None:
        self.path = path
        self.reader = reader
        self.arguments = arguments
        self.options: dict[str, Any] = {}

    def code(self, **more: Any) -> str:
        """Return the expression that reads the table, or an iterator over its chunks."""
        options = {**self.options, **more}
        given = [*map(repr, self.arguments), *(f"{k}={v!r}" for k, v in options.items())]
        return f"pd.{self.reader}({', '.join(given)})"

    def _read(self, **more: Any) -> Any:
        return getattr(pd, self.reader)(*self.arguments, **self.options, **more)

    def read(self) -> pd.DataFrame:
        """Return the table, with its rows numbered."""
        with refusing(self.path):
            return self._read().reset_index(drop=True)

    def parts(self, rows: int) -> Iterator[pd.DataFrame]:
        """Yield frames of at most `rows` rows, numbered consecutively."""
        start = 0
        with refusing(self.path):
            for frame in self._read(chunksize=rows):
                yield frame.set_axis(range(start, start + len(frame)))
                start += len(frame)

    def where(self, row: int) -> str:
        """Return the place of a row for a message."""
        return f"{self.path}, row {row + 1}"


class Diabetes(Table):
    """The diabetes data of scikit-learn."""

    def __init__(self) -> None:
        super().__init__("diabetes data of scikit-learn", "")

    def code(self, **more: Any) -> str:
        return f"{DIABETES}.rename(columns={{'target': 'progression'}})"

    def _read(self, **more: Any) -> Any:
        frame = load_diabetes(as_frame=True, scaled=False).frame
        frame = frame.rename(columns={"target": "progression"})
        return [frame] if more else frame


class ParquetTable(Table):
    """A Parquet file, or a folder of them."""

    def code(self, **more: Any) -> str:
        return PARQUET.format(self.path, **more) if more else super().code()

    def _read(self, **more: Any) -> Any:
        if not more:
            return super()._read()
        import pyarrow.dataset

        dataset = pyarrow.dataset.dataset(self.path, partitioning="hive")
        return (batch.to_pandas() for batch in dataset.to_batches(batch_size=more["chunksize"]))


class CsvFile(Table):
    """A file of separated values; all cells are read as text.

    A separator or encoding of None is detected.
    """

    def __init__(
        self, path: str, separator: str | None, encoding: str | None, has_header: bool
    ) -> None:
        super().__init__(path, "read_csv", path)
        with refusing(path), fsspec.open(path, "rb", compression="infer") as file:
            has_mark = file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE)
        self.encoding = encoding or ("utf-16" if has_mark else "utf-8")
        sample = ""
        for line in self._lines():
            sample += line
            if len(sample) > SAMPLE:
                break
        if not sample.strip():
            raise BadInput(f"{path} is empty")
        self.dialect = find_dialect(sample, separator, has_header)
        self.separator = self.dialect.cells["sep"]
        self.options = {**self.dialect.cells, **self.dialect.options, "dtype": "str"}
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

    def where(self, row: int) -> str:
        line, _ = next(islice(self._rows(), row, None))
        return f"{self.path}, line {line}"

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows after the header, each with the number of its last line."""
        for line, row in parsed(self._lines(), self.dialect.cells, self.path):
            if line > self.dialect.first_line:
                yield line, row

    def _lines(self) -> Iterator[str]:
        options = {"compression": "infer", "errors": "surrogateescape", "newline": ""}
        options["encoding"] = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        with refusing(self.path), fsspec.open(self.path, "rt", **options) as file:
            for number, line in enumerate(file, 1):
                if found := re.search(NO_TEXT, line):
                    byte = f"line {number}: byte 0x{ord(found[0]) & 0xFF:02x}"
                    advice = "--encoding names another, cp1252 for example"
                    raise BadInput(f"{self.path}, {byte} is not {self.encoding.upper()}; {advice}")
                yield line
