"""What was done with the columns of a CSV file, in two lines."""

from textwrap import wrap

from .cells import label
from .columns import Use
from .encoding import Encoded
from .plan import left_out

WIDTH = 80


def description(encoded: Encoded) -> list[str]:
    """Lines that say what was done with the columns; none, where all are numbers and nothing was to be done."""
    plan = encoded.plan
    numbers = [plan.columns[j] for j in plan.used(Use.NUMBERS)]
    n_text = len(plan.used(Use.TEXT))
    n_empty = sum(column.n_numbers < column.n_rows for column in numbers)
    parts = []
    if numbers:
        imputed = f" (empty cells in {n_empty}: mean and indicator)" if n_empty else ""
        parts.append(f"{len(numbers)} of numbers{imputed}")
    if n_text:
        parts.append(f"{n_text} of text (one-hot)")
    lines = []
    if n_text or n_empty:
        lines += _wrapped(f"Encoded as {len(encoded.names):,} columns: {', '.join(parts)}")
    if out := left_out(plan, label):
        lines += _wrapped(f"Left out: {', '.join(out)}")
    return lines


def _wrapped(line: str) -> list[str]:
    return wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
