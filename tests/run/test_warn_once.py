"""A parameter without effect is named once by a search."""

import subprocess
import sys
import textwrap

import pytest

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


def run(*options):
    path = [sys.executable, *options, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(path, capture_output=True, text=True, cwd=ROOT)
    return done.returncode, [line for line in done.stderr.splitlines() if "UserWarning" in line]


@pytest.mark.parametrize("options", [(), ("-W", "default::UserWarning")], ids=str)
def test_each_line_of_the_user_is_warned_of_once(options):
    code, lines = run(*options)
    assert code == 0
    found = [int(line.split(":")[1]) for line in lines]
    assert found == LINES
    assert all("solver='cholesky' does not use batch_size" in line for line in lines)


def test_filters_that_ask_for_more_or_less_are_obeyed():
    # Nine fits of the search, one of its best, and three others.
    code, lines = run("-W", "always")
    assert (code, len(lines)) == (0, 13)
    assert run("-W", "ignore") == (0, [])
    # The search takes the errors of its fits for bad scores; the first fit of the loop raises.
    code, lines = run("-W", "error:solver='cholesky'")
    assert code == 1
    assert "solver='cholesky' does not use batch_size" in lines[-1]
