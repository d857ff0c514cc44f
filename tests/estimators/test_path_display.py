"""AlphaPathDisplay: what it draws is what scikit-learn's validation curve and single fits give."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, validation_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_minibatch import AlphaPathDisplay, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import regression

ALPHAS = [1e-4, 1.0, 1e-2]  # in no order
X, Y = regression(90, 4)


def test_the_curve_is_that_of_the_validation_curve(plt):
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, Y)
    display = AlphaPathDisplay.from_estimator(model)
    _, scores = validation_curve(
        MiniBatchRidgeSGD(),
        X,
        Y,
        param_name="alpha",
        param_range=sorted(ALPHAS),
        cv=KFold(5),
        scoring="neg_mean_squared_error",
    )
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), sorted(ALPHAS))
    np.testing.assert_allclose(line.get_ydata(), -scores.mean(axis=1), rtol=1e-10)
    (band,) = display.fill_betweens_
    half = scores.std(axis=1, ddof=1) / np.sqrt(5)
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx((-scores.mean(axis=1) - half).min(), rel=1e-10)
    assert corners[:, 1].max() == pytest.approx((-scores.mean(axis=1) + half).max(), rel=1e-10)
    assert display.ax_.get_xscale() == "log"
    assert display.figure_ is display.ax_.figure is plt.gcf()
    vertical = [each.get_xdata()[0] for each in display.ax_.lines if each not in display.lines_]
    assert vertical == [model.alpha_]


def test_the_coefficients_are_those_of_single_fits(plt):
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, Y)
    display = AlphaPathDisplay.from_estimator(
        make_pipeline(FunctionTransformer(), model), kind="coef"
    )
    drawn = np.array([line.get_ydata() for line in display.lines_]).T
    for row, alpha in zip(drawn, sorted(ALPHAS), strict=True):
        single = MiniBatchRidgeSGD(alpha).fit(X, Y)
        np.testing.assert_allclose(row, single.coef_ * single.scaler_.scale_, rtol=1e-8, atol=1e-12)


def test_several_targets_and_an_alpha_of_0(plt):
    Y2 = np.column_stack([Y, X[:, 0]])
    model = MiniBatchRidgeSGDCV([0.0, 0.1, 1.0], alpha_per_target=True).fit(X, Y2)
    _, axes = plt.subplots(2)
    display = AlphaPathDisplay.from_estimator(model, axes[1], linewidth=3)
    assert display.ax_ is axes[1]
    assert [line.get_linewidth() for line in display.lines_] == [3, 3]
    assert display.ax_.get_xscale() == "symlog"
    for k, line in enumerate(display.lines_):
        np.testing.assert_allclose(line.get_ydata(), model.mse_path_[:, :, k].mean(axis=1))
    coefficients = AlphaPathDisplay.from_estimator(model, kind="coef")
    assert len(coefficients.lines_) == 2 * X.shape[1]
    assert len(coefficients.plot().lines_) == 2 * X.shape[1]


def test_folds_without_error_are_left_out(plt):
    w = np.ones(90)
    w[:18] = 0.0
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=list(KFold(5).split(X))).fit(X, Y, sample_weight=w)
    (line,) = AlphaPathDisplay.from_estimator(model).lines_
    assert np.isfinite(line.get_ydata()).all()
    assert "4 folds" in line.get_label()


def test_what_cannot_be_drawn_is_refused(plt):
    with pytest.raises(NotFittedError):
        AlphaPathDisplay.from_estimator(MiniBatchRidgeSGDCV())
    with pytest.raises(TypeError, match=r"fitted MiniBatchRidgeSGDCV.*got MiniBatchRidgeSGD\."):
        AlphaPathDisplay.from_estimator(MiniBatchRidgeSGD().fit(X, Y))
    with pytest.raises(ValueError, match="kind must be one of 'mse', 'coef'; got 'r2'"):
        AlphaPathDisplay.from_estimator(MiniBatchRidgeSGDCV(ALPHAS).fit(X, Y), kind="r2")


@pytest.mark.parametrize("kind", ["mse", "coef"])
def test_short_names_of_styles(plt, kind):
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, Y)
    for line in AlphaPathDisplay.from_estimator(model, kind=kind, lw=3, c="green", ls=":").lines_:
        assert (line.get_linewidth(), line.get_color(), line.get_linestyle()) == (3, "green", ":")


def test_a_failure_leaves_no_figure_open(plt):
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, Y)
    with pytest.raises(ValueError, match="kind"):
        AlphaPathDisplay.from_estimator(model, kind="r2")
    for kind in ("mse", "coef"):
        with pytest.raises(AttributeError, match="no_such"):
            AlphaPathDisplay.from_estimator(model, kind=kind, no_such=1)
    assert not plt.get_fignums()


@pytest.mark.parametrize("per_target", [False, True])
def test_models_of_tensors(plt, torch, per_target):
    Y2 = np.column_stack([Y, X[:, 0]])
    expected = MiniBatchRidgeSGDCV(ALPHAS, alpha_per_target=per_target).fit(X, Y2)
    model = clone(expected).fit(torch.asarray(X), torch.asarray(Y2))
    for kind in ("mse", "coef"):
        of_tensors = AlphaPathDisplay.from_estimator(model, kind=kind)
        of_arrays = AlphaPathDisplay.from_estimator(expected, kind=kind)
        for a, b in zip(of_tensors.ax_.lines, of_arrays.ax_.lines, strict=True):
            np.testing.assert_allclose(a.get_ydata(), b.get_ydata(), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(a.get_xdata(), b.get_xdata())
