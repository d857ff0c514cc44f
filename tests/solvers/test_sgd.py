"""solver="sgd" takes the steps of the MATLAB function, number for number.

And those of SGDRegressor, where the two algorithms agree.
"""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDRegressor

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from ..examples import examples
from ..oracles import distance_to_ridge, regression, textbook

SCHEDULES = pytest.mark.parametrize(
    ("schedule", "decay"), [("constant", 0.3), ("inverse_time", 0.3), ("compound", 0.003)]
)


def sgd(batch_size, lr, schedule="constant", decay=0.0, epochs=4, alpha=0.01, **params):
    """The textbook solver for so many epochs, rows in the order given."""
    fixed = {"solver": "sgd", "shuffle": False, "tol": None, "random_state": 0}
    named = {
        "batch_size": batch_size,
        "lr": lr,
        "lr_schedule": schedule,
        "lr_decay": decay,
        "max_iter": epochs,
        "alpha": alpha,
    }
    return MiniBatchRidgeSGD(**{**fixed, **named, **params})


def unscaled(n=203, d=5, seed=0):
    """Rows in columns of unlike scales and offsets."""
    X, y = regression(n, d, seed=seed)
    return X * np.geomspace(0.1, 1e3, d) + np.arange(d), y


@pytest.mark.filterwarnings("ignore:lr_decay has no effect:UserWarning")
@SCHEDULES
@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 17, 64, 203, 1000])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_fit_is_the_loop(batch_size, schedule, decay, fit_intercept):
    X, y = unscaled()
    plan = {
        "batch_size": batch_size,
        "lr": 0.02,
        "schedule": schedule,
        "decay": decay,
        "epochs": 4,
        "alpha": 0.01,
    }
    expected, averaged = textbook(X, y, fit_intercept=fit_intercept, **plan)
    for average, seed in ((False, expected), (True, averaged)):
        model = sgd(fit_intercept=fit_intercept, average=average, **plan).fit(X, y)
        np.testing.assert_allclose(model.coef_, seed.coef, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(model.intercept_, seed.intercept, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(model.loss_history_, seed.losses, rtol=1e-10)


def in_matlab(X, y, batch_size, lr, lr_decay, epochs, lam):
    """The function as its users wrote it, for rows in the order given.

    It returns coefficients in scaled units, the intercept, and the loss after each epoch.
    """
    m = len(y)
    Z = (X - X.mean(0)) / X.std(0)
    beta, b, losses = np.zeros(Z.shape[1]), 0.0, []
    for epoch in range(1, epochs + 1):
        for i in range(0, m, batch_size):
            r = Z[i : i + batch_size] @ beta + b - y[i : i + batch_size]
            lr = lr / (1 + lr_decay * epoch)
            g = Z[i : i + batch_size].T @ r / batch_size + lam * beta
            beta, b = beta - lr * g, b - lr * r.sum() / batch_size
        r = Z @ beta + b - y
        losses.append(r @ r / (2 * m) + lam / 2 * beta @ beta)
    return beta, b, losses


@given(
    n=st.integers(2, 90),
    batch_size=st.integers(1, 40),
    lr=st.floats(1e-3, 0.05),
    decay=st.sampled_from([0.0, 1e-3, 0.1]),
    lam=st.sampled_from([0.0, 0.01, 3.0]),
    place=st.sampled_from(["memory", "sparse", "chunks"]),
    seed=st.integers(0, 99),
)
@pytest.mark.filterwarnings("ignore:lr_schedule='compound' has no effect:UserWarning")
def test_a_short_last_mini_batch_takes_its_share_of_a_step(
    n, batch_size, lr, decay, lam, place, seed
):
    X, y = unscaled(n, 3, seed)
    batch_size = min(batch_size, n)
    beta, b, losses = in_matlab(X, y, batch_size, lr, decay, 3, lam)
    model = sgd(batch_size, lr, "compound", decay, epochs=3, alpha=lam)
    if place == "chunks":
        parts = np.array_split(np.arange(n), 4)
        model.fit(ChunkSource(lambda: ((X[k], y[k]) for k in parts if len(k))))
    else:
        model.fit(sparse.csr_array(X) if place == "sparse" else X, y)
    size = np.abs(beta).max() + abs(b)
    np.testing.assert_allclose(model.coef_ * X.std(0), beta, rtol=1e-10, atol=1e-12 * size)
    intercept = model.intercept_ + X.mean(0) @ model.coef_
    np.testing.assert_allclose(intercept, b, rtol=1e-10, atol=1e-11 * size)
    np.testing.assert_allclose(model.loss_history_, losses, rtol=1e-10)


@given(
    n=st.integers(2, 50),
    batch_size=st.integers(1, 60),
    average=st.booleans(),
    weighted=st.booleans(),
)
def test_a_call_of_partial_fit_is_an_epoch(n, batch_size, average, weighted):
    """Whether the call has more rows than a mini-batch, or fewer."""
    X, y = unscaled(n, 3)
    w = np.random.default_rng(n).exponential(size=n) if weighted else None
    model = sgd(batch_size, 0.02, "inverse_time", 0.1, epochs=1, average=average)
    expected = clone(model).fit(X, y, sample_weight=w)
    model.partial_fit(X, y, sample_weight=w)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-10)
    assert model.lr_ == expected.lr_
    assert model.t_ == expected.t_


@pytest.mark.parametrize("batch_size", [1, 32])
def test_single_rows_take_whole_steps(batch_size):
    """In a stream of single rows `batch_size` makes no difference, as in SGDRegressor."""
    X, y = regression(200, 4)
    model = sgd(batch_size, 0.005, alpha=0.01, standardize=False)
    theirs = SGDRegressor(learning_rate="constant", eta0=0.005, alpha=0.01)
    for row in range(200):
        model.partial_fit(X[[row]], y[[row]])
        theirs.partial_fit(X[[row]], y[[row]])
    np.testing.assert_allclose(model.coef_, theirs.coef_, rtol=1e-9)


@pytest.mark.parametrize("n", [353, 354])
def test_one_or_two_rows_that_are_left_over_do_no_harm(n):
    """Folds of 442 rows leave one or two mini-batches of 32 over."""
    X, y = regression(n, 10)
    scores = [
        MiniBatchRidgeSGD(solver="sgd", batch_size=size, random_state=0).fit(X, y).score(X, y)
        for size in (32, 30)
    ]
    assert abs(scores[0] - scores[1]) < 0.02


@pytest.mark.filterwarnings("ignore:lr_decay has no effect:UserWarning")
@SCHEDULES
def test_unstandardised(schedule, decay):
    X, y = regression(203, 5)
    plan = {
        "batch_size": 7,
        "lr": 0.02,
        "schedule": schedule,
        "decay": decay,
        "epochs": 4,
        "alpha": 0.01,
        "standardize": False,
    }
    seed, _ = textbook(X, y, **plan)
    model = sgd(**plan).fit(X, y)
    np.testing.assert_allclose(model.coef_, seed.coef, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, seed.intercept, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_more_rows_than_are_fetched_at_once(batch_size):
    X, y = unscaled(9001)
    plan = {
        "batch_size": batch_size,
        "lr": 1e-3,
        "schedule": "compound",
        "decay": 1e-5,
        "epochs": 1,
        "alpha": 0.01,
    }
    seed, averaged = textbook(X, y, **plan)
    np.testing.assert_allclose(sgd(**plan).fit(X, y).coef_, seed.coef, rtol=1e-10)
    np.testing.assert_allclose(sgd(**plan, average=True).fit(X, y).coef_, averaged.coef, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_several_targets_are_fitted_as_if_alone(batch_size):
    X, y = unscaled()
    targets = np.column_stack([y, -3 * y[::-1]])
    model = sgd(batch_size, 0.02).fit(X, targets)
    for one, coef, intercept in zip(targets.T, model.coef_, model.intercept_, strict=True):
        alone = sgd(batch_size, 0.02).fit(X, one)
        np.testing.assert_allclose(coef, alone.coef_, rtol=1e-10)
        np.testing.assert_allclose(intercept, alone.intercept_, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_weights_multiply_the_squares(batch_size):
    X, y = unscaled()
    w = np.random.default_rng(0).exponential(size=len(y))
    seed, _ = textbook(X, y, batch_size, 0.02, "constant", 0, 4, 0.01, w=w)
    model = sgd(batch_size, 0.02).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(model.coef_, seed.coef, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, seed.intercept, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize("weighted", [True, False])
def test_sparse_rows_take_the_same_steps(batch_size, weighted):
    X, y = unscaled()
    X *= np.random.default_rng(0).random(X.shape) < 0.5
    w = np.linspace(0.1, 2, len(y)) if weighted else None
    expected = sgd(batch_size, 0.02).fit(X, y, sample_weight=w).partial_fit(X[:60], y[:60])
    model = (
        sgd(batch_size, 0.02)
        .fit(sparse.csr_array(X), y, sample_weight=w)
        .partial_fit(sparse.csr_array(X[:60]), y[:60])
    )
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-10)


def test_shuffling_takes_every_row_once_an_epoch():
    """Every row is used exactly once in an epoch.

    With alpha = 0 and orthogonal rows a step of one row does not change the residuals of the
    others, so the order does not matter.
    """
    X, y = np.diag(np.arange(1.0, 9.0)), np.arange(8.0)
    params = {"standardize": False, "fit_intercept": False, "alpha": 0.0, "epochs": 3}
    ordered = sgd(1, 0.01, **params).fit(X, y)
    for seed in range(5):
        shuffled = sgd(1, 0.01, shuffle=True, random_state=seed, **params).fit(X, y)
        np.testing.assert_allclose(shuffled.coef_, ordered.coef_, rtol=1e-12)


@pytest.mark.parametrize(("n", "batch_size"), [(9001, 1), (9000, 3), (9000, 8), (9024, 64)])
def test_shuffling_long_data_takes_every_row_once_an_epoch(n, batch_size):
    """Tiny steps add up to the gradient at 0, to which every row adds a ten-thousandth."""
    X, y = regression(n, 3)
    params = {"standardize": False, "alpha": 0.0, "epochs": 1}
    ordered, shuffled = (
        sgd(batch_size, 1e-13, shuffle=shuffle, **params).fit(X, y) for shuffle in (False, True)
    )
    np.testing.assert_allclose(shuffled.coef_, ordered.coef_, rtol=1e-7)
    np.testing.assert_allclose(shuffled.intercept_, ordered.intercept_, rtol=1e-7)


def test_shuffling_draws_a_new_order_in_every_epoch():
    """Two rows, two epochs: four orders of single-row steps, and all four come up."""
    X, y = np.array([[1.0, 2.0], [2.0, -0.5]]), np.array([1.0, 3.0])
    found = {
        tuple(
            sgd(1, 0.1, epochs=2, standardize=False, shuffle=True, random_state=s)
            .fit(X, y)
            .coef_.round(9)
        )
        for s in range(40)
    }
    orders = [[a, 1 - a, b, 1 - b] for a in (0, 1) for b in (0, 1)]
    loops = [
        textbook(X[o], y[o], 1, 0.1, "constant", 0, 1, 0.01, standardize=False)[0].coef
        for o in orders
    ]
    assert found == {tuple(coef.round(9)) for coef in loops}


@pytest.mark.parametrize("average", [False, True])
def test_defaults_come_near_the_closed_form(average):
    X, y = unscaled(3000)
    model = MiniBatchRidgeSGD(solver="sgd", average=average, tol=1e-3, random_state=0).fit(X, y)
    assert model.converged_
    assert distance_to_ridge(model, X, y) < (0.01 if average else 0.2)


class TestConvergence:
    """A loss that stands still because nothing moves is no convergence."""

    @pytest.mark.parametrize(
        "params",
        [
            {"lr": 1e-12},
            {"lr": 1e-300},
            {"lr": 1e-300, "tol": 0.0},
            {"lr": 1e-12, "fit_intercept": False},
            {"lr": 1e-12, "average": True},
            {"lr": 1e-12, "standardize": False, "fit_intercept": False},
            {"lr": 1e-7, "tol": 1e-3},
            {"lr_schedule": "compound", "lr_decay": 1.0},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("offset", [0.0, 100.0])
    def test_steps_that_do_not_move(self, params, offset):
        X, y = regression(500, 5)
        with pytest.warns(ConvergenceWarning, match="learning rates cannot go more than"):
            model = MiniBatchRidgeSGD(solver="sgd", random_state=0, max_iter=20, **params).fit(
                X, y + offset
            )
        assert not model.converged_
        assert distance_to_ridge(model, X, y + offset) > 0.2
        assert model.n_iter_ == 20

    @pytest.mark.filterwarnings("ignore:lr_decay has no effect:UserWarning")
    @examples(30)
    @given(
        exponent=st.floats(-13, 0),
        schedule=st.sampled_from(["constant", "inverse_time", "compound"]),
        seed=st.integers(0, 99),
    )
    def test_what_has_converged_is_near_at_any_rate(self, exponent, schedule, seed):
        """What has converged is near the closed form at any rate.

        The rows are well-conditioned. With a plateau of F that was reached by moving, only the
        noise of the steps is left.
        """
        X, y = regression(300, 3, seed=seed)
        params = {
            "lr": 0.1 * 10**exponent,
            "lr_schedule": schedule,
            "lr_decay": 1e-3,
            "random_state": 0,
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Not converged")
            model = MiniBatchRidgeSGD(solver="sgd", max_iter=50, **params).fit(X, y)
        assert not model.converged_ or distance_to_ridge(model, X, y) < 0.2

    @pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
    def test_columns_of_any_size_without_an_intercept(self, scale):
        """What the rates are measured by goes with the columns."""
        X, y = regression(2000, 5)
        params = {
            "standardize": False,
            "fit_intercept": False,
            "alpha": 0.0,
            "tol": 1e-3,
            "random_state": 0,
        }
        model = MiniBatchRidgeSGD(solver="sgd", **params).fit(scale * X, y - 3)
        assert model.converged_
        assert model.score(scale * X, y - 3) > 0.9

    @pytest.mark.parametrize("fit_intercept", [True, False])
    def test_a_large_penalty_is_a_step_away(self, fit_intercept):
        X, y = regression(500, 5)
        model = MiniBatchRidgeSGD(1e12, solver="sgd", fit_intercept=fit_intercept, random_state=0)
        model.fit(X, y)
        assert model.converged_
        assert distance_to_ridge(model, X, y) < 1e-9

    def test_epochs_without_a_gain(self):
        """The fit ends after `n_iter_no_change` epochs without a gain.

        An epoch has no gain if it lowers the least F by no more than `tol`.
        """
        X, y = regression(500, 5)
        for patience in (2, 3, 7):
            model = MiniBatchRidgeSGD(
                solver="sgd", lr=0.1, tol=1e-3, n_iter_no_change=patience, random_state=0
            ).fit(X, y)
            least, idle, ends = np.inf, 0, None
            start = np.mean(y**2) / 2
            for epoch, value in enumerate(model.loss_history_, 1):
                idle = 0 if 1 - value / min(least, start) > 1e-3 else idle + 1
                least = min(least, value)
                ends = ends or (epoch if idle == patience else None)
            assert model.converged_
            assert ends == model.n_iter_


class TestSGDRegressor:
    """Single-row steps at a constant rate on raw columns."""

    alpha, lr = 0.01, 0.005

    def ours(self, **params):
        return sgd(1, self.lr, alpha=self.alpha, standardize=False, **params)

    def theirs(self, epochs, fit_intercept=True):
        fixed = {"penalty": "l2", "learning_rate": "constant", "shuffle": False, "tol": None}
        return SGDRegressor(
            eta0=self.lr, alpha=self.alpha, max_iter=epochs, fit_intercept=fit_intercept, **fixed
        )

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize("epochs", [1, 5])
    def test_fit(self, epochs, fit_intercept):
        X, y = regression(500, 6)
        theirs = self.theirs(epochs, fit_intercept).fit(X, y)
        ours = self.ours(epochs=epochs, fit_intercept=fit_intercept).fit(X, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
        np.testing.assert_allclose(
            ours.intercept_, theirs.intercept_[0] if fit_intercept else 0, rtol=1e-9
        )
        assert ours.t_ == theirs.t_ - 1

    @pytest.mark.parametrize("fit_intercept", [True, False])
    @pytest.mark.parametrize("chunk", [1, 37, 100])
    def test_partial_fit(self, chunk, fit_intercept):
        X, y = regression(500, 6)
        ours, theirs = self.ours(fit_intercept=fit_intercept), self.theirs(1, fit_intercept)
        for start in range(0, 500, chunk):
            rows = slice(start, start + chunk)
            ours.partial_fit(X[rows], y[rows])
            theirs.partial_fit(X[rows], y[rows])
            np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
            np.testing.assert_allclose(
                ours.intercept_, theirs.intercept_[0] if fit_intercept else 0, rtol=1e-9
            )

    def test_partial_fit_after_fit(self):
        X, y = regression(500, 6)
        theirs = self.theirs(3).fit(X[:400], y[:400])
        ours = self.ours(epochs=3).fit(X[:400], y[:400])
        np.testing.assert_allclose(
            ours.partial_fit(X[400:], y[400:]).coef_,
            theirs.partial_fit(X[400:], y[400:]).coef_,
            rtol=1e-9,
        )

    def test_an_outlier_of_a_chunk_is_no_divergence(self):
        X, y = regression(60, 3)
        y[30] = 1e4
        ours, theirs = self.ours(), self.theirs(1)
        for start in range(0, 60, 10):
            rows = slice(start, start + 10)
            np.testing.assert_allclose(
                ours.partial_fit(X[rows], y[rows]).coef_,
                theirs.partial_fit(X[rows], y[rows]).coef_,
                rtol=1e-9,
            )


class TestDivergence:
    """A learning rate that is too large.

    fit keeps the best finite iterate and says what would help; partial_fit keeps what there was.
    """

    @staticmethod
    def diverging(X, y, **params):
        model = MiniBatchRidgeSGD(solver="sgd", random_state=0, **params)
        with pytest.warns(ConvergenceWarning, match="diverged") as caught:
            model.fit(X, y)
        assert len(caught) == 1
        return model, str(caught[0].message)

    @staticmethod
    def named_rate(message):
        return float(re.search(r"up to about lr=(\S+?)\.?$", message)[1])

    @pytest.mark.parametrize("lr", [3.0, 1e3, 1e200])
    @pytest.mark.parametrize("batch_size", [1, 16, 100])
    def test_fit_keeps_the_best_iterate_and_warns(self, batch_size, lr):
        X, y = unscaled()
        model, message = self.diverging(X, y, lr=lr, batch_size=batch_size)
        assert f"lr={lr:.3g}" in message
        epoch = int(re.search(r"epoch (\d+)", message)[1])
        assert epoch == len(model.loss_history_) == model.n_iter_
        assert np.all(np.isfinite(model.coef_))
        assert np.isfinite(model.intercept_)
        assert not model.converged_
        residual = y - model.predict(X)
        assert residual @ residual <= y @ y

    @pytest.mark.parametrize(("factor", "tol"), [(2.05, None), (2.2, 1e-6)])
    def test_the_best_iterate_is_that_of_the_lowest_loss(self, factor, tol):
        """Full-batch steps a little longer than 2 / curvature.

        F falls along most directions before it rises along one.
        """
        X, y = regression(200, 5, condition=10)
        lr = factor / (np.linalg.eigvalsh(np.corrcoef(X.T))[-1] + 1e-4)
        model, _ = self.diverging(X, y, lr=lr, batch_size=200, tol=tol)
        best = np.argmin(model.loss_history_) + 1
        assert 1 < best < model.n_iter_
        kept = sgd(200, lr, epochs=best, alpha=1e-4).fit(X, y)
        np.testing.assert_allclose(model.coef_, kept.coef_, rtol=1e-9)

    def test_a_slow_divergence_keeps_the_best_iterate(self):
        """F has risen above its start by little when the epochs end."""
        X, y = regression(200, 5, condition=10)
        lr = 2.05 / (np.linalg.eigvalsh(np.corrcoef(X.T))[-1] + 1e-4)
        losses = textbook(X, y, 200, lr, "constant", 0, 200, 1e-4)[0].losses
        epochs = 1 + int(np.argmax(losses > 1.5 * (y @ y) / 400))
        assert losses[epochs - 1] < 5 * (y @ y) / 400
        model, _ = self.diverging(X, y, lr=lr, batch_size=200, tol=None, max_iter=epochs)
        kept, _ = textbook(X, y, 200, lr, "constant", 0, 1 + np.argmin(losses), 1e-4)
        np.testing.assert_allclose(model.coef_, kept.coef, rtol=1e-9)

    def test_warm_start_survives_divergence(self):
        X, y = unscaled()
        model = sgd(16, 0.01, warm_start=True).fit(X, y)
        coef = model.coef_
        model.set_params(lr=10.0)
        with pytest.warns(ConvergenceWarning, match="diverged"):
            model.fit(X, y)
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-10)

    @pytest.mark.parametrize("batch_size", [1, 4, 32, 1000])
    @pytest.mark.parametrize("standardize", [True, False])
    @pytest.mark.parametrize("kind", ["spherical", "conditioned", "offset", "wide", "heavy"])
    def test_half_the_named_rate_is_stable(self, kind, standardize, batch_size):
        X, y = {
            "spherical": lambda: regression(500, 5),
            "conditioned": lambda: regression(500, 20, condition=1e4),
            "offset": lambda: (regression(500, 5)[0] + 10, regression(500, 5)[1]),
            "wide": lambda: regression(50, 80),
            "heavy": lambda: heavy_tailed(500, 5),
        }[kind]()
        _, message = self.diverging(X, y, lr=1e3, batch_size=batch_size, standardize=standardize)
        lr = self.named_rate(message) / 2
        model = MiniBatchRidgeSGD(
            solver="sgd",
            lr=lr,
            batch_size=batch_size,
            standardize=standardize,
            tol=None,
            random_state=0,
        )
        model.fit(X, y)
        assert model.loss_history_[-1] < min(1.5 * model.loss_history_[0], y @ y / len(y) / 2)

    @pytest.mark.parametrize("kind", ["spherical", "conditioned"])
    @pytest.mark.parametrize("batch_size", [1, 4, 32, 1000])
    def test_the_named_rate_is_not_far_too_small(self, kind, batch_size):
        X, y = regression(1000, 5, condition=1 if kind == "spherical" else 1e4)
        _, message = self.diverging(X, y, lr=1e3, batch_size=batch_size)
        self.diverging(X, y, lr=20 * self.named_rate(message), batch_size=batch_size)

    @pytest.mark.parametrize("lr", [10.0, 1e200])
    @pytest.mark.parametrize("batch_size", [1, 50])
    def test_partial_fit_raises_and_keeps_its_state(self, batch_size, lr):
        X, y = unscaled()
        model = sgd(batch_size, 0.01).partial_fit(X, y)
        before = {
            name: np.copy(value)
            for name, value in vars(model).items()
            if name in ("coef_", "intercept_", "t_")
        }
        model.set_params(lr=lr)
        with pytest.raises(ValueError, match="diverged") as caught:
            model.partial_fit(X, y)
        for name, value in before.items():
            np.testing.assert_array_equal(getattr(model, name), value)
        message = str(caught.value)
        assert f"lr={lr:.3g}" in message
        model.set_params(lr=self.named_rate(message) / 2).partial_fit(X, y)
        np.testing.assert_array_less(0.5, model.score(X, y))

    def test_first_partial_fit_raises_and_leaves_nothing(self):
        X, y = unscaled()
        model = sgd(1, 100.0)
        with pytest.raises(ValueError, match="diverged"):
            model.partial_fit(X, y)
        assert vars(model) == model.get_params()

    def test_lr_auto_does_not_diverge(self):
        for seed in range(5):
            X, y = heavy_tailed(500, 5, seed)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Not converged")
                model = MiniBatchRidgeSGD(solver="sgd", batch_size=8, random_state=0).fit(X, y)
            assert model.loss_history_[-1] < y @ y / len(y) / 2


def heavy_tailed(n, d, seed=0):
    """Rows of which some are a hundred times as long as most."""
    X, _ = regression(n, d, seed=seed)
    X *= 1 + np.random.default_rng(seed).pareto(1.5, (n, 1))
    return X, X @ np.arange(1.0, d + 1) + np.random.default_rng(seed).standard_normal(n)


class TestLoss:
    """The loss of an epoch is F at its end, where it comes from products of the columns too."""

    @examples(60)
    @given(
        seed=st.integers(0, 2**16),
        d=st.integers(1, 6),
        n_targets=st.integers(1, 3),
        offset=st.sampled_from([0.0, 3.0, 1e5]),
        weighted=st.booleans(),
        average=st.booleans(),
        fit_intercept=st.booleans(),
        standardize=st.booleans(),
        in_chunks=st.booleans(),
    )
    def test_is_that_of_the_rows(
        self,
        seed,
        d,
        n_targets,
        offset,
        weighted,
        average,
        fit_intercept,
        standardize,
        in_chunks,
    ):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(80, d))
        X[:, rng.integers(d)] += offset
        y = X @ rng.normal(size=(d, n_targets)) + rng.normal(size=(80, n_targets)) + 3
        w = rng.uniform(0.1, 5, 80) if weighted else np.ones(80)
        model = sgd(8, 1e-3, average=average, fit_intercept=fit_intercept, alpha=0.3)
        model.set_params(standardize=standardize)
        if offset and not (fit_intercept and standardize):
            model.set_params(lr=1e-3 / (1 + offset) ** 2)
        if in_chunks:
            parts = np.array_split(np.arange(80), 3)
            model.fit(ChunkSource(lambda: ((X[k], y[k], w[k]) for k in parts)))
        else:
            model.fit(X, y, sample_weight=w)
        mean = np.average(X, axis=0, weights=w)
        scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=w)) if standardize else 1.0
        square = np.average((model.predict(X).reshape(y.shape) - y) ** 2, axis=0, weights=w)
        penalty = ((model.coef_.reshape(n_targets, d) * scale) ** 2).sum(axis=1)
        expected = square / 2 + 0.3 / 2 * penalty
        loss = model.loss_history_[-1]
        np.testing.assert_allclose(np.sum(loss), expected.sum(), rtol=1e-9)

    @pytest.mark.parametrize("seed", range(8))
    def test_of_a_fit_without_residuals_keeps_its_digits(self, seed):
        """Where products of columns would leave rounding errors of the squares of y."""
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(200, 8))
        y = X @ rng.normal(size=8) + 4
        model = sgd(4, 0.03, epochs=150, alpha=0.0).fit(X, y)
        losses = model.loss_history_[-50:]
        assert losses.max() < 1e-26
        assert losses.min() > 0
