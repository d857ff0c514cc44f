"""Formatting of names and numbers for the output of the command line."""

from collections.abc import Callable, Sequence


def shown(text: str) -> str:
    """Return a cell or a name in quotation marks, on one line and shortened if it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def label(name: str, width: int = 32) -> str:
    """Return a column name for a table, without control characters and shortened if it is long."""
    printable = "".join(c if c.isprintable() else "?" for c in name[: width + 1])
    return printable if len(name) <= width else printable[: width - 3] + "..."


def listed(items: Sequence[str], most: int, show: Callable[[str], str] = shown) -> str:
    """Return at most `most` of the items separated by commas, and the number of the others.

    Examples
    --------
    >>> listed(["a", "b", "c", "d"], 2)
    "'a', 'b', and 2 more"
    """
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return ", ".join([*map(show, items[:most]), *more])


def counted(n: int, noun: str) -> str:
    """Return a number and the noun that it counts.

    Examples
    --------
    >>> counted(1, "row"), counted(2930, "row")
    ('1 row', '2,930 rows')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
