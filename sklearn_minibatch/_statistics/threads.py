"""The number of BLAS threads, and of the Python threads that replace them.

NumPy and SciPy each bring a BLAS, whose threads spin while they wait. If products and small
factorizations alternate, the two sets of threads compete, and a call takes several times as long as
with one thread. So blocks are distributed over Python threads, with one BLAS thread in each.
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
    """Return the controller of BLAS threads, cached because creating it takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


def threads_of_blas() -> int:
    """Return the number of threads that BLAS may use at the moment."""
    counts = [pool.num_threads for pool in controller().lib_controllers]
    return max(filter(None, counts), default=1)


class Change:
    """A change of the number of BLAS threads, in force while its context lives."""

    usual = 1  # the number before the change


# The change in force. It is a weak reference, claimed by one dictionary operation instead of a
# lock, so that an interrupt halfway through a context leaves nothing behind.
_changed: dict[str, ReferenceType[Change]] = {}


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, as a context manager or a decorator.

    The number of BLAS threads belongs to the whole process. So only the context that is entered
    first changes and restores it; contexts entered meanwhile, in any thread, change nothing.
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
    """Return the number of threads that BLAS has outside `one_blas_thread`."""
    current = _changed.get("now")
    change = None if current is None else current()
    return threads_of_blas() if change is None else change.usual


# With more multiplications than this, several BLAS threads are worth their waiting time.
LARGE = 1e9


def blas_threads_for(multiplications: float) -> AbstractContextManager[None]:
    """Return the context for a product or a factorization with this many multiplications."""
    return nullcontext() if multiplications > LARGE else one_blas_thread()


def blas_threads_to_solve(n: int, n_targets: int) -> AbstractContextManager[None]:
    """Return the context for factoring an (n, n) matrix and solving for `n_targets` targets."""
    return blas_threads_for(n**2 * (n / 3 + n_targets))


def number_of_threads(n_jobs: int | None) -> int:
    """Return how many threads share the blocks of rows.

    None means as many as BLAS would use, or the number set by a joblib context or worker.
    """
    count = effective_n_jobs(n_jobs)
    if n_jobs is not None or count > 1 or get_active_backend()[0].nesting_level:
        return count
    return usual_threads()
