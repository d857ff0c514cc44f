"""Fixtures of several files, and how Hypothesis draws."""

import os
import signal

import numpy as np
import pytest
import sklearn
from hypothesis import settings

# The same examples in every run, however slow the machine is.
settings.register_profile("all", deadline=None, derandomize=True)
settings.register_profile("quick", settings.get_profile("all"), max_examples=20)
settings.load_profile("all")

# A shell has what it runs in the background ignore Ctrl-C, and so would every process that a test
# starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Draw fewer examples in the quick tests.

    In each of several processes, which share the cores, BLAS has one thread.
    """
    if "not slow" in config.option.markexpr:
        settings.load_profile("quick")
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Look for no doctests here, where they hide that a file cannot be imported."""
    collectors = yield
    return [each for each in collectors if type(each).__name__ != "DoctestModule"]


@pytest.fixture(autouse=True)
def error_state():
    """No call may change how NumPy treats floating-point errors afterwards."""
    before = np.geterr()
    yield
    assert np.geterr() == before


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plt():
    """Pictures without a screen, all closed at the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def torch(monkeypatch):
    """PyTorch, under scikit-learn's array API dispatch."""
    module = pytest.importorskip("torch")
    pytest.importorskip("sklearn", "1.9")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with sklearn.config_context(array_api_dispatch=True):
        yield module
