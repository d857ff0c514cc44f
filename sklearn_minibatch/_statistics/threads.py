"""The threads of BLAS, and how many of our own to start instead.

NumPy and SciPy bring a BLAS each, whose threads wait for work by spinning. Where products of blocks
and small factors take turns, the two get in each other's way, and a call takes several times as
long as with one thread. So threads of our own share the blocks, and BLAS has one in each.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any
from weakref import ReferenceType, ref

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


class Change:
    """A change of the number of threads, for as long as its context lives."""

    usual = 1  # the number before


# The change in force. Contexts are known by weak references, and claimed by one operation of a
# dictionary and no lock, so that nothing stays behind where an interrupt ends a context halfway.
_changed: dict[str, ReferenceType[Change]] = {}


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give BLAS one thread, in a block or during the calls of a function.

    The number of its threads belongs to the whole process. So the outermost context of the first
    thread of Python that comes in changes it, and puts it back; others change nothing meanwhile.
    """
    change = Change()
    this = ref(change)
    try:
        current = _changed.setdefault("now", this)
        if current() is None:
            _changed["now"] = current = this
        if current is this:
            change.usual = threads_of_blas()
            with controller().limit(limits=1) if change.usual > 1 else nullcontext():
                yield
        else:
            yield
    finally:
        if _changed.get("now") is this:
            _changed.clear()


def usual_threads() -> int:
    """Return the number of threads that BLAS has outside of the context."""
    current = _changed.get("now")
    change = None if current is None else current()
    return threads_of_blas() if change is None else change.usual


# So many multiplications take longer than the threads of BLAS wait for one another.
LARGE = 1e9


def blas_threads_for(multiplications: float) -> AbstractContextManager[None]:
    """Return a context for products and factors that take so many multiplications at once."""
    return nullcontext() if multiplications > LARGE else one_blas_thread()


def blas_threads_to_solve(n: int, n_targets: int) -> AbstractContextManager[None]:
    """Return a context for factors of (n, n) matrices, and what they solve."""
    return blas_threads_for(n**2 * (n / 3 + n_targets))


def number_of_threads(n_jobs: int | None) -> int:
    """Return how many threads share the blocks of rows.

    None stands for as many as BLAS would have, and for one inside a worker of joblib.
    """
    count = effective_n_jobs(n_jobs)
    if n_jobs is not None or count > 1 or get_active_backend()[0].nesting_level:
        return count
    return usual_threads()
