"""Early stopping draws rows by their content: equal ones together, whatever the rounding errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_diabetes

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._data.held_out import held_out

from ..examples import examples

N = 1000
FRACTIONS = st.sampled_from([0.05, 0.1, 0.5, 0.9])
SEEDS = st.integers(0, 2**32 - 1)
BOUNDED = examples(60)


def mask(X, y, fraction=0.1, seed=0):
    return held_out(X, y, fraction, np.random.RandomState(seed))


@st.composite
def rows(draw, n=N):
    """X (n, d) and y (n, t) of any units and offsets.

    Columns may be decimals, whole numbers or mostly 0.
    """
    rng = np.random.default_rng(draw(SEEDS))
    d, t = draw(st.integers(1, 6)), draw(st.integers(1, 2))
    X = rng.standard_normal((n, d))
    for j in range(d):
        kind = draw(st.sampled_from(["normal", "decimals", "whole", "mostly 0", "wide"]))
        X[:, j] = {
            "normal": X[:, j],
            "decimals": np.round(X[:, j], 2),
            "whole": np.round(10 * X[:, j]),
            "mostly 0": np.where(rng.random(n) < 0.8, 0.0, X[:, j]),
            "wide": X[:, j] * 10.0 ** rng.uniform(-6, 6, n),
        }[kind]
    unit = draw(st.sampled_from([1.0, 2.54, 1e-30, 1e30]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 1e4]))
    return unit * (X + offset), rng.standard_normal((n, t)) + offset


@BOUNDED
@given(
    rows(),
    FRACTIONS,
    SEEDS,
    st.sampled_from(["1 ulp up", "1 ulp down", "1 ulp either way", "times 1 + 1e-15"]),
)
def test_rounding_errors_move_next_to_no_row(data, fraction, seed, by):
    X, y = data
    either = np.random.default_rng(seed).choice([-np.inf, np.inf], X.shape)
    other = {
        "1 ulp up": np.nextafter(X, np.inf),
        "1 ulp down": np.nextafter(X, -np.inf),
        "1 ulp either way": np.nextafter(X, either),
        "times 1 + 1e-15": X * (1 + 1e-15),
    }[by]
    moved = mask(X, y, fraction, seed) != mask(other, y, fraction, seed)
    # 6,000 numbers, each with a chance of 1e-8 or so.
    assert moved.sum() <= 2


@BOUNDED
@given(rows(), FRACTIONS, SEEDS)
def test_rounding_errors_of_zero_move_next_to_no_row(data, fraction, seed):
    """Sums that are 0 but for rounding, beside numbers of the size of the column."""
    X, y = data
    errors = np.random.default_rng(seed).normal(scale=1e-16, size=X.shape) * np.abs(X).max(axis=0)
    moved = mask(X, y, fraction, seed) != mask(np.where(X == 0, errors, X), y, fraction, seed)
    assert moved.sum() <= 2


@BOUNDED
@given(rows(), FRACTIONS, SEEDS)
def test_a_copy_in_float32_and_a_sparse_copy_have_the_same_rows_held_out(data, fraction, seed):
    X, y = data
    expected = mask(X, y, fraction, seed)
    for other in (
        X.astype(np.float32),
        sparse.csr_array(X),
        np.asfortranarray(X),
        np.where(X == 0, -0.0, X),
    ):
        np.testing.assert_array_equal(mask(other, y, fraction, seed), expected)
    np.testing.assert_array_equal(
        mask(X, y.astype(np.float32).astype(float), fraction, seed), expected
    )


@BOUNDED
@given(rows(40), FRACTIONS, SEEDS)
def test_equal_rows_stay_together_and_are_counted_once(data, fraction, seed):
    """The mask is that of the rows without their copies.

    It does not matter where the copies stand, or how many there are.
    """
    X, y = data
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.r_[np.arange(40), rng.integers(40, size=100)])
    copies, targets = X[which], y[which]
    copies[copies == 0] *= rng.choice([-1.0, 1.0], np.sum(copies == 0))
    for other in (
        copies,
        copies.astype(np.float32),
        sparse.csr_array(copies),
        sparse.csr_array(np.where(copies, copies, -0.0)),
    ):
        np.testing.assert_array_equal(
            mask(other, targets, fraction, seed), mask(X, y, fraction, seed)[which]
        )


@BOUNDED
@given(rows(), FRACTIONS, SEEDS, st.integers(0, 5), st.booleans())
def test_a_row_that_changes_moves_itself_and_at_most_one_other(data, fraction, seed, k, in_y):
    X, y = data
    changed = np.random.default_rng(seed).choice(N, k, replace=False)
    other, targets = X.copy(), y.copy()
    (targets if in_y else other)[changed] *= 1.25
    moved = mask(X, y, fraction, seed) != mask(other, targets, fraction, seed)
    assert moved.sum() <= 2 * k


@pytest.mark.parametrize("kind", ["binary", "whole", "normal", "one-hot"])
def test_every_row_is_as_likely_as_any_other_and_pairs_are_independent(kind):
    """Counts of rows and of pairs are as expected by chance.

    Over 1,000 draws they are within 6 standard deviations.
    """
    rng = np.random.default_rng(0)
    X = {
        "binary": (np.arange(32)[:, None] >> np.arange(5)) % 2.0,
        "whole": np.arange(32.0)[:, None],
        "normal": rng.standard_normal((32, 3)),
        "one-hot": np.eye(32),
    }[kind]
    draws = np.array([mask(X, np.zeros((32, 1)), 0.25, seed) for seed in range(1000)], dtype=float)
    assert np.all(draws.sum(axis=1) == 8)
    pairs = draws.T @ draws / 1000
    chance = np.where(np.eye(32) == 1, 8 / 32, 8 * 7 / (32 * 31))
    assert np.all(np.abs(pairs - chance) <= 6 * np.sqrt(chance * (1 - chance) / 1000))


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_a_fit_does_not_hang_on_the_last_bits(solver):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = MiniBatchRidgeSGD(
        solver=solver, early_stopping=True, max_iter=20, tol=None, random_state=0
    )
    scores = [
        model.fit(rows, y).score(X, y)
        for rows in (
            X,
            X * (1 + 1e-15),
            np.nextafter(X, np.inf),
            sparse.csr_array(X),
            X.astype(np.float32),
        )
    ]
    np.testing.assert_allclose(scores[1:4], scores[0], rtol=1e-9)
    np.testing.assert_allclose(scores[4], scores[0], rtol=1e-4)


def test_scores_are_r2_against_the_mean_of_the_rows_to_fit():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y, w = X[:, 0] + rng.standard_normal(60) + 5, rng.exponential(size=60)
    model = MiniBatchRidgeSGD(early_stopping=True, random_state=0).fit(X, y, w)
    out = mask(X, y[:, None], model.validation_fraction, seed=0)
    error = w[out] @ (model.predict(X[out]) - y[out]) ** 2
    of_mean = w[out] @ (np.average(y[~out], weights=w[~out]) - y[out]) ** 2
    assert max(model.validation_scores_) == pytest.approx(1 - error / of_mean, rel=1e-9)
