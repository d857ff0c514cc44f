"""Reading of a CSV file in blocks of rows, in as many passes as needed."""

import codecs
import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .words import listed, shown

LONGEST_LINE = 2**26  # characters
BLOCK_CELLS = 2**16
LONG_FILE = 2**26  # bytes


class BadInput(Exception):
    """An error in the input; the message says where and why, on one line."""


class Block(NamedTuple):
    """Rows of a file: the number of the last line of each row, and the cells of each column."""

    lines: list[int]
    columns: list[list[str]]


class CsvFile:
    """A file of separated values in UTF-8.

    Parameters
    ----------
    path : str
        The path of the file. If it can be read only once, as a pipe, its content is kept in memory.
    separator : str
        The character between cells.
    has_header : bool
        Whether the first row has the names of the columns. If not, they are x0, x1, ...

    Attributes
    ----------
    given : list of str
        The names of the columns in the file.
    header_line : int
        The line of the file on which the first row ends.
    names : list of str
        The names made unique and not empty, as `pandas.read_csv` does.

    Raises
    ------
    BadInput
        If the file cannot be read.
    """

    def __init__(self, path: str, separator: str = ",", has_header: bool = True) -> None:
        self.path = path
        self.separator = separator
        self.has_header = has_header
        try:
            self.content = None if os.path.isfile(path) else Path(path).read_bytes()
            first = next(self._rows(), None)
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        if first is None:
            raise BadInput(f"{path} is empty")
        self.header_line, row = first
        self.given = row if has_header else [f"x{j}" for j in range(len(row))]
        self.names = distinct(self.given)

    def index(self, name: str) -> int:
        """Return the index of the column with this name in `given` or `names`."""
        for names in (self.given, self.names):
            found = [j for j, known in enumerate(names) if known.strip() == name.strip()]
            if len(found) == 1:
                return found[0]
            if found:
                fault = f"has {len(found)} columns"
                break
        else:
            fault = "has no column"
        raise BadInput(f"{self.path} {fault} {shown(name.strip())}; {self.columns()}{self._hint()}")

    def is_long(self) -> bool:
        """Return whether a pass takes so long that progress should be shown."""
        return self.content is None and os.path.getsize(self.path) > LONG_FILE

    def columns(self) -> str:
        """Return a text that lists the columns, for a message."""
        return f"columns: {listed(self.given, 20, lambda name: shown(name.strip()))}"

    def blocks(self, progress: bool = False) -> Iterator[Block]:
        """Yield all rows after the header in blocks.

        Parameters
        ----------
        progress : bool
            Whether to show on the standard error stream how much of the file has been read.

        Yields
        ------
        block : Block
            A block of about BLOCK_CELLS cells.

        Raises
        ------
        BadInput
            If a row has another number of cells than the header, or cannot be read.
        """
        n_columns = len(self.names)
        most = max(1, BLOCK_CELLS // n_columns)
        lines: list[int] = []
        # All cells are in one list, because a list per row would slow down the garbage collector.
        cells: list[str] = []
        read = self._rows(progress)
        if self.has_header:
            next(read, None)
        for line, row in read:
            if len(row) != n_columns:
                found = f"{len(row)} instead of {n_columns} cells"
                raise BadInput(f"{self.path}, line {line}: {found}{self._hint()}")
            lines.append(line)
            cells += row
            if len(lines) == most:
                yield Block(lines, [cells[j::n_columns] for j in range(n_columns)])
                lines = []
                cells = []
        if lines:
            yield Block(lines, [cells[j::n_columns] for j in range(n_columns)])

    def _rows(self, progress: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank, each with the number of its last line."""
        with self._open() as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            lines = self._lines(text, file.tell if progress else None)
            reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=True, strict=True)
            try:
                yield from ((reader.line_num, row) for row in reader if row)
            except csv.Error as error:
                where = f"{self.path}, line {reader.line_num}"
                raise BadInput(f"{where}: {error}; is a quotation mark left open?") from error
            except UnicodeDecodeError as error:
                raise BadInput(self._not_utf8()) from error

    def _lines(self, text: io.TextIOWrapper, position: Callable[[], int] | None) -> Iterator[str]:
        """Yield the lines.

        If `position` is given, it returns the number of bytes that have been read, and progress is
        shown on the standard error stream.
        """
        percent = -1
        for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), ""), 1):
            if "\0" in line:
                raise BadInput(
                    f"{self.path}, line {number}: NUL byte; this is not a CSV file in UTF-8"
                )
            if len(line) == LONGEST_LINE:
                raise BadInput(
                    f"{self.path}, line {number} has more than {LONGEST_LINE:,} characters"
                )
            if position is not None and number % 1000 == 0:
                now = 100 * position() // os.path.getsize(self.path)
                if now > percent:
                    percent = now
                    print(f"\rfirst pass: {percent} %", end="", file=sys.stderr, flush=True)
            yield line
        if position is not None:
            print("\r" + " " * 20, end="\r", file=sys.stderr, flush=True)

    def _open(self) -> BinaryIO:
        return Path(self.path).open("rb") if self.content is None else io.BytesIO(self.content)

    def _not_utf8(self) -> str:
        """Return a message that locates the first byte that is not UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        line = 1
        with self._open() as file:
            while True:
                block = file.read(2**20)
                try:
                    decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    byte = error.object[error.start]
                    where = f"{self.path}, line {line}"
                    return f"{where}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
                line += block.count(b"\n")

    def _hint(self) -> str:
        """Return advice for a file whose header is a single cell, else an empty text."""
        if len(self.given) > 1:
            return ""
        for separator in ";\t|":
            if separator in self.given[0]:
                written = "tab" if separator == "\t" else f"'{separator}'"
                return f"; is it separated by {written}? Then add --sep {written}"
        return "; is the file separated by commas?"


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names of columns made unique, as `pandas.read_csv` does.

    Examples
    --------
    >>> distinct(["a", "a", "", "b"])
    ['a', 'a.1', 'Unnamed: 2', 'b']
    """
    named = [name or f"Unnamed: {j}" for j, name in enumerate(names)]
    taken: set[str] = set()
    counts: dict[str, int] = {}
    found = []
    for name in named:
        new = name
        while new in taken:
            counts[name] = counts.get(name, 0) + 1
            new = f"{name}.{counts[name]}"
        taken.add(new)
        found.append(new)
    return found
