"""The threads of BLAS, and how many of our own to start instead.

NumPy and SciPy bring a BLAS each, whose threads wait for work by spinning. Where products of blocks
and small factors take turns, the two get in each other's way, and a call takes several times as
long as with one thread. So threads of our own share the blocks, and BLAS has one in each.
"""

from contextlib import AbstractContextManager, ContextDecorator, nullcontext
from functools import cache
from threading import Lock, get_ident
from typing import Any

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController


@cache
def controller() -> Any:
    """Return what controls the threads of BLAS; to look its libraries up takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def threads_of_blas() -> int:
    """Return the number of threads that BLAS may use at the moment."""
    counts = [pool.num_threads for pool in controller().lib_controllers]
    return max(filter(None, counts), default=1)


class OneBlasThread(ContextDecorator):
    """A context in which BLAS has one thread.

    The number of its threads belongs to the whole process. So the first thread of Python that comes
    in changes it, and puts it back when it leaves; others change nothing meanwhile.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: int | None = None
        self._depth = 0
        self._usual = 1
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._owner is None:
                self._owner = get_ident()
                self._usual = threads_of_blas()
                self._limiter = controller().limit(limits=1)
                self._limiter.__enter__()
            if self._owner == get_ident():
                self._depth += 1

    def __exit__(self, *reason: Any) -> None:
        with self._lock:
            if self._owner != get_ident():
                return
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._limiter.__exit__(*reason)

    def usual(self) -> int:
        """Return the number of threads that BLAS has outside of the context."""
        with self._lock:
            return threads_of_blas() if self._owner is None else self._usual


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
