"""CoefficientDisplay: what it draws is the table of the coefficients."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_minibatch import CoefficientDisplay, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import regression

X, Y = regression(90, 4)
X = X * [1, 10, 0.1, 1]


def ends(display, k=0):
    """Lower and upper ends (d,) of the intervals of a target as they are drawn."""
    return np.array(display.intervals_[k].get_segments())[:, :, 0].T


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("standardized", [False, True])
def test_points_and_intervals_are_those_of_the_table(plt, standardized, fit_intercept):
    model = MiniBatchRidgeSGD(0.1, fit_intercept=fit_intercept).fit(X, Y)
    display = CoefficientDisplay.from_estimator(
        model, standardized=standardized, confidence_level=0.8, kind="sampling"
    )
    table = pd.DataFrame(model.coef_table(0.8, "sampling")).iloc[-4:]
    units = X.std(axis=0) if standardized else 1.0
    (points,) = display.lines_
    np.testing.assert_allclose(points.get_xdata(), model.coef_ * units)
    np.testing.assert_array_equal(points.get_ydata(), np.arange(4))
    np.testing.assert_allclose(ends(display), [table.lower * units, table.upper * units])
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["x0", "x1", "x2", "x3"]
    top, bottom = display.ax_.get_ylim()[::-1]
    assert top < 0 < 3 < bottom


def test_several_targets_of_some_features(plt):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MiniBatchRidgeSGDCV([0.1]).fit(frame, np.column_stack([Y, X[:, 0]]))
    _, axes = plt.subplots(2)
    display = CoefficientDisplay.from_estimator(model, axes[1], features=["c", "a"], ms=3)
    assert display.ax_ is axes[1]
    assert display.figure_ is axes[1].figure
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["c", "a"]
    assert [line.get_markersize() for line in display.lines_] == [3, 3]
    for k, table in enumerate(model.coef_table()):
        some = [2, 0]
        np.testing.assert_allclose(
            display.lines_[k].get_xdata(), (model.coef_[k] * X.std(axis=0))[some]
        )
        np.testing.assert_allclose(ends(display, k)[1], (table.upper[1:] * X.std(axis=0))[some])
    rows = np.concatenate([line.get_ydata() for line in display.lines_])
    assert len(np.unique(rows)) == 4
    assert len(display.plot().lines_) == 2
    by_number = CoefficientDisplay.from_estimator(model, features=[2, -4])
    np.testing.assert_array_equal(by_number.coef, display.coef)


def test_what_it_takes(plt):
    pipeline = make_pipeline(FunctionTransformer(), MiniBatchRidgeSGD()).fit(X, Y)
    search = GridSearchCV(MiniBatchRidgeSGD(), {"alpha": [0.1]}).fit(X, Y)
    for each in (pipeline, search):
        assert CoefficientDisplay.from_estimator(each).coef.shape == (4,)
    with pytest.raises(NotFittedError):
        CoefficientDisplay.from_estimator(MiniBatchRidgeSGD())
    with pytest.raises(TypeError, match="got Ridge"):
        CoefficientDisplay.from_estimator(Ridge().fit(X, Y))
    for unknown in ("e", 4, 1.5):
        with pytest.raises(ValueError, match=f"features must be .* got {unknown!r}"):
            CoefficientDisplay.from_estimator(search, features=[unknown])
    with pytest.raises(ValueError, match="positive"):
        CoefficientDisplay.from_estimator(MiniBatchRidgeSGD(positive=True).fit(X, Y))
    before = plt.get_fignums()
    with pytest.raises(AttributeError):
        CoefficientDisplay.from_estimator(search, nonsense=1)
    assert plt.get_fignums() == before
