"""The closed form from a triangular factor, against least squares in double-double arithmetic."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_minibatch._solvers.qr import closed_form
from sklearn_minibatch._statistics.scaling import scaling_of
from sklearn_minibatch._statistics.triangular_factor import rotated_rows, triangular_factor

from ..double_double import product
from ..exact import DIGITS, numbers
from ..examples import examples
from ..least_squares import minimiser, standardized

EPS = np.finfo(float).eps


def found_and_exact(X, y, alpha, w=None, fit_intercept=True, standardize=True, start=None):
    """The closed form of the factor, and the exact minimiser and rows, in the same units."""
    factor = triangular_factor(X, y, w)
    scaling = scaling_of(factor.x, factor.y, fit_intercept, standardize)
    closed = closed_form(rotated_rows(factor, scaling), alpha, start)
    rows = standardized(X, y, w, fit_intercept, standardize)
    return closed, rows, minimiser(rows, alpha)


def distance(closed, rows, best):
    """RMS distances (t,) of the predictions from those of the minimiser, in std(y)."""
    fitted = product(rows.A, closed.beta * rows.y_scale)
    return np.linalg.norm(np.array(fitted - best.fitted[0]), axis=0) / rows.y_scale


@st.composite
def problems(draw, least_exponent=0.0):
    """Rows of any condition and of columns of unlike scales, weights or None, and alpha."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    n, d, t = draw(st.integers(2, 40)), draw(st.integers(1, 10)), draw(st.sampled_from([1, 3, 12]))
    X = rng.standard_normal((n, d))
    V = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = X * np.geomspace(1, 10.0 ** -draw(st.floats(least_exponent, 12)), d) @ V
    if draw(st.booleans()):
        X *= 10.0 ** rng.uniform(-4, 4, d)
    if draw(st.booleans()):
        X[:, rng.integers(d)] = draw(st.sampled_from([0.0, 3.3]))
    y = rng.standard_normal((n, t))
    if draw(st.booleans()):
        y = X / np.maximum(np.abs(X).max(axis=0), 1e-9) @ rng.standard_normal((d, t))
    w = draw(st.sampled_from([None, rng.exponential(size=n), 10.0 ** rng.uniform(-4, 4, n)]))
    alpha = draw(st.sampled_from([0.0, 1e-25, 1e-16, 1e-8, 1e-3, 1.0, 1e6]))
    return X, y, w, alpha


@examples(100)
@given(problems(), st.booleans(), st.booleans())
def test_any_rows(problem, fit_intercept, standardize):
    """Predictions and losses; the bound on rounding is one, and of the size of theory's."""
    X, y, w, alpha = problem
    closed, rows, best = found_and_exact(X, y, alpha, w, fit_intercept, standardize)
    if len(best.fitted) > 1:
        return  # A direction is lost in the digits of the rows.
    if best.beta is None and not standardize:
        return  # That is the subject of dependent columns in unlike units.
    true = distance(closed, rows, best)
    assert np.all(true <= closed.rounding)
    size = 1 + best.length / rows.y_scale + best.residual / rows.y_scale / best.least
    assert np.all(closed.rounding <= 1e4 * EPS * size)
    # The bound on the distance is one on the loss too.
    loss = (best.residual / rows.y_scale) ** 2 / 2
    np.testing.assert_allclose(closed.loss, loss, rtol=1e-12, atol=1e-15 + closed.rounding.max())


@examples(40)
@given(problems(), st.booleans())
def test_the_bound_is_not_a_wild_one(problem, standardize):
    """Rounding the numbers of the rows, which nobody can undo, moves predictions by 1e-4 of it."""
    X, y, w, alpha = problem
    closed, rows, best = found_and_exact(X, y, alpha, w, True, standardize)
    if len(best.fitted) > 1 or len(X) < X.shape[1] + 3:
        return  # Rows that are interpolated are so whatever their last digits.
    rng = np.random.default_rng(0)
    moved = []
    for _ in range(2):
        other = X + X.std(axis=0) * EPS * rng.standard_normal(X.shape)
        moved_rows = standardized(other, y, w, True, standardize)
        moved.append(np.array(minimiser(moved_rows, alpha).fitted[0] - best.fitted[0]))
    far = np.max([np.linalg.norm(each, axis=0) for each in moved], axis=0) / rows.y_scale
    assert np.all(closed.rounding <= 1e4 * np.maximum(far, EPS))


def least_norm(Z, v, start):
    """Of all least squares the nearest to the start, in exact arithmetic; all are mpmath's."""
    d = Z.shape[1]
    tiny = mpmath.mpf("1e-40")
    gram = mpmath.matrix((Z.T @ Z + tiny * np.eye(d, dtype=int)).tolist())
    right = Z.T @ (v - Z @ start)
    away = [mpmath.cholesky_solve(gram, mpmath.matrix(b.tolist())) for b in right.T]
    return start + np.array([[x[j] for x in away] for j in range(d)], dtype=object)


@pytest.mark.parametrize("is_wide", [False, True])
@examples(40)
@given(
    seed=st.integers(0, 2**20),
    n=st.integers(3, 12),
    d=st.integers(2, 8),
    t=st.sampled_from([1, 2]),
    weighted=st.booleans(),
    fit_intercept=st.booleans(),
    standardize=st.booleans(),
    warm=st.booleans(),
)
def test_dependent_columns_and_wide_rows(
    is_wide, seed, n, d, t, weighted, fit_intercept, standardize, warm
):
    """The minimiser nearest to the start, or to 0, for integers that depend to the last bit."""
    rng = np.random.default_rng(seed)
    d = n + d if is_wide else d
    X = rng.integers(-5, 6, (n, d)).astype(float)
    X[:, -1] = X[:, 0] - 2 * X[:, min(1, d - 2)]
    y = rng.standard_normal((n, t))
    w = rng.integers(1, 4, n).astype(float) if weighted else None
    start = rng.standard_normal((d, t)) if warm else None
    closed, rows, best = found_and_exact(X, y, 0.0, w, fit_intercept, standardize, start)
    if len(best.fitted) > 1 or best.least < 1e-3:
        return
    assert np.all(distance(closed, rows, best) <= closed.rounding)
    with mpmath.workdps(DIGITS):
        share = numbers(np.ones(n) if w is None else w)
        share = share / share.sum()
        Z, v = numbers(X), numbers(y)
        x_mean = share @ Z
        scale = [mpmath.sqrt(s) for s in share @ (Z - x_mean) ** 2]
        if fit_intercept:
            Z, v = Z - x_mean, v - share @ v
        if standardize:
            Z = Z / np.array([s or mpmath.mpf(1) for s in scale])
        root = np.array([mpmath.sqrt(s) for s in share])[:, None]
        Z, v = Z * root, v * root / numbers(rows.y_scale)
        zero = numbers(np.zeros((d, t)))
        exact = least_norm(Z, v, zero if start is None else numbers(start))
        exact = np.array(exact.tolist(), dtype=float)
    size = np.abs(exact).max() + 1
    assert np.abs(closed.beta - exact).max() <= 1e-9 * size
    never = np.ptp(X, axis=0) == 0
    if fit_intercept and start is None:
        assert not closed.beta[never].any()


def test_a_constant_column_keeps_its_start():
    """Nothing tells of its coefficient; without a start it is 0."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 1))
    X[:, 1] = 5.0
    assert found_and_exact(X, y, 0.0)[0].beta[1] == 0


@pytest.mark.parametrize("alpha", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_penalties(alpha):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 3)), rng.standard_normal((30, 2))
    closed, rows, best = found_and_exact(X, y, alpha)
    assert np.all(np.isfinite(closed.beta))
    assert np.all(distance(closed, rows, best) <= closed.rounding)


@pytest.mark.parametrize("exponent", [2, 4, 6, 7])
def test_dependent_columns_in_unlike_units(exponent):
    """Predictions are unique whatever the units; those of columns of one length are good."""
    rng = np.random.default_rng(0)
    Z = rng.integers(-9, 10, (60, 4)).astype(float)
    unit = 10.0**exponent
    X = np.c_[Z, Z[:, 0] - Z[:, 1]] * [1 / unit, unit, 1, 1 / unit, unit]
    y = Z @ np.ones((4, 1)) + rng.standard_normal((60, 1))
    closed, rows, _ = found_and_exact(X, y, 0.0, standardize=False)
    exact = minimiser(standardized(Z, y), 0.0)
    assert np.all(distance(closed, rows, exact) <= closed.rounding)


def test_no_rows_that_vary():
    X, y = np.ones((4, 2)), np.array([[1.0], [2.0], [3.0], [4.0]])
    closed, _, _ = found_and_exact(X, y, 0.0)
    assert not closed.beta.any()
    np.testing.assert_allclose(closed.loss, 0.5)
