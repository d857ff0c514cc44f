"""scikit-learn's callbacks.

What they are told, that they change nothing, and that they can stop a fit.
"""

import io
import pickle
import threading
import warnings
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import EpochProgressBar, MiniBatchRidgeSGD
from sklearn_minibatch._run.callbacks import progress

from ..tables import METHODS

sklearn_callback = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn has callbacks from 1.9 on"
)

SOLVERS = [
    {"solver": "svrg"},
    {"solver": "sgd", "batch_size": 4},
    {"solver": "sgd", "average": True},
]


class Recorder:
    """Records every hook with its task and the fitted estimator.

    Stops after `stop_after` epochs, or raises `error`.
    """

    def __init__(self, stop_after=None, error=None):
        self.stop_after, self.error = stop_after, error
        self.events, self.models = [], []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.events.append(("begin", context.task_name))
        self.data = X, y, metadata

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.events.append(("end", context.task_name))
        self.models.append(fitted_estimator)
        if self.error is not None:
            raise self.error
        return context.task_name == "epoch" and len(self.models) == self.stop_after

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name))


class PropagatedRecorder(Recorder):
    """A recorder that meta-estimators hand on."""

    max_propagation_depth = None


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 5)) * [1, 10, 0.1, 1, 1]
    return X, X @ [1.0, -0.2, 3.0, 0.0, 1.0] + rng.standard_normal(3000)


def unfinished(max_iter, params):
    return MiniBatchRidgeSGD(max_iter=max_iter, tol=None, random_state=0, **params)


@pytest.mark.parametrize("params", SOLVERS)
def test_a_fit_is_a_task_with_one_subtask_per_epoch(rows, params):
    recorder = Recorder()
    model = MiniBatchRidgeSGD(random_state=0, **params).set_callbacks(recorder).fit(*rows)
    epochs = [("begin", "epoch"), ("end", "epoch")] * model.n_iter_
    assert recorder.events == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epochs,
        ("end", "fit"),
        ("teardown", "fit"),
    ]


@pytest.mark.parametrize("params", SOLVERS)
def test_callbacks_change_nothing(rows, params):
    model = unfinished(4, params)
    plain = clone(model).fit(*rows)
    watched = model.set_callbacks(Recorder(), sklearn_callback.ScoringMonitor(scoring="r2")).fit(
        *rows
    )
    assert np.array_equal(watched.coef_, plain.coef_)
    assert watched.intercept_ == plain.intercept_
    assert {name for name in vars(watched) if name not in vars(plain)} == {"_skl_callbacks"}


@pytest.mark.parametrize("params", SOLVERS)
def test_after_each_epoch_callbacks_get_the_model_of_a_fit_that_ends_there(rows, params):
    recorder = Recorder()
    unfinished(4, params).set_callbacks(recorder).fit(*rows)
    for n_epochs, model in enumerate(recorder.models[:4], start=1):
        shorter = unfinished(n_epochs, params).fit(*rows)
        np.testing.assert_allclose(model.coef_, shorter.coef_, rtol=1e-12)
        assert np.array_equal(model.predict(rows[0]), rows[0] @ model.coef_ + model.intercept_)
        assert np.array_equal(model.loss_history_, shorter.loss_history_)
        assert np.array_equal(model.distance_history_, shorter.distance_history_)
        assert model.n_iter_ == n_epochs
    assert np.array_equal(recorder.models[-1].coef_, recorder.models[-2].coef_)


def test_several_targets_have_their_shapes(rows):
    recorder = Recorder()
    X, y = rows
    MiniBatchRidgeSGD(random_state=0).set_callbacks(recorder).fit(X, np.column_stack([y, -2 * y]))
    for model in recorder.models:
        assert model.coef_.shape == (2, 5)
        assert model.predict(X).shape == (3000, 2)


@pytest.mark.parametrize("params", SOLVERS)
def test_a_callback_stops_after_the_epoch(rows, params):
    stopped = unfinished(50, params).set_callbacks(Recorder(stop_after=3)).fit(*rows)
    expected = unfinished(3, params).fit(*rows)
    assert stopped.n_iter_ == 3
    assert np.array_equal(stopped.coef_, expected.coef_)
    assert not stopped.converged_


def test_a_stop_says_nothing_of_max_iter(rows):
    # Warnings are errors in this suite.
    model = (
        MiniBatchRidgeSGD(batch_size=8, tol=1e-12, random_state=0)
        .set_callbacks(Recorder(stop_after=1))
        .fit(*rows)
    )
    assert model.n_iter_ == 1


@pytest.mark.parametrize("params", SOLVERS)
def test_scoring_monitor_ends_with_the_score_of_the_model(rows, params):
    X, y = pd.DataFrame(rows[0], columns=list("abcde")), rows[1]
    monitor = sklearn_callback.ScoringMonitor(scoring="r2")
    model = unfinished(5, params).set_callbacks(monitor).fit(X, y)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 5
    assert scores[-1] == pytest.approx(model.score(X, y), rel=1e-12)


def test_scoring_monitor_gets_the_weights(rows):
    w = np.random.default_rng(1).uniform(0, 2, 3000)
    monitor = sklearn_callback.ScoringMonitor(scoring="r2")
    model = MiniBatchRidgeSGD(random_state=0).set_callbacks(monitor).fit(*rows, sample_weight=w)
    last = monitor.get_logs().data[-1]["r2"]
    assert last == pytest.approx(model.score(*rows, sample_weight=w), rel=1e-9)
    assert abs(last - model.score(*rows)) > 1e-6


def test_a_scored_fit_that_diverges_still_warns_and_keeps_the_best(rows):
    model = MiniBatchRidgeSGD(solver="sgd", lr=1e200, batch_size=1, random_state=0)
    model.set_callbacks(sklearn_callback.ScoringMonitor(scoring="r2"))
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(*rows)
    assert np.isfinite(model.coef_).all()


def test_partial_fit_is_a_task_without_subtasks(rows):
    recorder = Recorder()
    X, y = rows
    model = MiniBatchRidgeSGD(random_state=0).set_callbacks(recorder)
    for start in (0, 1000):
        model.partial_fit(X[start : start + 1000], y[start : start + 1000])
        assert np.array_equal(recorder.models[-1].coef_, model.coef_)
        assert recorder.data[0].shape == (1000, 5)
    hooks = [(hook, "partial_fit") for hook in ("setup", "begin", "end", "teardown")]
    assert recorder.events == hooks * 2


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("fit", ValueError("no")),
        ("partial_fit", ValueError("no")),
        ("partial_fit", KeyboardInterrupt()),
    ],
)
def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(rows, method, error):
    model = MiniBatchRidgeSGD(random_state=0).fit(*rows)
    recorder = Recorder(error=error)
    before = vars(model.set_callbacks(recorder)).copy()
    with pytest.raises(type(error)):
        getattr(model, method)(rows[0][:100], rows[1][:100])
    assert recorder.events[-1] == ("teardown", method)
    assert vars(model) == before


@METHODS
def test_bad_rows_tear_callbacks_down(rows, method):
    recorder = Recorder()
    model = MiniBatchRidgeSGD().set_callbacks(recorder)
    with pytest.raises(ValueError, match="NaN"):
        getattr(model, method)(np.full((10, 5), np.nan), np.ones(10))
    assert recorder.events == [(hook, method) for hook in ("setup", "begin", "teardown")]
    assert set(vars(model)) == {*model.get_params(), "_skl_callbacks"}


def test_meta_estimators_hand_callbacks_on(rows):
    recorder = PropagatedRecorder()
    pipeline = make_pipeline(StandardScaler(), MiniBatchRidgeSGD(random_state=0)).set_callbacks(
        recorder
    )
    pipeline.fit(*rows)
    assert recorder.events.count(("end", "epoch")) == pipeline[-1].n_iter_

    recorder = PropagatedRecorder()
    search = GridSearchCV(
        unfinished(2, {"solver": "svrg"}), {"alpha": [1e-3, 1.0]}, cv=3
    ).set_callbacks(recorder)
    search.fit(*rows)
    assert recorder.events.count(("end", "epoch")) == (2 * 3 + 1) * 2


@pytest.mark.filterwarnings("ignore:.*IPython.*")
@pytest.mark.parametrize("bad", [False, True])
def test_the_progress_bar_of_scikit_learn_runs_and_ends(rows, capsys, bad):
    pytest.importorskip("rich", reason="sklearn.callback.ProgressBar needs rich")
    X, y = rows
    model = MiniBatchRidgeSGD(random_state=0).set_callbacks(sklearn_callback.ProgressBar())
    if bad:
        with pytest.raises(ValueError, match="NaN"):
            model.fit(np.where(X > 2, np.nan, X), y)
    else:
        model.fit(X, y)
        assert "MiniBatchRidgeSGD - fit" in capsys.readouterr().out
    assert threading.active_count() == 1 or not any(
        "RichProgressMonitor" in type(thread).__name__ for thread in threading.enumerate()
    )


def bar_of(model, rows, interval=0.0):
    file = io.StringIO()
    model.set_callbacks(EpochProgressBar(interval, file=file)).fit(*rows)
    return file.getvalue()


@pytest.mark.parametrize("params", SOLVERS)
def test_our_progress_bar_shows_epoch_loss_and_distance(rows, params):
    model = MiniBatchRidgeSGD(random_state=0, **params)
    text = bar_of(model, rows)
    *lines, after = text.split("\r")[1:-1], text.split("\r")[-1]
    assert after.endswith(" s\n")
    for epoch, line in enumerate([*lines[0], after], start=1):
        epoch = min(epoch, model.n_iter_)
        assert f"epoch {epoch:4d}  loss {model.loss_history_[epoch - 1]:.8g}  " in line
        distances = [
            f"distance to closed form {d:.1e} std(y)"
            for d in model.distance_history_[epoch - 1 : epoch]
        ]
        assert all(distance in line for distance in distances)
    assert len(lines[0]) == model.n_iter_
    assert ("distance" in text) == (model.solver == "svrg")


def test_our_progress_bar_never_goes_back(rows):
    model = MiniBatchRidgeSGD(batch_size=4, preconditioner=None, lr=1e-3, tol=1e-8, random_state=0)
    filled = [line.count("#") for line in bar_of(model, rows).split("\r")[1:]]
    assert len(filled) > 5
    assert filled == sorted(filled)
    assert filled[0] < filled[-1] == 20


@pytest.mark.parametrize(
    ("n_iter", "distances", "expected"),
    [
        (50, [1.0, 1.0], 0.5),
        (1, [1.0, 1e-2], 0.5),
        (60, [1.0, 1e-2], 0.6),
        (2, [1.0, 1e-5], 1.0),
        (7, [], 0.07),
        (1, [0.0], 1.0),
    ],
)
def test_our_progress_bar_takes_epochs_or_the_logarithm_of_the_distance(
    n_iter, distances, expected
):
    model = SimpleNamespace(tol=1e-4, n_iter_=n_iter, distance_history_=np.array(distances))
    assert progress(model, 100) == pytest.approx(expected)


def test_our_progress_bar_draws_seldom(rows):
    model = MiniBatchRidgeSGD(solver="sgd", tol=None, max_iter=20, random_state=0)
    assert bar_of(model, rows, interval=3600).count("\r") == 1


def test_our_progress_bar_ends_its_line_when_a_fit_fails(rows):
    file = io.StringIO()
    model = MiniBatchRidgeSGD(batch_size=8, random_state=0)
    model.set_callbacks(EpochProgressBar(0, file=file), Recorder(error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        model.fit(*rows)
    assert file.getvalue().endswith(" s\n")


def test_our_progress_bar_is_pickled_without_its_file(rows, tmp_path, capsys):
    with open(tmp_path / "bar", "w") as file:
        model = MiniBatchRidgeSGD(solver="svrg", random_state=0)
        model.set_callbacks(EpochProgressBar(0.0, file=file)).fit(*rows)
        copies = [pickle.loads(pickle.dumps(model)), deepcopy(model)]
    assert "epoch" in (tmp_path / "bar").read_text()
    assert capsys.readouterr().err == ""
    for copy in copies:
        copy.fit(*rows)
        assert f"epoch {copy.n_iter_:4d}" in capsys.readouterr().err


def test_clones_share_the_file_of_our_progress_bar(rows):
    file = io.StringIO()
    model = MiniBatchRidgeSGD(solver="svrg", random_state=0)
    clone(model.set_callbacks(EpochProgressBar(0.0, file=file))).fit(*rows)
    assert "epoch" in file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("with_file", [False, True])
def test_callbacks_survive_clone_and_worker_processes(rows, with_file, tmp_path):
    with open(tmp_path / "bar", "w") as file:
        bar = EpochProgressBar(3600, file=file if with_file else None)
        model = MiniBatchRidgeSGD(random_state=0).set_callbacks(bar)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = GridSearchCV(model, {"alpha": [1e-3, 1.0]}, cv=2, n_jobs=2).fit(*rows)
    expected = GridSearchCV(MiniBatchRidgeSGD(random_state=0), {"alpha": [1e-3, 1.0]}, cv=2).fit(
        *rows
    )
    assert np.array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
