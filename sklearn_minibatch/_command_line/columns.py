"""The content of the columns of a table, and how each is used."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from skrub import ToDatetime

from .dialect import BadInput
from .reading import Table, shown

# How a column is used.
NUMBERS, TEXT, DATE, LEFT_OUT = "numbers", "text", "date", "left out"
TARGET = "target"
KINDS_OF_NUMBERS = ["integer", "floating", "mixed-integer-float", "decimal", "boolean"]
FIRST_ROWS = 10_000  # rows that show the decimal mark
LARGEST = 1e100  # sums of squares of larger numbers may overflow
LONGEST = 200  # characters of a number
LONGEST_DATE = 50  # characters; looking for dates in cells of megabytes takes minutes
IDENTIFIER = r"(.*[_. -])?(?i:id|pid|uuid|guid)|(?i:index|rownames?)|.*[a-z]I[dD]|Unnamed: .*"

# Cells without a value in a column of numbers, besides those that pandas reads as empty.
NO_NUMBER = r"(?i)^\s*(n/?a|nan|null|none|#null!|#n/a|\\n|-+|\?+|\.+|:)?\s*$"
SIGN = r"[-+\u2212]?\s*"
BEFORE = r"(?:[^\d\s.,()+\u2212-]*[^\w\s.,()+\u2212-]+\s*|[A-Z]{3}\s+|(?:kr|Rs|Fr)\.?\s*)?"
AFTER = r"(?:\s*-|\s*[^\w\s.,()][^\d()]*|\s+[^\d()]*)?"
DIGITS = {
    ".": r"\d+\.?\d*|\.\d+|[1-9]\d{0,2}((,\d{2,3})*,\d{3}|([\s'\u2019]\d{3})+)(\.\d*)?",
    ",": r"\d+,?\d*|,\d+|[1-9]\d{0,2}([.\s'\u2019]\d{3})+(,\d*)?",
}
EXPONENT = r"(?:[eE][-+]?\d+)?"
WRITTEN = {
    mark: rf"\s*\(?{SIGN}{BEFORE}{SIGN}({digits}){EXPONENT}{AFTER}\)?\s*"
    for mark, digits in DIGITS.items()
}
# Everything but the letters or signs of a currency or a unit; a column may have one of these.
NO_WORD = r"[\d\s.,'\u2019()+\u2212-]|(?<=\d)[eE](?=[-+\d])"
# Regular expressions and replacements, by the decimal mark, after which `float` reads the cells.
REPLACE = {
    mark: {
        r"^\s*\((.*)\)\s*$|^(.*\d)\s*-\s*$": r"-\1\2",
        "\u2212": "-",
        rf"(?<=[^\W\d])\.|[^\d{mark}eE+-]|(?<![\d.,])[eE]|[eE](?![-+\d])": "",
        NO_NUMBER: "nan",
        **({",": "."} if mark == "," else {}),
    }
    for mark in ".,"
}
# Formats of dates that skrub does not know, or reads with the month first.
DAY_FIRST = ["%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y"]
DATES = ["%d.%m.%Y", "%d.%m.%y", "%d-%b-%y", "%m/%d/%y", "%Y年%m月%d日", "%m/%d/%Y %I:%M:%S %p"]


class Column(NamedTuple):
    """How a column is used."""

    name: str
    use: str
    note: str = ""  # why it is left out or is text, or what is removed from numbers
    replace: dict[str, str] = {}  # regular expressions and replacements that make numbers
    format: str | None = None  # of a DATE

    def numbers(self, column: pd.Series) -> pd.Series:
        """Return the numbers in the cells, and NaN where there is none."""
        replaced = column.replace(self.replace, regex=True) if self.replace else column
        return replaced.astype(float)


class Written:
    """Cells that are written as numbers, for each decimal mark.

    `mark` is the one that fits more cells, or None if both fit equally many.

    Examples
    --------
    >>> columns = ["7", "1,5 km"], ["1.234", "0.5", "3"], ["1.234", "3"]
    >>> [Written(pd.Series(cells)).mark for cells in columns]
    [',', '.', None]
    """

    def __init__(self, cells: pd.Series) -> None:
        self.cells = cells = cells[~cells.str.fullmatch(NO_NUMBER).astype(bool)].astype(object)
        cells = cells.where(cells.str.len() <= LONGEST, "")
        words = cells.str.replace(NO_WORD, "", regex=True)
        plain = cells.str.fullmatch(WRITTEN["."]) | cells.str.fullmatch(WRITTEN[","])
        self.word = next(iter(words[plain & (words != "")].mode()), "")
        self.fits = {
            mark: cells.str.fullmatch(WRITTEN[mark])
            & words.isin(["", self.word])
            & pd.to_numeric(cells.replace(REPLACE[mark], regex=True), errors="coerce").notna()
            for mark in ".,"
        }
        n_point, n_comma = self.fits["."].sum(), self.fits[","].sum()
        self.mark = None if n_point == n_comma else "." if n_point > n_comma else ","


def date_format(cells: pd.Series, day_first: bool) -> str | None:
    """Return the format of dates, or None if some cells are not dates.

    If the first number of all cells is 1, they are first days of months: the day comes first.

    Examples
    --------
    >>> [date_format(pd.Series([each, "01/02/2024"]), False) for each in ("01/01/2024", "2/1/2024")]
    ['%d/%m/%Y', '%m/%d/%Y']
    """
    if cells.str.len().max() > LONGEST_DATE:
        return None
    day_first = day_first or bool(cells.str.match("0?1[/-]").all())
    for form in [*DAY_FIRST * day_first, *DATES]:
        if pd.to_datetime(cells, format=form, errors="coerce").notna().all():
            return form
    try:
        return ToDatetime().fit(cells).format_
    except ValueError:
        return None


def is_text(column: pd.Series) -> bool:
    """Return whether the cells of a column are strings."""
    return pd.api.types.infer_dtype(column, skipna=True) == "string"


class Planner:
    """Decides from the rows of a frame how the columns of a table are used.

    `decimal` is the decimal mark of cells that do not show it, or None.
    """

    def __init__(self, table: Table, frame: pd.DataFrame, decimal: str | None) -> None:
        self.table = table
        first = frame.head(FIRST_ROWS)
        written = {
            str(name): Written(cells.dropna().drop_duplicates())
            for name, cells in first.items()
            if is_text(cells)
        }
        marks = [each.mark for each in written.values()]
        if decimal is None and marks.count(".") != marks.count(","):
            decimal = max(".,", key=marks.count)
        self.decimal = decimal or ("." if table.separator == "," else None)
        for name, each in written.items():
            unclear = each.cells[each.fits["."] & each.cells.str.contains("[.,]")]
            if self.decimal is None and each.mark is None and len(unclear):
                question = f"decimals or thousands in {shown(unclear.iloc[0])}?"
                where = f"{table.path}, column {shown(name)}"
                raise BadInput(f"{where}: {question} --decimal tells the mark")

    def plan(
        self, frame: pd.DataFrame, target: str, wishes: dict[str, str]
    ) -> tuple[Column, list[Column]]:
        """Return how the target and the other columns of the frame are used.

        `wishes` has NUMBERS, TEXT or LEFT_OUT for columns that the user has named.
        """
        path = self.table.path
        y = self._column(frame[target], TARGET)
        if y.use != NUMBERS:
            raise BadInput(f"{path} has no row with a number for {shown(target)}")
        kept = y.numbers(frame[target]).notna()
        columns = []
        for name in frame.columns.drop(target):
            found = self._column(frame[name], wishes.get(name, ""))
            cells = found.numbers(frame[name]) if found.use == NUMBERS else frame[name]
            is_empty = found.use != LEFT_OUT and cells[kept].isna().all()
            columns.append(Column(name, LEFT_OUT, "empty") if is_empty else found)
        if all(column.use == LEFT_OUT for column in columns):
            why = "".join(f"; {shown(each.name)} is {each.note}" for each in columns[:5])
            raise BadInput(f"{path} has no column to predict {shown(target)} from{why}")
        return y, columns

    def _column(self, column: pd.Series, wish: str) -> Column:
        name = str(column.name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(column.cat.categories.dtype)
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if wish == LEFT_OUT:
            return Column(name, LEFT_OUT, "--drop")
        if column.isna().all():
            return Column(name, LEFT_OUT, "empty")
        if wish == TEXT:
            return Column(name, TEXT, "--text")
        if kind.startswith(("date", "timedelta")):
            return Column(name, DATE)
        if kind in KINDS_OF_NUMBERS:
            return self._of_numbers(column, Column(name, NUMBERS), wish)
        return self._of_text(column.map(str, na_action="ignore"), wish)

    def _of_text(self, column: pd.Series, wish: str) -> Column:
        name = str(column.name)
        cells = column.dropna().drop_duplicates()
        if not wish and cells.str.fullmatch(r"\d+").all() and cells.str.match(r"0\d").any():
            return Column(name, TEXT, "codes with leading zeros")
        has_point = self.decimal != "." and cells.str.contains(".", regex=False).any()
        if not has_point and pd.to_numeric(cells, errors="coerce").notna().all():
            return self._of_numbers(column, Column(name, NUMBERS), wish)
        found = Written(cells)
        if found.cells.empty:
            return Column(name, LEFT_OUT, "empty")
        numbers = found.cells[found.fits["."] | found.fits[","]]
        share = column.isin(numbers).sum() / column.isin(found.cells).sum()
        # With letters, as in "1 Story", all cells must be numbers: "Duplex" makes the column text.
        if wish or share >= (1 if re.search(r"[^\W\d]", found.word) else 0.5):
            mark = found.mark or self.decimal or "."
            faulty = column.isin(found.cells[~found.fits[mark]])
            self._refuse(column, faulty, "is not a number", wish)
            note = f"{shown(found.word)} removed" if found.word else ""
            return self._of_numbers(column, Column(name, NUMBERS, note, REPLACE[mark]), wish)
        if column.nunique(dropna=False) == 1:
            return Column(name, LEFT_OUT, "constant")
        form = date_format(cells, self.decimal == ",")
        return Column(name, DATE, format=form) if form else Column(name, TEXT)

    def _of_numbers(self, column: pd.Series, found: Column, wish: str) -> Column:
        values = found.numbers(column)
        self._refuse(column, values.abs() > LARGEST, f"is larger than {LARGEST:g}", wish)
        is_whole = (values == np.floor(values)).all() and len(values) > 1
        is_identifier = re.fullmatch(IDENTIFIER, found.name.strip()) is not None
        if is_identifier and is_whole and values.is_unique and not wish:
            return Column(found.name, LEFT_OUT, "identifiers")
        return found

    def _refuse(self, column: pd.Series, faulty: pd.Series, why: str, wish: str) -> None:
        """Raise BadInput for the first faulty cell, if there is one."""
        if not faulty.any():
            return
        row = int(faulty.idxmax())
        name = shown(str(column.name))
        text = "" if "large" in why else f"--text {name} takes the column as text, "
        advice = f"{text}--drop {name} leaves it out"
        if wish == TARGET:
            advice = "the target must be numbers"
        cell = shown(str(column[row]))
        raise BadInput(f"{self.table.where(row)}, column {name}: {cell} {why}; {advice}")
