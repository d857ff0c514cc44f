"""BLAS has one thread while blocks are shared out, and afterwards what it had before."""

import threading
import time

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._statistics.blocks import in_threads
from sklearn_minibatch._statistics.threads import number_of_threads, one_blas_thread, usual_threads

from ..oracles import regression


def counts():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    """BLAS has two threads, and has them again at the end of a test."""
    with threadpool_limits(2, user_api="blas"):
        if counts() != {2}:
            pytest.skip("BLAS cannot have two threads")
        yield
        assert counts() == {2}


def test_one_thread_inside_and_as_before_outside():
    with one_blas_thread():
        assert counts() == {1}
        with one_blas_thread():
            assert counts() == {1}
            assert usual_threads() == 2
        assert counts() == {1}
    assert counts() == {2}
    assert usual_threads() == 2


def test_as_before_after_an_error():
    def fails(block):
        assert counts() == {1}
        raise KeyError(block)

    for n_jobs in (1, 2):
        with pytest.raises(KeyError):
            list(in_threads(fails, [1, 2, 3], n_jobs))
        assert counts() == {2}


def test_as_before_when_several_threads_are_done():
    """Each leaves at another time; none may put back what it found, which was 1 for most."""
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for _ in range(50):
            with one_blas_thread():
                time.sleep(0.0002 * number)

    for _ in range(5):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts() == {2}
        with one_blas_thread():
            assert counts() == {1}


@pytest.mark.parametrize("params", [{}, {"solver": "svrg"}, {"solver": "sgd"}, {"solver": "qr"}])
def test_every_call_leaves_the_threads_as_they_were(params):
    X, y = regression(3000, 8)
    model = MiniBatchRidgeSGD(random_state=0, max_iter=2, tol=None, **params)
    for call in (
        lambda: model.fit(X, y),
        lambda: model.fit(ChunkSource(lambda: iter([(X, y)]))),
        lambda: model.partial_fit(X, y),
        lambda: model.coef_,
        lambda: model.predict(X),
        lambda: MiniBatchRidgeSGDCV().fit(X, y),
        lambda: model.fit(X[:3], y[:3]),
    ):
        call()
        assert counts() == {2}


def test_none_stands_for_the_threads_of_blas():
    assert number_of_threads(None) == 2
    assert number_of_threads(1) == 1
    assert number_of_threads(-1) == joblib.cpu_count()
    with joblib.parallel_config(n_jobs=2):
        assert number_of_threads(None) == 2
    with joblib.Parallel(n_jobs=2, backend="threading") as parallel:
        assert set(parallel(joblib.delayed(number_of_threads)(None) for _ in range(4))) == {1}


@pytest.mark.slow
def test_none_stands_for_few_threads_in_a_process_of_joblib():
    with joblib.Parallel(n_jobs=2) as parallel:
        found = parallel(joblib.delayed(number_of_threads)(None) for _ in range(2))
    assert max(found) <= max(1, joblib.cpu_count() // 2)


@pytest.mark.parametrize("shape", [(21_000, 100), (100, 21_000)])
def test_no_number_of_threads_changes_a_bit(shape):
    X, y = regression(*shape, t=2)
    X += 5  # Blocks are copied, to be centred.
    of_two = MiniBatchRidgeSGD().fit(X, y)
    with threadpool_limits(1, user_api="blas"):
        of_one = MiniBatchRidgeSGD().fit(X, y)
    assert np.array_equal(of_one.coef_, of_two.coef_)
    assert np.array_equal(of_one.intercept_, of_two.intercept_)
