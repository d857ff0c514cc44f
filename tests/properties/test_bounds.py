"""A fit has a bounded number of passes, whatever its rows.

It takes at most `max_iter` epochs and a few passes more. A long stream stays exact.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._rows.dense import DenseRows
from sklearn_minibatch._rows.sparse import SparseRows

from ..oracles import regression
from ..tools.soak import SOLVERS, soak


def ill_conditioned():
    return regression(400, 6, condition=1e17)


def heavy_tailed():
    rng = np.random.default_rng(0)
    X = rng.standard_cauchy((400, 6)) ** 3
    return X, X @ np.ones(6) + rng.standard_cauchy(400)


def equal_columns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 1))
    return np.repeat(x, 6, axis=1), x[:, 0]


def constant():
    return np.full((400, 6), 1e8), np.full(400, 3.0)


def huge():
    X, y = regression(400, 6)
    return X * 1e100, y * 1e-100


def subnormal():
    X, y = regression(400, 6)
    return X * 1e-310, y


def far_away():
    X, y = regression(400, 6)
    return X + 1e12, y


def one_hot():
    return np.eye(400)[:, :40] + 0.0, np.arange(400.0)


def pure_noise():
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 6)), rng.standard_normal(400) * 1e6


ROWS = [
    ill_conditioned,
    heavy_tailed,
    equal_columns,
    constant,
    huge,
    subnormal,
    far_away,
    one_hot,
    pure_noise,
]
PARAMS = [
    {},
    {"tol": 0},
    {"tol": None},
    {"tol": 0, "batch_size": 1, "lr": 1e6},
    {"tol": 0, "batch_size": 3, "lr": 1e300},
    {"tol": 0, "batch_size": 16, "preconditioner": None, "alpha": 0},
    {"tol": 0, "batch_size": 16, "preconditioner": 2, "alpha": 0},
    {"tol": 0, "lr": 1e-300},
    {"solver": "sgd", "tol": 0, "n_iter_no_change": 1000},
    {"solver": "sgd", "lr": 1e300, "batch_size": 1},
    {"solver": "sgd", "lr": 1e-300, "batch_size": 7, "average": True},
]


class Counting:
    """Chunks, and how often each of them was asked for."""

    def __init__(self, X, y):
        self.X, self.y, self.n_chunks = X, y, 0

    def __iter__(self):
        for rows in np.array_split(np.arange(len(self.y)), 3):
            self.n_chunks += 1
            yield self.X[rows], self.y[rows]


def most_passes(model):
    """The most passes that a fit may take.

    Moments and a sketch take one, the learning rate two, a Nystrom approximation and the gradient
    at the start one each.

    An epoch of "svrg" is two, and a third for a gradient from the data where it seems to have
    converged; of "sgd", two.
    """
    return 5 + (2 if model.solver_ == "sgd" else 3) * model.max_iter


@pytest.mark.parametrize("params", PARAMS, ids=str)
@pytest.mark.parametrize("rows", ROWS, ids=lambda rows: rows.__name__)
@pytest.mark.parametrize("max_iter", [1, 12])
def test_passes_are_bounded(rows, params, max_iter):
    source = Counting(*rows())
    model = MiniBatchRidgeSGD(max_iter=max_iter, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".* underflows")
        model.fit(ChunkSource(source.__iter__))
    assert source.n_chunks == 3 * model.n_passes_
    assert model.n_passes_ <= most_passes(model)
    assert model.n_iter_ <= max_iter
    assert np.isfinite(model.predict(source.X)).all()


PASSES = [
    "residual_gradient",
    "hessian_product",
    "sketch",
    "epoch",
    "batches",
    "mean_square",
    "largest_square_norm",
    "textbook_epoch",
]


def counted(method, calls):
    def counting(*args):
        calls.append(1)
        return method(*args)

    return counting


@pytest.mark.slow
@pytest.mark.parametrize("params", PARAMS, ids=str)
@pytest.mark.parametrize("rows", ROWS, ids=lambda rows: rows.__name__)
@pytest.mark.parametrize("kind", [DenseRows, SparseRows])
def test_passes_in_memory_are_bounded(rows, params, kind, monkeypatch):
    passes = []
    for name in PASSES:
        monkeypatch.setattr(kind, name, counted(getattr(kind, name), passes))
    X, y = rows()
    X = sparse.csr_array(X) if kind is SparseRows else X
    model = MiniBatchRidgeSGD(max_iter=12, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".* underflows")
        model.fit(X, y)
    # The closed form comes from the moments, without another look at the rows.
    assert (model.solver_ != "cholesky") <= len(passes) <= most_passes(model)
    assert model.n_iter_ <= 12


def test_a_learning_rate_where_nothing_bends():
    X, y = constant()
    model = MiniBatchRidgeSGD(alpha=0, batch_size=16, preconditioner=None, random_state=0).fit(X, y)
    assert np.array_equal(model.predict(X), y)
    assert model.converged_


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_stream_of_single_rows_stays_what_it_was(solver):
    """``python -m tests.tools.soak`` on a small scale."""
    calls = 10_000 if solver == "svrg" else 2000
    found = soak(SOLVERS[solver], calls)
    assert found.counts == (calls, calls, calls)
    # A few bytes kept per call would show.
    assert max(found.largest_pickle[5:]) <= max(found.largest_pickle[1:5]) + calls
    assert found.mean_error < 1e-11
    assert found.var_error < 1e-12
    assert found.distance < (0.1 if solver == "sgd" else 3 * found.noise)
