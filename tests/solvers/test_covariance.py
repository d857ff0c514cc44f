"""Standard errors and predictive deviations, against other packages and plain least squares."""

import pickle
from typing import NamedTuple

import mpmath
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from glum import GeneralizedLinearRegressor
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import BayesianRidge

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..exact import DIGITS, numbers
from ..examples import examples
from ..fits import cut, merged, streamed
from ..oracles import regression, weighted_mean
from ..tools.nist import DATASETS

KINDS = pytest.mark.parametrize("kind", ["bayesian", "sampling"])
TABLES = {
    "MiniBatchRidgeSGD": lambda X, y, w=None, **kw: MiniBatchRidgeSGD(**kw).fit(X, y, w),
    "qr": lambda X, y, w=None, **kw: MiniBatchRidgeSGD(solver="qr", **kw).fit(X, y, w),
}


class Reference(NamedTuple):
    """Intercept and coefficients (1 + d,), their covariance over s2, s2 and n - df."""

    parameters: np.ndarray
    bayesian: np.ndarray
    sampling: np.ndarray
    s2: float
    freedom: float

    def std_errors(self, kind):
        return np.sqrt(np.diag(getattr(self, kind)) * self.s2)

    def std(self, X):
        rows = np.column_stack([np.ones(len(X)), X])
        return np.sqrt(self.s2 * (1 + np.einsum("ij,jk,ik->i", rows, self.bayesian, rows)))


def inverse_of(A):
    """(A'A)^-1 in extended precision, by two rounds of Gram-Schmidt on columns of unit length."""
    A = A.astype(np.longdouble)
    length = np.sqrt((A * A).sum(axis=0))
    Q, R = A / length, np.eye(A.shape[1], dtype=np.longdouble)
    for _ in range(2):
        T = np.zeros_like(R)
        for j in range(len(T)):
            T[j, j] = np.sqrt((Q[:, j] ** 2).sum())
            Q[:, j] /= T[j, j]
            T[j, j + 1 :] = Q[:, j] @ Q[:, j + 1 :]
            Q[:, j + 1 :] -= np.outer(Q[:, j], T[j, j + 1 :])
        R = T @ R
    inverse = np.eye(len(R), dtype=np.longdouble)
    for i in range(len(R))[::-1]:
        inverse[i] = (inverse[i] - R[i, i + 1 :] @ inverse[i + 1 :]) / R[i, i]
    inverse /= length[:, None]
    return inverse @ inverse.T


def reference(X, y, alpha, factor=None, w=None, fit_intercept=True, standardize=True):
    """Least squares on the rows [1, x] and one more row for each penalty, nothing centred.

    Columns whose factor is infinite are left out.
    """
    n, d = X.shape
    w = np.ones(n) if w is None else w
    factor = np.ones(d) if factor is None else factor
    kept = np.append(fit_intercept, np.isfinite(factor))
    root = np.sqrt(w / w.mean())[:, None].astype(np.longdouble)
    rows = (root * np.column_stack([np.ones(n), X]))[:, kept]
    scale = np.sqrt(w @ (X - weighted_mean(X, w)) ** 2 / w.sum()) if standardize else np.ones(d)
    scale[scale == 0] = 1.0
    penalty = np.append(0.0, np.sqrt(n * alpha * np.where(np.isinf(factor), 0, factor)) * scale)
    inverse = inverse_of(np.vstack([rows, np.diag(penalty[kept])]))
    targets = root[:, 0] * y
    parameters = np.zeros(1 + d)
    parameters[kept] = inverse @ (rows.T @ targets)
    residual = targets - rows @ parameters[kept]
    hat = rows @ inverse
    freedom = n - (hat * rows).sum()
    covariances = np.zeros((2, 1 + d, 1 + d))
    covariances[:, np.outer(kept, kept)] = [np.ravel(inverse), np.ravel(hat.T @ hat)]
    s2 = float(residual @ residual / freedom)
    return Reference(parameters, *covariances, s2, float(freedom))


def tables_of(model, **kwargs):
    tables = model.coef_table(**kwargs)
    return tables if isinstance(tables, list) else [tables]


def assert_as(model, references, X, kind, rtol=1e-9):
    """The table and the deviations of a model are those of a reference for each target."""
    first = int(not model.fit_intercept)
    std = np.reshape(model.predict(X, return_std=True)[1], (len(X), -1))
    for t, (table, wanted) in enumerate(
        zip(tables_of(model, kind=kind, confidence_level=0.8), references, strict=True)
    ):
        error = wanted.std_errors(kind)[first:]
        np.testing.assert_allclose(table.coef, wanted.parameters[first:], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(table.std_error, error, rtol=rtol)
        half = stats.t(wanted.freedom).ppf(0.9) * error
        np.testing.assert_allclose(table.upper - table.coef, half, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(table.coef - table.lower, half, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(std[:, t], wanted.std(X), rtol=rtol)


def with_folds(model):
    """The CV estimator with one alpha to choose from."""
    shared = {
        name: value
        for name, value in model.get_params().items()
        if name in ("fit_intercept", "standardize", "penalty_factor")
    }
    return MiniBatchRidgeSGDCV([model.alpha], cv=3, random_state=0, **shared)


def of_dask(model, X, Y, w):
    da = pytest.importorskip("dask.array")
    parts = [None if each is None else da.from_array(each, chunks=(17, *each.shape[1:]))
             for each in (X, Y, w)]  # fmt: skip
    return model.fit(*parts)


DOORS = {
    "memory": lambda model, X, Y, w: model.fit(X, Y, w),
    "sparse": lambda model, X, Y, w: model.set_params(solver="cholesky").fit(
        sparse.csr_array(X), Y, w
    ),
    "qr": lambda model, X, Y, w: model.set_params(solver="qr").fit(X, Y, w),
    "chunks": lambda model, X, Y, w: model.fit(ChunkSource(lambda: cut(X, Y, w, 9))),
    "svrg of chunks": lambda model, X, Y, w: model.set_params(
        solver="svrg", tol=1e-9, random_state=0
    ).fit(ChunkSource(lambda: cut(X, Y, w, 9))),
    "stream": lambda model, X, Y, w: streamed(model, cut(X, Y, w, 9)),
    "stream by qr": lambda model, X, Y, w: streamed(model.set_params(solver="qr"), cut(X, Y, w, 9)),
    "fit and stream": lambda model, X, Y, w: streamed(
        model.fit(*cut(X, Y, w, 9)[0]), cut(X, Y, w, 9)[1:]
    ),
    "merge": lambda model, X, Y, w: merged(model, cut(X, Y, w, len(Y) // 3 + 1)),
    "merge by qr": lambda model, X, Y, w: merged(
        model.set_params(solver="qr"), cut(X, Y, w, len(Y) // 3 + 1)
    ),
    "folds": lambda model, X, Y, w: with_folds(model).fit(X, Y, w),
    "folds of chunks": lambda model, X, Y, w: with_folds(model).fit(
        ChunkSource(lambda: cut(X, Y, w, 9))
    ),
    "folds of a stream": lambda model, X, Y, w: streamed(with_folds(model), cut(X, Y, w, 9)),
    "dask": of_dask,
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shape", [(120, 6), (25, 40)], ids=["tall", "wide"])
@pytest.mark.parametrize(
    ("params", "weighted"),
    [({}, False), ({}, True), ({"fit_intercept": False}, True), ({"standardize": False}, True)],
    ids=str,
)
def test_every_door(door, shape, params, weighted):
    """Columns without a penalty and columns left out stand anywhere."""
    n, d = shape
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, d)) * np.geomspace(0.5, 5, d) + rng.standard_normal(d)
    Y = X[:, :5] @ rng.standard_normal((5, 2)) + rng.standard_normal((n, 2)) * [1, 20] + 5
    factor = rng.uniform(0.1, 4, d)
    for value in [np.inf] if d > n else [np.inf, 0.0]:
        factor[rng.integers(d)] = value
    w = rng.exponential(size=n) + 0.1 if weighted else None
    alpha = 0.3 if "folds" in door else [0.3, 2.0]
    model = MiniBatchRidgeSGD(alpha, penalty_factor=factor, **params)
    model = DOORS[door](model, X, Y, w)
    alphas = np.broadcast_to(alpha, 2)
    references = [reference(X, y, a, factor, w, **params) for y, a in zip(Y.T, alphas, strict=True)]
    # "svrg" ends near the closed form: errors of the residuals are of second order.
    for kind in ("bayesian", "sampling"):
        assert_as(model, references, X, kind)


@KINDS
@examples(60)
@given(st.integers(0, 10**6), st.sampled_from([(40, 5), (12, 20), (9, 3)]), st.booleans())
def test_any_rows_and_weights(kind, seed, shape, weighted):
    """Rows of weight 0 are left out, also of n."""
    n, d = shape
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-4, 5, d)
    X += X.std(axis=0) * rng.integers(-3, 4, d)
    y = X @ (rng.standard_normal(d) / X.std(axis=0)) + rng.standard_normal(n)
    w = rng.exponential(size=n) + 0.1 if weighted else np.ones(n)
    counts = rng.random(n) < 0.9
    alpha = float(10.0 ** rng.uniform(-1, 1))
    wanted = reference(X[counts], y[counts], alpha, w=w[counts])
    assume(wanted.freedom > 1.001)
    model = MiniBatchRidgeSGD(alpha).fit(X, y, w * counts)
    assert_as(model, [wanted], X, kind)


@pytest.mark.parametrize("fit", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_least_squares_of_statsmodels(fit, weighted, fit_intercept):
    X, y = regression(150, 6, condition=30.0, seed=2)
    X = X + np.arange(6)
    w = np.random.default_rng(0).exponential(size=150) + 0.1 if weighted else np.ones(150)
    w /= w.mean()
    columns = sm.add_constant(X) if fit_intercept else X
    theirs = sm.WLS(y, columns, w).fit() if weighted else sm.OLS(y, columns).fit()
    model = fit(X, y, w if weighted else None, alpha=0.0, fit_intercept=fit_intercept)
    for kind in ("bayesian", "sampling"):
        table = model.coef_table(confidence_level=0.9, kind=kind)
        np.testing.assert_allclose(table.std_error, theirs.bse, rtol=1e-10)
        interval = np.column_stack([table.lower, table.upper])
        np.testing.assert_allclose(interval, theirs.conf_int(0.1), rtol=1e-9)
    mean, std = model.predict(X, return_std=True)
    predictions = theirs.get_prediction(columns)
    np.testing.assert_allclose(mean, predictions.predicted_mean, rtol=1e-9)
    np.testing.assert_allclose(std, predictions.se_obs, rtol=1e-10)


def test_least_squares_of_glum():
    X, y = regression(150, 4, seed=5)
    w = np.random.default_rng(0).exponential(size=150) + 0.1
    # Theirs take the sum of the weights for the number of samples.
    w /= w.mean()
    glm = GeneralizedLinearRegressor(alpha=0, gradient_tol=1e-12).fit(X, y, sample_weight=w)
    errors = glm.std_errors(X, y, sample_weight=w, robust=False)
    table = MiniBatchRidgeSGD(alpha=0.0).fit(X, y, w).coef_table()
    # They correct the covariance for n - df once more.
    np.testing.assert_allclose(table.std_error * np.sqrt(150 / 145), errors, rtol=1e-9)


def test_bayesian_ridge_with_its_precisions():
    """Its standard deviations lack the share of the intercept."""
    X, y = regression(60, 5, seed=1)
    theirs = BayesianRidge().fit(X, y)
    noise = 1 / theirs.alpha_
    alpha = theirs.lambda_ * noise / len(y)
    model = MiniBatchRidgeSGD(alpha, standardize=False).fit(X, y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, rtol=1e-9)
    at_mean = model.predict(X.mean(axis=0, keepdims=True), return_std=True)[1]
    s2 = at_mean**2 / (1 + 1 / len(y))
    errors = model.coef_table().std_error[1:] * np.sqrt(noise / s2)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(theirs.sigma_)), rtol=1e-9)
    new = X[:9] * 2 + 1
    variance = (model.predict(new, return_std=True)[1] ** 2 / s2 - 1 / len(y)) * noise
    # Their own predictions have not been centred in all versions.
    centred = new - X.mean(axis=0)
    wanted = np.einsum("ij,jk,ik->i", centred, theirs.sigma_, centred) + noise
    np.testing.assert_allclose(variance, wanted, rtol=1e-9)


# Polynomials of high degree, and targets that follow from the columns exactly.
HIDDEN = {
    "cholesky": ("Filip", "Wampler1", "Wampler2"),
    "qr": ("Wampler1", "Wampler2"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", HIDDEN)
@pytest.mark.parametrize("name", DATASETS)
def test_high_condition(name, solver):
    """The exact answer, or a refusal; only what rows cannot tell is refused by "qr"."""
    dataset = DATASETS[name]
    X, y = dataset.rows()
    y = np.ravel(y)
    params = {"alpha": 0.0, "solver": solver, "fit_intercept": dataset.fit_intercept}
    model = MiniBatchRidgeSGD(**params).fit(X, y)
    if name in HIDDEN[solver]:
        with pytest.raises(ValueError, match="solver='qr'" if solver == "cholesky" else "alpha.$"):
            model.coef_table()
        return
    exact = exact_std_errors(X, y, dataset.fit_intercept)
    np.testing.assert_allclose(model.coef_table().std_error, exact, rtol=1e-5)


def exact_std_errors(X, y, fit_intercept):
    """The standard errors of least squares, with more digits than float64 has."""
    with mpmath.workdps(DIGITS):
        A = mpmath.matrix(numbers(np.column_stack([np.ones(len(y)), X])[:, 1 - fit_intercept :]))
        b = mpmath.matrix(numbers(y))
        inverse = mpmath.inverse(A.T * A)
        residual = b - A * (inverse * (A.T * b))
        s2 = (residual.T * residual)[0] / (A.rows - A.cols)
        return [float(mpmath.sqrt(s2 * inverse[j, j])) for j in range(A.cols)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["cholesky", "qr"])
@pytest.mark.parametrize("noise", [1.0, 1e-4, 1e-7])
def test_no_answer_rather_than_a_wrong_one(solver, noise):
    """A column comes nearer and nearer to another one, until the answer is refused."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((40, 4))
    e = noise * rng.standard_normal(40)
    answered = []
    for gap in 10.0 ** -np.arange(16):
        near = np.insert(X, 2, X[:, 3] + gap * X[:, 0], axis=1)
        near[:, 1] += gap * rng.standard_normal(40)
        near[:, 2] += gap * rng.standard_normal(40)
        y = near.sum(axis=1) + e
        model = MiniBatchRidgeSGD(0.0, solver=solver).fit(near, y)
        try:
            error = model.coef_table().std_error
        except ValueError:
            answered.append(False)
            continue
        answered.append(True)
        np.testing.assert_allclose(error, exact_std_errors(near, y, True), rtol=1e-3)
    wanted = {("cholesky", 1.0): 5, ("cholesky", 1e-4): 4, ("qr", 1.0): 10, ("qr", 1e-7): 4}
    assert all(answered[: wanted.get((solver, noise), 0)])
    assert not any(answered[14:])


@KINDS
@pytest.mark.parametrize("alpha", [1e-9, 1e6])
def test_extreme_penalties(kind, alpha):
    X, y = regression(50, 5, condition=100.0)
    assert_as(MiniBatchRidgeSGD(alpha).fit(X, y), [reference(X, y, alpha)], X, kind)


def test_intervals_cover():
    """95 % of them, over data sets of a design with correlated columns, and of new samples too."""
    rng = np.random.default_rng(0)
    X, _ = regression(80, 6, condition=20.0)
    truth = rng.standard_normal(6)
    new, _ = regression(20, 6, condition=20.0, seed=1)
    n_sets = 400
    noise = 2.0 * rng.standard_normal((80 + 20, n_sets))
    Y = (X @ truth)[:, None] + noise[:80] + 3
    wanted = (new @ truth)[:, None] + noise[80:] + 3
    model = MiniBatchRidgeSGD(1e-6).fit(X, Y)
    parameters = np.append(3.0, truth)
    covered = [
        (table.lower <= parameters) & (parameters <= table.upper) for table in model.coef_table()
    ]
    assert 0.93 < np.mean(covered) < 0.97
    mean, std = model.predict(new, return_std=True)
    half = stats.t(80 - 7).ppf(0.975) * std
    assert 0.93 < np.mean(np.abs(wanted - mean) <= half) < 0.97


def test_intervals_of_a_prior_cover():
    """With coefficients drawn from the prior that the penalty is, and only with kind="bayesian"."""
    rng = np.random.default_rng(1)
    X, _ = regression(60, 10, condition=100.0)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    alpha, n_sets = 0.5, 600
    truth = rng.standard_normal((10, n_sets)) / np.sqrt(60 * alpha)
    Y = Z @ truth + rng.standard_normal((60, n_sets))
    model = MiniBatchRidgeSGD(alpha).fit(Z, Y)

    def share(kind):
        return np.mean([
            (table.lower[1:] <= beta) & (beta <= table.upper[1:])
            for table, beta in zip(model.coef_table(kind=kind), truth.T, strict=True)
        ])  # fmt: skip

    assert 0.93 < share("bayesian") < 0.97
    assert share("sampling") < 0.9


@KINDS
def test_weights_are_precisions_and_repeated_rows_are_more_rows(kind):
    X, y = regression(40, 3, seed=4)
    counts = np.random.default_rng(2).integers(1, 5, 40)
    rows = np.repeat(np.arange(40), counts)
    by_weight = MiniBatchRidgeSGD(0.1).fit(X, y, counts).coef_table(kind=kind)
    by_rows = MiniBatchRidgeSGD(0.1).fit(X[rows], y[rows]).coef_table(kind=kind)
    np.testing.assert_allclose(by_rows.coef, by_weight.coef, rtol=1e-9)
    df = 40 - reference(X, y, 0.1, w=counts.astype(float)).freedom
    ratio = np.sqrt((40 - df) / (len(rows) - df))
    np.testing.assert_allclose(by_rows.std_error / by_weight.std_error, ratio, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 0.25, 3.0, 1e100])
def test_the_scale_of_weights_is_of_no_account(scale):
    X, y = regression(40, 3)
    w = np.random.default_rng(0).exponential(size=40) + 0.1
    for ours in (w, np.ones(40)):
        before, after = (MiniBatchRidgeSGD().fit(X, y, each) for each in (ours, ours * scale))
        std = [model.predict(X, return_std=True)[1] for model in (before, after)]
        np.testing.assert_allclose(std[1], std[0], rtol=1e-12)
        tables = [model.coef_table() for model in (before, after)]
        np.testing.assert_allclose(tables[1].std_error, tables[0].std_error, rtol=1e-12)
        np.testing.assert_allclose(tables[1].upper, tables[0].upper, rtol=1e-9)


@KINDS
@pytest.mark.parametrize("shape", [(50, 4), (20, 30)])
def test_units_of_columns_and_of_y_are_of_no_account(kind, shape):
    X, y = regression(*shape)
    d = shape[1]
    units = 10.0 ** np.random.default_rng(0).permutation(np.linspace(-120, 120, d))
    before = MiniBatchRidgeSGD(0.5).fit(X, y)
    after = MiniBatchRidgeSGD(0.5).fit(X * units, y * 1e-20)
    ratio = after.coef_table(kind=kind).std_error / before.coef_table(kind=kind).std_error
    np.testing.assert_allclose(ratio * np.append(1.0, units) * 1e20, 1.0, rtol=1e-9)
    std = [before.predict(X, return_std=True)[1], after.predict(X * units, return_std=True)[1]]
    np.testing.assert_allclose(std[1] * 1e20, std[0], rtol=1e-9)


def test_columns_far_from_0_keep_the_digits():
    rng = np.random.default_rng(0)
    X = rng.integers(-8, 9, (60, 3)).astype(float)
    y = X @ [1.0, 2.0, 3.0] + rng.integers(-9, 10, 60)
    near, far = (MiniBatchRidgeSGD(0.1).fit(X + offset, y) for offset in (0, 2.0**20))
    std = [near.predict(X, return_std=True)[1], far.predict(X + 2.0**20, return_std=True)[1]]
    np.testing.assert_allclose(std[1], std[0], rtol=1e-10)
    errors = [model.coef_table().std_error for model in (near, far)]
    np.testing.assert_allclose(errors[1][1:], errors[0][1:], rtol=1e-10)


def test_each_target_as_if_alone():
    X, Y = regression(50, 4, t=3)
    alphas = [0.0, 1.0, 0.2]
    model = MiniBatchRidgeSGD(alphas).fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (50, 3)
    for table, y, alpha, column in zip(model.coef_table(), Y.T, alphas, std.T, strict=True):
        alone = MiniBatchRidgeSGD(alpha).fit(X, y)
        np.testing.assert_allclose(column, alone.predict(X, return_std=True)[1], rtol=1e-12)
        for key, values in alone.coef_table().items():
            if key != "name":
                np.testing.assert_allclose(table[key], values, rtol=1e-9)
    Y[:, 1] = np.random.default_rng(0).standard_normal(50)
    chosen = MiniBatchRidgeSGDCV([0.1, 1.0, 10.0], alpha_per_target=True).fit(X, Y)
    assert len(set(chosen.alpha_)) > 1
    same = MiniBatchRidgeSGD(chosen.alpha_).fit(X, Y)
    for ours, theirs in zip(chosen.coef_table(), same.coef_table(), strict=True):
        np.testing.assert_allclose(ours.std_error, theirs.std_error, rtol=1e-10)


def test_a_column_that_is_left_out_or_constant():
    X, y = regression(50, 4)
    where = int(np.random.default_rng(8).integers(4))
    factor = np.ones(4)
    factor[where] = np.inf
    for alpha in (0.0, 0.1):
        table = MiniBatchRidgeSGD(alpha, penalty_factor=factor).fit(X, y).coef_table()
        without = MiniBatchRidgeSGD(alpha).fit(np.delete(X, where, axis=1), y).coef_table()
        assert table.coef[1 + where] == table.std_error[1 + where] == 0
        np.testing.assert_allclose(np.delete(table.std_error, 1 + where), without.std_error)
    X[:, where] = 7.0
    model = MiniBatchRidgeSGD(0.1).fit(X, y)
    assert model.coef_table(kind="sampling").std_error[1 + where] == 0
    # The penalty is all that is known of it.
    s2 = reference(X, y, 0.1).s2
    assert model.coef_table().std_error[1 + where] == pytest.approx(np.sqrt(s2 / (50 * 0.1)))
    with pytest.raises(ValueError, match=rf"Column {where} of X is constant"):
        MiniBatchRidgeSGD(0.0).fit(X, y).coef_table()
    # Rounding errors of its values are not what it varies by.
    nearly = X.copy()
    nearly[:, where] = 1e10 + 2.0**-19 * np.random.default_rng(0).integers(2, size=50)
    with pytest.raises(ValueError, match=rf"Column {where} of X is constant"):
        MiniBatchRidgeSGD(0.0).fit(nearly, y).coef_table()
    # Without an intercept it is one.
    theirs = sm.OLS(y, X).fit().bse
    table = MiniBatchRidgeSGD(0.0, fit_intercept=False).fit(X, y).coef_table()
    np.testing.assert_allclose(table.std_error, theirs, rtol=1e-10)


def test_a_constant_target_has_no_noise():
    X, y = regression(30, 3)
    model = MiniBatchRidgeSGD(0.1).fit(X, np.column_stack([y, np.full(30, 1e9)]))
    table = model.coef_table()[1]
    assert np.all(table.std_error == 0)
    assert np.all(table.lower == table.upper)
    assert np.all(model.predict(X, return_std=True)[1][:, 1] == 0)


def refused(model, match):
    """Both questions are refused, and the model is as it was."""
    before = model._state
    with pytest.raises(ValueError, match=match):
        model.coef_table()
    X = np.zeros((2, model.n_features_in_))
    with pytest.raises(ValueError, match=match):
        model.predict(X, return_std=True)
    model.predict(X)
    assert model._state is before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_refused():
    X, y = regression(60, 4)
    wide, few = regression(20, 30)
    ours = MiniBatchRidgeSGD
    refused(ours(positive=True).fit(X, y), "positive=True have no standard errors.*positive=False")
    refused(ours(positive=[True, False, True, True]).fit(X, y), "positive=.a mask.")
    refused(MiniBatchRidgeSGDCV(positive=True).fit(X, y), "positive=True")
    refused(ours(half_life=20.0).fit(X, y), "half_life.*Fit recent samples")
    refused(MiniBatchRidgeSGDCV(half_life=20.0).fit(X, y), "half_life")
    refused(ours(solver="sgd", random_state=0).fit(X, y), "solver='sgd' has not come to it")
    by_svrg = ours(solver="svrg", random_state=0)
    refused(by_svrg.fit(X, y), "were not kept. Fit with solver='cholesky'")
    refused(by_svrg.partial_fit(X, y), "solver='svrg' has not come to it")
    refused(ours(0.0).fit(X[:5], y[:5]), "take 4 of 4 degrees of freedom.*larger alpha")
    refused(ours(1e-6).fit(wide, few), r"of 19 degrees of freedom.*Give more samples")
    refused(ours(0.0).fit(wide, few), "take 30 of 19 degrees of freedom")
    doubled = np.column_stack([X, X[:, 2]])
    for solver in ("cholesky", "qr"):
        refused(ours(0.0, solver=solver).fit(doubled, y), "Column [24] of X .* drop the column")
    refused(ours(0.0).fit(X, X @ [1, 2, 3, 4.0]), "target 0.*hide its noise.*solver='qr'")
    refused(ours().fit(X, y).without_statistics(), "removed by without_statistics")
    refused(MiniBatchRidgeSGDCV().fit(X, y).without_statistics(), "without_statistics")


def test_too_many_features_for_second_moments():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.standard_normal((40, 3001)) * (rng.random((40, 3001)) < 0.01))
    model = MiniBatchRidgeSGD(random_state=0, tol=1e-3).fit(X, np.arange(40.0))
    refused(model, "up to 3000 features; X has 3001")


def test_arguments_are_checked():
    X, y = regression(30, 3)
    model = MiniBatchRidgeSGD()
    with pytest.raises(NotFittedError):
        model.coef_table()
    with pytest.raises(NotFittedError):
        model.predict(X, return_std=True)
    model.fit(X, y)
    for level in (0, 1, 95, "high", None, True, np.nan):
        with pytest.raises(ValueError, match="confidence_level must be between 0 and 1"):
            model.coef_table(level)
    with pytest.raises(ValueError, match="kind must be 'bayesian' or 'sampling'; got 'robust'"):
        model.coef_table(kind="robust")


def test_predictions_of_every_kind_of_rows():
    X, y = regression(300, 5)
    X *= np.random.default_rng(0).random((300, 5)) < 0.3
    model = MiniBatchRidgeSGD(0.1).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X))
    for rows in (sparse.csr_array(X), sparse.csc_matrix(X), X.tolist(), np.asfortranarray(X)):
        np.testing.assert_allclose(model.predict(rows, return_std=True)[1], std, rtol=1e-13)
    single = model.predict(X.astype(np.float32), return_std=True)[1]
    np.testing.assert_allclose(single, std, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X, return_std=True, check_input=False)[1], std)
    one_by_one = [model.predict(X[[i]], return_std=True)[1][0] for i in range(9)]
    np.testing.assert_allclose(one_by_one, std[:9], rtol=1e-13)
    before = X.copy()
    model.predict(X, return_std=True)
    np.testing.assert_array_equal(X, before)


def test_more_rows_than_a_block():
    X, y = regression(40_000, 20)
    for alpha in (0.1, [0.1, 1.0]):
        model = MiniBatchRidgeSGD(alpha).fit(X, y if np.ndim(alpha) == 0 else np.c_[y, y])
        std = model.predict(X, return_std=True)[1]
        some = np.r_[0:5, 13_000:13_200, 39_990:40_000]
        np.testing.assert_allclose(std[some], model.predict(X[some], return_std=True)[1])


def test_rows_that_are_not_in_memory_are_refused_by_name():
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGD().fit(X, y)
    da = pytest.importorskip("dask.array")
    source = ChunkSource(lambda: [(X, y)])
    for rows in (source, iter([X]), da.from_array(X, chunks=(20, 3))):
        with pytest.raises(ValueError, match="return_std=True needs samples in memory"):
            model.predict(rows, return_std=True)


def test_tensors(torch):
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGD(0.1).fit(X, y)
    there = MiniBatchRidgeSGD(0.1).fit(torch.asarray(X), torch.asarray(y))
    mean, std = there.predict(torch.asarray(X), return_std=True)
    assert isinstance(std, torch.Tensor)
    assert mean.shape == std.shape
    np.testing.assert_allclose(std.numpy(), model.predict(X, return_std=True)[1], rtol=1e-12)
    table = there.coef_table()
    assert isinstance(table.coef, np.ndarray)
    np.testing.assert_allclose(table.std_error, model.coef_table().std_error, rtol=1e-12)


def test_a_table_of_pandas():
    X, y = regression(60, 3)
    named = pd.DataFrame(X, columns=["a", "b", "c"])
    table = pd.DataFrame(MiniBatchRidgeSGD().fit(named, y).coef_table())
    assert list(table.columns) == ["name", "coef", "std_error", "lower", "upper"]
    assert list(table["name"]) == ["(intercept)", "a", "b", "c"]
    model = MiniBatchRidgeSGD(fit_intercept=False).fit(X, y)
    assert list(model.coef_table().name) == ["x0", "x1", "x2"]


def test_answers_stay_with_the_fit_and_can_be_saved():
    X, y = regression(60, 3)
    for model in (
        MiniBatchRidgeSGD(0.5).fit(X, y),
        MiniBatchRidgeSGD(0.5, fit_intercept=False).fit(X, y),
        MiniBatchRidgeSGDCV([0.5]).fit(X, y),
    ):
        table = model.coef_table()
        table.coef[:] = 0
        saved = pickle.loads(pickle.dumps(model))
        model.set_params(fit_intercept=not model.fit_intercept, standardize=False)
        for each in (model, saved):
            np.testing.assert_array_equal(each.coef_table().std_error, table.std_error)
            assert np.all(each.coef_table().coef != 0)


def test_rows_that_wait_count():
    """A stream that was asked before goes on, and is asked again."""
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGD(0.1).partial_fit(X[:30], y[:30])
    for kind in ("bayesian", "sampling"):
        assert_as(model, [reference(X[:30], y[:30], 0.1)], X, kind)
    model.partial_fit(X[30:], y[30:])
    assert_as(model, [reference(X, y, 0.1)], X, "bayesian")
