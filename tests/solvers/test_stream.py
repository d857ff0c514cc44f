"""partial_fit takes up moving scales without a change of the predictor.

One pass comes near the closed form.
"""

import tracemalloc
from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from ..examples import examples
from ..oracles import closed_form, distance_to_ridge, regression
from ..tables import DENSE_AND_SPARSE, FAULTS, SOLVERS, UNLIKE_BEFORE, UNUSED_IS_FINE, state

pytestmark = UNUSED_IS_FINE


@pytest.fixture(autouse=True)
def too_many_features_for_products(monkeypatch):
    """No second moments are kept: steps are taken, as with very many features."""
    monkeypatch.setattr("sklearn_minibatch._solvers.choose.EXACT_FEATURES", 0)


def learn(model, X, y, w=None, chunk=10):
    """The model after one pass over the rows in chunks."""
    for start in range(0, X.shape[0], chunk):
        rows = slice(start, start + chunk)
        model.partial_fit(X[rows], y[rows], None if w is None else w[rows])
    return model


def assert_moments(model, X, w=None):
    """Those of one StandardScaler.fit, up to a few roundings of the numbers in X."""
    scaler = StandardScaler().fit(X, sample_weight=w)
    rounding = 16 * np.finfo(float).eps * np.abs(X).max(axis=0)
    assert np.all(np.abs(model.scaler_.mean_ - scaler.mean_) <= rounding)
    assert np.all(np.abs(model.scaler_.scale_ - scaler.scale_) <= rounding + 1e-13 * scaler.scale_)
    assert np.all(
        np.abs(model.scaler_.var_ - scaler.var_)
        <= 2 * (rounding + 1e-13 * scaler.scale_) * scaler.scale_
    )
    np.testing.assert_allclose(model.scaler_.n_samples_seen_, scaler.n_samples_seen_)


class TestMoments:
    @examples(100)
    @given(
        cuts=st.lists(st.integers(1, 59), max_size=20),
        offset=st.sampled_from([0.0, 1.0, 1e4, 1e8]),
        weighted=st.booleans(),
        solver=st.sampled_from(["svrg", "sgd"]),
        seed=st.integers(0, 100),
    )
    def test_any_chunking(self, cuts, offset, weighted, solver, seed):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((60, 3)) + offset, rng.standard_normal(60)
        w = rng.exponential(size=60) if weighted else None
        model = MiniBatchRidgeSGD(solver=solver, lr=1e-12, random_state=0)
        edges = [0, *sorted(set(cuts)), 60]
        for start, stop in pairwise(edges):
            model.partial_fit(X[start:stop], y[start:stop], None if w is None else w[start:stop])
        assert_moments(model, X, w)

    @SOLVERS
    @pytest.mark.parametrize("offset", [0.0, 1e8])
    @pytest.mark.parametrize("chunk", [1, 7])
    def test_columns_that_are_constant_for_a_while(self, solver, offset, chunk):
        X, y = regression(120, 4)
        X[:50, 0] = X[0, 0]
        X[30:, 1] = X[30, 1]
        X[:119, 2] = 0
        model = learn(MiniBatchRidgeSGD(solver=solver, lr=1e-12), X + offset, y, chunk=chunk)
        assert_moments(model, X + offset)
        assert_moments(
            learn(MiniBatchRidgeSGD(solver=solver, lr=1e-12), X[:30] + offset, y[:30], chunk=chunk),
            X[:30] + offset,
        )

    @SOLVERS
    def test_constant_columns_get_scale_one(self, solver):
        X = np.full((40, 3), [0.1, 1e8, 0.0])
        model = learn(MiniBatchRidgeSGD(solver=solver, lr=1e-3), X, np.arange(40.0), chunk=3)
        np.testing.assert_array_equal(model.scaler_.scale_, 1)
        np.testing.assert_allclose(model.scaler_.mean_, X[0], rtol=1e-15)

    @SOLVERS
    @pytest.mark.parametrize("chunk", [1, 20])
    def test_weights_are_repetitions(self, solver, chunk):
        X, y = regression(100, 3)
        w = np.random.default_rng(0).integers(0, 3, 100)
        w[::chunk] = 1
        model = learn(MiniBatchRidgeSGD(solver=solver, lr=1e-6), X, y, w, chunk)
        repeated = StandardScaler().fit(np.repeat(X, w, axis=0))
        np.testing.assert_allclose(model.scaler_.mean_, repeated.mean_, rtol=1e-12)
        np.testing.assert_allclose(model.scaler_.var_, repeated.var_, rtol=1e-12)
        assert model.scaler_.n_samples_seen_ == w.sum()

    @SOLVERS
    @pytest.mark.parametrize("to_rows", [np.asarray, sparse.csr_array, sparse.csc_matrix])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_formats(self, solver, to_rows, dtype):
        X, y = regression(90, 4)
        X = (X * (X > 0)).astype(dtype)
        model = MiniBatchRidgeSGD(solver=solver, lr=1e-3)
        for start in range(0, 90, 30):
            model.partial_fit(to_rows(X[start : start + 30]), y[start : start + 30])
        scaler = StandardScaler().fit(X.astype(float))
        np.testing.assert_allclose(
            model.scaler_.mean_, scaler.mean_, rtol=1e-6 if dtype == np.float32 else 1e-13
        )
        np.testing.assert_allclose(
            model.scaler_.var_, scaler.var_, rtol=1e-6 if dtype == np.float32 else 1e-13
        )

    @SOLVERS
    def test_after_fit(self, solver):
        X, y = regression(200, 3)
        X[:, 1] += 1e6
        X[100:] += 5
        w = np.linspace(0.1, 1, 200)
        model = MiniBatchRidgeSGD(solver=solver, lr=1e-4, tol=None, max_iter=3).fit(
            X[:100], y[:100], w[:100]
        )
        learn(model, X[100:], y[100:], w[100:])
        assert_moments(model, X, w)


class TestThePredictorStays:
    """Steps of next to no length: what moves is the scaler alone."""

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize("solver", ["svrg", "sgd"])
    def test_when_only_the_scaler_moves(self, solver, fit_intercept):
        X, y = regression(300, 4)
        params = {
            "solver": solver,
            "fit_intercept": fit_intercept,
            "lr": 1e-2,
            "max_iter": 20,
            "tol": None,
        }
        model = MiniBatchRidgeSGD(**params, random_state=0).fit(X, y)
        coef, intercept = model.coef_.copy(), model.intercept_
        model.set_params(lr=1e-300)
        shifted = 50 * X[:100] + 7
        for rows in (shifted, X[:1], -shifted):
            # Targets that the predictor hits, so that the mean of y agrees with it too.
            model.partial_fit(rows, rows @ coef + intercept)
        assert not np.allclose(model.scaler_.scale_, X.std(axis=0), rtol=0.5)
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
        np.testing.assert_allclose(
            model.intercept_, intercept, atol=1e-9 if solver == "sgd" else 1e-1
        )

    @pytest.mark.filterwarnings(
        "ignore:The predictions for this chunk:sklearn.exceptions.ConvergenceWarning"
    )
    def test_a_scaler_that_moves_by_itself(self):
        """A first chunk of equal rows gives scale 1.

        The true scale comes later, and beta must follow.
        """
        X, y = regression(100, 3)
        model = MiniBatchRidgeSGD(solver="sgd", lr=0.1, shuffle=False, batch_size=10).partial_fit(
            X[:50], y[:50]
        )
        coef = model.coef_.copy()
        model.set_params(lr=1e-300).partial_fit(1e4 * X + 1e6, y)
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-12)

    @pytest.mark.parametrize("average", [True, False])
    def test_textbook_steps_in_the_units_of_the_moment(self, average):
        """Against a loop that is written in original units throughout."""
        X, y = regression(90, 3)
        X = X * [1, 10, 100] + [0, 5, 1e3]
        X[60:] *= 3
        lr, alpha = 0.05, 0.1
        model = MiniBatchRidgeSGD(
            alpha, solver="sgd", lr=lr, batch_size=8, shuffle=False, average=average
        )
        coef, intercept, mean_coef, mean_intercept, t = np.zeros(3), 0.0, np.zeros(3), 0.0, 0
        for start in range(0, 90, 30):
            seen = X[: start + 30]
            mean, sigma = seen.mean(axis=0), seen.std(axis=0)
            for first in range(start, start + 30, 8):
                batch = slice(first, min(first + 8, start + 30))
                r = X[batch] @ coef + intercept - y[batch]
                step = -lr * ((X[batch] - mean).T @ r / 8 / sigma**2 + alpha * coef)
                coef, intercept = coef + step, intercept - lr * r.sum() / 8 - mean @ step
                t += 1
                mean_coef = mean_coef + (coef - mean_coef) * 2 / (t + 1)
                mean_intercept = mean_intercept + (intercept - mean_intercept) * 2 / (t + 1)
            model.partial_fit(X[start : start + 30], y[start : start + 30])
            np.testing.assert_allclose(model.coef_, mean_coef if average else coef, rtol=1e-9)
            np.testing.assert_allclose(
                model.intercept_, mean_intercept if average else intercept, rtol=1e-9
            )
        assert model.t_ == t
        assert model.n_iter_ == 3


@pytest.mark.slow
class TestOnePass:
    """Excess risk on fresh rows after one pass.

    In units of that of the closed form on the same rows.
    """

    n, chunk = 100_000, 2000

    def ratio(self, d, condition, batch_size, seed, **params):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
        X = rng.standard_normal((self.n, d)) * np.geomspace(
            1, condition**-0.5, d
        ) @ basis + rng.standard_normal(d)
        truth = basis.T @ (rng.standard_normal(d) / np.geomspace(1, condition**-0.5, d))
        y = X @ truth + rng.standard_normal(self.n) * np.sqrt(d) + 3
        model = MiniBatchRidgeSGD(1e-6, batch_size=batch_size, random_state=seed, **params)
        learn(model, X, y, chunk=self.chunk)
        closed = closed_form(X, y, 1e-6)
        held_out = rng.standard_normal((5000, d)) * np.geomspace(
            1, condition**-0.5, d
        ) @ basis + X.mean(axis=0)

        def excess(predictions):
            return np.mean((predictions - held_out @ truth - 3) ** 2)

        return excess(model.predict(held_out)) / excess(closed.predict(held_out)[:, 0])

    @pytest.mark.parametrize("batch_size", ["auto", 8, 256])
    @pytest.mark.parametrize("condition", [1e0, 1e1])
    def test_twenty_columns(self, condition, batch_size):
        assert np.median([self.ratio(20, condition, batch_size, seed) for seed in range(5)]) <= 1.7

    @pytest.mark.parametrize("batch_size", ["auto", 8, 256])
    @pytest.mark.parametrize("condition", [1e0, 1e1])
    def test_a_hundred_columns(self, condition, batch_size):
        assert self.ratio(100, condition, batch_size, seed=0) <= 1.7


@pytest.mark.slow
class TestAColumnChanges:
    """Streams in which the scale or the offset of columns changes half-way.

    In one of them the changes are drawn at random.
    """

    n, d = 8000, 6

    def rows(self, kind, seed, condition=1):
        X, _ = regression(self.n, self.d, condition=condition, seed=seed)
        X /= X.std(axis=0)
        rng = np.random.default_rng(seed)
        truth, noise, j, half = (
            rng.normal(size=self.d),
            2 * rng.normal(size=self.n),
            rng.integers(self.d),
            self.n // 2,
        )
        if kind == "scale, the same coefficients":
            X[half:] *= 1000
            return X, X @ truth + noise
        if kind == "scale, the same targets":
            y = X @ truth + noise
            X[half:] *= 1000
            return X, y
        if kind == "awake":
            X[: int(0.95 * self.n), j] = 0.3
            return X, X @ truth + noise
        truth[j] = 0.0
        y = X @ truth + noise
        X[half + 17 : half + 18 if kind == "an outlier" else None, j] += {
            "offset": 100,
            "large offset": 1e6,
        }.get(kind, 1e6)
        return X, y

    KINDS = pytest.mark.parametrize(
        "kind",
        [
            "scale, the same coefficients",
            "scale, the same targets",
            "awake",
            "offset",
            "large offset",
            "an outlier",
        ],
    )

    def lost(self, kind, seed, chunk, to_rows=np.asarray, **params):
        """What one pass loses against the closed form of the same rows.

        In units of the error that n rows leave.
        """
        X, y = self.rows(kind, seed)
        model = learn(
            MiniBatchRidgeSGD(1e-6, random_state=seed, **params), to_rows(X), y, chunk=chunk
        )
        least = np.mean((y - closed_form(X, y, 1e-6).predict(X)[:, 0]) ** 2)
        return (np.mean((y - model.predict(X)) ** 2) / least - 1) * self.n / self.d

    @KINDS
    @pytest.mark.parametrize("chunk", [50, 1500])
    def test_the_loss_of_one_pass(self, kind, chunk):
        """A steady stream loses about 0.2, and the last iterate 0.8.

        Here the rows count that tell: those since the change.
        """
        assert np.median([self.lost(kind, seed, chunk) for seed in range(5)]) <= 2
        assert max(self.lost(kind, seed, chunk) for seed in range(5)) <= 6

    @KINDS
    @pytest.mark.parametrize(
        "params", [{"batch_size": 8}, {"standardize": False}, {"fit_intercept": False}], ids=str
    )
    def test_with_other_parameters(self, kind, params):
        if params == {"fit_intercept": False}:
            X, y = self.rows(kind, 0)
            model = learn(MiniBatchRidgeSGD(1e-6, random_state=0, **params), X, y, chunk=200)
            assert distance_to_ridge(model, X, y) <= 0.1
        else:
            assert max(self.lost(kind, seed, 200, **params) for seed in range(2)) <= 6

    @KINDS
    @DENSE_AND_SPARSE
    @pytest.mark.parametrize("condition", [1, 10])
    def test_no_worse_than_a_running_scaler_before_sgdregressor(self, kind, condition, to_rows):
        for seed in range(3):
            X, y = self.rows(kind, seed, condition)
            ours = learn(
                MiniBatchRidgeSGD(random_state=seed),
                to_rows(X),
                y,
                chunk=200,
            )
            scaler, theirs = StandardScaler(), SGDRegressor(random_state=seed)
            for start in range(0, self.n, 200):
                rows = slice(start, start + 200)
                theirs.partial_fit(scaler.partial_fit(X[rows]).transform(X[rows]), y[rows])
            assert ours.score(X, y) >= theirs.score(scaler.transform(X), y) - 0.01

    @KINDS
    def test_after_fit(self, kind):
        X, y = self.rows(kind, 3)
        model = MiniBatchRidgeSGD(1e-6, random_state=0).fit(X[:2000], y[:2000])
        learn(model, X[2000:], y[2000:], chunk=200)
        assert (
            model.score(X, y) >= MiniBatchRidgeSGD(1e-6).fit(X, y).score(X, y) - 6 * self.d / self.n
        )


@pytest.mark.parametrize("kind", ["unit", "offset", "one sample"])
@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 20), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_jump_while_samples_are_few(kind, solver, chunk, seeds):
    """The predictions recover at once, whatever column jumps and however early."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        # Of single samples a few must have told what is usual.
        at = 20 if chunk == 1 else chunk
        n, d = at + 25 * chunk, int(rng.integers(1, 40))
        X, y = regression(n, d, seed=seed)
        X += rng.normal(size=(n, 1)) + 10 * rng.normal(size=d)
        j = rng.integers(d)
        rows = slice(at, at + 1) if kind == "one sample" else slice(at, None)
        X[rows, j] = X[rows, j] * 1e6 if kind != "offset" else X[rows, j] + 1e6
        model = MiniBatchRidgeSGD(solver=solver, random_state=0)
        learn(model, X[: at + chunk], y[: at + chunk], chunk=chunk)
        errors = []
        for start in range(at + chunk, n, chunk):
            part = slice(start, start + chunk)
            errors.append(np.mean((model.predict(X[part]) - y[part]) ** 2))
            model.partial_fit(X[part], y[part])
        assert np.median(errors) < 20 * y.var()


def test_a_column_wakes_up_after_the_textbook_solver():
    X, y = regression(2000, 3)
    X[:500, 1] = 0.3
    model = MiniBatchRidgeSGD(solver="sgd", random_state=0)
    learn(model, X[:500], y[:500], chunk=100)
    learn(model.set_params(solver="svrg"), X[500:], y[500:], chunk=100)
    assert distance_to_ridge(model, X, y) <= 0.2


def test_one_pass_in_any_chunking():
    X, y = regression(6000, 5, condition=10)
    X = X * np.geomspace(1e-3, 1e3, 5) + 1e3
    X, y = np.tile(X, (4, 1)), np.tile(y, 4)
    for chunk in (1, 50, 6000, 24_000):
        n = 1500 if chunk == 1 else max(chunk, 6000)
        model = learn(MiniBatchRidgeSGD(random_state=0), X[:n], y[:n], chunk=chunk)
        # The closed form itself is off the truth by about noise * sqrt(d / n).
        assert distance_to_ridge(model, X[:n], y[:n]) <= 0.5 * np.sqrt(5 / n)


@DENSE_AND_SPARSE
@pytest.mark.parametrize(
    "params",
    [{}, {"standardize": False}, {"fit_intercept": False}, {"preconditioner": None, "lr": 0.3}],
)
def test_one_pass_comes_near_the_closed_form_of_its_parameters(params, to_rows):
    X, y = regression(5000, 5, t=2)
    X = np.where(X > 0, X, 0) + 0.1
    w = np.random.default_rng(0).exponential(size=5000)
    model = learn(MiniBatchRidgeSGD(0.01, random_state=0, **params), to_rows(X), y, w, chunk=500)
    assert distance_to_ridge(model, X, y, w) <= 0.05


def test_weights_stay_with_their_rows_when_a_chunk_is_shuffled():
    """A first chunk of three rows is one of six orders of single-row steps.

    The steps are averaged by weight.
    """
    X, y, w = (
        np.array([[1.0, 0.5], [0.2, -1.0], [2.0, 1.0]]),
        np.array([1.0, 2.0, -1.0]),
        np.array([0.1, 1.0, 8.0]),
    )
    params = {
        "batch_size": 1,
        "lr": 0.05,
        "preconditioner": None,
        "standardize": False,
        "fit_intercept": False,
    }
    possible = []
    for order in permutations(range(3)):
        beta, mean, seen = np.zeros(2), np.zeros(2), 0.0
        for i in order:
            seen += w[i]
            beta = beta - 0.05 * (X[i] * (X[i] @ beta - y[i]) + 0.1 * beta)
            mean = mean + (beta - mean) * 2 * w[i] / (seen + w[i])
        possible.append(mean)
    for seed in range(10):
        coef = (
            MiniBatchRidgeSGD(0.1, random_state=seed, **params)
            .partial_fit(X, y, sample_weight=w)
            .coef_
        )
        assert min(np.abs(coef - mean).max() for mean in possible) < 1e-12


def test_steps_have_the_penalty_of_each_feature():
    X, y = regression(30, 3)
    factor = np.array([0.0, 2.0, 5.0])
    params = {"lr": 0.05, "standardize": False, "fit_intercept": False, "shuffle": False}
    beta = mean = np.zeros(3)
    for i in range(30):
        beta = beta - 0.05 * (X[i] * (X[i] @ beta - y[i]) + 0.1 * factor * beta)
        mean = mean + (beta - mean) * 2 / (i + 2)
    model = MiniBatchRidgeSGD(0.1, penalty_factor=factor, batch_size=1, **params)
    np.testing.assert_allclose(model.partial_fit(X, y).coef_, mean, rtol=1e-10)


@SOLVERS
@pytest.mark.parametrize("rows", [1, 40, 700])
def test_chunks_of_several_kinds(solver, rows):
    X, y = regression(4 * rows, 3)
    kinds = [
        np.asarray,
        sparse.csr_array,
        lambda X: X.astype(np.float32).astype(float),
        sparse.csc_matrix,
    ]
    mixed, plain = (MiniBatchRidgeSGD(solver=solver, lr=0.01, random_state=0) for _ in range(2))
    for kind, chunk in zip(kinds, np.split(np.arange(4 * rows), 4), strict=True):
        mixed.partial_fit(kind(X[chunk]), y[chunk])
        plain.partial_fit(X[chunk], y[chunk])
    np.testing.assert_allclose(mixed.coef_, plain.coef_, rtol=1e-5)
    np.testing.assert_allclose(mixed.intercept_, plain.intercept_, rtol=1e-5)


def test_after_fit_on_the_same_stream():
    """A fitted half, then the other half in chunks: near the closed form of both."""
    X, y = regression(8000, 5, condition=100)
    model = MiniBatchRidgeSGD(random_state=0).fit(X[:4000], y[:4000])
    learn(model, X[4000:], y[4000:], chunk=200)
    half = closed_form(X[:4000], y[:4000], 1e-4).predict(X)[:, 0]
    far = np.sqrt(np.mean((half - closed_form(X, y, 1e-4).predict(X)[:, 0]) ** 2)) / y.std()
    assert distance_to_ridge(model, X, y) <= far


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 8, 64, 1000])
@pytest.mark.parametrize("lr", [1e-6, 0.1, 1.0, 1e3, 1e6])
def test_no_lr_makes_the_default_diverge(lr, batch_size):
    X, y = regression(3000, 6, condition=100)
    model = learn(MiniBatchRidgeSGD(lr=lr, batch_size=batch_size, random_state=0), X, y, chunk=300)
    assert model.score(X, y) > -0.01


class TestAFailureChangesNothing:
    """A partial_fit that raises leaves every byte of the estimator as it was.

    That it leaves nothing where it is the first call is tested in `estimators/test_input.py`.
    """

    STARTS = pytest.mark.parametrize("start", ["fit", "partial_fit", "both"])

    X, y = regression(60, 3)

    def trained(self, solver, start, rows):
        model = MiniBatchRidgeSGD(solver=solver, lr=1e-3, tol=None, max_iter=3, random_state=0)
        for method in ("fit", "partial_fit") if start == "both" else (start,):
            getattr(model, method)(rows, self.y)
        return model

    @SOLVERS
    @STARTS
    @pytest.mark.parametrize("fault", [*FAULTS, *UNLIKE_BEFORE])
    def test_after_others(self, fault, start, solver):
        model = self.trained(solver, start, self.X)
        before = state(model)
        spoil = FAULTS[fault][0] if fault in FAULTS else UNLIKE_BEFORE[fault]
        X, y, w = spoil(self.X, self.y, None)
        with pytest.raises(ValueError):  # noqa: PT011
            model.partial_fit(X, y, sample_weight=w)
        assert state(model) == before

    @SOLVERS
    @STARTS
    def test_other_names_after_others(self, start, solver):
        rows = pd.DataFrame(self.X, columns=["a", "b", "c"])
        model = self.trained(solver, start, rows)
        before = state(model)
        with pytest.raises(ValueError, match="feature names"):
            model.partial_fit(rows.rename(columns={"c": "z"}), self.y)
        assert state(model) == before

    @SOLVERS
    def test_what_comes_after_is_as_if_it_had_not_been(self, solver):
        models = [MiniBatchRidgeSGD(solver=solver, lr=1e-3, random_state=0) for _ in range(2)]
        for model, bad in zip(models, (False, True), strict=True):
            for start in range(0, 60, 20):
                model.partial_fit(self.X[start : start + 20], self.y[start : start + 20])
                if bad:
                    with pytest.raises(ValueError, match="Negative"):
                        model.partial_fit(self.X, self.y, -np.ones(60))
        assert state(models[0]) == state(models[1])

    @SOLVERS
    def test_targets_must_keep_their_dimensions(self, solver):
        model = MiniBatchRidgeSGD(solver=solver, lr=1e-3).partial_fit(
            self.X, np.column_stack([self.y, self.y])
        )
        with pytest.raises(ValueError, match="target"):
            model.partial_fit(self.X, self.y)


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_each_chunk_is_shuffled_anew(solver):
    X, y = regression(20, 3)
    model = MiniBatchRidgeSGD(solver=solver, lr=0.1, batch_size=1, random_state=0)
    _, before = model.partial_fit(X, y)._state.order(20, shuffle=True)
    _, after = model.partial_fit(X, y)._state.order(20, shuffle=True)
    assert sorted(before) == sorted(after) == list(range(20))
    assert list(before) != list(after)


@SOLVERS
@DENSE_AND_SPARSE
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_buffer_of_a_chunk_may_be_used_again(solver, to_rows, shuffle):
    X, y = regression(400, 3)
    w = np.linspace(0.1, 1, 400)
    params = {"solver": solver, "shuffle": shuffle, "lr": 1e-2, "random_state": 0}
    fresh, reused = MiniBatchRidgeSGD(**params), MiniBatchRidgeSGD(**params)
    buffers = to_rows(X[:40].copy()), y[:40].copy(), w[:40].copy()
    for start in range(0, 400, 40):
        rows = slice(start, start + 40)
        (buffers[0].data if sparse.issparse(buffers[0]) else buffers[0].ravel())[:] = X[
            rows
        ].ravel()
        buffers[1][:], buffers[2][:] = y[rows], w[rows]
        reused.partial_fit(*buffers)
        for buffer in (
            buffers[0].data if sparse.issparse(buffers[0]) else buffers[0],
            *buffers[1:],
        ):
            buffer[:] = -99
        fresh.partial_fit(to_rows(X[rows].copy()), y[rows].copy(), w[rows].copy())
    np.testing.assert_array_equal(reused.coef_, fresh.coef_)
    assert reused.intercept_ == fresh.intercept_


@pytest.mark.slow
class TestMemory:
    """No pass copies rows that it does not use.

    The bound is on what a call allocates, by the layout of the array.
    """

    X = np.random.default_rng(0).normal(size=(60_000, 20))
    y = X.sum(axis=1)

    @pytest.fixture(autouse=True)
    def too_many_features_for_sketches(self, monkeypatch):
        monkeypatch.setattr("sklearn_minibatch._solvers.preconditioner.EXACT_FEATURES", 0)

    def peak(self, X, how, **params):
        """Bytes that a call holds at most at one time."""
        model = MiniBatchRidgeSGD(random_state=0, max_iter=2, tol=None, batch_size=1024, **params)
        # What the first call imports and caches is not counted.
        model.fit(X[:2000], self.y[:2000])
        tracemalloc.start()
        try:
            if how == "chunks":
                model.fit(ChunkSource(lambda: iter([(X, self.y)])))
            else:
                getattr(model, how)(X, self.y)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(
        "layout",
        [
            np.asfortranarray,
            lambda X: np.hstack([X, X])[:, :20],
            lambda X: np.repeat(X, 2, axis=0)[::2],
        ],
    )
    @pytest.mark.parametrize("how", ["fit", "chunks", "partial_fit"])
    @SOLVERS
    def test_of_dense_rows(self, layout, how, solver):
        # A stream with a sketch keeps a copy of the chunk, besides which one more would not be
        # noticed.
        params = {"solver": solver, "preconditioner": None if how == "partial_fit" else "auto"}
        assert (
            self.peak(layout(self.X), how, **params)
            <= self.peak(self.X, how, **params) + self.X.nbytes / 4
        )

    @pytest.mark.parametrize("how", ["fit", "chunks", "partial_fit"])
    @SOLVERS
    def test_of_sparse_columns(self, how, solver):
        rows = sparse.csr_array(self.X * (self.X > 1))
        size = rows.data.nbytes + rows.indices.nbytes
        params = {"solver": solver, "preconditioner": None if how == "partial_fit" else "auto"}
        # One conversion to rows.
        assert (
            self.peak(sparse.csc_array(rows), how, **params)
            <= self.peak(rows, how, **params) + 1.5 * size
        )


@SOLVERS
def test_attributes_handed_out_earlier_do_not_change(solver):
    X, y = regression(100, 3)
    model = MiniBatchRidgeSGD(solver=solver, lr=1e-2).partial_fit(X[:50], y[:50])
    coef, mean = model.coef_, model.scaler_.mean_
    before = coef.copy(), mean.copy()
    model.partial_fit(X[50:], y[50:])
    np.testing.assert_array_equal((coef, mean), before)
    assert not np.array_equal(model.coef_, coef)


@SOLVERS
def test_writing_to_the_published_attributes_does_no_harm(solver):
    X, y = regression(100, 3)
    models = [
        MiniBatchRidgeSGD(solver=solver, lr=1e-2, random_state=0).partial_fit(X[:50], y[:50])
        for _ in range(2)
    ]
    models[0].coef_[:] = 0
    for model in models:
        model.partial_fit(X[50:], y[50:])
    np.testing.assert_array_equal(models[0].coef_, models[1].coef_)


@pytest.mark.parametrize("start", ["fit", "partial_fit"])
@pytest.mark.parametrize("exponent", [-20, 20])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_units_of_a_column_that_was_constant_for_a_while(start, exponent, spread):
    X, y = regression(400, 3)
    X[:, 1] *= spread
    X[:200, 1] = 0.5
    scale = np.array([1.0, 2.0**exponent, 1.0])
    one, two = (MiniBatchRidgeSGD(random_state=0) for _ in range(2))
    for model, rows in ((one, X), (two, X * scale)):
        getattr(model, start)(rows[:200], y[:200])
        learn(model, rows[200:], y[200:], chunk=20)
    np.testing.assert_array_equal(two.coef_ * scale, one.coef_)


@pytest.mark.parametrize("exponent", [0, 33])
def test_the_rate_for_sparse_rows_with_a_constant_column(exponent):
    scale = np.array([1.0, 1.0, 2.0**exponent])
    model = MiniBatchRidgeSGD(solver="sgd", random_state=0)
    model.partial_fit(np.array([[-3.75, 0, -4.75]]) * scale, [0.0])
    model.partial_fit(sparse.csr_array(np.array([[3, 1.125, -4.75]]) * scale), [4.0])
    # The row is (1, 1, 0) in standard deviations, and other rows may be longer.
    assert model.lr_ == pytest.approx(1 / (2 * 3 + model.alpha))


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_a_chunk_without_weights_has_weights_of_one(solver):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)) + 5, rng.normal(size=200)
    models = [
        MiniBatchRidgeSGD(solver=solver, random_state=0).partial_fit(
            X[:100], y[:100], np.full(100, 10.0)
        )
        for _ in "ab"
    ]
    models[0].partial_fit(X[100:], y[100:])
    models[1].partial_fit(X[100:], y[100:], np.ones(100))
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-12)


def test_a_rate_of_ones_own_is_no_bound_on_a_later_auto():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    model = MiniBatchRidgeSGD(solver="sgd", lr=1e-6, random_state=0).partial_fit(X, y)
    model.set_params(lr="auto").partial_fit(X, y)
    assert model.lr_ > 0.01


def test_many_columns_without_a_preconditioner_take_small_batches():
    X = sparse.random(100, 3001, density=0.01, random_state=0, format="csr")
    assert MiniBatchRidgeSGD().partial_fit(X, np.arange(100.0)).batch_size_ == 32


def test_writing_to_the_scaler_does_no_harm():
    rng = np.random.default_rng(0)
    model = MiniBatchRidgeSGD().partial_fit(rng.normal(size=(200, 3)), rng.normal(size=200))
    before = model.scaler_
    for name in ("mean_", "var_", "scale_"):
        getattr(model.scaler_, name)[:] = 99.0
        np.testing.assert_array_equal(getattr(model.scaler_, name), getattr(before, name))
        assert getattr(model.scaler_, name)[0] != 99.0


@pytest.mark.parametrize("seed", range(20))
def test_the_coefficient_of_a_constant_column_of_sparse_rows_is_0(seed):
    rng = np.random.default_rng(seed)
    n, place = rng.integers(5, 80), rng.integers(3)
    X = rng.normal(size=(n, 3))
    X[:, place] = 2.0
    y, w = X @ [1.0, 2.0, 3.0] + rng.normal(size=n), rng.integers(1, 16, n) / 8
    model = MiniBatchRidgeSGD(solver="svrg", random_state=0)
    model.partial_fit(sparse.csr_array(X), y, sample_weight=w)
    assert model.coef_[place] == 0
