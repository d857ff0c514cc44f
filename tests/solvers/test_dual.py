"""Fewer samples than features: the closed form from the products of the samples."""

import numpy as np
import pytest

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._solvers.dual import positive_definite
from sklearn_minibatch._statistics.row_products import Units, row_products

from ..exact import minimiser
from ..oracles import columns, objective, regression

UNITS = pytest.mark.parametrize(
    "units", [{}, {"fit_intercept": False}, {"standardize": False}], ids=str
)


@pytest.mark.parametrize("weighted", [False, True])
@UNITS
def test_the_loss_is_f(units, weighted):
    X, Y = regression(30, 50, t=2)
    X += 3
    w = np.random.default_rng(0).exponential(size=30) if weighted else None
    model = MiniBatchRidgeSGD(0.3, **units).fit(X, Y, w)
    expected = objective(model.coef_, model.intercept_, X, Y, 0.3, w, **units)
    np.testing.assert_allclose(model.loss_history_, [expected], rtol=1e-10)


@pytest.mark.parametrize("alpha", [1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12])
@UNITS
def test_the_bound_on_rounding_is_one(units, condition, alpha):
    """Without corrections, which `tol` would ask for."""
    X, y = regression(12, 20, condition=condition)
    X += 100 * X.std(axis=0)
    model = MiniBatchRidgeSGD(alpha, tol=None, **units).fit(X, y)
    exact = minimiser(X, y, alpha, **units).predict(X)
    error = np.sqrt(np.mean((columns(model.predict(X)) - exact) ** 2)) / np.std(y)
    # Predictions in original units have rounding errors of their own.
    assert error <= model.distance_history_[-1] + 1e-13


def test_an_intercept_leaves_no_direction_without_products():
    """The centred samples sum to 0, and the equations are solvable all the same."""
    X, y = regression(20, 50)
    products = row_products(X, columns(y), None, Units(centred=True, scaled=True))
    assert np.linalg.eigvalsh(products.K)[0] < 1e-12
    assert np.linalg.eigvalsh(positive_definite(products, fit_intercept=True))[0] > 0.1
