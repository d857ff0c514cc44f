"""The bound of conjugate gradients is one: at every step, of every preconditioner and kind of rows.

The steps of fits are watched, and held against the minimiser in double-double arithmetic.
"""

import warnings
from contextlib import ExitStack
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._solvers import choose, conjugate_gradients, preconditioner, svrg
from sklearn_minibatch._solvers.conjugate_gradients import next_factor
from sklearn_minibatch._solvers.preconditioner import (
    Diagonal,
    Full,
    Identity,
    Nystrom,
    Spectral,
)

from ..examples import examples
from ..least_squares import minimiser, standardized
from ..oracles import closed_form, distance, regression, rotated


class Watched(NamedTuple):
    """A fit, the points that its steps led to, and what they minimised."""

    model: MiniBatchRidgeSGD
    points: list
    quadratic: object


def watched(model, X, y, w=None, n_chunks=0):
    """Fit, and write down all points."""
    points, quadratics = [], []
    ask, minimise = conjugate_gradients.has_converged, svrg.minimise

    def asked(search, tol):
        points.append(search.at)
        return ask(search, tol)

    def minimised(quadratic, *args):
        quadratics.append(quadratic)
        return minimise(quadratic, *args)

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ConvergenceWarning)
        stack.enter_context(patch.object(conjugate_gradients, "has_converged", asked))
        stack.enter_context(patch.object(svrg, "minimise", minimised))
        if n_chunks:
            rows = [X, y] if w is None else [X, y, w]
            parts = np.array_split(np.arange(len(y)), n_chunks)
            found = [tuple(a[part] for a in rows) for part in parts]
            model.fit(ChunkSource(lambda: iter(found)))
        else:
            model.fit(X, y, w)
    return Watched(model, points, quadratics[0])


def few_columns_are_many(exact=0, rank=3, n_buckets=None, diagonal=False):
    """The limits of the package, as if there were more columns."""
    stack = ExitStack()
    for module in (choose, preconditioner):
        stack.enter_context(patch.object(module, "EXACT_FEATURES", exact))
    stack.enter_context(patch.object(preconditioner, "NYSTROM_RANK", rank))
    if n_buckets is not None:
        stack.enter_context(patch.object(preconditioner, "n_buckets", lambda d: n_buckets))
    if diagonal:
        stack.enter_context(patch.object(preconditioner, "dense_costs_more", lambda rows: True))
    return stack


class Way(NamedTuple):
    """How P comes about, and what it is."""

    kinds: tuple
    params: dict
    limits: dict
    is_sparse: bool = False
    n_chunks: int = 0


SKETCH = {"exact": 3000, "n_buckets": 30}
WAYS = {
    "none": Way((Identity,), {"preconditioner": None}, {}),
    "none, sparse": Way((Identity,), {"preconditioner": None}, {}, is_sparse=True),
    "none, chunks": Way((Identity,), {"preconditioner": None}, {}, n_chunks=3),
    "diagonal": Way((Diagonal,), {}, {"diagonal": True}, is_sparse=True),
    "all rows": Way((Full, Spectral), {}, {"exact": 3000}),
    "sketch": Way((Full, Spectral), {}, SKETCH),
    "sketch, sparse": Way((Full, Spectral), {}, SKETCH, is_sparse=True),
    "products": Way((Full, Spectral), {}, {"exact": 3000}, n_chunks=3),
    "nystrom": Way((Nystrom,), {}, {}),
    "nystrom, sparse": Way((Nystrom,), {"preconditioner": 2}, {}, is_sparse=True),
    "nystrom, chunks": Way((Nystrom,), {"preconditioner": 2}, {}, n_chunks=3),
}


@st.composite
def hard_rows(draw, least_alpha=-8.0):
    """X with weak directions, heavy rows, constant columns or few entries; y, weights, alpha."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    n, d = draw(st.sampled_from([8, 20, 40, 90])), draw(st.integers(3, 12))
    t = draw(st.sampled_from([1, 1, 3]))
    condition = 10.0 ** draw(st.floats(0, 5))
    X = rotated(rng.standard_normal((n, d)) * np.geomspace(1, 1 / condition, d), rng)
    dresses = ["nothing", "heavy", "constant", "few entries", "unlike", "far", "dependent"]
    dress = draw(st.sampled_from(dresses))
    if dress == "heavy":
        X[rng.integers(n, size=2)] *= 1e3
    elif dress == "constant":
        X[:, 1] = 7.0
    elif dress == "few entries":
        X = np.where(rng.random(X.shape) < 0.2, X, 0.0)
    elif dress == "unlike":
        X *= 10.0 ** rng.uniform(-3, 3, d)
    elif dress == "far":
        X += 100 * X.std(axis=0)
    elif dress == "dependent":
        X[:, -1] = X[:, 0] - X[:, 1]
    y = X / np.maximum(X.std(axis=0), 1e-9) @ rng.standard_normal((d, t))
    y += draw(st.sampled_from([0.0, 1.0])) * rng.standard_normal((n, t))
    w = draw(st.sampled_from([None, rng.exponential(size=n), rng.integers(1, 3, n) * 1.0]))
    alpha = 10.0 ** draw(st.floats(least_alpha, 0))
    return X, y, w, alpha


def watched_on_a_way(way, problem, **params):
    X, y, w, alpha = problem
    rows = sparse.csr_array(X) if way.is_sparse else X
    model = MiniBatchRidgeSGD(alpha, solver="svrg", random_state=0)
    model.set_params(**way.params, **params)
    with few_columns_are_many(**way.limits):
        found = watched(model, rows, y, w, way.n_chunks)
    assert isinstance(found.quadratic.P, way.kinds)
    return found


@pytest.mark.parametrize("way", WAYS)
@examples(15)
@given(
    problem=hard_rows(),
    in_batches=st.booleans(),
    fit_intercept=st.booleans(),
    standardize=st.booleans(),
)
def test_the_bound_is_no_less_than_the_distance_at_any_step(
    way, problem, in_batches, fit_intercept, standardize
):
    X, y, w, alpha = problem
    units = {"fit_intercept": fit_intercept, "standardize": standardize}
    params = {"batch_size": 4 if in_batches else "auto", "max_iter": 30, "tol": 1e-7, **units}
    found = watched_on_a_way(WAYS[way], problem, **params)
    rows = standardized(X, y, w, **units)
    best = minimiser(rows, alpha)
    A, beta = np.array(rows.A), best.beta / rows.y_scale
    # Rounding errors of predictions whose terms are as large as this.
    rounding = 1e-13 * (1 + np.abs(A).sum(axis=1).max() * np.abs(beta).sum(axis=0)) / best.least
    for at in found.points:
        away = at.beta - beta
        true = np.sqrt(((A @ away) ** 2).sum(axis=0) + alpha * (away**2).sum(axis=0))
        assert np.all(true <= (1 + 1e-6) * at.bound + rounding)


def eigenvalues_of_preconditioned_hessian(P, A, alpha):
    """The eigenvalues of P^-1 H, H = A'A + alpha I, on the directions that H has."""
    d = A.shape[1]
    rows = np.vstack([A, np.sqrt(alpha) * np.eye(d)]) if alpha else A
    _, s, Vt = np.linalg.svd(rows, full_matrices=False)
    root = s[:, None] * Vt
    root = root[s > 1e-12 * s[0]]
    inverse = P.solve(np.eye(d))
    return np.linalg.eigvalsh(root @ (inverse + inverse.T) / 2 @ root.T)


@pytest.mark.parametrize("way", WAYS)
@examples(15)
@given(
    problem=hard_rows(),
    fit_intercept=st.booleans(),
    penalised=st.booleans(),
    seed=st.integers(0, 9),
)
def test_no_eigenvalue_is_less_than_what_the_preconditioner_states(
    way, problem, fit_intercept, penalised, seed
):
    X, y, w, alpha = problem
    alpha = alpha if penalised else 0.0
    params = {"max_iter": 1, "fit_intercept": fit_intercept, "random_state": seed}
    found = watched_on_a_way(WAYS[way], (X, y, w, alpha), **params)
    A = np.array(standardized(X, y, w, fit_intercept).A)
    P = found.quadratic.P
    eigenvalues = eigenvalues_of_preconditioned_hessian(P, A, alpha)
    # Singular values near eps have rounding errors, of which "Full" allows 10 % from the start.
    assert eigenvalues[0] >= 0.9 * P.least - 1e-9 * eigenvalues[-1]
    if alpha:
        assert P.least > 0


def test_what_rounding_errors_of_rows_may_hide_is_no_convergence():
    """Nothing is left of the gradient, but float32 leaves its digits in doubt."""
    X, y = regression(60, 5)
    model = MiniBatchRidgeSGD(1e-8, solver="svrg", preconditioner=None, random_state=0)
    with pytest.warns(ConvergenceWarning, match="Not known to have converged"):
        model.fit(X.astype(np.float32), y)
    assert not model.converged_
    assert model.distance_history_[-1] < 1e-9
    assert model.fit(X, y).converged_


def opposite_samples(n, n_buckets, seed):
    """Two samples that the sketch of `random_state=seed` adds up with opposite signs."""
    signs = np.random.RandomState(seed).choice([-1.0, 1.0], (n, 1))[:, 0]
    first = int(np.flatnonzero(signs[:n_buckets] != signs[n_buckets : 2 * n_buckets])[0])
    return [first, first + n_buckets]


@pytest.mark.parametrize("alpha", [0.0, 1e-13, 1e-4])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("apart", ["column", "pair of columns"])
def test_equal_samples_that_the_sketch_takes_from_each_other(alpha, fit_intercept, apart):
    """What only two samples tell is lost where the sketch has their difference, which is 0."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((2500, 4))
    alone = np.zeros(2500)
    alone[opposite_samples(2500, 1000, seed=0)] = 1.0
    X[:, 3] = alone if apart == "column" else X[:, 0] + alone
    y = X[:, :3].sum(axis=1) + 30 * alone
    units = {"fit_intercept": fit_intercept, "shuffle": False}
    model = MiniBatchRidgeSGD(alpha, solver="svrg", random_state=0, **units)
    found = watched(model, X, y)
    A = np.array(standardized(X, y, None, fit_intercept).A)
    P = found.quadratic.P
    eigenvalues = eigenvalues_of_preconditioned_hessian(P, A, alpha)
    assert eigenvalues[0] >= P.least - 1e-9 * eigenvalues[-1]
    closed = closed_form(X, y, alpha, fit_intercept=fit_intercept)
    if not fit_intercept:
        closed = closed._replace(x_mean=0 * closed.x_mean, y_mean=0 * closed.y_mean)
    assert model.converged_
    assert distance(model.predict(X), closed, X, y) <= 2e-6


@pytest.mark.parametrize("alpha", [0.0, 1e-15])
@pytest.mark.parametrize("n_chunks", [0, 2])
def test_a_length_that_is_rounding_errors_proves_nothing(n_chunks, alpha):
    """Nystrom's P^-1 is not positive definite in float64 where the rest of the spectrum is 0."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        A, y = rng.standard_normal((20, 4)), rng.standard_normal(20)
        X = np.c_[A, A[:, 0] / 3, A[:, 1] - A[:, 2]]
        model = MiniBatchRidgeSGD(alpha, preconditioner=5, random_state=0)
        found = watched(model, X, y, None, n_chunks)
        far = distance(model.predict(X), closed_form(A, y, 0.0), A, y)
        assert far <= 2e-6 or not model.converged_
        assert all(np.all(at.bound > 0) for at in found.points if at.g.any())


@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-9])
def test_the_factor_is_that_of_gauss_radau_quadrature(least):
    """The bound of exact conjugate gradients on a small matrix, by its definition.

    It is the value of the quadrature of 1 / x with a node at `least`: e1' T^-1 e1 of the Jacobi
    matrix with a last element that makes `least` an eigenvalue.
    """
    rng = np.random.default_rng(0)
    eigenvalues = least + np.geomspace(1e-2, 1, 6)
    H = rng.standard_normal((6, 6))
    H = np.linalg.qr(H)[0] * eigenvalues @ np.linalg.qr(H)[0].T
    H = (H + H.T) / 2
    eigenvalues = np.linalg.eigvalsh(H)
    g = rng.standard_normal(6)
    x, p, factor = np.zeros(6), -g, np.array([1 / least])
    solution = np.linalg.solve(H, -g)
    for _ in range(4):
        step = np.array([g @ g / (p @ H @ p)])
        x = x + step * p
        after = g + step * (H @ p)
        ratio = np.array([after @ after / (g @ g)])
        factor = next_factor(factor, step, ratio, least)
        p = -after + ratio * p
        g = after
        e = solution - x
        assert e @ H @ e <= factor[0] * (g @ g) * (1 + 1e-9)
        assert factor[0] <= 1 / least


def test_a_bound_costs_few_epochs():
    """Beside the least number of epochs after which the predictions are within `tol`."""
    X, y = regression(4000, 40, condition=1e2)
    for params in ({"batch_size": 64}, {"preconditioner": 10}, {"preconditioner": None}):
        model = MiniBatchRidgeSGD(1e-3, solver="svrg", random_state=0, **params).fit(X, y)
        closed = closed_form(X, y, 1e-3)
        assert model.converged_
        for epochs in range(1, model.n_iter_ + 1):
            earlier = MiniBatchRidgeSGD(
                1e-3, solver="svrg", random_state=0, max_iter=epochs, tol=None, **params
            ).fit(X, y)
            if distance(earlier.predict(X), closed, X, y) <= 1e-6:
                break
        assert model.n_iter_ <= 1.5 * epochs + 2
