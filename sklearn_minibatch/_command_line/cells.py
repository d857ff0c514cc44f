"""The types of cells of a CSV file: a number, a truth value, a date, text, or an empty cell."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .words import shown

LARGEST = 1e100  # sums of squares of larger numbers may overflow

# The cells that `pandas.read_csv` reads as empty, so that a saved pipeline gives the same result
# for a data frame.
EMPTY = frozenset(
    {
        *("", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"),
        *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
# These cells are also empty in a column of numbers, but are levels in a column of text.
NO_NUMBER = frozenset({"?", "-", "--", "."})
TRUTHS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}

TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?(Z| ?[+-]\d{2}:?\d{2})?"
DATE = r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))"


def number(cell: str) -> float:
    """Return the number in a cell, 1 and 0 for true and false, and NaN for everything else."""
    try:
        # float() would read the label 2024_01 as 202401.
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return TRUTHS.get(cell.strip(), math.nan)


def numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers (n_cells,) in the cells of a column, and NaN for other cells."""
    if "_" not in "".join(cells):
        try:
            return np.fromiter(map(float, cells), float, len(cells))
        except ValueError:
            pass
    found = {cell: number(cell) for cell in set(cells)}
    return np.fromiter(map(found.__getitem__, cells), float, len(cells))


def is_empty(cell: str) -> bool:
    """Return whether the cell is empty in a column of numbers or text."""
    return cell.strip() in EMPTY


def is_no_number(cell: str) -> bool:
    """Return whether the cell is treated as empty in a column of numbers."""
    return is_empty(cell) or cell.strip() in NO_NUMBER


def is_date(cell: str) -> bool:
    """Return whether the cell holds a date, a time or both."""
    return re.fullmatch(rf"({DATE}[T ])?{TIME}|{DATE}", cell.strip(), re.ASCII) is not None


def fault(cell: str) -> str:
    """Return a text that says why a cell is not a usable number."""
    if is_empty(cell):
        return "empty cell"
    return f"{shown(cell)} is " + (
        "not a number" if math.isnan(number(cell)) else f"larger than {LARGEST:g}"
    )
