"""Fits from means and covariances that were computed elsewhere."""

import pickle
from functools import reduce

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import closed_form, distance_to_ridge, regression
from ..tables import state

X, Y = regression(300, 4, condition=100)
TWO = np.column_stack([Y, X[:, 0] - Y**2])


def moments_of(X, y):
    """The number, mean and population covariance of rows, by NumPy."""
    table = np.column_stack([X, y])
    mean = table.mean(axis=0)
    centred = table - mean
    centred -= centred.mean(axis=0)
    return len(table), mean, centred.T @ centred / len(table)


def from_moments(X, y, **params):
    n_targets = 1 if np.ndim(y) == 1 else y.shape[1]
    return MiniBatchRidgeSGD(**params).fit_moments(*moments_of(X, y), n_targets=n_targets)


def assert_same(model, other, rtol=1e-9):
    for name in ("coef_", "intercept_", "standardized_coef_"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), rtol=rtol)
    for name in ("mean_", "var_", "scale_", "n_samples_seen_"):
        np.testing.assert_allclose(
            getattr(model.scaler_, name), getattr(other.scaler_, name), rtol=rtol
        )
    assert model.converged_ == other.converged_
    assert model.solver_ == other.solver_


SETTINGS = [
    {},
    {"alpha": 0.0},
    {"alpha": 10.0, "fit_intercept": False},
    {"standardize": False},
    {"solver": "cholesky"},
    {"penalty_factor": [1.0, 0.0, 3.0, np.inf]},
    {"positive": [True, False, True, True]},
    {"tol": None},
]


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize("y", [Y, Y[:, None], TWO], ids=["one", "a column", "two"])
def test_the_model_is_that_of_fit_on_the_rows(params, y):
    fitted = MiniBatchRidgeSGD(**params).fit(X, y)
    model = from_moments(X, y, **params)
    if y.shape == (300, 1):
        fitted = MiniBatchRidgeSGD(**params).fit(X, Y)
    assert_same(model, fitted)
    np.testing.assert_allclose(model.predict(X), fitted.predict(X), rtol=1e-9)
    assert model.n_features_in_ == 4
    assert len(model.loss_history_) == len(model.distance_history_) == 0
    assert (model.n_iter_, model.t_, model.lr_, model.batch_size_) == (1, 1, 1.0, 300)


def test_it_reaches_the_closed_form():
    assert distance_to_ridge(from_moments(X, TWO, alpha=0.1), X, TWO) <= 1e-12
    by_target = from_moments(X, TWO, alpha=[0.1, 10.0])
    for k, alpha in enumerate((0.1, 10.0)):
        closed = closed_form(X, TWO[:, k], alpha)
        np.testing.assert_allclose(by_target.coef_[k], closed.coef[:, 0], rtol=1e-9)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2**16),
    st.sampled_from([0.0, 1e3, 1e6]),
)
def test_groups_merge_to_the_model_of_all_rows(sizes, d, t, seed, offset):
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X = rng.normal(size=(n, d)) + offset * np.arange(d)
    y = X[:, :1] + rng.normal(size=(n, t))
    cuts = np.cumsum(sizes)[:-1]
    models = [
        from_moments(*part, alpha=0.1)
        for part in zip(np.split(X, cuts), np.split(y, cuts), strict=True)
    ]
    merged = reduce(MiniBatchRidgeSGD.merge, models)
    whole = MiniBatchRidgeSGD(alpha=0.1).fit(X, y if t > 1 else y[:, 0])
    np.testing.assert_allclose(merged.predict(X), whole.predict(X), rtol=1e-9, atol=1e-9)
    assert merged.scaler_.n_samples_seen_ == n


def test_a_stream_goes_on_and_a_fitted_model_joins():
    whole = MiniBatchRidgeSGD().fit(X, Y)
    stream = from_moments(X[:100], Y[:100]).partial_fit(X[100:], Y[100:])
    assert_same(stream, whole)
    shard = MiniBatchRidgeSGD().fit(X[100:], Y[100:])
    assert_same(from_moments(X[:100], Y[:100]).merge(shard), whole)
    assert_same(shard.merge(from_moments(X[:100], Y[:100])), whole)
    small = from_moments(X[:100], Y[:100])
    for start in range(100, 300):
        small = small.partial_fit(X[start : start + 1], Y[start : start + 1], check_input=False)
    assert_same(small, whole)


def test_parameters_may_change_afterwards():
    model = from_moments(X, Y).set_params(alpha=1.0).partial_fit(X[:1], Y[:1])
    again = MiniBatchRidgeSGD(alpha=1.0).fit(np.vstack([X, X[:1]]), np.append(Y, Y[0]))
    assert_same(model, again)


def test_pickles_copies_and_models_without_statistics():
    model = from_moments(X, Y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.coef_, model.coef_)
    np.testing.assert_array_equal(
        copied.partial_fit(X, Y).coef_, pickle.loads(pickle.dumps(model)).partial_fit(X, Y).coef_
    )
    small = model.without_statistics()
    np.testing.assert_array_equal(small.predict(X), model.predict(X))
    assert not hasattr(clone(model), "coef_")


@pytest.mark.parametrize("params", [{}, {"alpha": 0.0}, {"penalty_factor": [1.0, 0.0, 3.0, 1.0]}])
def test_intervals_are_those_of_fit_on_the_rows(params):
    model, fitted = from_moments(X, Y, **params), MiniBatchRidgeSGD(**params).fit(X, Y)
    ours, theirs = model.coef_table(), fitted.coef_table()
    assert list(ours) == list(theirs)
    for name in ours:
        if np.asarray(ours[name]).dtype.kind == "f":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-8)
    for one, other in zip(
        model.predict(X, return_std=True), fitted.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_merging_writes_into_no_array():
    """Stores of objects, such as that of Ray, hand out arrays that must not be written to."""
    models = [from_moments(X[:100], Y[:100]), MiniBatchRidgeSGD().fit(X[100:], Y[100:])]
    for model in models:
        moments = model._state.statistics
        for part in (moments.xx, moments.xy, moments.x.mean, moments.x.var, moments.y.mean):
            part.setflags(write=False)
    assert_same(reduce(MiniBatchRidgeSGD.merge, models), MiniBatchRidgeSGD().fit(X, Y))


def test_weights_as_repetitions():
    w = np.random.default_rng(0).integers(0, 4, 300)
    model = from_moments(np.repeat(X, w, axis=0), np.repeat(Y, w))
    assert_same(model, MiniBatchRidgeSGD().fit(X, Y, sample_weight=w))


def test_constant_columns_and_rounding_in_them():
    """What a database leaves of a constant column is no sample, not even for alpha=0."""
    rows = np.column_stack([X, np.full(300, 0.1)])
    n, mean, covariance = moments_of(rows, Y)
    rng = np.random.default_rng(0)
    covariance[4] = covariance[:, 4] = 1e-17 * rng.normal(size=6)
    covariance[4, 4] = 1e-34
    for alpha in (0.0, 1e-4):
        model = MiniBatchRidgeSGD(alpha=alpha).fit_moments(n, mean, covariance)
        assert_same(model, MiniBatchRidgeSGD(alpha=alpha).fit(rows, Y))
        assert model.coef_[4] == 0


def test_columns_far_from_zero_lose_nothing():
    far = X + np.array([0, 1e3, 1e6, 1e9])
    model = from_moments(far, Y)
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD().fit(far, Y).coef_, rtol=1e-6)


def test_one_row_and_more_columns_than_rows():
    model = MiniBatchRidgeSGD().fit_moments(1, [1.0, 2.0, 3.0], np.zeros((3, 3)))
    np.testing.assert_array_equal(model.coef_, [0, 0])
    assert model.intercept_ == 3.0
    wide, y = regression(20, 60)
    model = from_moments(wide, y)
    np.testing.assert_allclose(model.predict(wide), MiniBatchRidgeSGD().fit(wide, y).predict(wide))


def test_collinear_columns_pass_the_check():
    words = np.eye(3)[np.arange(300) % 3]
    rows = np.hstack([X, 1e6 + 5 * words])
    n, mean, covariance = moments_of(rows, Y)
    # As large as the rounding errors of DuckDB are, in such columns of some million rows.
    scale = np.sqrt(np.diag(covariance))
    noise = 1e-10 * np.random.default_rng(0).normal(size=covariance.shape) * scale * scale[:, None]
    model = MiniBatchRidgeSGD().fit_moments(n, mean, covariance + noise)
    fitted = MiniBatchRidgeSGD().fit(rows, Y)
    np.testing.assert_allclose(model.predict(rows), fitted.predict(rows), rtol=1e-4, atol=1e-5)


def test_names_are_given_or_those_of_pandas():
    table = pd.DataFrame(np.column_stack([X, Y]), columns=[*"abcd", "y"])
    of_frame = MiniBatchRidgeSGD(penalty_factor={"c": 5.0})
    of_frame.fit_moments(300, table.mean(), table.cov(ddof=0))
    named = MiniBatchRidgeSGD(penalty_factor={"c": 5.0})
    named.fit_moments(*moments_of(X, Y), feature_names=list("abcd"))
    fitted = MiniBatchRidgeSGD(penalty_factor={"c": 5.0}).fit(table[[*"abcd"]], table["y"])
    for model in (of_frame, named):
        assert model.feature_names_in_.tolist() == list("abcd")
        assert_same(model, fitted)
        assert_same(
            model.merge(fitted),
            fitted.__class__(penalty_factor={"c": 5.0}).fit(
                pd.concat([table, table])[[*"abcd"]], np.tile(Y, 2)
            ),
        )
    assert not hasattr(
        named.set_params(penalty_factor=None).fit_moments(*moments_of(X, Y)), "feature_names_in_"
    )


def test_numbers_of_a_database():
    """Decimals, integers and floats that count, as drivers return them."""
    from decimal import Decimal

    n, mean, covariance = moments_of(X, Y)
    mean = [Decimal(str(value)) for value in mean]
    model = MiniBatchRidgeSGD().fit_moments(float(n), mean, covariance.astype(object).tolist())
    assert_same(model, from_moments(X, Y))
    assert model.scaler_.n_samples_seen_ == 300


def with_entry(array, place, value, mirror=True):
    array = array.copy()
    array[place] = value
    if mirror:
        array[place[::-1]] = value
    return array


N, MEAN, COV = moments_of(X, Y)
BAD = {
    "no samples": ((0, MEAN, COV), "n_samples must be a whole number"),
    "half a sample": ((2.5, MEAN, COV), "n_samples must be a whole number"),
    "unknown number": ((np.nan, MEAN, COV), "n_samples must be a whole number"),
    "no number": ((None, MEAN, COV), "n_samples must be a whole number"),
    "mean and covariance apart": ((N, MEAN[:4], COV), r"got the shapes \(4,\) and \(5, 5\)"),
    "a matrix of means": ((N, MEAN[None], COV), "mean must have one number"),
    "no square": ((N, MEAN, COV[:4]), r"the shapes \(5,\) and \(4, 5\)"),
    "one column": ((N, MEAN[:1], COV[:1, :1]), "n_targets must be a whole number from 1 to 0"),
    "NaN": ((N, MEAN, with_entry(COV, (1, 3), np.nan)), "Column 1, 3 of X: .* NULL"),
    "NULL": ((N, [*MEAN[:4], None], COV), "Column 0 of y: .* NULL"),
    "infinity": ((N, MEAN, with_entry(COV, (2, 2), np.inf)), "Column 2 of X: .* infinite"),
    "text": ((N, ["a"] * 5, COV), "mean must be an array of real numbers"),
    "complex": ((N, MEAN, COV + 1j), "covariance must be an array of real numbers"),
    "ragged": ((N, MEAN, [[1.0], [1.0, 2.0]]), "covariance must be an array of real numbers"),
    "masked": ((N, np.ma.array(MEAN, mask=MEAN > 1), COV), "mean is a masked array"),
    "dates": ((N, np.full(5, np.datetime64("2020-01-01")), COV), "mean: dates or times"),
    "negative": ((N, MEAN, with_entry(COV, (4, 4), -1e-30)), "Column 0 of y: the variance is neg"),
    "half of it": ((N, MEAN, np.triu(COV)), "Column 0, 1, 2, 3 of X: .* not symmetric"),
    "a correlation of 2": (
        (N, MEAN, with_entry(COV, (0, 1), 2 * np.sqrt(COV[0, 0] * COV[1, 1]))),
        "not positive semi-definite.*same samples",
    ),
    "a constant that goes along": (
        (N, MEAN, with_entry(with_entry(COV, (0, 0), 0.0), (0, 4), 1.0)),
        "not positive semi-definite",
    ),
    "too large": (
        (N, with_entry(MEAN, (1,), 1e200, mirror=False), COV),
        "Column 1 of X: too large",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_moments_that_no_samples_have_are_refused(fault):
    moments, message = BAD[fault]
    for model in (MiniBatchRidgeSGD(), MiniBatchRidgeSGD().fit(X, Y), from_moments(X, Y)):
        before = state(model)
        with pytest.raises(ValueError, match=message):
            model.fit_moments(*moments)
        assert state(model) == before


def test_pairs_of_rows_with_gaps_have_no_covariance():
    """Pairwise covariances, as SQL computes them where values are missing."""
    table = pd.DataFrame(
        {"a": [1, 2, 3, 4, np.nan, np.nan, 1, 2], "b": [1, 2, 3, 4, 1, 2, np.nan, np.nan]}
    ).assign(c=[np.nan] * 4 + [2, 1, 1, 2])
    with pytest.raises(ValueError, match="not positive semi-definite"):
        MiniBatchRidgeSGD().fit_moments(8, table.mean(), table.cov(ddof=0))


@pytest.mark.parametrize(
    ("n_targets", "names", "message"),
    [
        (0, None, "n_targets must be a whole number from 1 to 4"),
        (5, None, "n_targets must be a whole number from 1 to 4"),
        (1.0, None, "n_targets must be a whole number"),
        (True, None, "n_targets must be a whole number"),
        (1, ["a", "b"], "feature_names must have 4 different strings"),
        (1, list("abcdy"), "feature_names must have 4 different strings"),
        (1, list("abca"), "feature_names must have 4 different strings"),
        (1, [0, 1, 2, 3], "feature_names must have 4 different strings"),
    ],
)
def test_numbers_of_targets_and_names(n_targets, names, message):
    with pytest.raises(ValueError, match=message):
        MiniBatchRidgeSGD().fit_moments(N, MEAN, COV, n_targets=n_targets, feature_names=names)


def test_labels_in_another_order_are_refused():
    table = pd.DataFrame(np.column_stack([X, Y]), columns=[*"abcd", "y"])
    other = table[[*"abdc", "y"]]
    for mean, covariance in (
        (other.mean(), table.cov(ddof=0)),
        (table.mean(), table.cov(ddof=0).loc[other.columns]),
    ):
        with pytest.raises(ValueError, match=r"another order.*covariance\.loc\[names, names\]"):
            MiniBatchRidgeSGD().fit_moments(300, mean, covariance)


@pytest.mark.parametrize(
    "params",
    [
        *({"solver": name} for name in ("qr", "svrg", "sgd")),
        {"batch_size": 32},
        {"lr": 0.1},
        {"preconditioner": None},
        {"early_stopping": True},
        {"solver": "cholesky", "early_stopping": True},
        {"half_life": 5.0},
    ],
    ids=str,
)
def test_what_needs_samples_is_refused_and_the_cure_helps(params):
    model = MiniBatchRidgeSGD(**params)
    with pytest.raises(ValueError, match="needs samples, and fit_moments has none") as caught:
        model.fit_moments(N, MEAN, COV)
    assert not hasattr(model, "coef_")
    cure = str(caught.value).partition("Set ")[2].partition(", or")[0]
    model.set_params(**eval(f"dict({cure})")).fit_moments(N, MEAN, COV)
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD().fit(X, Y).coef_, rtol=1e-9)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="'alpha' parameter"):
        MiniBatchRidgeSGD(alpha=-1).fit_moments(N, MEAN, COV)
    with pytest.raises(ValueError, match=r"alpha must be .* each of the 1 target"):
        MiniBatchRidgeSGD(alpha=[1.0, 2.0]).fit_moments(N, MEAN, COV)
    with pytest.warns(UserWarning, match="does not use batch_size"):
        MiniBatchRidgeSGD(solver="cholesky", batch_size=8).fit_moments(N, MEAN, COV)


def test_coefficients_out_of_range_are_refused_at_once():
    """The target is the difference of two columns that are nearly the same, in other units."""
    close, apart = 1 - 1e-12, np.sqrt(0.5e-12)
    correlation = np.array([[1, close, apart], [close, 1, -apart], [apart, -apart, 1]])
    scale = np.array([1e-153, 1e-153, 1e150])
    covariance = correlation * scale * scale[:, None]
    assert np.isfinite(MiniBatchRidgeSGD().fit_moments(10, np.zeros(3), covariance).coef_).all()
    with pytest.raises(ValueError, match="range of floating-point numbers"):
        MiniBatchRidgeSGD(alpha=0).fit_moments(10, np.zeros(3), covariance)


FOLDS = [slice(0, 60), slice(60, 120), slice(120, 180), slice(180, 240), slice(240, 300)]


class TestFolds:
    """Alpha chosen from the moments of each fold."""

    @staticmethod
    def folds(y=Y):
        return [moments_of(X[rows], y[rows]) for rows in FOLDS]

    @pytest.mark.parametrize("y", [Y, TWO], ids=["one", "two"])
    @pytest.mark.parametrize(
        "params",
        [{}, {"scoring": "r2", "one_standard_error": True}, {"alphas": [0.1, 1.0]}],
        ids=str,
    )
    def test_the_choice_is_that_of_fit_on_the_rows(self, params, y):
        fitted = MiniBatchRidgeSGDCV(cv=5, **params).fit(X, y)
        model = MiniBatchRidgeSGDCV(**params).fit_moments(
            iter(self.folds(y)), n_targets=1 if y.ndim == 1 else 2
        )
        np.testing.assert_allclose(model.alpha_, fitted.alpha_, rtol=1e-9)
        np.testing.assert_allclose(model.mse_path_, fitted.mse_path_, rtol=1e-7)
        np.testing.assert_allclose(model.coef_, fitted.coef_, rtol=1e-9)
        np.testing.assert_allclose(model.predict(X), fitted.predict(X), rtol=1e-9)

    def test_rows_are_added(self):
        model = MiniBatchRidgeSGDCV(cv=5).fit_moments(self.folds()).partial_fit(X, Y)
        assert model.scaler_.n_samples_seen_ == 600
        with pytest.raises(ValueError, match="the rows so far are in 5 folds"):
            model.set_params(cv=3).partial_fit(X, Y)

    @pytest.mark.parametrize(
        ("folds", "message"),
        [
            ([moments_of(X, Y)], "at least 2 tuple.*; got 1 with"),
            ([], "at least 2 tuple"),
            (moments_of(X, Y), "folds must have tuples .*; got a int"),
            ([moments_of(X, Y), moments_of(X[:, :2], Y)], r"with \[2, 4\] features"),
            ([moments_of(X, Y), (N, MEAN, -COV)], "Column 0, 1, 2, 3 of X: the variance is neg"),
        ],
    )
    def test_folds_that_are_none(self, folds, message):
        model = MiniBatchRidgeSGDCV().fit(X, Y)
        before = state(model)
        with pytest.raises(ValueError, match=message):
            model.fit_moments(folds)
        assert state(model) == before

    def test_groups_of_folds_merge(self):
        """Alpha is chosen by all groups, from one query by group and fold."""
        halves = [self.folds(), [moments_of(X[rows], 2 - Y[rows]) for rows in FOLDS]]
        one, other = (MiniBatchRidgeSGDCV().fit_moments(half) for half in halves)
        rows = np.concatenate([np.r_[part, part] for part in np.split(np.arange(300), 5)])
        both = [np.r_[Y[part], 2 - Y[part]] for part in np.split(np.arange(300), 5)]
        fitted = MiniBatchRidgeSGDCV(cv=5, alphas=one.alphas_).fit(X[rows], np.concatenate(both))
        merged = one.set_params(alphas=one.alphas_).merge(other.set_params(alphas=one.alphas_))
        np.testing.assert_allclose(merged.mse_path_, fitted.mse_path_, rtol=1e-9)
        np.testing.assert_allclose(merged.coef_, fitted.coef_, rtol=1e-7, atol=1e-12)

    @pytest.mark.parametrize("n_folds", [1, 5])
    def test_generalised_cross_validation_of_any_number_of_folds(self, n_folds):
        model = MiniBatchRidgeSGDCV(cv="gcv").fit_moments(
            [moments_of(X, Y)] if n_folds == 1 else self.folds()
        )
        fitted = MiniBatchRidgeSGDCV(cv="gcv").fit(X, Y)
        np.testing.assert_allclose(model.alpha_, fitted.alpha_, rtol=1e-9)
        np.testing.assert_allclose(model.mse_path_, fitted.mse_path_, rtol=1e-7)
        twice = MiniBatchRidgeSGDCV(cv="gcv").fit(np.tile(X, (2, 1)), np.tile(Y, 2))
        np.testing.assert_allclose(model.partial_fit(X, Y).coef_, twice.coef_, rtol=1e-9)

    @pytest.mark.parametrize("params", [{"half_life": 5.0}, {"cv": "loo"}], ids=str)
    def test_what_needs_rows(self, params):
        with pytest.raises(ValueError, match="needs samples, and fit_moments has none") as caught:
            MiniBatchRidgeSGDCV(**params).fit_moments(self.folds())
        cure = str(caught.value).partition("Set ")[2].partition(", or")[0]
        MiniBatchRidgeSGDCV(**eval(f"dict({cure})")).fit_moments(self.folds())
