"""The threads of BLAS, and how many of our own to start instead.

NumPy and SciPy bring a BLAS each, whose threads wait for work by spinning. Where products of blocks
and small factors take turns, the two get in each other's way, and a call takes several times as
long as with one thread. So threads of our own share the blocks, and BLAS has one in each.
"""

from contextlib import AbstractContextManager, ContextDecorator, nullcontext
from functools import cache
from threading import Lock
from typing import Any

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController


@cache
def pools() -> list[Any]:
    """Return what controls the threads of each BLAS; to look them up takes milliseconds."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


class OneBlasThread(ContextDecorator):
    """A context in which BLAS has one thread.

    The number of its threads belongs to the whole process. So it is put back when the last thread
    of Python has left the context.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_inside = 0
        self._usual: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            self._n_inside += 1
            if self._n_inside == 1:
                self._usual = [pool.num_threads for pool in pools()]
                self._set([1 for _ in pools()])

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._set(self._usual)

    def _set(self, counts: list[int]) -> None:
        for pool, count in zip(pools(), counts, strict=True):
            if pool.num_threads != count:
                pool.set_num_threads(count)

    def usual(self) -> int:
        """Return the number of threads that BLAS has outside of the context."""
        with self._lock:
            counts = self._usual if self._n_inside else [pool.num_threads for pool in pools()]
        return max(counts, default=1)


one_blas_thread = OneBlasThread()

# A factor of so many columns takes longer than its threads wait for one another.
LARGE_FACTOR = 500


def blas_threads_for(n_features: int) -> AbstractContextManager[None]:
    """Return a context for factors of (n_features, n_features) matrices."""
    return nullcontext() if n_features > LARGE_FACTOR else one_blas_thread


def number_of_threads(n_jobs: int | None) -> int:
    """Return how many threads share the blocks of rows.

    None stands for as many as BLAS would have, and for one inside a worker of joblib.
    """
    count = effective_n_jobs(n_jobs)
    if n_jobs is not None or count > 1 or get_active_backend()[0].nesting_level:
        return count
    return one_blas_thread.usual()
