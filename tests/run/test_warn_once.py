"""A parameter without effect is named once by a search."""

import subprocess
import sys
import warnings

import pytest

from sklearn_minibatch._run import warn_once

from .. import ROOT

SCRIPT = """
import sys
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn_minibatch import MiniBatchRidgeSGD

X = np.random.default_rng(0).normal(size=(60, 3))
grid = {"solver": ["cholesky", "svrg"], "batch_size": [16, 32, 64]}
GridSearchCV(MiniBatchRidgeSGD(random_state=0), grid, cv=3).fit(X, X[:, 0])
for batch_size in (16, 32):
    MiniBatchRidgeSGD(solver="cholesky", batch_size=batch_size).fit(X, X[:, 0])
MiniBatchRidgeSGD(solver="cholesky", batch_size=64).partial_fit(X, X[:, 0])
"""
# The lines of the script that fit: the search, the loop and the stream.
LINES = [9, 11, 12]
UNUSED = "solver='cholesky' does not use batch_size"


@pytest.fixture
def warned(monkeypatch):
    """Runs the script as a new process would, with a filter; returns what it warned of."""

    def run(*filters):
        monkeypatch.setattr(warn_once, "said", set())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for each in filters:
                warnings.filterwarnings(*each)
            exec(compile(SCRIPT, "<script>", "exec"), {"__name__": "__main__"})
        return [each for each in caught if UNUSED in str(each.message)]

    return run


@pytest.mark.parametrize("filters", [[], [("default", "", UserWarning)]], ids=str)
def test_each_line_of_the_user_is_warned_of_once(warned, filters):
    found = warned(*filters)
    assert [(each.filename, each.lineno) for each in found] == [("<script>", n) for n in LINES]


def test_filters_that_ask_for_more_or_less_are_obeyed(warned):
    # Nine fits of the search, one of its best, and three others.
    assert len(warned(("always",))) == 13
    assert warned(("ignore",)) == []
    # The search takes the errors of its fits for bad scores; the first fit of the loop raises.
    with pytest.raises(UserWarning, match=UNUSED):
        warned(("error", "solver='cholesky'"))


@pytest.mark.slow
def test_each_line_of_a_process_is_warned_of_once():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    lines = [line for line in done.stderr.splitlines() if "UserWarning" in line]
    assert [int(line.split(":")[1]) for line in lines] == LINES
