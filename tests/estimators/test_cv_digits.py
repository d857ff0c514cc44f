"""All digits of `MiniBatchRidgeSGDCV`, where columns nearly follow from others, or y from columns.

Coefficients are held against exact minimisers, and scores against `GridSearchCV` and against the
errors of exact minimisers on the samples held out.
"""

import warnings
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._statistics.fold_moments import dealt

from ..double_double import product
from ..exact import DIGITS, as_floats, minimiser, numbers
from ..least_squares import fitted_values, standardized
from ..least_squares import minimiser as least_squares

ALPHAS = np.array([0.0, 1e-14, 1e-8, 1e-4, 1e-1])
N_FOLDS = 4


class Samples(NamedTuple):
    """X (n, d) and y (n, t)."""

    X: np.ndarray
    y: np.ndarray


def powers():
    """Powers of a variable: the condition number is 1e9."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-9, -3, 120)
    return Samples(x[:, None] ** np.arange(1, 8), np.sin(3 * x)[:, None] + 0.01)


def two_columns_together():
    """What distinguishes them explains half of y."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    apart = rng.standard_normal(80)
    X[:, 3] = X[:, 0] + 1e-7 * apart
    return Samples(X, (X[:, 1] + apart + 0.1 * rng.standard_normal(80))[:, None])


def almost_exactly_linear():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4)) + 3
    return Samples(X, X @ rng.standard_normal((4, 1)) + 1e-6 * rng.standard_normal((80, 1)))


def nearly_linear():
    """Products leave errors on samples held out between 6 and 8 digits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4)) + 3
    return Samples(X, X @ rng.standard_normal((4, 1)) + 3e-5 * rng.standard_normal((80, 1)))


def correlated():
    """Products have all digits of the errors, and half of those of the coefficients."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    X[:, 3] = X[:, 0] + 1e-4 * X[:, 3]
    return Samples(X, X[:, :1] + rng.standard_normal((80, 1)))


def unlike_units():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4)) * [1e-4, 1, 1e3, 1e6] + [0, 5, 0, -1e7]
    X[:, 2] += 1e3 * (X[:, 0] * 1e4 + X[:, 1])
    return Samples(X, (X / X.std(axis=0)) @ rng.standard_normal((4, 1)) + 3)


def several_targets():
    X, y = two_columns_together()
    rng = np.random.default_rng(1)
    exact = X[:, :2] @ rng.standard_normal((2, 1))
    return Samples(X, np.hstack([y, exact, rng.standard_normal((80, 1)), 1e5 + y]))


def plain():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    return Samples(X, X @ rng.standard_normal((4, 1)) + rng.standard_normal((80, 1)))


ROWS = [
    plain,
    powers,
    two_columns_together,
    almost_exactly_linear,
    nearly_linear,
    correlated,
    unlike_units,
    several_targets,
]
HARD = [powers, two_columns_together, several_targets]
WEIGHTED = pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])


def weights(n):
    return np.random.default_rng(2).exponential(size=n) + 0.1


def without_warnings(model, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args)


def targets(y):
    """One target is (n,) for users."""
    return y[:, 0] if y.shape[1] == 1 else y


def assert_is_minimiser(model, samples, w=None):
    """Predictions within 1e-8, and coefficients as well as the digits of the rows tell them.

    With a penalty those of their products do.
    """
    X, y = samples
    units = {"fit_intercept": model.fit_intercept, "standardize": model.standardize}
    alphas = np.broadcast_to(model.alpha_, y.shape[1])
    coef, intercept = np.atleast_2d(model.coef_), np.ravel(model.intercept_)
    for k, alpha in enumerate(alphas):
        exact = minimiser(X, y[:, k], float(alpha), w, **units)
        rows = standardized(X, y[:, k], w, **units)
        best = least_squares(rows, float(alpha))
        found = fitted_values(rows, X, w, coef[k][:, None], intercept[k : k + 1])
        far = np.linalg.norm(np.array(found - best.fitted[0])) / rows.y_scale[0]
        assert far <= 1e-8
        # Per length of the column, which is 1 only if columns are standardised.
        lengths = np.sqrt(np.array((rows.A * rows.A).sum())[: X.shape[1]])
        unit = np.array(rows.x_scale) * lengths / rows.y_scale[0]
        error = (coef[k] - as_floats(exact.coef)[:, 0]) * unit
        most = 1e-13 if alpha == 0 else 1e-11
        assert np.linalg.norm(error) <= most * (1 + best.length[0] / rows.y_scale[0]) / best.least


@pytest.mark.parametrize("rows", ROWS)
@WEIGHTED
@pytest.mark.parametrize("alpha", ALPHAS)
def test_coefficients(rows, weighted, alpha):
    samples = rows()
    w = weights(len(samples.X)) if weighted else None
    model = MiniBatchRidgeSGDCV([alpha]).fit(samples.X, targets(samples.y), w)
    assert model.converged_
    assert_is_minimiser(model, samples, w)


@pytest.mark.parametrize("rows", [powers, two_columns_together, unlike_units])
@pytest.mark.parametrize("units", [{"standardize": False}, {"fit_intercept": False}], ids=str)
def test_coefficients_in_other_units(rows, units):
    samples = rows()
    for alpha in (0.0, 1e-4):
        model = MiniBatchRidgeSGDCV([alpha], **units).fit(samples.X, targets(samples.y))
        assert model.converged_
        assert_is_minimiser(model, samples)


def exact_errors(samples, alphas, folds, w=None, **units):
    """Mean squared errors (n_alphas, n_folds, t) on samples held out, of exact minimisers."""
    X, y = samples
    w = np.ones(len(X)) if w is None else w
    found = np.empty((len(alphas), len(folds), y.shape[1]))
    for f, (train, test) in enumerate(folds):
        rows = standardized(X[train], y[train], w[train], **units)
        Z = (X[test] - rows.x_mean) / rows.x_scale
        share = w[test] / w[test].sum()
        for a, alpha in enumerate(alphas):
            best = least_squares(rows, float(alpha))
            residual = np.array(product(Z, best.beta) - (y[test] - rows.y_mean))
            found[a, f] = share @ residual**2
    return found


def folds_of_rows(n):
    return list(KFold(N_FOLDS).split(np.empty(n)))


@WEIGHTED
@pytest.mark.parametrize("rows", ROWS)
def test_errors_of_the_path(rows, weighted):
    """To 8 digits, besides what the rounding of coefficients costs that are as large."""
    X, y = samples = rows()
    w = weights(len(X)) if weighted else None
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS).fit(X, targets(y), w)
    found = model.mse_path_.reshape(len(ALPHAS), N_FOLDS, -1)
    exact = exact_errors(samples, ALPHAS, folds_of_rows(len(X)), w)
    assert_same_errors(found, exact, y.std(axis=0))


def assert_same_errors(found, exact, unit):
    """Errors to 8 digits, or to those that 1e-8 `unit` of a prediction leave."""
    far = 1e-8 * unit
    assert np.all(np.abs(found - exact) <= 1e-8 * exact + 2 * far * np.sqrt(exact) + far**2)


@pytest.mark.parametrize("units", [{"standardize": False}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("rows", [*HARD, unlike_units])
def test_errors_of_the_path_in_other_units(rows, units):
    X, y = samples = rows()
    model = without_warnings(MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS, **units), X, targets(y))
    found = model.mse_path_.reshape(len(ALPHAS), N_FOLDS, -1)
    exact = exact_errors(samples, ALPHAS, folds_of_rows(len(X)), None, **units)
    assert_same_errors(found, exact, y.std(axis=0))


@pytest.mark.parametrize("rows", ROWS)
def test_scores_of_a_grid_search(rows):
    X, y = rows()
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS).fit(X, targets(y))
    grid = GridSearchCV(
        MiniBatchRidgeSGD(tol=1e-9),
        {"alpha": ALPHAS},
        cv=N_FOLDS,
        scoring=["neg_mean_squared_error", "r2"],
        refit=False,
    )
    without_warnings(grid, X, targets(y))
    scores = -grid.cv_results_["mean_test_neg_mean_squared_error"]
    ours = model.mse_path_.reshape(len(ALPHAS), -1).mean(axis=1)
    assert_same_errors(ours, scores, y.std(axis=0).max())
    assert ours.min() == ours[list(ALPHAS).index(model.alpha_)]
    assert -model.best_score_ == pytest.approx(ours.min(), rel=1e-12)
    scores = grid.cv_results_["mean_test_r2"]
    by_r2 = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS, scoring="r2").fit(X, targets(y))
    assert by_r2.best_score_ == pytest.approx(scores.max(), abs=1e-8)


def wide():
    """Fewer samples than columns, which fit them exactly without a penalty."""
    rng = np.random.default_rng(0)
    return Samples(rng.standard_normal((6, 9)) + 1, rng.standard_normal((6, 2)))


def wide_nearly_repeated():
    X, y = wide()
    X[3:] = X[:3] + 1e-7 * X[3:]
    return Samples(X, y)


def wide_decaying():
    X, y = wide()
    U, _, Vt = np.linalg.svd(X, full_matrices=False)
    return Samples(U * np.geomspace(1, 1e-6, 6) @ Vt + 1, y)


def exact_errors_of_one_fit(samples, alpha, w, fit_intercept):
    """Errors (t,) of samples left out in turn at the scale of all, and by the mean leverage."""
    X, y = samples
    n = len(X)
    with mpmath.workdps(DIGITS):
        share = numbers(w) / sum(numbers(w))
        Z = numbers(X) - share @ numbers(X)
        Z = (Z if fit_intercept else numbers(X)) / [mpmath.sqrt(v) for v in share @ Z**2]

        def fitted(targets, counts):
            """Predictions of a fit of these samples; its penalty is that of all."""
            each = share * counts
            best = minimiser(Z, targets, alpha / each.sum(), each, fit_intercept, False)
            return Z @ best.coef + best.intercept

        left_out = [fitted(y, np.arange(n) != i)[i] - y[i] for i in range(n)]
        H = fitted(np.eye(n), np.ones(n))
        residual = numbers(y) - H @ numbers(y)
        generalized = share @ residual**2 / (1 - np.trace(H) / n) ** 2
        return as_floats(share @ np.array(left_out) ** 2), as_floats(generalized)


@WEIGHTED
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("rows", [wide, wide_nearly_repeated, wide_decaying])
def test_errors_from_one_fit_of_fewer_samples_than_features(rows, fit_intercept, weighted):
    """Where residuals are next to nothing, and leverages next to 1."""
    samples = rows()
    w = weights(6) if weighted else np.ones(6)
    for alpha in (1e-9, 1e-4, 1e2):
        exact = exact_errors_of_one_fit(samples, alpha, w, fit_intercept)
        for cv, expected in zip(("loo", "gcv"), exact, strict=True):
            model = MiniBatchRidgeSGDCV([alpha], cv=cv, fit_intercept=fit_intercept)
            found = model.fit(*samples, w).mse_path_[0, 0]
            np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_an_alpha_of_each_target():
    X, y = samples = several_targets()
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS, alpha_per_target=True).fit(X, y)
    assert len(np.unique(model.alpha_)) > 1
    assert model.converged_
    exact = exact_errors(samples, ALPHAS, folds_of_rows(len(X)))
    assert np.array_equal(model.alpha_, ALPHAS[exact.mean(axis=1).argmin(axis=0)])
    assert_is_minimiser(model, samples)


def chunks(samples, w=None, size=13):
    X, y = samples
    for start in range(0, len(X), size):
        part = slice(start, start + size)
        yield (X[part], targets(y)[part]) if w is None else (X[part], targets(y)[part], w[part])


def dealt_folds(n, seed):
    """The folds of rows that come in chunks."""
    folds = dealt(0, n, N_FOLDS, np.random.RandomState(seed).randint(2**31))
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(N_FOLDS)]


@WEIGHTED
@pytest.mark.parametrize("rows", ROWS)
def test_chunks_are_read_again_where_products_have_too_few_digits(rows, weighted):
    samples = rows()
    n = len(samples.X)
    w = weights(n) if weighted else None
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS, random_state=0)
    model.fit(ChunkSource(lambda: chunks(samples, w)))
    assert model.converged_
    assert_is_minimiser(model, samples, w)
    found = model.mse_path_.reshape(len(ALPHAS), N_FOLDS, -1)
    exact = exact_errors(samples, ALPHAS, dealt_folds(n, 0), w)
    assert_same_errors(found, exact, samples.y.std(axis=0))
    assert model.n_passes_ == (1 if rows is plain else 2)


def learn_once(model, samples, how):
    """From rows that cannot be read again."""
    if how == "iterator":
        model.fit(chunks(samples))
    else:
        model.partial_fit(samples.X, targets(samples.y))


@pytest.mark.parametrize("rows", HARD)
@pytest.mark.parametrize("how", ["iterator", "partial_fit"])
def test_what_cannot_be_read_again_warns(rows, how):
    samples = rows()
    model = MiniBatchRidgeSGDCV([0.0], cv=N_FOLDS, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"Columns nearly follow.*larger alpha"):
        learn_once(model, samples, how)
    assert not model.converged_


@pytest.mark.parametrize("how", ["iterator", "partial_fit"])
def test_scores_that_cannot_be_computed_again_warn(how):
    """The coefficients of one read are good, and the scores have lost their digits."""
    samples = almost_exactly_linear()
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS, random_state=0)
    with pytest.warns(ConvergenceWarning, match="scores"):
        learn_once(model, samples, how)
    assert model.converged_
    assert_is_minimiser(model, samples)


@pytest.mark.parametrize("how", ["iterator", "partial_fit"])
@pytest.mark.parametrize("rows", ROWS)
def test_a_stream_that_does_not_warn_has_all_digits(rows, how):
    samples = rows()
    for alphas in (ALPHAS[2:], ALPHAS[3:], ALPHAS[4:]):
        model = MiniBatchRidgeSGDCV(alphas, cv=N_FOLDS, random_state=0)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            learn_once(model, samples, how)
        if warned:
            continue
        assert model.converged_
        assert_is_minimiser(model, samples)
        found = model.mse_path_.reshape(len(alphas), N_FOLDS, -1)
        exact = exact_errors(samples, alphas, dealt_folds(len(samples.X), 0))
        assert_same_errors(found, exact, samples.y.std(axis=0))


def test_the_same_as_a_single_fit():
    """The final fit has the digits of `MiniBatchRidgeSGD(alpha_)`."""
    for rows in ROWS:
        X, y = rows()
        model = MiniBatchRidgeSGDCV(ALPHAS, cv=N_FOLDS).fit(X, targets(y))
        single = MiniBatchRidgeSGD(model.alpha_, tol=1e-9)
        without_warnings(single, X, targets(y))
        far = np.sqrt(np.mean((model.predict(X) - single.predict(X)) ** 2, axis=0)) / y.std(axis=0)
        assert np.all(far <= 1e-7)


@pytest.mark.parametrize("alpha", [1e3, 1e12, 1e300])
def test_an_end_of_the_grid_that_loses_digits_leaves_the_other_its_own(alpha):
    """Coefficients of a large penalty are right relative to their size."""
    X, _ = two_columns_together()
    y = np.random.default_rng(3).standard_normal(80)
    model = MiniBatchRidgeSGDCV([alpha, 1e-20], cv=N_FOLDS).fit(X, y)
    assert model.alpha_ == alpha
    exact = as_floats(minimiser(X, y, alpha).coef)[:, 0]
    np.testing.assert_allclose(model.coef_, exact, rtol=1e-12)
