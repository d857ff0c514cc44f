"""A description of a CSV file and of the use of its columns, in about three lines."""

from textwrap import wrap

from .columns import Use
from .encoding import Encoded
from .plan import left_out
from .words import counted, label

WIDTH = 80


def description(encoded: Encoded) -> list[str]:
    """Return lines that describe the file, its encoding if needed, and what was left out."""
    plan = encoded.plan
    used = counted(len(plan.used(Use.NUMBERS, Use.TEXT)), "column")
    rows = f"{counted(encoded.n_rows, 'row')}, {used}, target: {label(plan.y.name)}"
    lines = [f"{label(encoded.file.path, 60)}: {rows}"]
    numbers = [plan.columns[j] for j in plan.used(Use.NUMBERS)]
    n_text = len(plan.used(Use.TEXT))
    n_empty = sum(column.n_numbers < column.n_rows for column in numbers)
    parts = []
    if numbers:
        imputed = f" (empty cells in {n_empty}: mean and indicator)" if n_empty else ""
        parts.append(f"{len(numbers)} of numbers{imputed}")
    if n_text:
        parts.append(f"{n_text} of text (one-hot)")
    if n_text or n_empty:
        lines += _wrapped(f"Encoded as {counted(len(encoded.names), 'column')}: {', '.join(parts)}")
    if out := left_out(plan, label):
        lines += _wrapped(f"Left out: {', '.join(out)}")
    return lines


def _wrapped(line: str) -> list[str]:
    return wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
