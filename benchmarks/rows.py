"""Rows of the table of targets, and tables of anything else."""

from typing import Any, NamedTuple, TypeAlias

from .timing import duration, plain

Table: TypeAlias = tuple[list[str], list[tuple[Any, ...]]]  # the header and the rows


class Row(NamedTuple):
    """A line of the table.

    It has what was measured, the target in words, the result, and whether it meets the target.
    """

    what: str
    target: str
    measured: str
    ok: bool | None
    points: tuple | None = None  # to draw: name and values of x, name and values of y


class Size(NamedTuple):
    """How large a run is.

    Rows are divided by `shrink`, runs are repeated `repeats` times, and finding a setting for a
    peer takes at most `budget` seconds.
    """

    shrink: int
    repeats: int
    budget: float

    def rows(self, n):
        return max(200, n // self.shrink)

    def at_most(self, repeats):
        return self._replace(repeats=min(self.repeats, repeats))

    def columns(self, d):
        return min(d, 50) if self.shrink > 1 else d


def times_faster(what, at_least, seconds, note=""):
    """Row for the speed of our fit relative to a peer.

    `seconds` is (2, 2), the median and minimum of both, or (1, 2) without the minimum.
    """
    ratio = seconds[0, 1] / seconds[0, 0]
    return Row(
        what, f">= {at_least:g}x as fast", both(seconds, ratio) + note, bool(ratio >= at_least)
    )


def times_its_time(what, at_most, seconds, note=""):
    """Row for the ratio of our time to that of a peer; `seconds` as in `times_faster`."""
    ratio = seconds[0, 0] / seconds[0, 1]
    return Row(
        what, f"<= {at_most:g}x its time", both(seconds, ratio) + note, bool(0 < ratio <= at_most)
    )


def both(seconds, ratio):
    ours, theirs = (spread(*each) for each in seconds.T)
    return f"{plain(ratio, 2)}x: {ours} against {theirs}"


def spread(median, least=None):
    return duration(median) if least is None else f"{duration(median)} (least {duration(least)})"
