"""A few hundred fits of `python -m tests.tools.converged`, that it sees what it is there to see.

And that its exact minimisers are those of many more digits.
"""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from sklearn_minibatch import MiniBatchRidgeSGD

from .. import ROOT, least_squares
from ..exact import as_floats, minimiser

pytest.importorskip("dask")
from .converged import CV, FITS, STREAMS, Table, door_of, draw, run

DOUBLE = [door for door in dict.fromkeys([*FITS, *STREAMS, *CV]) if door != "float32"]


def searched(numbers, doors=DOUBLE, seed=0):
    table = Table()
    for number in numbers:
        if door_of(seed, number)[0] in doors:
            table.add(number, run(seed, number))
    return table


@pytest.mark.parametrize(
    ("first", "count"), [(0, 120), pytest.param(120, 480, marks=pytest.mark.slow)]
)
def test_what_has_converged_is_the_minimiser(first, count):
    table = searched(range(first, first + count))
    assert table.faults == []
    assert table.counts["fits", "all"] > 0.8 * count
    assert table.counts["converged", "all"] > 0.6 * count
    for door in ("memory", "chunks", "partial_fit"):
        assert table.counts["converged", door] > 0.04 * count
        # Of well-conditioned problems nearly all are known to have converged.
        known = table.counts["fits", door] - table.counts["alarms", door]
        assert known > 0.8 * table.counts["fits", door]


def test_what_has_converged_in_single_precision_is_the_minimiser():
    assert searched(range(250), ["float32"]).faults == []


def test_exact_minimisers_are_those_of_many_more_digits():
    """Of the hardest rows that are few enough."""
    n_compared = 0
    for number in range(120):
        X, y, w, params, _, _, kind = draw(0, number)[0]
        if X.shape[0] > 60 or X.shape[1] > 8 or kind == "dependent":
            continue
        alpha, units = params["alpha"], (params["fit_intercept"], params["standardize"])
        rows = least_squares.standardized(X, y, w, *units)
        best = least_squares.minimiser(rows, alpha)
        if len(best.fitted) > 1 or best.least < 1e-13:
            continue
        exact = minimiser(X, y, alpha, w, *units)
        root = rows.root
        there = X if w is None else X[w > 0]
        fitted = (exact.predict(there) - np.array(rows.y_mean)) * np.array(root)
        off = np.array(best.fitted[0] - fitted) / rows.y_scale
        # These predictions are rounded at the very end.
        largest = np.abs(exact.predict(there)).max(axis=0) / rows.y_scale
        assert np.all(np.linalg.norm(off, axis=0) <= 4 * least_squares.EPS * (1 + largest))
        if best.beta is not None:
            coef = best.beta / np.array(rows.x_scale)[:, None]
            np.testing.assert_allclose(coef, as_floats(exact.coef), rtol=1e-9, atol=1e-300)
        n_compared += 1
    assert n_compared > 30


def answer(model, **changes):
    """Give the model another answer."""
    vars(model._state)["answer"] = model._state.answer._replace(**changes)


def claims(model):
    answer(model, converged=True)


def moves(model):
    coef, intercept = model._state.answer.predicting
    answer(model, predicting=(1.001 * coef, intercept))


def moves_a_little(model):
    """By a little more than `tol` of most fits."""
    coef, intercept = model._state.answer.predicting
    spread = np.sqrt(model._state.moments.y.var)
    answer(model, predicting=(coef, intercept + 1e-5 * spread))


def doubts(model):
    answer(model, converged=False)


def stumbles(model):
    raise IndexError("list index out of range")


def overflows(model):
    coef, intercept = model._state.answer.predicting
    answer(model, predicting=(np.inf * coef, intercept))


FAULTS = {
    claims: "converged with a warning",
    moves: "from the minimiser",
    moves_a_little: "from the minimiser",
    doubts: "without a warning",
    stumbles: "IndexError",
    overflows: "not finite",
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_faults_are_seen(monkeypatch, fault, words):
    honest = MiniBatchRidgeSGD.fit

    def fit(self, X, y=None, sample_weight=None):
        honest(self, X, y, sample_weight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fault(self)
        return self

    monkeypatch.setattr(MiniBatchRidgeSGD, "fit", fit)
    seen = (searched([number], ["memory", "chunks"]).faults for number in range(60))
    assert any(words in found for faults in seen for found in faults)


@pytest.mark.slow
def test_the_command_prints_a_table_and_shows_one_fit():
    command = [sys.executable, "-m", "tests.tools.converged", "--fits", "5", "--door", "memory"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "| memory | 5 |" in said
    command = [sys.executable, "-m", "tests.tools.converged", "--only", "3"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "least singular value" in said
