"""What must not change the fit.

The units of columns and target, the scale of the weights, and a repeated row.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_minibatch import MiniBatchRidgeSGD

from ..examples import examples
from ..oracles import distance_to_ridge, regression
from ..tables import DENSE_AND_SPARSE

VARIANTS = {
    "svrg": MiniBatchRidgeSGD(random_state=0),
    "small batches": MiniBatchRidgeSGD(batch_size=4, random_state=0),
    "early stopping": MiniBatchRidgeSGD(batch_size=16, early_stopping=True, random_state=0),
    "sgd": MiniBatchRidgeSGD(solver="sgd", tol=None, max_iter=5, lr=0.01, random_state=0),
    "averaged sgd": MiniBatchRidgeSGD(
        solver="sgd", average=True, tol=None, max_iter=5, lr=0.01, random_state=0
    ),
}
# Early stopping draws the rows it holds out by their content: in other units it holds out others.
UNITS = pytest.mark.parametrize(
    "model", [model for model in VARIANTS.values() if not model.early_stopping]
)
ANY = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
# A sketch of repeated rows is another sketch, and steps on repeated rows are other steps.
EQUAL_WEIGHTS = pytest.mark.parametrize(
    "model", [VARIANTS["svrg"], VARIANTS["small batches"]], ids=["svrg", "small batches"]
)


def predictions(model, X, y, w=None, stream=False):
    """In standard deviations of y about its mean."""
    model = clone(model)
    if stream:
        for rows in np.array_split(np.arange(len(y)), 4):
            model.partial_fit(X[rows], y[rows], None if w is None else w[rows])
    else:
        model.fit(X, y, sample_weight=w)
    return (model.predict(X) - np.mean(y)) / np.std(y)


@UNITS
@pytest.mark.parametrize("n", [200, 3000])
def test_units_of_the_columns(model, n):
    X, y = regression(n, 6, condition=100)
    expected = predictions(model, X, y)
    scale, shift = (
        np.array([1e-6, 1e-3, -1.0, 1.0, 1e3, 1e6]),
        np.array([0.0, 1.0, -5.0, 1e3, 1e5, -1e8]),
    )
    np.testing.assert_allclose(predictions(model, scale * X + shift, y), expected, atol=2e-6)


@UNITS
def test_units_of_the_target(model):
    X, y = regression(3000, 6, condition=100)
    if model.solver == "svrg":
        np.testing.assert_allclose(
            predictions(model, X, -1e6 * y + 1e7), -predictions(model, X, y), atol=2e-6
        )
    else:
        np.testing.assert_allclose(
            clone(model).fit(X, 1e6 * y).coef_, 1e6 * clone(model).fit(X, y).coef_, rtol=1e-10
        )


def test_coefficients_in_new_units():
    X, y = regression(3000, 5, condition=100)
    scale, shift = np.geomspace(1e-3, 1e3, 5), np.arange(5.0)
    one = MiniBatchRidgeSGD(tol=1e-10, random_state=0).fit(X, y)
    two = MiniBatchRidgeSGD(tol=1e-10, random_state=0).fit(scale * X + shift, 7 * y + 3)
    np.testing.assert_allclose(two.coef_, 7 * one.coef_ / scale, rtol=1e-7)
    np.testing.assert_allclose(
        two.intercept_, 7 * one.intercept_ + 3 - shift @ two.coef_, rtol=1e-7
    )


@examples(60)
@given(
    exponents=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    shifts=st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4),
    n=st.sampled_from([10, 100, 1100]),
    batch_size=st.sampled_from([1, 16, "auto"]),
)
def test_any_units(exponents, shifts, signs, n, batch_size):
    X, y = regression(n, 4)
    scale = np.array(signs) * 10.0 ** np.array(exponents)
    model = MiniBatchRidgeSGD(batch_size=batch_size, random_state=0)
    np.testing.assert_allclose(
        predictions(model, scale * (X + shifts), y), predictions(model, X, y), atol=1e-5
    )


@ANY
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", [1e-9, 0.5, 1e9])
def test_the_scale_of_the_weights(model, stream, by):
    X, y = regression(1500, 5)
    w = np.random.default_rng(0).exponential(size=1500)
    expected = predictions(model, X, y, w, stream)
    np.testing.assert_allclose(
        predictions(model, X, y, by * w, stream), expected, atol=1e-10 if by == 0.5 else 2e-6
    )


@ANY
@pytest.mark.parametrize("stream", [False, True])
@DENSE_AND_SPARSE
def test_equal_weights_are_none(model, stream, to_rows):
    X, y = regression(1500, 5)
    rows = to_rows(X)
    expected = predictions(model, rows, y, None, stream)
    np.testing.assert_allclose(
        predictions(model, rows, y, np.full(1500, 3.0), stream), expected, atol=2e-6
    )


@EQUAL_WEIGHTS
@pytest.mark.parametrize("n", [100, 1500])
def test_weight_two_is_the_row_twice(model, n):
    X, y = regression(n, 5)
    w = np.random.default_rng(0).integers(0, 4, n)
    weighted = clone(model).fit(X, y, sample_weight=w)
    repeated = clone(model).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(
        weighted.predict(X) / y.std(), repeated.predict(X) / y.std(), atol=4e-6
    )
    np.testing.assert_allclose(
        weighted.scaler_.mean_, repeated.scaler_.mean_, rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(weighted.scaler_.var_, repeated.scaler_.var_, rtol=1e-12)
    assert weighted.scaler_.n_samples_seen_ == repeated.scaler_.n_samples_seen_
    np.testing.assert_allclose(weighted.loss_history_[-1], repeated.loss_history_[-1], rtol=1e-9)


@pytest.mark.parametrize("n", [100, 1500])
def test_weight_two_is_the_row_twice_with_early_stopping(n):
    """The same rows are held out.

    Of more than 1000 rows, the epochs to choose from depend on the random sketch.
    """
    X, y = regression(n, 5)
    w = np.random.default_rng(0).integers(0, 4, n)
    model = MiniBatchRidgeSGD(early_stopping=True, random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=w)
    repeated = clone(model).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(
        weighted.scaler_.mean_, repeated.scaler_.mean_, rtol=1e-12, atol=1e-15
    )
    assert weighted.scaler_.n_samples_seen_ == repeated.scaler_.n_samples_seen_ < w.sum()
    # Models whose R^2 differ by 1e-3 predict about sqrt(1e-3) apart.
    close, near = (1e-6, 2e-5) if n == 100 else (1e-3, 0.1)
    np.testing.assert_allclose(
        max(weighted.validation_scores_), max(repeated.validation_scores_), atol=close
    )
    np.testing.assert_allclose(
        weighted.predict(X) / y.std(), repeated.predict(X) / y.std(), atol=near
    )


@ANY
@pytest.mark.parametrize("stream", [False, True])
def test_weight_zero_is_no_row(model, stream):
    X, y = regression(1200, 5)
    kept = np.random.default_rng(0).random(1200) < 0.7
    w = np.where(kept, np.linspace(0.5, 2, 1200), 0)
    one, two = clone(model), clone(model)
    for rows in np.array_split(np.arange(1200), 4) if stream else [np.arange(1200)]:
        method = "partial_fit" if stream else "fit"
        getattr(one, method)(X[rows], y[rows], sample_weight=w[rows])
        rows = rows[kept[rows]]
        getattr(two, method)(X[rows], y[rows], sample_weight=w[rows])
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-12)
    np.testing.assert_allclose(one.intercept_, two.intercept_, rtol=1e-12)


@EQUAL_WEIGHTS
def test_the_order_of_the_rows(model):
    X, y = regression(1500, 5)
    w = np.random.default_rng(0).exponential(size=1500)
    order = np.random.default_rng(1).permutation(1500)
    one = clone(model).fit(X, y, sample_weight=w).predict(X)
    two = clone(model).fit(X[order], y[order], sample_weight=w[order]).predict(X)
    np.testing.assert_allclose(one / y.std(), two / y.std(), atol=4e-6)


@EQUAL_WEIGHTS
def test_the_order_of_the_columns(model):
    X, y = regression(1500, 5)
    one, two = clone(model).fit(X, y), clone(model).fit(X[:, ::-1], y)
    assert distance_to_ridge(two, X[:, ::-1], y) <= 1e-6
    np.testing.assert_allclose(one.coef_, two.coef_[::-1], atol=1e-5)
