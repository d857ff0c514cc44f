"""What is in the columns of a table, and how each is used."""

import re
from typing import NamedTuple, NoReturn

import numpy as np
import pandas as pd

from .dialect import BadInput
from .reading import Table, shown

# How a column is used: as numbers; as text, whatever it looks like; as dates; as text or dates, as
# the encoder finds; or not at all.
NUMBERS, LEVELS, DATE, OTHER, LEFT_OUT = "numbers", "levels", "date", "other", "left out"
TARGET = "target"
LARGEST = 1e100  # sums of squares of larger numbers may overflow
LONGEST_DATE = 50  # characters; the encoder takes minutes to look for dates in cells of megabytes
FEWEST_COUNTED = 20  # rows; with fewer, numbers may equal the row numbers by chance
IDENTIFIER = r"(.*[_. -])?(?i:id|pid|uid|uuid|guid|index|rowid|rownames?)|.*[a-z]I[dD]|Unnamed: .*"

# Cells without a value in a column of numbers, beside those that pandas reads as empty.
NO_NUMBER = r"(?i)^\s*(n/?a|nan|null|none|#null!|#n/a|\\n|-+|\?+|\.+|:)?\s*$"
MINUS = "\u2212"
NEGATIVE = r"^\s*\((.*)\)\s*$|^(.*\d)\s*-\s*$"
NUMBER = (
    r"^\s*\(?\s*[-+\u2212]?\s*(?P<before>(?:[^\d.,()+\u2212\-\s]+\.?\s*)?)[-+\u2212]?\s*"
    r"(?P<digits>\d(?:[\d.,'\u2019\s]*[\d.])?|[.,]\d+)(?:[eE][-+]?\d+)?(?P<after>[^\d()]*)\)?\s*$"
)
# A currency or a unit.
BEFORE = r"|.*[^\w\s.].*|[A-Z]{3}\s+|(kr|Rs|Fr)\.?\s*"
AFTER = r"|\s*-|\s*[^\w\s].*|\s+.*"
DIGITS = {
    ".": r"\d*\.?\d*|[1-9]\d{0,2}((,\d{2,3})*,\d{3}|([\s'\u2019]\d{3})+)(\.\d*)?",
    ",": r"\d*,?\d*|[1-9]\d{0,2}([.\s'\u2019]\d{3})+(,\d*)?",
}
THOUSANDS = r"[1-9]\d{0,2}(\.\d{3})*"
READ_AS_NUMBER = r"(?i)\s*([-+]?(\d+\.?\d*|\.\d+)|true|false)\s*"
# Formats of dates that skrub does not know, or reads with the month first.
DATES = ["%d.%m.%Y", "%d.%m.%y", "%d%b%Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%Y年%m月%d日"]
DATES += ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%y", "%d/%m/%y"]
DAY_FIRST = ["%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y", *DATES]


class Column(NamedTuple):
    """How a column is used."""

    name: str
    use: str
    note: str = ""  # why it is left out, or what is removed from numbers
    replace: dict[str, str] = {}  # regular expressions and replacements that make numbers
    format: str = ""  # of a DATE

    def numbers(self, column: pd.Series) -> pd.Series:
        """Return the numbers in the cells, and NaN where there is none."""
        replaced = column.replace(self.replace, regex=True) if self.replace else column
        return replaced.astype(float)


class Written:
    """How the distinct cells of a column of strings are written, if they are numbers."""

    def __init__(self, column: pd.Series) -> None:
        cells = pd.Series(column.dropna().unique(), dtype=object)
        marks = cells.str.fullmatch(NO_NUMBER).astype(bool)
        self.has_marks = marks.any()
        self.cells = cells[~marks]
        parts = self.cells.str.extract(NUMBER)
        self.digits = parts["digits"].str.strip()
        self.words: list[str] = []  # the currency and the unit that the cells have in common
        plain = self.digits.notna()
        for part, allowed in ((parts["before"], BEFORE), (parts["after"], AFTER)):
            plain &= part.fillna("").str.fullmatch(allowed)
            word = part.str.strip().str.replace(r"^-$", "", regex=True).fillna("")
            common = word[plain & (word != "")].mode()[:1].tolist()
            self.words += common
            plain &= word.isin(["", *common])
        # Which cells are numbers, by the decimal mark.
        self.fits = {
            mark: plain & self.digits.str.fullmatch(digits).eq(True)
            for mark, digits in DIGITS.items()
        }
        self.numbers = self.cells[self.fits["."] | self.fits[","]]
        self.with_separators = self.numbers[self.digits.str.contains("[.,]").eq(True)]

    def mark(self, default: str | None) -> str | None:
        """Return the decimal mark, which is `default` if cells such as "1.234" do not show it."""
        n_point, n_comma = (self.fits[mark].sum() for mark in ".,")
        if n_point == n_comma and len(self.with_separators):
            return default
        return "," if n_comma > n_point else "."

    def replace(self, mark: str) -> dict[str, str]:
        """Return regular expressions and replacements after which `float` reads the cells."""
        found = {NO_NUMBER: "nan"} if self.has_marks else {}
        if self.cells.str.fullmatch(NEGATIVE).any():
            found[NEGATIVE] = r"-\1\2"
        if self.cells.str.contains(MINUS).any():
            found[MINUS] = "-"
        separators = set("".join(self.digits.dropna())) - set("0123456789" + mark)
        marks = sorted(one for one in separators if not one.isspace())
        removed = "|".join([*map(re.escape, [*self.words, *marks]), r"\s"])
        if self.cells.str.contains(removed).any():
            found[removed] = ""
        return {**found, ",": "."} if mark == "," else found


def is_text(column: pd.Series) -> bool:
    """Return whether the cells of a column are strings."""
    return pd.api.types.infer_dtype(column, skipna=True) == "string"


class Planner:
    """Decides how the columns of a table are used.

    `decimal` is the decimal mark of cells that do not show it, or None.
    """

    def __init__(self, table: Table, decimal: str | None) -> None:
        self.table = table
        self.decimal = decimal
        first, raw = table.first_rows()
        self.names = list(first)
        self._look_for_mark(first, raw)
        whole = [raw[name].dropna() for name in first if first[name].dtype.kind == "i"]
        self.with_leading_zeros = {
            str(cells.name)
            for cells in whole
            if is_text(cells) and cells.str.match(r"0\d").any() and cells.str.isdigit().all()
        }

    def _look_for_mark(self, first: pd.DataFrame, raw: pd.DataFrame) -> None:
        """Find the decimal mark, and have pandas not take points between thousands for it."""
        written = [Written(first[name]) for name in first if is_text(first[name])]
        marks = {one.mark(None) for one in written if len(one.with_separators)} - {None}
        if self.table.separator == "," and "," not in marks:
            self.decimal = self.decimal or "."
        if self.decimal == ".":
            return
        floats = [raw[name].dropna() for name in first if first[name].dtype.kind == "f"]
        floats = [cells for cells in floats if is_text(cells) and cells.str.contains("[.]").any()]
        unclear = [cells for cells in floats if cells.str.fullmatch(THOUSANDS).all()]
        marks |= {"."} if len(unclear) < len(floats) else set()
        if self.decimal is None and len(marks) == 1:
            self.decimal = marks.pop()
        if unclear and self.decimal is None:
            self._ask_for_mark(unclear[0])
        if unclear and self.decimal == ",":
            self.table.options["dtype"] = {str(cells.name): "str" for cells in unclear}

    def _ask_for_mark(self, cells: pd.Series) -> NoReturn:
        cell = cells[cells.astype(str).str.contains("[.,]")].iloc[0]
        where = f"{self.table.path}, column {shown(str(cells.name))}"
        raise BadInput(f"{where}: decimals or thousands in {shown(cell)}? --decimal tells the mark")

    def plan(
        self, frame: pd.DataFrame, target: str, wishes: dict[str, str]
    ) -> tuple[Column, list[Column]]:
        """Return how the target and the other columns of the frame are used.

        `wishes` has NUMBERS, LEVELS or LEFT_OUT for columns that the user has named.
        """
        path = self.table.path
        y = self._column(frame[target], TARGET)
        if y.use != NUMBERS:
            raise BadInput(f"{path} has no row with a number for {shown(target)}")
        kept = y.numbers(frame[target]).notna()
        others = frame.drop(columns=target)
        columns = [self._with_values(others[name], kept, wishes.get(name, "")) for name in others]
        if not columns:
            raise BadInput(f"{path} has no column besides {shown(target)}")
        if all(column.use == LEFT_OUT for column in columns):
            why = ", ".join(f"{shown(each.name)} ({each.note})" for each in columns[:5])
            raise BadInput(f"{path} has no column left to predict {shown(target)} from: {why}")
        return y, columns

    def _with_values(self, column: pd.Series, kept: pd.Series, wish: str) -> Column:
        """Return how a column is used, if it is not empty in the rows that are kept."""
        found = self._column(column, wish)
        cells = found.numbers(column) if found.use == NUMBERS else column
        is_empty = found.use != LEFT_OUT and cells[kept].isna().all()
        return Column(found.name, LEFT_OUT, "empty") if is_empty else found

    def _column(self, column: pd.Series, wish: str) -> Column:
        name = str(column.name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(column.cat.categories.dtype)
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind.startswith("mixed") and column.map(np.isscalar).all():
            # Parts of the table were read as numbers, others as text.
            column = column.map(str, na_action="ignore")
            kind = "string"
        if wish == LEFT_OUT:
            return Column(name, LEFT_OUT, "--drop")
        if column.isna().all():
            return Column(name, LEFT_OUT, "empty")
        if wish == LEVELS:
            return Column(name, LEVELS, "--text")
        if kind == "string":
            return self._of_text(column, wish)
        if kind.startswith(("date", "timedelta")):
            return Column(name, OTHER)
        if kind in ("bytes", "mixed", "unknown-array", "complex", "time"):
            return Column(name, LEFT_OUT, "neither numbers, text nor dates")
        if name in self.with_leading_zeros and not wish:
            return Column(name, LEVELS, "codes with leading zeros")
        return self._of_numbers(column, Column(name, NUMBERS), wish)

    def _of_text(self, column: pd.Series, wish: str) -> Column:
        name = str(column.name)
        found = Written(column)
        if found.cells.empty:
            return Column(name, LEFT_OUT, "empty")
        share = column.isin(found.numbers).sum() / column.isin(found.cells).sum()
        has_unit = any(word.isalpha() for word in found.words)  # "1 Story", and "Duplex"
        if wish or share >= (1 if has_unit else 0.5):
            mark = found.mark(self.decimal)
            if mark is None:
                self._ask_for_mark(found.with_separators.rename(name))
            faulty = column.isin(found.cells[~found.fits[mark]])
            self._refuse(column, faulty, "is not a number", wish)
            note = f"{shown(found.words[0])} removed" if found.words else ""
            return self._of_numbers(column, Column(name, NUMBERS, note, found.replace(mark)), wish)
        if column.nunique(dropna=False) == 1:
            return Column(name, LEFT_OUT, "constant")
        for form in DAY_FIRST if self.decimal == "," else DATES:
            if pd.to_datetime(found.cells, format=form, errors="coerce").notna().all():
                return Column(name, DATE, format=form)
        is_plain = found.cells.str.len().max() > LONGEST_DATE
        is_plain |= found.cells.str.fullmatch(READ_AS_NUMBER).any()
        return Column(name, LEVELS if is_plain else OTHER)

    def _of_numbers(self, column: pd.Series, found: Column, wish: str) -> Column:
        values = found.numbers(column)
        self._refuse(column, values.abs() > LARGEST, f"is larger than {LARGEST:g}", wish)
        if not wish and len(values) > 1 and (values == np.floor(values)).all():
            first = values - values.index
            if len(values) >= FEWEST_COUNTED and first.nunique() == 1 and first.iloc[0] in (0, 1):
                return Column(found.name, LEFT_OUT, "row numbers")
            if re.fullmatch(IDENTIFIER, found.name.strip()) and values.is_unique:
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
