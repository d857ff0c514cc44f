"""The first pass over a CSV file, which decides how each column is used."""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import fault, is_no_number, number, numbers
from .columns import MOST_LEVELS, Column, Use
from .reading import BadInput, CsvFile
from .words import counted, listed, shown

MOST_COLUMNS = 100_000  # of a file
MOST_ENCODED = 10_000  # that text may become


class Wishes(NamedTuple):
    """The names of columns whose use is set on the command line."""

    drop: Sequence[str] = ()
    numbers: Sequence[str] = ()
    text: Sequence[str] = ()


class Plan(NamedTuple):
    """The statistics of the columns and their use.

    Parameters
    ----------
    target : int
        The index of the target in the file.
    y : Column
        The statistics of the target.
    columns : list of Column
        The other columns, in the order of the file.
    uses : list of (Use, str)
        The use of each of them, and the reason if it is left out.
    n_without_target : int
        The number of rows that are left out because they have no target.
    """

    target: int
    y: Column
    columns: list[Column]
    uses: list[tuple[Use, str]]
    n_without_target: int

    def used(self, *how: Use) -> list[int]:
        """Return the indices in `columns` of the columns with one of these uses."""
        return [j for j, (use, _) in enumerate(self.uses) if use in how]


class Rows(NamedTuple):
    """Rows of a file that have a target.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        The target.
    columns : list of list of str
        The cells of all columns of the file.
    lines : list of int
        The line number of each row.
    numbers : ndarray of shape (n_rows,)
        The number of each row in the file, from 0 on.
    n_left_out : int
        The number of rows in the same block that have no target.
    """

    y: NDArray[np.float64]
    columns: list[list[str]]
    lines: list[int]
    numbers: NDArray[np.int64]
    n_left_out: int


def rows_with_target(file: CsvFile, target: int, progress: bool = False) -> Iterator[Rows]:
    """Yield blocks of the rows of the file whose target is not empty."""
    n_before = 0
    for lines, columns in file.blocks(progress):
        y = numbers(columns[target])
        row_numbers = np.arange(n_before, n_before + len(y))
        n_before += len(y)
        empty = np.isnan(y)
        empty[empty] = [is_no_number(cell) for cell in compress(columns[target], empty)]
        if empty.any():
            kept = ~empty
            columns = [list(compress(cells, kept)) for cells in columns]
            lines = list(compress(lines, kept))
            y = y[kept]
            row_numbers = row_numbers[kept]
        yield Rows(y, columns, lines, row_numbers, int(empty.sum()))


def plan_for(file: CsvFile, target: str, wishes: Wishes, progress: bool = False) -> Plan:
    """Read the file once, and decide how each column is used.

    Parameters
    ----------
    file : CsvFile
        The file.
    target : str
        The name of the target.
    wishes : Wishes
        The columns whose use is set by the user.
    progress : bool
        Whether to show how much has been read.

    Returns
    -------
    plan : Plan
        The statistics of the columns and their use.

    Raises
    ------
    BadInput
        If a column does not exist, if a cell of the target or of a column of numbers cannot be
        used, or if no row or no column is left.
    """
    t = file.index(target)
    if len(file.names) == 1:
        raise BadInput(f"{file.path} has no column besides the target; {file.columns()}")
    if len(file.names) > MOST_COLUMNS:
        raise BadInput(f"{file.path} has {len(file.names):,} columns; it may have {MOST_COLUMNS:,}")
    wished = _decided(file, t, wishes)
    limits = [np.inf if wished.get(j) is Use.TEXT else MOST_LEVELS for j in range(len(file.names))]
    found = [Column(name, limit) for name, limit in zip(file.names, limits, strict=True)]
    looked_at = [j for j in range(len(found)) if wished.get(j) is not Use.NONE]
    n_without_target = 0
    for rows in rows_with_target(file, t, progress):
        n_without_target += rows.n_left_out
        if len(rows.y):
            for j in looked_at:
                found[j].add(rows.columns[j], rows.lines, rows.numbers)
            _check_cells(file, found[t], is_target=True)
    if found[t].n_rows == 0:
        rest = (
            f"no row with a number for {shown(target)}"
            if n_without_target
            else "a header but no rows"
        )
        raise BadInput(f"{file.path} has {rest}")
    uses = [_use(column, wished.get(j)) for j, column in enumerate(found)]
    for column, (use, _) in zip(found, uses, strict=True):
        if use is Use.NUMBERS:
            _check_cells(file, column, is_target=False)
    y = found.pop(t)
    uses.pop(t)
    plan = Plan(t, y, found, uses, n_without_target)
    _check_size(file, plan)
    return plan


def _decided(file: CsvFile, target: int, wishes: Wishes) -> dict[int, Use]:
    """Return the uses that the user has set, by the indices of the columns."""
    wished: dict[int, Use] = {}
    options = {"--drop": Use.NONE, "--numbers": Use.NUMBERS, "--text": Use.TEXT}
    for names, (option, use) in zip(wishes, options.items(), strict=True):
        for j in map(file.index, names):
            if j == target:
                raise BadInput(f"{option} names {shown(file.names[j])}, which is the target")
            if wished.setdefault(j, use) is not use:
                raise BadInput(f"{option} names {shown(file.names[j])}, and so does another option")
    return wished


def _use(column: Column, wished: Use | None) -> tuple[Use, str]:
    if wished is Use.NONE:
        return Use.NONE, "--drop"
    if wished is Use.NUMBERS and column.n_numbers == 0 and column.first_fault is None:
        return Use.NONE, "empty"
    return column.use() if wished is None else (wished, "")


def _check_cells(file: CsvFile, column: Column, is_target: bool) -> None:
    """Raise BadInput if a column of numbers has a cell that is not a usable number."""
    if column.first_fault is None:
        return
    line, cell = column.first_fault
    name = shown(column.name)
    why = f"{file.path}, line {line}, column {name}: {fault(cell)}"
    if is_target:
        raise BadInput(f"{why}; the target must be numbers")
    text = f"--text {name} takes the column as text, " if np.isnan(number(cell)) else ""
    raise BadInput(f"{why}; {text}--drop {name} leaves it out")


def _check_size(file: CsvFile, plan: Plan) -> None:
    """Raise BadInput if no column is left, or if text would be encoded as too many columns."""
    text = plan.used(Use.TEXT)
    if not text and not plan.used(Use.NUMBERS):
        why = "; ".join(left_out(plan, shown))
        nothing = f"{file.path} has no column left to predict {shown(plan.y.name)} from"
        raise BadInput(f"{nothing}: {why}; --text or --numbers takes a column all the same")
    n_levels = {j: len(plan.columns[j].texts) for j in text}
    if sum(n_levels.values()) > MOST_ENCODED:
        most = max(text, key=n_levels.__getitem__)
        raise BadInput(
            f"{file.path}, column {shown(plan.columns[most].name)} has {n_levels[most]:,} levels; "
            f"all text together may have {MOST_ENCODED:,}"
        )


def left_out(plan: Plan, show: Callable[[str], str]) -> list[str]:
    """Return texts that name what is left out and why, such as "Order (row numbers)"."""
    names: dict[str, list[str]] = {}
    for column, (use, why) in zip(plan.columns, plan.uses, strict=True):
        if use is Use.NONE:
            names.setdefault(why, []).append(column.name)
    found = [f"{listed(those, 5, show)} ({why})" for why, those in names.items()]
    if plan.n_without_target:
        found.append(f"{counted(plan.n_without_target, 'row')} without {show(plan.y.name)}")
    return found
