"""solver="sgd" as it comes: as good as noise allows, in `fit` and in streams."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from ..examples import examples
from ..oracles import regression, textbook

# Rows, columns, condition, R^2 of the relation, batch size.
DOZEN = [
    (1000, 20, 1, 0.05, 1),
    (1000, 20, 1, 0.05, 256),
    pytest.param((5000, 300, 1, 0.05, 32), marks=pytest.mark.slow),
    pytest.param((20000, 500, 1, 0.02, 1024), marks=pytest.mark.slow),
    (2000, 5, 1e3, 0.02, 32),
    (2000, 5, 1e3, 1.0, 256),
    (3000, 100, 1e3, 0.3, 8),
    (3000, 100, 1e3, 0.3, 32),
    pytest.param((10000, 500, 30, 0.9, 256), marks=pytest.mark.slow),
    pytest.param((10000, 500, 1e3, 0.5, 1024), marks=pytest.mark.slow),
    (20000, 20, 1e3, 0.1, 1024),
    (500, 50, 1e3, 1.0, 1),
    (450, 10, 100, 0.5, 64),
]


def noisy(n, d, condition, r2, seed=0):
    """Rows and targets of which the columns explain this part of the variance."""
    X, _ = regression(n, d, condition=condition, seed=seed)
    rng = np.random.default_rng(seed + 1)
    signal = np.einsum("ij,j->i", X, rng.standard_normal(d))
    y = np.sqrt(r2) * signal / signal.std() + np.sqrt(1 - r2) * rng.standard_normal(n)
    return X * np.geomspace(0.1, 1e3, d) + np.arange(d), 7 * y + 100


def closed_form_score(X, y, alpha=1e-4):
    return make_pipeline(StandardScaler(), Ridge(alpha * len(y))).fit(X, y).score(X, y)


def sgd_regressor_score(X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), SGDRegressor(random_state=0)).fit(X, y).score(X, y)


def sgd(**params):
    return MiniBatchRidgeSGD(solver="sgd", random_state=0, **params)


@pytest.mark.parametrize("problem", DOZEN, ids=str)
def test_twenty_epochs_are_near_the_closed_form(problem):
    *shape, batch_size = problem
    X, y = noisy(*shape)
    best = closed_form_score(X, y)
    score = sgd(batch_size=batch_size, max_iter=20, tol=None).fit(X, y).score(X, y)
    assert best - 0.02 <= score <= best + 1e-9
    assert score >= sgd_regressor_score(X, y) - 0.01


@pytest.mark.parametrize("problem", DOZEN, ids=str)
def test_what_has_stopped_by_itself_is_near_the_closed_form(problem):
    *shape, batch_size = problem
    X, y = noisy(*shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Not converged")
        model = sgd(batch_size=batch_size).fit(X, y)
    assert model.score(X, y) >= closed_form_score(X, y) - 0.01
    assert model.converged_ == (model.n_iter_ < model.max_iter)


@pytest.mark.parametrize("kind", ["long rows", "rare columns"])
def test_rows_of_unlike_length(kind):
    """Rows on which SGDRegressor diverges, or nearly."""
    rng = np.random.default_rng(0)
    X, _ = regression(3000, 50, condition=30)
    if kind == "long rows":
        X = X * (1 + rng.pareto(2.5, (3000, 1)))
    else:
        X = X * (rng.random(X.shape) < np.geomspace(1, 0.01, 50))
    y = X[:, 0] + X[:, -1] + 2 * rng.standard_normal(3000)
    for batch_size in (1, 32, 512):
        score = sgd(batch_size=batch_size, max_iter=20, tol=None).fit(X, y).score(X, y)
        assert score >= closed_form_score(X, y) - 0.02


@examples(60)
@given(
    n=st.integers(2, 300),
    d=st.integers(1, 12),
    r2=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    batch_size=st.sampled_from([1, 7, 32, 1000]),
    offset=st.sampled_from([0.0, 1e4]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    place=st.sampled_from(["memory", "sparse", "chunks"]),
    seed=st.integers(0, 999),
)
def test_never_worse_than_a_constant(
    n, d, r2, batch_size, offset, fit_intercept, weighted, place, seed
):
    """By no warning but that epochs ran out, and for every target."""
    X, y = noisy(n, d, 10, r2, seed)
    targets = np.column_stack([y, y[::-1]]) + offset
    w = np.random.default_rng(seed).exponential(size=n) if weighted else np.ones(n)
    model = sgd(batch_size=batch_size, fit_intercept=fit_intercept, max_iter=20)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Not converged")
        if place == "chunks":
            parts = [part for part in np.array_split(np.arange(n), 3) if len(part)]
            model.fit(ChunkSource(lambda: ((X[k], targets[k], w[k]) for k in parts)))
        else:
            model.fit(sparse.csr_array(X) if place == "sparse" else X, targets, w)
    constant = np.average(targets, axis=0, weights=w) if fit_intercept else 0.0
    error = np.average((model.predict(X) - targets) ** 2, axis=0, weights=w)
    of_constant = np.average((constant - targets) ** 2, axis=0, weights=w)
    size = np.average(targets**2, axis=0, weights=w)
    assert np.all(error <= of_constant * (1 + 1e-9) + 1e-15 * size)


def losses_of(X, y, lr, batch_size, epochs, start):
    """F of the last iterate and of the average after each epoch, of steps from a constant."""
    last, mean = textbook(X, y, batch_size, lr, "constant", 0, epochs, 1e-4, b=start)
    return last, mean


@pytest.mark.parametrize("batch_size", [1, 16, 50, 203])
def test_the_better_one_of_average_and_last_iterate_predicts(batch_size):
    X, y = noisy(203, 4, 100, 0.6)
    for epochs in (1, 2, 5, 30):
        model = sgd(batch_size=batch_size, shuffle=False, max_iter=epochs, tol=None).fit(X, y)
        last, mean = losses_of(X, y, model.lr_, batch_size, epochs, y.mean())
        better = mean if mean.losses[-1] <= last.losses[-1] else last
        np.testing.assert_allclose(model.coef_, better.coef, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(model.intercept_, better.intercept, rtol=1e-9)
        np.testing.assert_allclose(
            model.loss_history_, np.minimum(last.losses, mean.losses), rtol=1e-9
        )


@pytest.mark.parametrize(
    "params",
    [
        {"average": True},
        {"average": False},
        {"lr_schedule": "inverse_time", "lr_decay": 0.1},
        {"lr_schedule": "compound", "lr_decay": 0.01},
        {"lr": 0.01},
    ],
    ids=str,
)
def test_what_is_set_is_the_textbook(params):
    """Steps from 0, at the rate that "auto" has found."""
    X, y = noisy(203, 4, 10, 0.6)
    model = sgd(batch_size=16, shuffle=False, max_iter=5, tol=None, **params).fit(X, y)
    schedule, decay = params.get("lr_schedule", "constant"), params.get("lr_decay", 0)
    last, mean = textbook(X, y, 16, model.lr_, schedule, decay, 5, 1e-4)
    expected = mean if params.get("average") else last
    np.testing.assert_allclose(model.coef_, expected.coef, rtol=1e-10)
    np.testing.assert_allclose(model.loss_history_, expected.losses, rtol=1e-10)


class TestNothingToLearn:
    """Targets that need no steps, or none but few."""

    @pytest.mark.parametrize("value", [0.0, 5.0, 1 / 3, 1e-200, -7e5])
    @pytest.mark.parametrize("params", [{}, {"lr": 0.1}, {"average": False}], ids=str)
    def test_a_constant_target(self, value, params):
        X, _ = regression(200, 3)
        model = sgd(**params).fit(X, np.full(200, value))
        assert model.converged_
        np.testing.assert_allclose(model.predict(X), value, rtol=1e-14)

    def test_a_constant_target_among_others(self):
        X, y = noisy(300, 3, 1, 0.5)
        model = sgd().fit(X, np.column_stack([np.full(300, 5.0), y]))
        assert model.converged_
        np.testing.assert_allclose(model.predict(X)[:, 0], 5, rtol=1e-12)

    def test_no_noise(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(200, 3))
        model = sgd(alpha=0).fit(X, X @ [1.0, 2, 3])
        assert model.converged_
        np.testing.assert_allclose(model.coef_, [1, 2, 3], rtol=1e-14)

    def test_constant_columns(self):
        y = np.random.default_rng(0).normal(size=200)
        model = sgd().fit(np.ones((200, 3)), y)
        assert model.converged_
        np.testing.assert_allclose(model.intercept_, y.mean(), rtol=1e-9)


class TestNoise:
    """Rates that are stable, and leave more noise than the relation is worth."""

    @pytest.mark.parametrize("tol", [1e-6, None])
    @pytest.mark.parametrize("params", [{"lr": 0.35}, {"average": False}], ids=str)
    def test_is_named_and_is_no_divergence(self, params, tol):
        X, y = noisy(1000, 20, 1, 0.05)
        model = sgd(max_iter=30, tol=tol, **params)
        with pytest.warns(ConvergenceWarning, match="so noisy") as caught:
            model.fit(X, y - y.mean())
        assert len(caught) == 1
        assert not model.converged_
        assert -1 < model.score(X, y - y.mean()) < 0

    def test_keeps_the_steps_that_were_asked_for(self):
        X, y = noisy(1000, 20, 1, 0.05)
        y = y - y.mean()
        model = sgd(lr=0.3, shuffle=False, max_iter=30, tol=None)
        with pytest.warns(ConvergenceWarning, match="so noisy"):
            model.fit(X, y)
        expected, _ = textbook(X, y, 32, 0.3, "constant", 0, 30, 1e-4)
        np.testing.assert_allclose(model.coef_, expected.coef, rtol=1e-10)

    @examples(40)
    @given(
        lr=st.floats(0.001, 0.4),
        r2=st.sampled_from([0.0, 0.05, 0.9]),
        average=st.booleans(),
        seed=st.integers(0, 99),
    )
    def test_what_has_converged_is_no_worse_than_the_mean(self, lr, r2, average, seed):
        X, y = noisy(300, 8, 10, r2, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = sgd(lr=lr, average=average, max_iter=200).fit(X, y)
        assert not model.converged_ or model.score(X, y) > -1e-8

    def test_hides_small_gains(self):
        """The average would go on to fall by some millionths for many epochs."""
        X, y = noisy(5000, 300, 1, 0.05)
        model = sgd().fit(X, y)
        assert model.converged_
        assert model.n_iter_ < 40

    @pytest.mark.parametrize("lr", [3.0, 1e9])
    def test_after_divergence_the_model_is_no_worse_than_the_mean(self, lr):
        X, y = noisy(300, 8, 10, 0.5)
        model = sgd(lr=lr)
        with pytest.warns(ConvergenceWarning, match="diverged"):
            model.fit(X, y)
        assert model.score(X, y) >= -1e-12


def test_a_rate_that_proves_too_large_is_cut():
    """A few long rows are missing from the sample that "auto" is found from."""
    rng = np.random.default_rng(0)
    X = 0.001 * rng.normal(size=(50_000, 50))
    X[-20:] += 1
    y = X[:, 0] + 0.1 * rng.normal(size=50_000)
    model = sgd(batch_size=50_000, tol=None).fit(X, y)
    assert not np.all(np.diff(model.loss_history_) <= 0)
    assert model.lr_ < 2 / np.linalg.eigvalsh(np.corrcoef(X.T))[-1]
    assert model.score(X, y) > closed_form_score(X, y) - 0.01


def streamed(X, y, chunk, **params):
    model = sgd(**params)
    for start in range(0, len(y), chunk):
        model.partial_fit(X[start : start + chunk], y[start : start + chunk])
    return model


class TestStreams:
    """One pass, with a scaler that runs along."""

    CHUNKS = pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 50, 500])

    @CHUNKS
    @pytest.mark.parametrize(
        "problem", [(1000, 20, 1, 0.05), (1000, 5, 1e3, 0.02), (1000, 30, 30, 0.5)], ids=str
    )
    def test_are_near_the_closed_form(self, problem, chunk):
        X, y = noisy(*problem)
        scaler, theirs = StandardScaler(), SGDRegressor(shuffle=False)
        for start in range(0, len(y), chunk):
            part = slice(start, start + chunk)
            theirs.partial_fit(scaler.partial_fit(X[part]).transform(X[part]), y[part])
        score = streamed(X, y, chunk).score(X, y)
        assert score >= closed_form_score(X, y) - 0.02
        assert score >= theirs.score(scaler.transform(X), y) - 0.01

    @CHUNKS
    @pytest.mark.parametrize("jump", [1e4, 1e8])
    @pytest.mark.parametrize("kind", ["unit", "level", "unit and y", "one row", "smaller", "y"])
    def test_a_jump(self, kind, jump, chunk):
        """Of a column, or of the targets: afterwards the model is as good as one pass can be."""
        X, _ = regression(1000, 6)
        beta = np.array([1.0, -1, 2, 0.5, 0, 1])
        noise = np.random.default_rng(5).standard_normal(1000)
        if kind == "unit and y":
            X[400:, 0] *= jump
        y = np.einsum("ij,j->i", X, beta) + noise + 3
        if kind == "unit":
            X[400:, 0] *= jump
        elif kind == "level":
            X[400:, 0] += jump
        elif kind == "one row":
            X[400, 0] *= jump
        elif kind == "smaller":
            X[400:, 0] /= jump
        elif kind == "y":
            y[400:] *= jump
        model = sgd()
        for start in range(0, 1000, chunk):
            part = slice(start, start + chunk)
            model.partial_fit(X[part], y[part])
            if start in (550, 700):
                assert model.score(X[: part.stop], y[: part.stop]) > -0.1
        assert model.score(X, y) > closed_form_score(X, y) - (0.2 if kind == "y" else 0.06)

    def test_a_jump_after_many_rows(self):
        """The average forgets what it was before."""
        X, y = regression(20_500, 6, noise=1)
        X[20_000:, 0] *= 1e3
        model = sgd().partial_fit(X[:20_000], y[:20_000])
        for start in range(20_000, 20_500, 5):
            model.partial_fit(X[start : start + 5], y[start : start + 5])
        best = closed_form_score(X[20_000:], y[20_000:])
        assert model.score(X[20_000:], y[20_000:]) > best - 0.05

    def test_a_learning_rate_that_was_set_warns_after_a_jump(self):
        """Its predictions do not change with the scaler, and its steps do not."""
        X, y = regression(400, 4)
        model = streamed(X[:200], y[:200], 50, lr=0.01)
        with pytest.warns(ConvergenceWarning, match="changed its unit or its level"):
            model.partial_fit(1e6 * X[200:250], y[200:250])

    def test_the_rate_recovers_after_a_long_row(self):
        X, y = regression(1000, 4)
        X[300] *= 1e3
        model = streamed(X[:300], y[:300], 10)
        before = model.lr_
        model.partial_fit(X[300:310], y[300:310])
        assert model.lr_ < before / 5
        for start in range(310, 1000, 10):
            model.partial_fit(X[start : start + 10], y[start : start + 10])
        assert model.lr_ > before / 3

    @pytest.mark.parametrize("fit_intercept", [True, False])
    def test_begins_at_the_mean_and_goes_on_after_a_fit(self, fit_intercept):
        X, y = noisy(600, 4, 1, 0.2)
        model = sgd(fit_intercept=fit_intercept).partial_fit(X[:1], y[:1])
        if fit_intercept:
            np.testing.assert_allclose(model.predict(X[:1]), y[:1], rtol=1e-9)
        fitted = sgd(tol=1e-4).fit(X, y)
        best = fitted.score(X, y)
        for start in range(0, 600, 100):
            fitted.partial_fit(X[start : start + 100], y[start : start + 100])
        assert fitted.score(X, y) > best - 0.02
