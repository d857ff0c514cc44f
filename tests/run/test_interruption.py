"""Interrupted and killed: what is left is a model, and nothing that was saved is lost."""

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from .. import ROOT
from ..oracles import distance_to_ridge, regression
from ..tools.interruptions import FITS, OWN, STREAMS, check_fits, check_streams, state

SOLVERS = pytest.mark.parametrize(
    "params", [{"batch_size": 8}, {"solver": "sgd", "lr": 0.01}], ids=["svrg", "sgd"]
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("trained", [False, True], ids=["the first fit", "a later one"])
def test_a_fit_interrupted_at_a_line_keeps_the_last_complete_epoch(name, trained):
    outcome = check_fits(name, every=23, trained=trained)
    assert outcome.wrong == []
    assert 5 < outcome.kept < outcome.tried


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("n_before", [0, 2], ids=["the first chunk", "the third"])
def test_partial_fit_interrupted_at_a_line_keeps_what_was_before(name, n_before):
    outcome = check_streams(name, n_before, every=3)
    assert outcome.wrong == []
    # Few lines come after the one that decides.
    assert outcome.kept <= 3 < 50 < outcome.tried


def interrupted_in_pass(n_passes, params, chunks):
    """A model whose fit was interrupted in the middle of a pass.

    `n_passes` whole passes came before it.
    """
    passes = iter(range(n_passes + 1))

    def read():
        last = next(passes) == n_passes
        yield chunks[0]
        if last:
            raise KeyboardInterrupt
        yield from chunks[1:]

    model = MiniBatchRidgeSGD(random_state=0, **params)
    with pytest.raises(KeyboardInterrupt):
        model.fit(ChunkSource(read))
    return model


@pytest.fixture(scope="module")
def rows():
    return regression(300, 4, condition=100)


def in_chunks(X, y):
    return [(X[start : start + 100], y[start : start + 100]) for start in (0, 100, 200)]


@SOLVERS
def test_an_interrupted_model_goes_on(rows, params):
    X, y = rows
    model = interrupted_in_pass(9, {"max_iter": 100, "tol": 1e-9, **params}, in_chunks(X, y))
    assert 0 < model.n_iter_ == len(model.loss_history_) < 100
    assert not model.converged_
    shorter = MiniBatchRidgeSGD(random_state=0, max_iter=model.n_iter_, tol=None, **params).fit(
        in_chunks(X, y)
    )
    assert state(model, {*OWN, "tol"}) == state(shorter, {*OWN, "tol"})
    assert np.array_equal(model.predict(X), X @ model.coef_ + model.intercept_)
    loaded, far = pickle.loads(pickle.dumps(model)), distance_to_ridge(model, X, y)
    assert state(loaded) == state(model)
    for one in (model, loaded):
        assert one.partial_fit(X[:50], y[:50]).n_iter_ == shorter.n_iter_ + 1
        one.set_params(warm_start=True, lr="auto", max_iter=1000, tol=1e-6).fit(X, y)
    assert state(loaded) == state(model)
    assert distance_to_ridge(model, X, y) < (far if model.solver == "sgd" else 1e-6)


@SOLVERS
def test_a_fit_interrupted_before_the_end_of_an_epoch_is_as_it_was(rows, params):
    X, y = rows
    assert (
        vars(interrupted_in_pass(0, params, in_chunks(X, y))).keys()
        == MiniBatchRidgeSGD().get_params().keys()
    )
    model = MiniBatchRidgeSGD(random_state=0, max_iter=2, tol=None, **params).fit(X, y)
    before = state(model)

    def read():
        yield X, y
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(ChunkSource(read))
    assert state(model) == before


@SOLVERS
def test_a_second_interrupt_undoes_the_fit(rows, params, monkeypatch):
    """Before the last complete epoch is published, nothing of it shows."""
    X, y = rows
    model = MiniBatchRidgeSGD(random_state=0, max_iter=2, tol=None, **params).fit(X, y)
    before = state(model)
    passes = iter(range(10))

    def read():
        yield X, y
        if next(passes) == 9:
            raise KeyboardInterrupt

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(MiniBatchRidgeSGD, "_publish_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(max_iter=100).fit(ChunkSource(read))
    assert state(model.set_params(max_iter=2)) == before


@SOLVERS
@pytest.mark.parametrize("n_epochs", [1, 2, 5])
def test_a_callback_that_raises_keyboard_interrupt_keeps_the_epoch_that_has_ended(
    rows, params, n_epochs
):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    class StopButton:
        def setup(self, estimator, context):
            self.epochs = 0

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.epochs += context.task_name == "epoch"
            if self.epochs == n_epochs:
                raise KeyboardInterrupt

        def teardown(self, estimator, context):
            pass

    model = MiniBatchRidgeSGD(tol=None, random_state=0, **params).set_callbacks(StopButton())
    with pytest.raises(KeyboardInterrupt):
        model.fit(*rows)
    shorter = MiniBatchRidgeSGD(tol=None, random_state=0, max_iter=n_epochs, **params).fit(*rows)
    assert state(model, {*OWN, "_skl_callbacks"}) == state(shorter, OWN)


@pytest.fixture
def keyboard_interrupts():
    """Interrupts by Ctrl-C are on, as in a terminal.

    A process in the background of a shell script starts with SIGINT ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("params", "copies", "seconds"),
    [
        ({"batch_size": 8}, 40, (0.02, 0.05, 0.2)),
        ({"solver": "sgd", "lr": 0.01}, 40, (0.02, 0.05, 0.2)),
        ({"solver": "svrg", "n_jobs": 2}, 1800, (0.2, 1.0)),  # long enough for two threads
    ],
    ids=["svrg", "sgd", "threads"],
)
@pytest.mark.slow
def test_a_signal_at_any_moment(rows, params, copies, seconds, keyboard_interrupts):
    """Ctrl-C, at a moment that nothing in the test depends on."""
    X, y = np.tile(rows[0], (copies, 1)), np.tile(rows[1], copies)
    main = threading.main_thread().ident
    for moment in seconds:
        model = MiniBatchRidgeSGD(tol=None, max_iter=200_000, random_state=0, **params)
        timer = threading.Timer(moment, signal.pthread_kill, (main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start() or model.fit(X, y)
        timer.join()
        if not hasattr(model, "coef_"):
            assert vars(model) == model.get_params()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            shorter = MiniBatchRidgeSGD(
                tol=None, max_iter=model.n_iter_, random_state=0, **params
            ).fit(X, y)
        assert state(model, OWN) == state(shorter, OWN)


def test_a_fit_without_early_stopping_has_no_scores_of_the_fit_before(rows):
    model = MiniBatchRidgeSGD(early_stopping=True, random_state=0).fit(*rows)
    assert model.validation_scores_
    assert not hasattr(model.set_params(early_stopping=False).fit(*rows), "validation_scores_")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked and killed")
def test_a_checkpointed_stream_that_is_killed_ends_as_one_that_is_not():
    """The recipe of docs/streams.md."""
    command = [sys.executable, "-m", "tests.tools.killed", "--kills", "3"]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    table = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (\d+) \| (\d+) \| (\w+) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == ["at any moment", "in save", "half a file"]
    for _, kills, streams, lost, identical in rows:
        assert int(kills) >= 3
        assert int(streams) > 0
        assert (lost, identical) == ("0", "yes")
