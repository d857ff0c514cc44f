"""Statistics of the columns of a CSV file, and the choice of how each is used."""

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from .cells import EMPTY, LARGEST, TRUTHS, is_date, is_empty, is_no_number, number, numbers

# A column of text is left out if it has more levels than MOST_LEVELS, or fewer rows per level than
# ROWS_PER_LEVEL.
MOST_LEVELS = 200
ROWS_PER_LEVEL = 2
# With fewer rows than this, numbers may equal the row numbers by chance.
FEWEST_COUNTED = 20
# Whole numbers that are distinct in this many rows are assumed to be distinct in all.
DISTINCT_ROWS = 100_000
IDENTIFIERS = {"id", "pid", "uid", "uuid", "guid", "index", "rowid", "rownames"}


class Use(Enum):
    """The way in which a column is used."""

    NUMBERS = "numbers"
    TEXT = "text"
    NONE = "left out"


class Column:
    """Statistics of a column, updated block by block.

    Parameters
    ----------
    name : str
        The name of the column.
    most_levels : float
        If the column has more levels, they are no longer stored.

    Attributes
    ----------
    n_rows, n_empty, n_marks, n_numbers, n_truths : int
        Numbers of all cells, of empty cells, of cells in NO_NUMBER, of numbers, and of truth
        values, which are also counted as numbers.
    marks : set of str
        The cells in NO_NUMBER.
    total : float
        Sum of the numbers.
    levels : set of str or None
        The distinct cells, or None if there were too many.
    first_fault : (int, str) or None
        Line and content of the first cell that is neither empty nor a usable number.
    """

    def __init__(self, name: str, most_levels: float = MOST_LEVELS) -> None:
        self.name = name
        self.most_levels = most_levels
        self.n_rows = self.n_empty = self.n_marks = self.n_numbers = self.n_truths = 0
        self.marks: set[str] = set()
        self.total = 0.0
        self.levels: set[str] | None = set()
        self.first_fault: tuple[int, str] | None = None
        self._only_dates = self._only_whole = self._counts_rows = True
        self._seen: set[float] | None = set() if is_called_identifier(name) else None

    def add(self, cells: Sequence[str], lines: Sequence[int], rows: NDArray[np.int64]) -> None:
        """Update the statistics with cells, given their line and row numbers in the file."""
        values = numbers(cells)
        usable = np.abs(values) <= LARGEST
        if self.levels is not None:
            self.levels.update(cells)
            if len(self.levels) > self.most_levels + len(EMPTY):
                self.levels = None
        if not usable.all():
            self._add_others(cells, lines, ~usable)
        if not TRUTHS.keys().isdisjoint(cells):
            self.n_truths += sum(cell.strip() in TRUTHS for cell in cells)
        self.n_rows += len(cells)
        self.n_numbers += int(usable.sum())
        self.total += float(values[usable].sum())
        self._look_for_identifier(values, rows)

    def _add_others(
        self, cells: Sequence[str], lines: Sequence[int], others: NDArray[np.bool_]
    ) -> None:
        for cell, count in Counter(compress(cells, others)).items():
            if is_empty(cell):
                self.n_empty += count
            elif is_no_number(cell):
                self.n_marks += count
                self.marks.add(cell.strip())
            else:
                self.n_numbers += 0 if np.isnan(number(cell)) else count
                self._only_dates = self._only_dates and is_date(cell)
        if self.first_fault is None:
            odd = compress(zip(lines, cells, strict=True), others)
            self.first_fault = next((at for at in odd if not is_no_number(at[1])), None)

    def _look_for_identifier(self, values: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        self._only_whole = self._only_whole and bool(np.all(values == np.floor(values)))
        if not self._only_whole:
            return
        if self._counts_rows:
            offset = values - rows
            self._counts_rows = bool(np.all(offset == offset[0]) and offset[0] in (0, 1))
        if self._seen is not None and len(self._seen) < DISTINCT_ROWS:
            before = len(self._seen)
            self._seen.update(values.tolist())
            if len(self._seen) < before + len(values):
                self._seen = None

    @property
    def texts(self) -> list[str]:
        """The levels as a column of text, sorted."""
        return sorted(cell for cell in self.levels or () if not is_empty(cell))

    @property
    def mean(self) -> float:
        """The mean of the numbers."""
        return self.total / self.n_numbers

    def _holds_numbers(self) -> bool:
        """Return whether the column is one of numbers.

        At least half of the cells that are not empty must be numbers, or all must be truth values.
        """
        n_cells = self.n_rows - self.n_empty - self.n_marks
        if self.n_truths:
            return self.n_truths == n_cells
        return 2 * self.n_numbers >= n_cells

    def use(self) -> tuple[Use, str]:
        """Return how the column is used by default, and the reason if it is left out."""
        n_cells = self.n_rows - self.n_empty
        if n_cells == self.n_marks:
            return Use.NONE, "empty"
        if self._holds_numbers():
            if self._only_whole and self._counts_rows and self.n_rows >= FEWEST_COUNTED:
                return Use.NONE, "row numbers"
            if self._only_whole and self._seen is not None and self.n_rows > 1:
                return Use.NONE, "identifiers"
            return Use.NUMBERS, ""
        if self._only_dates and self.n_numbers == 0:
            return Use.NONE, "dates"
        if self.levels is None or len(self.texts) > MOST_LEVELS:
            return Use.NONE, f"more than {MOST_LEVELS} levels"
        if len(self.texts) * ROWS_PER_LEVEL > n_cells:
            return Use.NONE, "a level per row, or nearly"
        return Use.TEXT, ""


def is_called_identifier(name: str) -> bool:
    """Return whether the name is typical of a column of identifiers.

    Examples
    --------
    >>> [is_called_identifier(name) for name in ("PID", "customer_id", "PassengerId", "Unnamed: 0")]
    [True, True, True, True]
    >>> [is_called_identifier(name) for name in ("paid", "Grid", "id_count")]
    [False, False, False]
    """
    name = name.strip()
    last = name.replace(".", "_").replace("-", "_").replace(" ", "_").split("_")[-1]
    camel = len(last) > 2 and last.endswith(("Id", "ID")) and last[-3].islower()
    known = last.lower() in IDENTIFIERS or name.lower().replace(".", "") in IDENTIFIERS
    return camel or known or name.startswith("Unnamed: ")
