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

csv.field_size_limit(sys.maxsize)


class BadInput(Exception):
    """An error in the input; the message says where and why, on one line."""


class Dialect(NamedTuple):
    """How a file is written."""

    options: dict[str, Any]  # of `pandas.read_csv`, beside `cells`
    cells: dict[str, Any]  # those that `csv.reader` has too
    names: list[str]  # as in the header
    first_line: int  # the line before the first row
    width: int  # cells in a row
    has_row_names: bool  # R's, for which the header has no name


def parsed(lines: Iterable[str], options: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
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
        raise BadInput(f"line {last + 1}: {error}; is a quotation mark left open?") from error


def find_dialect(sample: str, separator: str | None, has_header: bool) -> Dialect:
    """Return the dialect in which most rows of the sample have the same number of cells."""
    own_line = re.match(r'"?sep=(.)"?\r?\n', sample)  # Excel's
    separator = separator or (own_line[1] if own_line else None)
    separators = [r"\s+" if separator == " " else separator] if separator else SEPARATORS
    candidates = [each for sep in separators for each in _candidates(sample, sep)]
    cells = max(candidates, key=lambda each: _agreement(*_first_rows(sample, each)))
    above = 1 if own_line else 0
    rows = _first_rows(sample, cells)[0][above:]
    width = _width(rows)
    whole = [j for j, (_, row) in enumerate(rows) if len(row) == width]
    k = whole[0]
    if has_header and width > 1:
        # Spreadsheets fill titles above the header up with empty cells.
        k = next((j for j in whole if any(map(str.strip, rows[j][1][(width + 1) // 2 :]))), k)
    options: dict[str, Any] = {}
    has_row_names = False
    if k and len(rows[k - 1][1]) == width - 1 > 1 and any(map(_is_number, rows[k][1])):
        # The header has no name for row names, or rows end with a separator.
        k -= 1
        has_row_names = any(row[-1] for _, row in rows[k + 1 :] if len(row) == width)
        options |= {} if has_row_names else {"index_col": False}
    above = rows[k - 1][0] if k else above
    options |= {"skiprows": above} if above else {}
    if has_header:
        return Dialect(options, cells, rows[k][1], rows[k][0], width, has_row_names)
    names = [f"x{j}" for j in range(width)]
    return Dialect({**options, "names": names}, cells, names, above, width, False)


def _candidates(sample: str, separator: str) -> Iterator[dict[str, Any]]:
    yield {"sep": separator}
    if '"' not in sample and "'" in sample:
        yield {"sep": separator, "quotechar": "'"}
    if '\\"' in sample:
        yield {"sep": separator, "escapechar": "\\"}
    if f'{separator} "' in sample:
        yield {"sep": separator, "skipinitialspace": True}


def _first_rows(sample: str, options: dict[str, Any]) -> tuple[Rows, bool]:
    """Return the rows of the sample, and whether all could be read."""
    rows: Rows = []
    try:
        rows.extend(parsed(io.StringIO(sample, newline=""), options))
    except BadInput:  # Raised again by the check of the whole file.
        return rows, False
    return rows, True


def _width(rows: Rows) -> int:
    """Return the most frequent number of cells that is larger than one, if there is any."""
    widths = Counter(len(row) for _, row in rows)
    return max(widths, key=lambda width: (width > 1) * widths[width], default=1)


def _agreement(rows: Rows, complete: bool) -> float:
    width = _width(rows)
    share = sum(len(row) == width for _, row in rows) / max(len(rows), 1)
    return (share if complete else share / 2) if width > 1 else 0.0


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?\d*[.,]?\d+", cell.strip()) is not None
