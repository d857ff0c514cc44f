"""LossHistoryDisplay, and the lines that verbose=1 prints."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD

from .oracles import closed_form, distance, objective, regression


@pytest.fixture
def plt():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def models():
    X, y = regression(2000, 10, condition=100)
    return [MiniBatchRidgeSGD(batch_size=size, random_state=0).fit(X, y) for size in (4, 64)]


def test_one_estimator(plt, models):
    display = LossHistoryDisplay.from_estimator(models[0])
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, models[0].n_iter_ + 1))
    np.testing.assert_array_equal(line.get_ydata(), models[0].loss_history_)
    assert display.ax_.get_xlabel() == "Epoch"
    assert "Loss" in display.ax_.get_ylabel()
    assert display.figure_ is display.ax_.figure is plt.gcf()


def test_several_estimators_on_one_axis(plt, models):
    display = LossHistoryDisplay.from_estimator(models)
    assert len(display.ax_.lines) == len(display.lines_) == 2
    for line, model in zip(display.lines_, models, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), model.loss_history_)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert len(set(labels)) == 2
    assert len({line.get_color() for line in display.lines_}) == 2


def test_a_given_axis_is_used(plt, models):
    figure, axes = plt.subplots(2)
    display = LossHistoryDisplay.from_estimator(models[0], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].lines
    LossHistoryDisplay.from_estimator(models[1], ax=axes[1])
    assert len(axes[1].lines) == 2


def test_names_and_style(plt, models):
    display = LossHistoryDisplay.from_estimator(models, names=["few", "many"], color="green", linestyle=":", marker="x")
    assert [line.get_label() for line in display.lines_] == ["few", "many"]
    assert {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in display.lines_} == {("green", ":", "x")}
    assert LossHistoryDisplay.from_estimator(models[0], names="one").lines_[0].get_label() == "one"


def test_one_name_for_each(plt, models):
    with pytest.raises(ValueError, match="1 names for 2 estimators"):
        LossHistoryDisplay.from_estimator(models, names=["few"])


def test_drawn_again_from_what_it_holds(plt, models):
    display = LossHistoryDisplay.from_estimator(models)
    first = display.ax_
    assert display.plot() is display
    assert display.ax_ is not first
    assert len(display.ax_.lines) == 2


def test_the_curve_outlives_the_estimator(plt, models):
    X, y = regression(2000, 10)
    model = MiniBatchRidgeSGD(batch_size=4, random_state=0).fit(X, y)
    display = LossHistoryDisplay.from_estimator(model)
    before = display.lines_[0].get_ydata().copy()
    model.fit(X[:50], y[:50])
    np.testing.assert_array_equal(display.plot().lines_[0].get_ydata(), before)


def test_saved_as_a_picture(plt, models, tmp_path):
    LossHistoryDisplay.from_estimator(models).figure_.savefig(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw(plt):
    with pytest.raises(NotFittedError):
        LossHistoryDisplay.from_estimator(MiniBatchRidgeSGD())
    X, y = regression(20, 2)
    with pytest.raises(ValueError, match="partial_fit"):
        LossHistoryDisplay.from_estimator(MiniBatchRidgeSGD().partial_fit(X, y))


LINE = re.compile(r"epoch +(\d+) .*loss (\S+)(?: .*distance to closed form (\S+) std\(y\))? +(\S+) s")


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_verbose_prints_a_line_per_epoch(solver, capsys):
    X, y = regression(2000, 10, condition=100)
    model = MiniBatchRidgeSGD(solver=solver, batch_size=16, max_iter=6, tol=None, random_state=0, verbose=1).fit(X, y)
    lines = [LINE.fullmatch(line).groups() for line in capsys.readouterr().out.splitlines()]
    assert [int(epoch) for epoch, *_ in lines] == list(range(1, 7))
    np.testing.assert_allclose([float(loss) for _, loss, *_ in lines], model.loss_history_, rtol=1e-6)
    seconds = [float(line[-1]) for line in lines]
    assert seconds == sorted(seconds)
    assert all((far is not None) == (solver == "svrg") for _, _, far, _ in lines)


def test_verbose_tells_the_distance_to_the_closed_form(capsys):
    X, y = regression(2000, 10, condition=100)
    closed = closed_form(X, y, 1e-4)
    least = objective(closed.coef.T, closed.intercept, X, y, 1e-4)
    for max_iter in (1, 2, 3):
        model = MiniBatchRidgeSGD(batch_size=16, max_iter=max_iter, tol=None, random_state=0, verbose=1).fit(X, y)
        printed = float(LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])[3])
        far = distance(model.predict(X), closed, X, y)
        assert far / 5 <= printed <= 5 * far
        assert model.loss_history_[-1] >= least


def test_quiet_by_default(capsys):
    MiniBatchRidgeSGD().fit(*regression(50, 2))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_pipeline_s_last_step_can_be_drawn(plt):
    pipeline = make_pipeline(MiniBatchRidgeSGD()).fit(*regression(50, 2))
    assert len(LossHistoryDisplay.from_estimator(pipeline[-1]).lines_) == 1


def test_distance_to_a_given_optimum(plt, models):
    X, y = regression(2000, 10, condition=100)
    closed = closed_form(X, y, 1e-4)
    least = float(np.sum(objective(closed.coef.T, closed.intercept, X, y, 1e-4)))
    display = LossHistoryDisplay.from_estimator(models, optimum=least)
    assert display.ax_.get_yscale() == "log"
    assert "optimum" in display.ax_.get_ylabel()
    for line, model in zip(display.lines_, models, strict=True):
        far = model.loss_history_[:2] - least
        assert (far > 0).all()
        np.testing.assert_array_equal(line.get_ydata()[:2], far)
        # At the end it is there up to rounding, and still on the axis.
        assert 0 < line.get_ydata()[-1] < 1e-9 * least


def test_distance_to_the_lowest_of_all(plt, models):
    histories = [model.loss_history_ for model in models]
    lowest = min(history.min() for history in histories)
    display = LossHistoryDisplay.from_estimator(models, optimum="lowest", log=False)
    assert display.ax_.get_yscale() == "linear"
    drawn = [line.get_ydata() for line in display.lines_]
    for curve, history in zip(drawn, histories, strict=True):
        np.testing.assert_allclose(curve, history - lowest, atol=2 * np.spacing(lowest), rtol=0)
    assert min(curve.min() for curve in drawn) == np.spacing(lowest)


def test_the_loss_itself_on_a_log_axis(plt, models):
    display = LossHistoryDisplay.from_estimator(models[0], log=True)
    assert display.ax_.get_yscale() == "log"
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), models[0].loss_history_)


def test_a_word_that_is_no_optimum(plt, models):
    with pytest.raises(ValueError, match="'lowest' or None, got 'best'"):
        LossHistoryDisplay.from_estimator(models, optimum="best")
