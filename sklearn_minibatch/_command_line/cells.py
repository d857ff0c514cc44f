"""What a cell of a CSV file holds: a number, a truth value, a date, text, or nothing."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .words import shown

LARGEST = 1e100  # sums of squares of larger numbers may overflow

# What `pandas.read_csv` takes for an empty cell: a saved pipeline sees the same in a data frame.
EMPTY = frozenset(
    {
        *("", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"),
        *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
# What also stands for no number, in a column of numbers. In a column of text it is a level.
NO_NUMBER = frozenset({"?", "-", "--", "."})
TRUTHS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}

TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?(Z| ?[+-]\d{2}:?\d{2})?"
DATE = r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))"


def number(cell: str) -> float:
    """The number in a cell, 1 and 0 for true and false, NaN for all else."""
    try:
        # float() alone would read the label 2024_01 as 202401.
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return TRUTHS.get(cell.strip(), math.nan)


def numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """The numbers in the cells of a column, NaN where there is none."""
    if "_" not in "".join(cells):
        try:
            return np.fromiter(map(float, cells), float, len(cells))
        except ValueError:
            pass
    found = {cell: number(cell) for cell in set(cells)}
    return np.fromiter(map(found.__getitem__, cells), float, len(cells))


def is_empty(cell: str) -> bool:
    """Whether nothing is in the cell, in a column of numbers or text."""
    return cell.strip() in EMPTY


def is_no_number(cell: str) -> bool:
    """Whether the cell is as good as empty in a column of numbers."""
    return is_empty(cell) or cell.strip() in NO_NUMBER


def is_date(cell: str) -> bool:
    """Whether the cell holds a date, a time or both."""
    return re.fullmatch(rf"({DATE}[T ])?{TIME}|{DATE}", cell.strip(), re.ASCII) is not None


def fault(cell: str) -> str:
    """What is wrong with a cell that is no number we can use."""
    if is_empty(cell):
        return "empty cell"
    return f"{shown(cell)} is " + (
        "not a number" if math.isnan(number(cell)) else f"larger than {LARGEST:g}"
    )
