"""Names and numbers in what the command line says: on one line, and not too long."""

from collections.abc import Callable, Sequence


def shown(text: str) -> str:
    """A cell or a name in a message: on one line, and not all of it where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def label(name: str, width: int = 32) -> str:
    """A column name fit for a table: no control characters, not too wide."""
    printable = "".join(c if c.isprintable() else "?" for c in name[: width + 1])
    return printable if len(name) <= width else printable[: width - 3] + "..."


def listed(items: Sequence[str], most: int, show: Callable[[str], str] = shown) -> str:
    """The items with commas between them, no more than `most`.

    Examples
    --------
    >>> listed(["a", "b", "c", "d"], 2)
    "'a', 'b', and 2 more"
    """
    more = [f"and {len(items) - most:,} more"] if len(items) > most else []
    return ", ".join([*map(show, items[:most]), *more])


def counted(n: int, noun: str) -> str:
    """A number and what it counts.

    Examples
    --------
    >>> counted(1, "row"), counted(2930, "row")
    ('1 row', '2,930 rows')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
