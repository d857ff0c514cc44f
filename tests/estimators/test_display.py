"""LossHistoryDisplay, and the lines that verbose=1 prints."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from sklearn_minibatch import ChunkSource, LossHistoryDisplay, MiniBatchRidgeSGD

from ..examples import examples
from ..oracles import closed_form, distance, objective, regression


def textbook(**params):
    return MiniBatchRidgeSGD(solver="sgd", tol=None, random_state=0, **params)


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
    display = LossHistoryDisplay.from_estimator(
        models, names=["few", "many"], color="green", linestyle=":", marker="x"
    )
    assert [line.get_label() for line in display.lines_] == ["few", "many"]
    assert {
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in display.lines_
    } == {("green", ":", "x")}
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
    with pytest.raises(ValueError, match="partial_fit records none"):
        LossHistoryDisplay.from_estimator(MiniBatchRidgeSGD().partial_fit(X, y))


LINE = re.compile(
    r"epoch +(\d+) .*loss (\S+)(?: .*distance to closed form (\S+) std\(y\))? +(\S+) s"
)


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_verbose_prints_a_line_per_epoch(solver, capsys):
    X, y = regression(2000, 10, condition=100)
    model = MiniBatchRidgeSGD(
        solver=solver, batch_size=16, max_iter=6, tol=None, random_state=0, verbose=1
    ).fit(X, y)
    lines = [LINE.fullmatch(line).groups() for line in capsys.readouterr().out.splitlines()]
    assert [int(epoch) for epoch, *_ in lines] == list(range(1, 7))
    np.testing.assert_allclose(
        [float(loss) for _, loss, *_ in lines], model.loss_history_, rtol=1e-6
    )
    seconds = [float(line[-1]) for line in lines]
    assert seconds == sorted(seconds)
    assert all((far is not None) == (solver == "svrg") for _, _, far, _ in lines)


def test_verbose_tells_the_distance_to_the_closed_form(capsys):
    X, y = regression(2000, 10, condition=100)
    closed = closed_form(X, y, 1e-4)
    least = objective(closed.coef.T, closed.intercept, X, y, 1e-4)
    for max_iter in (1, 2, 3):
        model = MiniBatchRidgeSGD(
            batch_size=16, max_iter=max_iter, tol=None, random_state=0, verbose=1
        ).fit(X, y)
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


def drawn(display):
    return [line.get_ydata() for line in display.lines_]


def label(display):
    return [line.get_label() for line in display.lines_]


def grid(estimator, param_grid, **params):
    return GridSearchCV(estimator, param_grid, cv=2, **params)


def test_what_a_search_or_a_pipeline_ends_in_is_drawn(plt):
    X, y = regression(200, 3)
    model = MiniBatchRidgeSGD(batch_size=16, random_state=0)
    pipeline = make_pipeline(PolynomialFeatures(), model).fit(X, y)
    search = grid(model, {"alpha": [1e-3, 1.0]}).fit(X, y)
    of_pipelines = RandomizedSearchCV(
        pipeline, {"minibatchridgesgd__alpha": [1e-3, 1.0]}, n_iter=2, cv=2
    ).fit(X, y)
    ends_in_search = make_pipeline(PolynomialFeatures(), grid(model, {"alpha": [0.1]})).fit(X, y)
    alone = clone(model).fit(X, y)
    display = LossHistoryDisplay.from_estimator(
        [pipeline, search, of_pipelines, ends_in_search, alone]
    )
    inner = [
        pipeline[-1],
        search.best_estimator_,
        of_pipelines.best_estimator_[-1],
        ends_in_search[-1].best_estimator_,
        alone,
    ]
    for curve, one in zip(drawn(display), inner, strict=True):
        np.testing.assert_array_equal(curve, one.loss_history_)
    assert label(LossHistoryDisplay.from_estimator(search)) == ["MiniBatchRidgeSGD"]


def test_estimators_that_have_nothing_to_draw(plt):
    X, y = regression(50, 2)
    model = MiniBatchRidgeSGD(random_state=0)
    for unfitted in (model, make_pipeline(model), grid(model, {"alpha": [1.0]})):
        with pytest.raises(NotFittedError):
            LossHistoryDisplay.from_estimator(unfitted)
    for fitted in (
        Ridge().fit(X, y),
        make_pipeline(Ridge()).fit(X, y),
        grid(Ridge(), {"alpha": [1.0]}).fit(X, y),
    ):
        with pytest.raises(TypeError, match=r"fitted MiniBatchRidgeSGD, .*; got Ridge"):
            LossHistoryDisplay.from_estimator(fitted)
    with pytest.raises(TypeError, match="refit=True; got GridSearchCV"):
        LossHistoryDisplay.from_estimator(grid(model, {"alpha": [1.0]}, refit=False).fit(X, y))
    with pytest.raises(ValueError, match="at least one"):
        LossHistoryDisplay.from_estimator([])


VALUES = {
    "alpha": [1, 1.0, np.float64(1), 1e-4, 12345.678, 2e-300],
    "solver": ["svrg", "sgd"],
    "batch_size": [1, 32, np.int64(32), 123456789],
    "tol": [None, 0.25, np.float32(0.25)],
    "shuffle": [True, np.bool_(True), False],
    "random_state": [0, 4294967295],
    "preconditioner": [None, 5],
}


@examples(40)
@given(
    st.lists(
        st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}),
        min_size=2,
        max_size=4,
    )
)
def test_labels_have_the_parameters_that_differ_and_no_others(params):
    fitted = MiniBatchRidgeSGD(batch_size=2, lr=0.5).fit(*regression(20, 2))
    estimators = [clone(fitted).set_params(**each) for each in params]
    for one in estimators:
        one._state = fitted._state
    differ = [name for name in VALUES if any(each[name] != params[0][name] for each in params)]
    mpl.use("Agg")
    display = LossHistoryDisplay.from_estimator(estimators)
    mpl.pyplot.close(display.figure_)
    for found, each in zip(label(display), params, strict=True):
        parsed = eval(f"dict({found.partition(' (')[0]})") if differ else {}
        assert set(parsed) == set(differ)
        for name, value in parsed.items():
            assert (
                value == pytest.approx(each[name], rel=1e-3)
                if isinstance(each[name], float)
                else value == each[name]
            )
    assert len(set(label(display))) == len(estimators)


def test_labels_of_values_that_are_close_or_alike_or_automatic(plt):
    X, y = regression(100, 2)
    models = [MiniBatchRidgeSGD(alpha=alpha, batch_size=8).fit(X, y) for alpha in (0.1, 0.1000001)]
    assert label(LossHistoryDisplay.from_estimator(models)) == ["alpha=0.1", "alpha=0.1000001"]
    assert label(LossHistoryDisplay.from_estimator([models[0]] * 2)) == [
        "MiniBatchRidgeSGD (1)",
        "MiniBatchRidgeSGD (2)",
    ]
    automatic = clone(models[0]).set_params(batch_size="auto").fit(X, y)
    names = label(LossHistoryDisplay.from_estimator([models[0], automatic, models[0]]))
    assert names == ["batch_size=8 (1)", "batch_size='auto' (100)", "batch_size=8 (3)"]


def test_each_kind_is_drawn_as_it_was_recorded(plt):
    X, y = regression(500, 10, condition=100)
    models = [
        MiniBatchRidgeSGD(batch_size=b, early_stopping=True, random_state=0).fit(X, y)
        for b in (4, 32)
    ]
    kinds = {
        "loss": "loss_history_",
        "distance": "distance_history_",
        "validation": "validation_scores_",
    }
    scales, labels = [], []
    for kind, name in kinds.items():
        display = LossHistoryDisplay.from_estimator(models, kind=kind, optimum=None)
        for again in (display, display.plot()):
            for curve, model in zip(drawn(again), models, strict=True):
                np.testing.assert_array_equal(curve, getattr(model, name))
        scales.append(display.ax_.get_yscale())
        labels.append(display.ax_.get_ylabel())
    assert scales == ["linear", "log", "linear"]
    assert len(set(labels)) == 3


def test_kinds_that_are_not_there(plt, models):
    sgd = textbook(max_iter=2).fit(*regression(50, 2))
    with pytest.raises(ValueError, match=r"the sgd has no distance_history_"):
        LossHistoryDisplay.from_estimator(
            [models[0], sgd], kind="distance", names=["svrg", "the sgd"]
        )
    with pytest.raises(ValueError, match="early_stopping=True"):
        LossHistoryDisplay.from_estimator(models, kind="validation")
    with pytest.raises(ValueError, match="'validation'; got 'score'"):
        LossHistoryDisplay.from_estimator(models, kind="score")
    assert not plt.get_fignums()


def least(X, y, model, w=None):
    """F at the closed form of the parameters of `model`."""
    how = {"fit_intercept": model.fit_intercept, "standardize": model.standardize}
    closed = closed_form(X, y, model.alpha, w, **how)
    intercept = closed.intercept if model.fit_intercept else 0 * closed.intercept
    return objective(closed.coef.T, intercept, X, y, model.alpha, w, **how)


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize(
    "params",
    [{}, {"fit_intercept": False, "alpha": 0.1}, {"standardize": False, "alpha": 0.1}],
    ids=str,
)
def test_losses_above_that_of_the_closed_form(plt, solver, params):
    X, y = regression(3000, 5, condition=100)
    y = y + 1
    w = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    model = MiniBatchRidgeSGD(
        solver=solver, batch_size=8, lr=0.02, max_iter=5, tol=None, random_state=0
    )
    model.set_params(**params).fit(X, y, w)
    optimum = MiniBatchRidgeSGD(**params).fit(X, y, w)
    expected = model.loss_history_ - least(X, y, model, w)
    for either in (optimum, least(X, y, model, w)):
        display = LossHistoryDisplay.from_estimator(model, optimum=either)
        for again in (display, display.plot()):
            np.testing.assert_allclose(
                drawn(again)[0], expected, rtol=1e-9, atol=1e-12 * model.loss_history_[0]
            )
            assert again.ax_.get_yscale() == "log"
            assert "optimum" in again.ax_.get_ylabel()


def test_an_optimum_of_chunks_and_of_a_pipeline_and_of_a_search(plt):
    X, Y = regression(400, 3, t=2)
    source = ChunkSource(lambda: ((X[i : i + 50], Y[i : i + 50]) for i in range(0, 400, 50)))
    model = MiniBatchRidgeSGD(batch_size=16, random_state=0).fit(X, Y)
    optimum = MiniBatchRidgeSGD().fit(source)
    (curve,) = drawn(LossHistoryDisplay.from_estimator(model, optimum=optimum))
    expected = model.loss_history_ - least(X, Y, model)
    np.testing.assert_allclose(curve, expected, rtol=0, atol=1e-12 * model.loss_history_[0])

    y = Y[:, 0]
    columns = PolynomialFeatures(include_bias=False)
    pipeline = make_pipeline(columns, textbook(batch_size=8, max_iter=5)).fit(X, y)
    search = grid(make_pipeline(columns, MiniBatchRidgeSGD()), {"minibatchridgesgd__alpha": [1e-4]})
    (curve,) = drawn(LossHistoryDisplay.from_estimator(pipeline, optimum=search.fit(X, y)))
    expected = pipeline[-1].loss_history_ - least(columns.fit_transform(X), y, pipeline[-1])
    np.testing.assert_allclose(curve, expected, rtol=1e-9)


def test_an_estimator_that_is_not_the_optimum_is_refused(plt):
    X, y = regression(300, 3, condition=10)
    model = textbook(batch_size=8, max_iter=5).fit(X, y)
    moved = X.copy()
    moved[7, 1] += 0.5
    optimum = MiniBatchRidgeSGD()
    wrong = [
        model,  # has not converged
        clone(optimum).set_params(alpha=2.0).fit(X, y),
        clone(optimum).set_params(fit_intercept=False).fit(X, y),
        clone(optimum).set_params(penalty_factor=[1.0, 2.0, 1.0]).fit(X, y),
        clone(optimum).set_params(positive=True).fit(X, y),
        clone(optimum).set_params(half_life=1e9).fit(X, y),
        clone(optimum).fit(X[1:], y[1:]),
        clone(optimum).fit(moved, y),
        clone(optimum).fit(X, y, np.linspace(1, 2, 300)),
        clone(optimum).fit(X[:, :2], y),
    ]
    for each in wrong:
        with pytest.raises(ValueError, match=r"must have converged, .* same alpha, penalty_factor"):
            LossHistoryDisplay.from_estimator(model, optimum=each)
    with pytest.raises(TypeError, match="got str"):
        LossHistoryDisplay.from_estimator(model, optimum="closed_form")
    with pytest.raises(NotFittedError):
        LossHistoryDisplay.from_estimator(model, optimum=optimum)


def test_losses_that_rounding_has_put_below_the_optimum_are_left_out(plt):
    X, y = regression(200, 3)
    model = MiniBatchRidgeSGD(solver="svrg", batch_size=16, random_state=0).fit(X, y)
    least = model.loss_history_[-2]
    display = LossHistoryDisplay.from_estimator(model, optimum=least)
    display.figure_.canvas.draw()
    assert np.array_equal(drawn(display)[0], model.loss_history_ - least)
    bottom, top = display.ax_.get_ylim()
    assert bottom > 0
    assert top > model.loss_history_[0] - least


def test_curves_differ_by_more_than_colour(plt, models):
    axis = LossHistoryDisplay.from_estimator(models * 10).ax_
    LossHistoryDisplay.from_estimator(models * 10, ax=axis)
    dashes = [
        (
            line.get_linestyle(),
            line._unscaled_dash_pattern[1] and tuple(line._unscaled_dash_pattern[1]),
        )
        for line in axis.lines
    ]
    looks = {(*dash, line.get_marker()) for dash, line in zip(dashes, axis.lines, strict=True)}
    assert len(looks) == 40


def test_the_legend_leaves_many_curves_free(plt, models):
    display = LossHistoryDisplay.from_estimator(models * 4)
    display.figure_.canvas.draw()
    legend, axis = display.ax_.get_legend().get_window_extent(), display.ax_.get_window_extent()
    assert legend.x0 > axis.x1
    assert legend.x1 < display.figure_.bbox.x1


def test_long_labels_leave_room_for_the_curves(plt):
    X, y = regression(50, 2)
    other = {
        "alpha": 1,
        "solver": "sgd",
        "batch_size": 7,
        "lr": 0.1,
        "average": True,
        "max_iter": 2,
        "shuffle": False,
        "tol": None,
        "verbose": 0,
    }
    more = {
        "random_state": 3,
        "fit_intercept": False,
        "standardize": False,
        "lr_schedule": "inverse_time",
        "lr_decay": 0.25,
    }
    models = [MiniBatchRidgeSGD().fit(X, y), MiniBatchRidgeSGD(**other, **more).fit(X, y)]
    for n in (1, 3):
        display = LossHistoryDisplay.from_estimator(models * n)
        display.figure_.canvas.draw()
        assert display.ax_.get_window_extent().width > 0.3 * display.figure_.bbox.width


def test_short_names_of_styles(plt, models):
    display = LossHistoryDisplay.from_estimator(models, ls=":", c="green", ms=9, lw=2)
    for line in display.lines_:
        assert (
            line.get_linestyle(),
            line.get_color(),
            line.get_markersize(),
            line.get_linewidth(),
        ) == (":", "green", 9, 2)


@pytest.mark.parametrize("lr", [5.0, 500.0])
@pytest.mark.parametrize("kind", ["loss", "validation"])
def test_a_fit_that_diverged_leaves_the_others_to_be_seen(plt, lr, kind):
    X, y = regression(200, 3)
    steps = textbook(max_iter=5, batch_size=1, early_stopping=kind == "validation")
    models = [clone(steps).set_params(lr=0.01).fit(X, y)]
    with pytest.warns(ConvergenceWarning, match="diverged"):
        models.append(clone(steps).set_params(lr=lr).fit(X, y))
    display = LossHistoryDisplay.from_estimator(models, kind=kind)
    assert label(display) == ["lr=0.01", f"lr={lr:g} (diverged)"]
    assert np.isfinite(drawn(display)[0]).all()
    assert np.isnan(drawn(display)[1]).all()
    assert np.abs(display.ax_.get_ylim()).max() < 10 * np.abs(drawn(display)[0]).max()


@pytest.mark.parametrize("optimum", [None, 0.0])
def test_losses_of_0_are_drawn_without_a_warning(plt, optimum):
    model = MiniBatchRidgeSGD(random_state=0).fit(regression(50, 2)[0], np.full(50, 3.0))
    for kind in ("loss", "distance"):
        display = LossHistoryDisplay.from_estimator(model, optimum=optimum, kind=kind)
        display.figure_.canvas.draw()
        assert np.isfinite(drawn(display)[0]).all()


def test_a_failure_leaves_no_figure_open(plt, models):
    with pytest.raises(AttributeError, match="no_such"):
        LossHistoryDisplay.from_estimator(models, no_such=1)
    with pytest.raises(TypeError, match="aliases"):
        LossHistoryDisplay.from_estimator(models, lw=1, linewidth=2)
    with pytest.raises(ValueError, match="shorter"):
        LossHistoryDisplay(curves=[np.ones(2)], names=[]).plot()
    assert not plt.get_fignums()
    _, axes = plt.subplots()
    with pytest.raises(AttributeError, match="no_such"):
        LossHistoryDisplay.from_estimator(models, axes, no_such=1)
    assert len(plt.get_fignums()) == 1
    assert not axes.lines


def test_models_of_tensors(plt, torch):
    X, y = regression(300, 4)
    params = {"batch_size": 32, "early_stopping": True, "random_state": 0}
    model = MiniBatchRidgeSGD(**params).fit(torch.asarray(X), torch.asarray(y))
    for kind, name in [("loss", "loss_history_"), ("validation", "validation_scores_")]:
        (curve,) = drawn(LossHistoryDisplay.from_estimator(model, kind=kind))
        np.testing.assert_array_equal(curve, np.asarray(getattr(model, name)))
    plain = MiniBatchRidgeSGD(batch_size=32).fit(torch.asarray(X), torch.asarray(y))
    optimum = MiniBatchRidgeSGD().fit(torch.asarray(X), torch.asarray(y))
    (curve,) = drawn(LossHistoryDisplay.from_estimator(plain, optimum=optimum))
    expected = plain.loss_history_.numpy() - least(X, y, plain)
    np.testing.assert_allclose(curve, expected, rtol=0, atol=1e-12 * expected[0])
