"""A few hundred cases of `python -m tests.tools.fuzz`, and that it sees what it is there to see."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sklearn_minibatch import MiniBatchRidgeSGD

from .. import ROOT
from .fuzz import Fuzz


def cases(numbers, seed=0):
    fuzz = Fuzz(seed)
    for number in numbers:
        fuzz.run(number)
    return fuzz


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (200, 400, 600))]
)
def test_nothing_but_results_and_documented_exceptions(first):
    fuzz = cases(range(first, first + 200))
    assert fuzz.faults == []
    assert (
        sum(fuzz.calls.values()) == sum(fuzz.results.values()) + sum(fuzz.exceptions.values()) > 300
    )
    assert min(fuzz.results[name] for name in ("fit", "partial_fit", "fit a source")) > 10


def writes(model, X, y, **_):
    if isinstance(X, np.ndarray) and X.flags.writeable and X.size and X.dtype == float:
        X.flat[0] += 1.5


def forgets(model, X, y, **_):
    model.spoilt_ = 1
    raise ValueError("There is something wrong with X.")


def mumbles(model, X, y, **_):
    raise ValueError("no")


def stumbles(model, X, y, **_):
    return [][0]


def overflows(model, X, y, **_):
    np.float64(1e308) * np.arange(100.0)


def disappears(model, X, y, **_):
    vars(model._state)["coef"] = model.coef_ * np.nan


def guesses(model, X, y, **_):
    vars(model._state)["coef"] = model.coef_ + 1e6


def leaves_out_a_column(model, X, y, **_):
    vars(model._state)["coef"] = model.coef_ * (np.arange(model.coef_.shape[-1]) > 0)


def claims(model, X, y, **_):
    given = model._state.given._replace(converged=True)
    distances = np.append(model.distance_history_, 1e-3)
    model._state = replace(model._state, given=given, distances=distances)


def never_ends(model, X, y, **_):
    model._state = replace(model._state, n_chunks=model.max_iter + 1)


FAULTS = {
    writes: "an input was written",
    forgets: "changed the model",
    mumbles: "ValueError: no",
    stumbles: "IndexError",
    overflows: "RuntimeWarning",
    disappears: "not finite",
    guesses: "worse than a constant",
    leaves_out_a_column: "from the closed form",
    claims: "converged at a distance of 0.001",
    never_ends: "epochs, max_iter=",
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_faults_are_seen(monkeypatch, fault, words):
    honest = MiniBatchRidgeSGD.fit

    def fit(self, X, y=None, sample_weight=None):
        honest(self, X, y, sample_weight)
        fault(self, X, y)
        return self

    monkeypatch.setattr(MiniBatchRidgeSGD, "fit", fit)
    assert any(words in found for number in range(40) for found in cases([number]).faults)


@pytest.mark.slow
def test_the_command_runs_one_case_and_prints_a_table():
    command = [sys.executable, "-m", "tests.tools.fuzz", "--only", "7"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "| faults | 0 |" in said
    assert "fit: " in said
