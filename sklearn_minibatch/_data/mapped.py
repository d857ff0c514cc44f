"""Arrays that are mapped from a file.

Those that fit in memory are used like other arrays, because `joblib` also maps arrays that it
passes to its workers. Larger ones are read in chunks.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# A chunk has this many numbers, 16 megabytes in float64.
CHUNK_ELEMENTS = 2**21
# Rows may take at most this part of the memory: solvers that copy them need twice as much.
SHARE_OF_MEMORY = 0.5
# Assumed if the system does not report its memory.
ASSUMED_MEMORY = 2**33


class MappedRows:
    """Chunks of an array that is mapped from a file, of its targets and of its weights."""

    def __init__(self, X: np.ndarray, y: np.ndarray, w: np.ndarray | None) -> None:
        self.X = X
        self.y = y
        self.w = w

    def __iter__(self) -> Iterator[tuple]:
        step = max(1, CHUNK_ELEMENTS // self.X.shape[1])
        for start in range(0, len(self.X), step):
            rows = slice(start, start + step)
            yield (
                (self.X[rows], self.y[rows])
                if self.w is None
                else (self.X[rows], self.y[rows], self.w[rows])
            )
            for array in (self.X, self.y, self.w):
                forget(array)


def forget(array: np.ndarray | None) -> None:
    """Release the memory of a mapped file, which the system could otherwise keep long."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    # Changed pages of a private map (mode "c") would be lost.
    is_shared = getattr(array, "mode", None) in ("r", "r+")
    if isinstance(base, mmap.mmap) and is_shared and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def mapped(X: Any, y: Any, sample_weight: Any) -> MappedRows | None:
    """Return `MappedRows` if X is an array that is mapped from a file and too large to be loaded.

    The limit depends on the total memory and not on the free memory, so that a fit in a worker
    process is the same as in its parent.
    """
    if y is None or not isinstance(X, np.memmap) or X.ndim != 2 or fits_in_memory(X):
        return None
    if sample_weight is not None and np.ndim(sample_weight) == 0:
        sample_weight = np.full(len(X), sample_weight)
    y, w = [
        None if a is None else a if isinstance(a, np.ndarray) else np.asarray(a)
        for a in (y, sample_weight)
    ]
    for name, array in (("y", y), ("sample_weight", w)):
        if array is not None and (array.ndim == 0 or len(array) != len(X)):
            raise ValueError(f"X has {len(X)} rows, but {name} has shape {array.shape}.")
    return MappedRows(X, y, w)


def fits_in_memory(X: np.ndarray) -> bool:
    """Return whether the numbers of X, as floats, take at most their share of the memory."""
    bytes_each = 4 if X.dtype == np.float32 else 8
    return X.size * bytes_each <= SHARE_OF_MEMORY * memory()


def memory() -> int:
    """Return the bytes of memory of this machine, or the limit of this process if it is lower."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        physical = ASSUMED_MEMORY
    return min([physical, *limits_of_groups()])


def limits_of_groups(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield the limits on memory of the control groups of this process, as containers set them."""
    if not groups.exists():
        return
    for line in groups.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        # A container may see its own group at the top, whatever the path of the group.
        folder = top / group.lstrip("/")
        for file in (each / name for each in (folder, *folder.parents)):
            if file.exists() and (limit := file.read_text().strip()).isdigit():
                yield int(limit)
