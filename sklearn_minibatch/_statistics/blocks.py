"""Functions that split rows into blocks.

Small blocks fit in the cache of a core; a few large blocks are distributed over threads.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from .threads import one_blas_thread

# This many numbers, half a megabyte in float64, fit in the private cache of a core.
CACHE_ELEMENTS = 2**16
# A block of a pass has this many numbers. It fits in the cache that cores share, and is so large
# that threads rarely wait for one another.
PASS_ELEMENTS = 2**18
MOST_BLOCKS = 8  # the largest number of large blocks
LEAST_ELEMENTS = 2**20  # the least size of a large block, in numbers


def row_blocks(
    n_rows: int, n_columns: int, first: int = 0, least: int = 1, elements: int = PASS_ELEMENTS
) -> list[slice]:
    """Return slices that cover `n_rows` rows, beginning at row `first`.

    A block has about `elements` numbers, by default few enough to stay in cache for a second read.
    Each block but the last has at least `least` rows.
    """
    step = max(least, elements // max(1, n_columns))
    return [
        slice(start, min(start + step, first + n_rows))
        for start in range(first, first + n_rows, step)
    ]


def large_blocks(n_rows: int, n_columns: int, least: int = 1) -> list[tuple[int, int]]:
    """Return (first, n_rows) of the blocks that are distributed over threads.

    The blocks do not depend on the number of threads. Each has at least `least` rows if there are
    that many.
    """
    count = max(1, min(MOST_BLOCKS, n_rows * n_columns // LEAST_ELEMENTS, n_rows // least))
    ends = [n_rows * k // count for k in range(count + 1)]
    return [(first, end - first) for first, end in pairwise(ends)]


def in_threads(function: Callable[[Any], Any], blocks: Sequence[Any], n_jobs: int) -> Iterator[Any]:
    """Yield `function(block)` of each block in order, computed in at most `n_jobs` threads.

    BLAS uses one thread in each of them.
    """
    if min(n_jobs, len(blocks)) == 1:
        with one_blas_thread():
            yield from map(function, blocks)
        return
    # Threads do not inherit NumPy's settings for floating-point errors.
    settings = np.geterr()

    def in_thread(block: Any) -> Any:
        with np.errstate(**settings):
            return function(block)

    with one_blas_thread(), ThreadPoolExecutor(n_jobs) as pool:
        yield from pool.map(in_thread, blocks)
