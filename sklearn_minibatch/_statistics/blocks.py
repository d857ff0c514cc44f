"""Cutting rows into blocks: small ones that fit a core's cache, and a few large ones for threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

# Numbers that fit a core's own cache with room to spare: half of a megabyte in float64.
CACHE_ELEMENTS = 2**16
# Numbers in a block of a pass: few enough for the cache that cores share, so many that threads
# rarely wait for one another.
PASS_ELEMENTS = 2**18
# Large blocks: at most so many, of at least so many numbers.
MOST_BLOCKS = 8
LEAST_ELEMENTS = 2**20


def row_blocks(n_rows: int, n_columns: int, first: int = 0, least: int = 1) -> list[slice]:
    """Slices that cover `n_rows` rows from `first` on, each small enough to be read twice from cache.

    They have `least` rows or more, if there are as many.
    """
    step = max(least, PASS_ELEMENTS // max(1, n_columns))
    return [
        slice(start, min(start + step, first + n_rows))
        for start in range(first, first + n_rows, step)
    ]


def large_blocks(n_rows: int, n_columns: int, least: int = 1) -> list[tuple[int, int]]:
    """(first, n_rows) of the blocks that threads share out: the same ones for any number of threads.

    They have `least` rows or more, if there are as many.
    """
    count = max(1, min(MOST_BLOCKS, n_rows * n_columns // LEAST_ELEMENTS, n_rows // least))
    ends = [n_rows * k // count for k in range(count + 1)]
    return [(first, end - first) for first, end in pairwise(ends)]


def in_threads(function: Callable[[Any], Any], blocks: Sequence[Any], n_jobs: int) -> Iterator[Any]:
    """`function(block)` for each block in turn, in at most `n_jobs` threads."""
    if min(n_jobs, len(blocks)) == 1:
        yield from map(function, blocks)
        return
    # Threads do not inherit what NumPy is told to do about an overflow.
    settings = np.geterr()

    def in_thread(block):
        with np.errstate(**settings):
            return function(block)

    with ThreadPoolExecutor(n_jobs) as pool:
        yield from pool.map(in_thread, blocks)
