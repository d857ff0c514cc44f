"""The dialect of a CSV file: separator, quotation marks, and lines above the header."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

SEPARATORS = ["\t", ";", "|", ",", r"\s+"]
Rows = list[tuple[int, list[str]]]
NUMBER = r"\s*[-+]?\d*[.,]?\d+\s*"

csv.field_size_limit(sys.maxsize)


class BadInput(Exception):
    """An error in the input; the message says where and why, on one line."""


class Dialect(NamedTuple):
    """How a file is written."""

    options: dict[str, Any]  # of `pandas.read_csv`, besides `cells`
    cells: dict[str, Any]  # options that `csv.reader` shares
    names: list[str]  # as in the header
    first_line: int  # the line before the first row
    width: int  # cells in a row
    has_row_names: bool  # as R writes them, without a name in the header


def parsed(
    lines: Iterable[str], options: dict[str, Any], path: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the number of its last line."""
    options = {**options, "strict": True, "delimiter": options["sep"]}
    if options.pop("sep") == r"\s+":
        options |= {"delimiter": " ", "skipinitialspace": True}
        lines = (f"{line.strip()}\n" for line in lines)
    reader = csv.reader(lines, **options)
    last = 0
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield reader.line_num, row
            last = reader.line_num
    except csv.Error as error:
        why = f"{error}; is a quotation mark left open?"
        raise BadInput(f"{path}, line {last + 1}: {why}") from error


def find_dialect(sample: str, separator: str | None, has_header: bool) -> Dialect:
    """Return the dialect in which most rows of the sample have the same number of cells."""
    own_line = re.match(r'"?sep=(.)"?\r?\n', sample)  # Excel's
    separator = separator or (own_line[1] if own_line else None)
    separators = [r"\s+" if separator == " " else separator] if separator else SEPARATORS
    candidates = [cells for sep in separators for cells in _candidates(sample, sep)]
    cells = max(candidates, key=lambda cells: _width_and_rows(sample, cells)[0])
    _, width, rows = _width_and_rows(sample, cells)
    above = 1 if own_line else 0
    whole = [j for j in range(above, len(rows)) if len(rows[j][1]) == width]
    k = whole[0]
    if has_header and width > 1:
        # Spreadsheets fill titles above the header up with empty cells.
        k = next((j for j in whole if any(map(str.strip, rows[j][1][(width + 1) // 2 :]))), k)
    options: dict[str, Any] = {}
    has_row_names = False
    numbers = [re.fullmatch(NUMBER, cell) for cell in rows[k][1]]
    if k > above and len(rows[k - 1][1]) == width - 1 > 1 and any(numbers):
        # Either row names have no name in the header, or rows end with a separator.
        has_row_names = any(rows[j][1][-1] for j in whole)
        options |= {} if has_row_names else {"index_col": False}
        k -= 1
    line = rows[k - 1][0] if k else 0
    options |= {"skiprows": line} if line else {}
    if has_header:
        return Dialect(options, cells, rows[k][1], rows[k][0], width, has_row_names)
    names = [f"x{j}" for j in range(width)]
    return Dialect({**options, "names": names}, cells, names, line, width, False)


def _candidates(sample: str, separator: str) -> Iterator[dict[str, Any]]:
    yield {"sep": separator}
    if '"' not in sample and "'" in sample:
        yield {"sep": separator, "quotechar": "'"}
    if '\\"' in sample:
        yield {"sep": separator, "escapechar": "\\"}
    if f'{separator} "' in sample:
        yield {"sep": separator, "skipinitialspace": True}


def _width_and_rows(sample: str, cells: dict[str, Any]) -> tuple[float, int, Rows]:
    """Return the share of rows with the same number of cells, this number, and the rows."""
    rows: Rows = []
    share = 1.0
    try:
        rows.extend(parsed(io.StringIO(sample, newline=""), cells, ""))
    except BadInput:  # Raised again by the check of the whole file.
        share = 0.5
    widths = Counter(len(row) for _, row in rows if len(row) > 1)
    width, n_rows = next(iter(widths.most_common(1)), (1, 0))
    return share * n_rows / max(len(rows), 1), width, rows or [(0, [""])]
