"""Bad input gets a clear error, an unfinished fit a clear warning, and nothing is lost."""

import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import closed_form, distance, distance_to_ridge, regression
from ..tables import FAULTS, INVALID, METHODS, SOLVERS, UNUSED_IS_FINE, spoilt, state

pytestmark = UNUSED_IS_FINE
X, Y = regression(60, 3)


def fitted(**params):
    return MiniBatchRidgeSGD(random_state=0, **params).fit(X, Y)


@METHODS
@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in INVALID.items() for value in values],
    ids=lambda part: str(part)[:20],
)
def test_invalid_parameters_are_named(name, value, method):
    model = MiniBatchRidgeSGD(**{name: value})
    named = rf"The '{name}' parameter of MiniBatchRidgeSGD|^{name} (must|has)"
    with pytest.raises(ValueError, match=named):
        getattr(model, method)(X, Y)
    assert not hasattr(model, "coef_")


def test_every_parameter_is_tried():
    assert sorted(INVALID) == sorted(MiniBatchRidgeSGD().get_params())


@pytest.mark.parametrize(
    "params",
    [
        {"alpha": 0, "batch_size": np.int64(3), "lr": 1, "max_iter": np.int32(50)},
        {"tol": 0.5, "random_state": np.random.RandomState(0), "verbose": False},
        {"preconditioner": 1, "validation_fraction": 0.5, "early_stopping": np.True_},
    ],
)
def test_valid_parameters_of_other_types(params):
    MiniBatchRidgeSGD(**params).fit(X, Y)


@METHODS
@SOLVERS
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_raises_and_changes_nothing(fault, method, solver):
    spoil, message = FAULTS[fault]
    X_bad, y_bad, w = spoil(X, Y, None)
    fresh = MiniBatchRidgeSGD(solver=solver, lr=0.01)
    with pytest.raises(ValueError, match=message):
        getattr(fresh, method)(X_bad, y_bad, sample_weight=w)
    assert vars(fresh) == fresh.get_params()
    trained = fitted(solver=solver, lr=0.01, tol=None, max_iter=3)
    before = state(trained)
    with pytest.raises(ValueError, match=message):
        getattr(trained, method)(X_bad, y_bad, sample_weight=w)
    assert state(trained) == before


@METHODS
@pytest.mark.parametrize("model", [MiniBatchRidgeSGD(), MiniBatchRidgeSGDCV()], ids=str)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Input y contains NaN"),
        (np.nan, "contains NaN"),
        ("nan", "Input y contains NaN"),
        (np.inf, "Input y contains infinity"),
        ("-inf", "Input y contains infinity"),
    ],
)
def test_targets_of_objects_that_are_no_numbers(model, method, several, value, message):
    y = np.column_stack([Y, Y]) if several else Y
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, spoilt(y.astype(object), value))
    getattr(clone(model), method)(X, spoilt(y.astype(object), "1.5"))


@METHODS
def test_an_invalid_parameter_leaves_a_fitted_model_alone(method):
    model = fitted().set_params(alpha=-1)
    before = state(model)
    with pytest.raises(InvalidParameterError):
        getattr(model, method)(X, Y)
    assert state(model) == before


@pytest.mark.parametrize("value", [32.0, np.array([32, 64]), "32"])
def test_a_changed_parameter_is_checked_again(value):
    model = MiniBatchRidgeSGD(batch_size=32, random_state=0).partial_fit(X, Y)
    with pytest.raises(InvalidParameterError, match="'batch_size' parameter"):
        model.set_params(batch_size=value).partial_fit(X, Y)


@pytest.mark.parametrize("shape", [(60, 2), (60, 4)])
def test_wrong_number_of_columns(shape):
    model = fitted()
    for call in (
        model.predict,
        lambda rows: model.score(rows, Y),
        lambda rows: model.partial_fit(rows, Y),
    ):
        with pytest.raises(
            ValueError, match=f"X has {shape[1]} features, but MiniBatchRidgeSGD is expecting 3"
        ):
            call(np.ones(shape))


def test_predict_before_fit():
    with pytest.raises(NotFittedError):
        MiniBatchRidgeSGD().predict(X)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predict_of_bad_rows(value):
    with pytest.raises(ValueError, match="Input X contains"):
        fitted().predict(spoilt(X, value))


def test_warm_start_with_another_shape_says_what_to_do():
    model = fitted(warm_start=True)
    before = state(model)
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(X[:, :2], Y)
    assert state(model) == before


def test_early_stopping_without_two_rows_says_so():
    with pytest.raises(ValueError, match="early_stopping"):
        MiniBatchRidgeSGD(early_stopping=True).fit(np.ones((5, 2)), np.ones(5))


class TestMaxIter:
    """Reaching max_iter warns, says how far it is, and leaves a usable model."""

    @staticmethod
    def rows():
        return regression(3000, 40, condition=1e4)

    def test_svrg_says_how_far(self):
        X, y = self.rows()
        model = MiniBatchRidgeSGD(max_iter=2, batch_size=8, random_state=0)
        with pytest.warns(ConvergenceWarning, match="max_iter=2") as caught:
            model.fit(X, y)
        assert not model.converged_
        assert model.n_iter_ == 2
        estimate = float(re.search(r"(\d\.\de[+-]\d+)", str(caught[0].message))[1])
        true = distance(model.predict(X), closed_form(X, y, 1e-4), X, y)
        assert true / 5 < estimate < 5 * true
        assert len(caught) == 1

    def test_sgd_says_how_far(self):
        X, y = self.rows()
        model = MiniBatchRidgeSGD(solver="sgd", max_iter=2, shuffle=False)
        with pytest.warns(ConvergenceWarning, match="max_iter=2") as caught:
            model.fit(X, y)
        fall = 1 - model.loss_history_[1] / model.loss_history_[0]
        assert f"{fall:.1e}" in str(caught[0].message)
        assert not model.converged_

    @pytest.mark.parametrize("solver", ["svrg", "sgd"])
    def test_no_warning_without_tol(self, solver):
        X, y = self.rows()
        model = MiniBatchRidgeSGD(solver=solver, max_iter=2, tol=None).fit(X, y)
        assert model.n_iter_ == 2

    def test_no_warning_when_the_last_epoch_meets_tol(self):
        X, y = self.rows()
        n_iter = MiniBatchRidgeSGD(random_state=0).fit(X, y).n_iter_
        model = MiniBatchRidgeSGD(random_state=0, max_iter=n_iter).fit(X, y)
        assert model.converged_

    def test_a_model_that_did_not_converge_always_says_so(self):
        """converged_ is False exactly when there was a warning."""
        for seed in range(20):
            X, y = regression(4 + seed, 6, seed=seed)
            X[:, 1] = X[:, 0]
            for max_iter in (1, 2, 3):
                model = MiniBatchRidgeSGD(1e-8, batch_size=1, max_iter=max_iter, random_state=seed)
                try:
                    model.fit(X, y)
                    warned = False
                except ConvergenceWarning:
                    warned = True
                assert warned or model.converged_


class TestExtremes:
    """The smallest and oddest problems that are still problems."""

    @SOLVERS
    @METHODS
    def test_one_row(self, solver, method):
        model = MiniBatchRidgeSGD(solver=solver, lr=0.1, tol=None, max_iter=5)
        getattr(model, method)([[1.0, 2.0]], [3.0])
        assert np.isfinite(model.predict([[1.0, 2.0]])).all()
        if solver == "svrg":
            np.testing.assert_allclose(model.predict([[1.0, 2.0]]), 3.0)

    @pytest.mark.parametrize("constant", [0.0, 5.0, 1e8])
    @pytest.mark.parametrize("n", [60, 1500])
    def test_constant_target(self, n, constant):
        X, _ = regression(n, 3)
        model = MiniBatchRidgeSGD(random_state=0).fit(X, np.full(n, constant))
        np.testing.assert_allclose(model.predict(X), constant, rtol=1e-6)
        assert model.converged_

    def test_one_constant_target_of_several(self):
        model = MiniBatchRidgeSGD(random_state=0).fit(X, np.column_stack([Y, np.ones(60)]))
        np.testing.assert_allclose(model.predict(X)[:, 1], 1, rtol=1e-9)
        assert distance(model.predict(X)[:, 0], closed_form(X, Y, 1e-4), X, Y) <= 1e-6

    @SOLVERS
    def test_only_constant_columns(self, solver):
        model = MiniBatchRidgeSGD(solver=solver, random_state=0, lr=0.1, tol=None).fit(
            np.ones((60, 3)), Y
        )
        np.testing.assert_allclose(
            model.predict(np.ones((60, 3))), Y.mean(), rtol=1e-2 if solver == "sgd" else 1e-9
        )

    def test_integers_and_lists(self):
        rows, target = [[1, 2], [3, 4], [5, 7], [0, 1]], [1, 2, 4, 0]
        model = MiniBatchRidgeSGD().fit(rows, target)
        assert distance_to_ridge(model, np.array(rows, float), np.array(target, float)) <= 1e-6

    def test_all_rows_but_one_of_weight_zero(self):
        w = np.zeros(60)
        w[7] = 2
        model = MiniBatchRidgeSGD(random_state=0).fit(X, Y, sample_weight=w)
        np.testing.assert_allclose(model.predict(X[7:8]), Y[7])

    def test_weights_of_zero_may_hide_anything_finite(self):
        w = np.ones(60)
        w[::2] = 0
        wild = X.copy()
        wild[::2] = 1e300
        model = MiniBatchRidgeSGD(random_state=0).fit(wild, Y, sample_weight=w)
        assert distance_to_ridge(model, X, Y, w) <= 1e-6

    @pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e100])
    def test_extreme_units(self, scale):
        assert (
            distance_to_ridge(MiniBatchRidgeSGD(random_state=0).fit(scale * X, Y), scale * X, Y)
            <= 1e-6
        )
        assert (
            distance_to_ridge(MiniBatchRidgeSGD(random_state=0).fit(X, scale * Y), X, scale * Y)
            <= 1e-6
        )


class TestMagnitudes:
    """Numbers whose squares overflow are refused by name; the others are fitted."""

    @SOLVERS
    @METHODS
    @pytest.mark.parametrize(
        ("where", "by", "message"),
        [("X", 1e200, "Column 1 of X: too large"), ("y", 1e200, "Column 0 of y: too large")],
    )
    def test_refused_by_name(self, where, by, message, method, solver):
        model = fitted(solver=solver, lr=0.01, tol=None, max_iter=3)
        before = state(model)
        scale = np.array([1.0, by, 1.0]) if where == "X" else 1.0
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(scale * X, Y if where == "X" else by * Y)
        assert state(model) == before

    @pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
    def test_refused_in_chunks(self, kind):
        with pytest.raises(ValueError, match="Column 2 of X: too large"):
            MiniBatchRidgeSGD().fit([(kind(X), Y), (kind(X * [1, 1, 1e300]), Y)])

    @METHODS
    @pytest.mark.parametrize("weight", [1e-300, 1e307])
    def test_weights_that_cannot_be_added_up(self, method, weight):
        with pytest.raises(ValueError, match=r"weights sum to .* Multiply them by a constant"):
            getattr(MiniBatchRidgeSGD(), method)(X, Y, sample_weight=np.full(60, weight))

    @SOLVERS
    def test_small_weights_of_small_numbers_are_weights(self, solver):
        """Sums of their products would be 0."""
        weights = np.linspace(1, 2, 60)
        one, two = (
            MiniBatchRidgeSGD(solver=solver, random_state=0, tol=None, max_iter=20)
            for _ in range(2)
        )
        one.fit(2.0**-400 * X, Y, sample_weight=2.0**-320 * weights)
        two.fit(X, Y, sample_weight=weights)
        np.testing.assert_array_equal(2.0**-400 * one.coef_, two.coef_)
        assert one.scaler_.n_samples_seen_ == 2.0**-320 * two.scaler_.n_samples_seen_

    @METHODS
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("exponent", [-400, 160, 400])
    def test_units_of_the_target_change_no_digit_of_textbook_steps(self, exponent, dtype, method):
        one, two = (
            MiniBatchRidgeSGD(solver="sgd", random_state=0, max_iter=10, tol=None) for _ in range(2)
        )
        getattr(one, method)(X.astype(dtype), 2.0**exponent * Y)
        getattr(two, method)(X.astype(dtype), Y)
        np.testing.assert_array_equal(one.coef_, 2.0**exponent * two.coef_)
        np.testing.assert_array_equal(one.loss_history_, 4.0**exponent * two.loss_history_)

    def test_coefficients_that_cannot_be_represented(self):
        nearly_equal = np.column_stack([X[:, 0], X[:, 0] + 1e-6 * X[:, 1]])
        with pytest.raises(ValueError, match="too many orders of magnitude apart"):
            MiniBatchRidgeSGD(alpha=0, standardize=False).fit(1e-153 * nearly_equal, 1e150 * Y)

    def test_products_that_overflow_are_no_endless_loop(self):
        rows = np.float32(1e30) * X.astype(np.float32)
        with pytest.raises(ValueError, match="sums of products of its columns overflow"):
            MiniBatchRidgeSGD(standardize=False, preconditioner=2).fit(rows, Y)

    def test_predictions_that_overflow_say_so(self):
        model = MiniBatchRidgeSGD().fit(1e-100 * X, Y)
        with pytest.warns(UserWarning, match="not finite"):
            predictions = model.predict([[0, 0, 0], [1e300, 0, 0]])
        assert np.isfinite(predictions[0])
        assert not np.isfinite(predictions[1])

    @pytest.mark.parametrize("rank", [1, 2])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_nystrom_of_collinear_columns(self, rank, dtype):
        for seed in range(30):
            rows = np.outer(regression(7, 1, seed=seed)[0], [1.0, -2.0, 3.0, 1.0, 1.0]).astype(
                dtype
            )
            model = MiniBatchRidgeSGD(preconditioner=rank, random_state=seed).fit(rows, rows[:, 0])
            assert model.converged_

    def test_nystrom_of_numbers_that_cannot_be_squared_twice(self):
        model = MiniBatchRidgeSGD(preconditioner=1, fit_intercept=False).fit(
            [[1e-100, 1e130, 1e40]], [2.0]
        )
        np.testing.assert_allclose(model.predict([[1e-100, 1e130, 1e40]]), 2)

    @pytest.mark.parametrize("lr", [5e-324, 1e-300, 1e300])
    def test_no_learning_rate_is_too_small_or_too_large(self, lr):
        model = MiniBatchRidgeSGD(lr=lr, batch_size=1, tol=None, max_iter=40, random_state=0).fit(
            X, Y
        )
        assert model.score(X, Y) >= 0
        assert model.lr_ > 0

    def test_columns_without_curvature(self):
        model = MiniBatchRidgeSGD(alpha=0, preconditioner=None, batch_size=2).fit(
            np.ones((5, 2)), np.arange(5.0)
        )
        np.testing.assert_allclose(model.predict(np.ones((5, 2))), 2)


@METHODS
def test_a_failure_puts_random_numbers_back(method):
    model = MiniBatchRidgeSGD(random_state=np.random.RandomState(0)).fit(X, Y)
    before = state(model)
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"):
            getattr(model, method)(1e200 * X, Y)
    with pytest.raises(ValueError, match="Chunk 2"):
        model.fit([(X, Y), (X, -np.inf * Y)])
    assert state(model) == before
    # Samples to hold out are drawn before they are looked at.
    before = state(model.set_params(early_stopping=True))
    with pytest.raises(ValueError, match="too large"):
        model.fit(1e200 * X, Y)
    assert state(model) == before


@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 16}, {"solver": "sgd", "tol": None, "max_iter": 20}], ids=str
)
@pytest.mark.parametrize("chunked", [True, False])
def test_sparse_columns_without_zeros_lose_no_digits(params, chunked):
    """A constant, and one far away: their products are larger than what they are to tell."""
    rows = np.where(X > 0, X, 0.0)
    rows[:, 1] = 1e15
    rows[:, 2] = X[:, 2] + 1e8
    # The same numbers about 0, as dense rows.
    near = rows - [0.0, 1e15, 1e8]
    one, two = (MiniBatchRidgeSGD(random_state=0, **params) for _ in range(2))
    found = sparse.csr_array(rows)
    one.fit([(found[:30], Y[:30]), (found[30:], Y[30:])]) if chunked else one.fit(found, Y)
    two.fit([(near[:30], Y[:30]), (near[30:], Y[30:])]) if chunked else two.fit(near, Y)
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=0, atol=1e-5)
    assert abs(one.coef_[1]) < 1e-20
