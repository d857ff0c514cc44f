"""LossHistoryDisplay, and the lines that verbose=1 prints."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from sklearn_minibatch import ChunkSource, EpochProgressBar, LossHistoryDisplay, MiniBatchRidgeSGD
from sklearn_minibatch._data.held_out import held_out

from ..oracles import closed_form, distance, objective, regression


@pytest.fixture
def plt():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


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
    with pytest.raises(ValueError, match="partial_fit"):
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
    assert "lowest" in display.ax_.get_ylabel()
    for line, history in zip(display.lines_, histories, strict=True):
        curve = line.get_ydata()
        # These curves come down to the lowest, where they would seem to plunge.
        assert np.isnan(curve[-1])
        assert np.nanmin(curve) > 1e-15 * history[0]
        np.testing.assert_array_equal(curve, np.where(np.isnan(curve), np.nan, history - lowest))
        assert np.all(history[np.isnan(curve)] - lowest < 1e-14 * history[0])


def test_only_the_lowest_itself_is_left_out_of_a_noisy_curve(plt):
    X, y = regression(500, 5)
    model = textbook(batch_size=4, max_iter=15).fit(X, y)
    (line,) = LossHistoryDisplay.from_estimator(model, optimum="lowest").lines_
    best = np.argmin(model.loss_history_)
    left_out = np.isnan(line.get_ydata())
    assert np.flatnonzero(left_out).tolist() == [best]
    expected = np.delete(model.loss_history_, best) - model.loss_history_[best]
    np.testing.assert_array_equal(line.get_ydata()[~left_out], expected)


def test_a_curve_at_the_lowest_from_the_first_epoch_on_is_drawn(plt):
    X, y = regression(200, 5)
    model = MiniBatchRidgeSGD(random_state=0).fit(X, y)
    sgd = textbook(max_iter=5).fit(X, y)
    drawn, above = [
        line.get_ydata()
        for line in LossHistoryDisplay.from_estimator([model, sgd], optimum="lowest").lines_
    ]
    assert np.all((drawn > 0) & (drawn < 1e-13 * model.loss_history_))
    np.testing.assert_array_equal(above, sgd.loss_history_ - model.loss_history_.min())


def test_the_loss_itself_on_a_log_axis(plt, models):
    display = LossHistoryDisplay.from_estimator(models[0], log=True)
    assert display.ax_.get_yscale() == "log"
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), models[0].loss_history_)


def test_a_word_that_is_no_optimum(plt, models):
    with pytest.raises(ValueError, match="'lowest' or None, got 'best'"):
        LossHistoryDisplay.from_estimator(models, optimum="best")


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
        with pytest.raises(
            TypeError, match=r"MiniBatchRidgeSGD, alone or at the end of .* got Ridge"
        ):
            LossHistoryDisplay.from_estimator(fitted)
    with pytest.raises(ValueError, match="set refit=True"):
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


@settings(max_examples=40)
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
        one.loss_history_, one.distance_history_ = fitted.loss_history_, fitted.distance_history_
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
        for again in (display, display.plot(kind=kind)):
            for curve, model in zip(drawn(again), models, strict=True):
                np.testing.assert_array_equal(curve, getattr(model, name))
        scales.append(display.ax_.get_yscale())
        labels.append(display.ax_.get_ylabel())
    assert scales == ["linear", "log", "linear"]
    assert len(set(labels)) == 3
    assert (
        LossHistoryDisplay.from_estimator(models, kind="distance", log=False).ax_.get_yscale()
        == "linear"
    )


def test_kinds_that_are_not_there(plt, models):
    sgd = textbook(max_iter=2).fit(*regression(50, 2))
    with pytest.raises(ValueError, match=r"solver='sgd' has nothing .*kind='distance'"):
        LossHistoryDisplay.from_estimator(
            [models[0], sgd], kind="distance", names=["svrg", "solver='sgd'"]
        )
    with pytest.raises(ValueError, match="early_stopping=True"):
        LossHistoryDisplay.from_estimator(models, kind="validation")
    with pytest.raises(ValueError, match="'validation', got 'score'"):
        LossHistoryDisplay.from_estimator(models, kind="score")
    with pytest.raises(ValueError, match="few has nothing"):
        LossHistoryDisplay(loss_histories=[np.ones(2)], names=["few"]).plot(kind="distance")


def least(X, y, model, w=None):
    """F at the closed form of the parameters of `model`."""
    how = {"fit_intercept": model.fit_intercept, "standardize": model.standardize}
    closed = closed_form(X, y, model.alpha, w, **how)
    intercept = closed.intercept if model.fit_intercept else 0 * closed.intercept
    return objective(closed.coef.T, intercept, X, y, model.alpha, w, **how)


def assert_above(display, models, optima):
    """The curves are the losses less the optima, up to rounding of the losses."""
    for curve, model, optimum in zip(drawn(display), models, optima, strict=True):
        assert (curve > 0).all()
        np.testing.assert_allclose(
            curve, model.loss_history_ - optimum, rtol=1e-9, atol=1e-12 * model.loss_history_[0]
        )
    assert display.ax_.get_yscale() == "log"


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_closed_form_is_the_optimum_of_each_objective(plt, solver):
    X, y = regression(3000, 5, condition=100)
    w = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    objectives = [
        {},
        {"alpha": 0.1},
        {"fit_intercept": False, "alpha": 0.1},
        {"standardize": False, "alpha": 0.1},
    ]
    model = MiniBatchRidgeSGD(
        solver=solver, batch_size=8, lr=0.02, max_iter=5, tol=None, random_state=0
    )
    models = [clone(model).set_params(**each).fit(X, y + 1, w) for each in objectives]
    display = LossHistoryDisplay.from_estimator(
        models, optimum="closed_form", X=X, y=y + 1, fit_params={"sample_weight": w}
    )
    assert_above(display, models, [least(X, y + 1, one, w) for one in models])


def test_closed_form_behind_pipelines_and_searches(plt):
    X, y = regression(300, 3)
    columns = PolynomialFeatures(include_bias=False)
    pipeline = make_pipeline(columns, textbook(batch_size=8, max_iter=5)).fit(X, y)
    search = grid(pipeline, {"minibatchridgesgd__alpha": [0.3]}).fit(X, y)
    ends_in_search = make_pipeline(
        columns, grid(textbook(batch_size=8, max_iter=5), {"alpha": [0.03]})
    ).fit(X, y)
    display = LossHistoryDisplay.from_estimator(
        [pipeline, search, ends_in_search], optimum="closed_form", X=X, y=y
    )
    models = [pipeline[-1], search.best_estimator_[-1], ends_in_search[-1].best_estimator_]
    Z = columns.fit_transform(X)
    assert_above(display, models, [least(Z, y, one) for one in models])


def test_closed_form_of_chunks_and_of_several_targets(plt):
    X, y = regression(400, 3, t=2)
    source = ChunkSource(lambda: ((X[i : i + 50], y[i : i + 50]) for i in range(0, 400, 50)))
    model = MiniBatchRidgeSGD(batch_size=16, random_state=0).fit(source)
    display = LossHistoryDisplay.from_estimator(model, optimum="closed_form", X=source)
    assert_above(display, [model], [least(X, y, model)])


def test_closed_form_of_the_rows_that_early_stopping_leaves(plt):
    X, y = regression(3000, 10, condition=1e4)
    model = textbook(batch_size=8, max_iter=10, early_stopping=True, n_iter_no_change=1).fit(X, y)
    out = held_out(X, y[:, None], 0.1, np.random.RandomState(0))
    display = LossHistoryDisplay.from_estimator(model, optimum="closed_form", X=X, y=y)
    assert_above(display, [model], [least(X[~out], y[~out], model)])
    model.set_params(random_state=None)
    with pytest.raises(ValueError, match="int as random_state"):
        LossHistoryDisplay.from_estimator(model, optimum="closed_form", X=X, y=y)


class Counting(TransformerMixin, BaseEstimator):
    """Leaves X as it is, and counts the fits of all copies."""

    fits = 0

    def fit(self, X, y=None):
        Counting.fits += 1
        return self

    def transform(self, X):
        return X

    def __sklearn_is_fitted__(self):
        return True


def test_one_fit_finds_the_optimum_of_one_objective(plt):
    X, y = regression(100, 3)
    pipeline = make_pipeline(Counting(), textbook(max_iter=3))
    changes = [
        ("batch_size", 4),
        ("lr", 0.01),
        ("random_state", 1),
        ("max_iter", 2),
        ("alpha", 1.0),
    ]
    fitted = [
        clone(pipeline).set_params(**{f"minibatchridgesgd__{name}": v}).fit(X, y)
        for name, v in changes
    ]
    Counting.fits = 0
    LossHistoryDisplay.from_estimator(fitted, optimum="closed_form", X=X, y=y)
    assert Counting.fits == 2


def test_the_fit_that_finds_the_optimum_is_silent(plt, capsys):
    pytest.importorskip("sklearn.callback", reason="callbacks need scikit-learn 1.9")
    X, y = regression(100, 3)
    shown = io.StringIO()
    model = textbook(max_iter=3, verbose=1).set_callbacks(EpochProgressBar(file=shown)).fit(X, y)
    before = shown.getvalue(), capsys.readouterr().out
    assert all(before)
    LossHistoryDisplay.from_estimator(model, optimum="closed_form", X=X, y=y)
    assert (shown.getvalue(), capsys.readouterr().out) == (before[0], "")


def test_an_optimum_of_another_fit(plt):
    X, y = regression(300, 3, condition=10)
    sgd = textbook(batch_size=8, max_iter=5).fit(X, y)
    reference = grid(MiniBatchRidgeSGD(tol=1e-12), {"alpha": [1e-4]}).fit(X, y)
    assert_above(
        LossHistoryDisplay.from_estimator(sgd, optimum=reference), [sgd], [least(X, y, sgd)]
    )
    optima = [least(X, y, sgd) / 2, 0]
    display = LossHistoryDisplay.from_estimator([sgd, sgd], optimum=optima)
    assert_above(display, [sgd, sgd], optima)
    with pytest.raises(ValueError, match="2 optima for 1 curves"):
        LossHistoryDisplay.from_estimator(sgd, optimum=optima)
    with pytest.raises(ValueError, match="not converged"):
        LossHistoryDisplay.from_estimator(sgd, optimum=sgd)
    with pytest.raises(ValueError, match=r"alpha=0.0001 and a curve alpha=2.0"):
        LossHistoryDisplay.from_estimator(
            textbook(alpha=2.0, max_iter=2).fit(X, y), optimum=reference
        )


def test_an_optimum_of_other_rows_is_refused(plt):
    X, y = regression(300, 3)
    model = textbook(max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="needs X and y"):
        LossHistoryDisplay.from_estimator(model, optimum="closed_form")
    moved, weights = X.copy(), {"sample_weight": np.linspace(1, 2, 300)}
    moved[np.random.default_rng().integers(300), np.random.default_rng().integers(3)] += 0.5
    for rows in (
        {"X": X[1:], "y": y[1:]},
        {"X": moved, "y": y},
        {"X": X, "y": y, "fit_params": weights},
        {"X": X[:, :2], "y": y},
    ):
        with pytest.raises(ValueError, match="not that of the rows"):
            LossHistoryDisplay.from_estimator(model, optimum="closed_form", **rows)


def test_a_loss_below_the_optimum_tells_how_far_rounding_reaches(plt):
    history = np.array([3.0, 1.5, 1 + 4e-12, 1 - 1e-12, 1 + 1e-13])
    display = LossHistoryDisplay(loss_histories=[history], names=["one"], optimum=1.0).plot()
    np.testing.assert_allclose(drawn(display)[0], [2, 0.5, 4e-12, 1e-12, 1e-12], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "values"), [("batch_size", [1, 16, "auto"]), ("lr", np.array([0.001, 0.01]))]
)
def test_a_fit_for_each_value_of_a_parameter(plt, name, values):
    X, y = regression(200, 3)
    estimator = textbook(max_iter=5)
    before = estimator.get_params()
    display = LossHistoryDisplay.from_param_range(
        estimator, X, y, param_name=name, param_range=values, optimum="closed_form", linewidth=3
    )
    fitted = [clone(estimator).set_params(**{name: value}).fit(X, y) for value in values]
    assert_above(display, fitted, [least(X, y, estimator)] * len(values))
    assert label(display) == [
        f"{name}={value}" if value != "auto" else "batch_size='auto' (32)" for value in values
    ]
    assert {line.get_linewidth() for line in display.lines_} == {3}
    assert estimator.get_params() == before
    assert not hasattr(estimator, "coef_")


def test_a_parameter_of_any_step(plt):
    X, y = regression(200, 3)
    w = np.linspace(0, 1, 200)
    pipeline = make_pipeline(PolynomialFeatures(), textbook(max_iter=3))
    for name, short in [
        ("polynomialfeatures__degree", "degree"),
        ("minibatchridgesgd__batch_size", "batch_size"),
    ]:
        how = {
            "param_name": name,
            "param_range": [1, 2],
            "fit_params": {"minibatchridgesgd__sample_weight": w},
        }
        display = LossHistoryDisplay.from_param_range(pipeline, X, y, **how)
        assert label(display) == [f"{short}=1", f"{short}=2"]
        for curve, value in zip(drawn(display), [1, 2], strict=True):
            fitted = (
                clone(pipeline)
                .set_params(**{name: value})
                .fit(X, y, minibatchridgesgd__sample_weight=w)
            )
            np.testing.assert_array_equal(curve, fitted[-1].loss_history_)
    display = LossHistoryDisplay.from_param_range(
        textbook(), X, y, param_name="max_iter", param_range=[2], names=["two"]
    )
    assert label(display) == ["two"]


def test_words_are_refused_before_anything_is_fitted(plt):
    X, y = regression(50, 2)
    pipeline = make_pipeline(Counting(), textbook(max_iter=2))
    how = {"param_name": "minibatchridgesgd__lr", "param_range": [0.1]}
    Counting.fits = 0
    for wrong in (
        {"kind": "score"},
        {"optimum": "best"},
        {"param_range": []},
        {"param_name": "minibatchridgesgd__rate"},
    ):
        with pytest.raises(ValueError, match=r"score|best|param_range is empty|rate"):
            LossHistoryDisplay.from_param_range(pipeline, X, y, **{**how, **wrong})
    assert Counting.fits == 0


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


def test_the_closed_form_of_a_model_with_a_schedule_needs_none(plt):
    X, y = regression(200, 3)
    model = textbook(lr_schedule="compound", lr_decay=1e-3, average=True, max_iter=5).fit(X, y)
    display = LossHistoryDisplay.from_estimator(model, optimum="closed_form", X=X, y=y)
    closed = closed_form(X, y, model.alpha)
    least = float(np.sum(objective(closed.coef.T, closed.intercept, X, y, model.alpha)))
    np.testing.assert_allclose(drawn(display)[0], model.loss_history_ - least, rtol=1e-6)


@pytest.mark.parametrize("lr", [5.0, 500.0])
def test_a_fit_that_diverged_leaves_the_others_to_be_seen(plt, lr):
    X, y = regression(200, 3)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        display = LossHistoryDisplay.from_param_range(
            textbook(max_iter=5, batch_size=1),
            X,
            y,
            param_name="lr",
            param_range=[0.01, lr],
            optimum="closed_form",
        )
    assert label(display) == ["lr=0.01", f"lr={lr:g} (diverged)"]
    assert np.isfinite(drawn(display)[0]).all()
    assert np.isnan(drawn(display)[1]).all()
    assert display.ax_.get_ylim()[1] < 10 * drawn(display)[0].max()


@pytest.mark.parametrize("optimum", [None, "lowest", 0.0])
def test_losses_of_0_are_drawn_without_a_warning(plt, optimum):
    model = MiniBatchRidgeSGD(random_state=0).fit(regression(50, 2)[0], np.full(50, 3.0))
    for kind in ("loss", "distance"):
        display = LossHistoryDisplay.from_estimator(model, optimum=optimum, kind=kind, log=True)
        display.figure_.canvas.draw()
        assert np.isfinite(drawn(display)[0]).all()
