"""`half_life` is the sample weight 2 ** (-age / half_life), whatever the chunks, in every door."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import PredefinedSplit

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV
from sklearn_minibatch._statistics.fold_moments import dealt

from ..examples import examples
from ..oracles import regression
from ..tables import state


def aged(w, half_life):
    """The weights at the last sample; samples of weight 0 make no other older."""
    counts = w > 0
    age = np.cumsum(counts[::-1])[::-1] - 1
    return np.where(counts, w * 0.5 ** (age / half_life), 0.0)


@st.composite
def streams(draw):
    n = draw(st.integers(2, 300))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    X, y = regression(n, 4, seed=draw(st.integers(0, 9)))
    X = X * [1, 1e-3, 10, 1] + [0, 5, -100, 0]
    w = rng.exponential(size=n) * (rng.random(n) < draw(st.sampled_from([0.5, 1.0]))) + 0.0
    w[rng.integers(n)] = 1.0
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=8)))
    return X, y, w, np.split(np.arange(n), cuts)


@examples(60)
@given(
    streams(),
    st.sampled_from([0.3, 5.0, 60.0, 1e4]),
    st.sampled_from(["auto", "qr"]),
    st.sampled_from([1e-3, 1.0]),
)
def test_any_chunks_in_every_door(stream, half_life, solver, alpha):
    X, y, w, parts = stream
    reference = MiniBatchRidgeSGD(alpha).fit(X, y, aged(w, half_life))
    params = {"alpha": alpha, "half_life": half_life, "solver": solver}
    source = ChunkSource(lambda: ((X[part], y[part], w[part]) for part in parts))
    learnt = MiniBatchRidgeSGD(**params)
    for part in parts:
        if len(part) and w[part].any():
            learnt.partial_fit(X[part], y[part], w[part])
    for model in (
        MiniBatchRidgeSGD(**params).fit(X, y, w),
        MiniBatchRidgeSGD(**params).fit(source),
        learnt,
    ):
        np.testing.assert_allclose(
            model.predict(X), reference.predict(X), atol=1e-7 * (1 + np.abs(y).max())
        )


@pytest.mark.parametrize("batch_size", ["auto", 16])
def test_passes_after_the_first_have_the_same_weights(batch_size):
    """Here preconditioned steps read the source again and again."""
    X, y = regression(500, 8, condition=100)
    params = {"alpha": 1e-3, "tol": 1e-9, "max_iter": 500, "random_state": 0}
    steps = {"solver": "svrg", "preconditioner": 3, "batch_size": batch_size}
    source = ChunkSource(lambda: ((X[i : i + 60], y[i : i + 60]) for i in range(0, 500, 60)))
    model = MiniBatchRidgeSGD(half_life=40, **params, **steps).fit(source)
    assert model.n_passes_ > 5
    reference = MiniBatchRidgeSGD(**params).fit(X, y, aged(np.ones(500), 40))
    np.testing.assert_allclose(model.predict(X), reference.predict(X), atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_choice_of_alpha(weighted):
    X, y = regression(200, 5)
    rng = np.random.default_rng(0)
    w = rng.exponential(size=200) * (rng.random(200) < 0.8) if weighted else None
    if weighted:
        w[90] = 1.0
    old = aged(np.ones(200) if w is None else w, 30)
    alphas = np.logspace(-3, 1, 5)
    model = MiniBatchRidgeSGDCV(alphas, half_life=30).fit(X, y, w)
    reference = MiniBatchRidgeSGDCV(alphas).fit(X, y, old)
    np.testing.assert_allclose(model.mse_path_, reference.mse_path_, rtol=1e-9)
    params = {"alphas": alphas, "half_life": 30, "random_state": 0}
    parts = np.split(np.arange(200), [17, 90, 91, 150])
    chunks = [(X[part], y[part], None if w is None else w[part]) for part in parts]
    source = MiniBatchRidgeSGDCV(**params).fit(chunks)
    stream = MiniBatchRidgeSGDCV(**params)
    for chunk in chunks:
        stream.partial_fit(*chunk)
    np.testing.assert_allclose(stream.mse_path_, source.mse_path_, rtol=1e-9)
    np.testing.assert_allclose(stream.coef_, source.coef_, rtol=1e-9)
    single = MiniBatchRidgeSGD(stream.alpha_, half_life=30).fit(X, y, w)
    np.testing.assert_allclose(stream.coef_, single.coef_, rtol=1e-9)


SIZES = ([400], [100, 300], [250, 150], [7] * 57 + [1])


def chunks_of(X, y, sizes):
    return [(X[part], y[part]) for part in np.split(np.arange(len(y)), np.cumsum(sizes)[:-1])]


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)} chunks")
@pytest.mark.parametrize("how", ["source", "stream", "stream after memory", "merge"])
def test_folds_follow_the_number_of_a_sample_where_older_ones_count_no_more(how, sizes):
    """Of a chunk of more than 200 samples the first have no weight."""
    X, y = regression(400, 3)
    alphas, half_life, n_folds = [1e-3, 0.1], 0.3, 4
    model = MiniBatchRidgeSGDCV(alphas, cv=n_folds, half_life=half_life, random_state=0)
    chunks = chunks_of(X, y, sizes)
    n_before = 0
    if how == "source":
        model.fit(ChunkSource(lambda: chunks))
    else:
        if how != "stream":
            n_before = 301
            model.fit(X[:200], y[:200])
            if how == "merge":
                model.merge(clone(model).fit(X[:101], y[:101]))
            else:
                model.partial_fit(X[:101], y[:101])
        for chunk in chunks:
            model.partial_fit(*chunk)
    seed = np.random.RandomState(0).randint(2**31)
    folds = dealt(n_before, 400, n_folds, seed)
    w = aged(np.ones(400), half_life)
    expected = MiniBatchRidgeSGDCV(alphas, cv=PredefinedSplit(folds)).fit(X, y, w)
    np.testing.assert_allclose(model.mse_path_, expected.mse_path_, rtol=1e-7)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)} chunks")
def test_a_second_pass_knows_the_samples_where_older_ones_count_no_more(sizes):
    """Products of these columns have too few digits, so that they are read again."""
    X, y = regression(400, 3)
    X[:, 2] = X[:, 0] + 1e-8 * X[:, 2]
    model = MiniBatchRidgeSGD(1e-12, half_life=0.1)
    model.fit(ChunkSource(lambda: chunks_of(X, y, sizes)))
    assert model.n_passes_ == 2
    expected = MiniBatchRidgeSGD(1e-12, solver="qr").fit(X, y, aged(np.ones(400), 0.1))
    np.testing.assert_allclose(model.predict(X[-4:]), expected.predict(X[-4:]), rtol=1e-6)


def test_the_penalty_is_not_forgotten():
    """Many equal samples later alpha counts as in a fit of these alone: it does not wind up."""
    X, y = regression(50, 3)
    model = MiniBatchRidgeSGD(0.5, half_life=2.0)
    for _ in range(20):
        model.partial_fit(X, y)
    reference = MiniBatchRidgeSGD(0.5).fit(X, y, aged(np.ones(50), 2.0))
    np.testing.assert_allclose(model.coef_, reference.coef_, rtol=1e-10)


def test_merge_adds_samples_at_their_present_weights():
    X, y = regression(120, 3)
    a, b = [MiniBatchRidgeSGD(0.1, half_life=20).fit(X[k:], y[k:]) for k in (0, 60)]
    w = np.concatenate([aged(np.ones(120), 20), aged(np.ones(60), 20)])
    both = MiniBatchRidgeSGD(0.1).fit(np.vstack([X, X[60:]]), np.concatenate([y, y[60:]]), w)
    np.testing.assert_allclose(a.merge(b).coef_, both.coef_, rtol=1e-10)


def test_a_half_life_that_changes_counts_from_then_on():
    X, y = regression(100, 3)
    model = MiniBatchRidgeSGD(0.1).partial_fit(X[:50], y[:50])
    model.set_params(half_life=10).partial_fit(X[50:], y[50:])
    w = np.concatenate([np.full(50, 0.5**5), aged(np.ones(50), 10)])
    np.testing.assert_allclose(model.coef_, MiniBatchRidgeSGD(0.1).fit(X, y, w).coef_, rtol=1e-10)


def test_refused_where_order_or_statistics_are_missing():
    da = pytest.importorskip("dask.array")
    X, y = load_diabetes(return_X_y=True)
    rows = da.from_array(X, chunks=(100, 10)), da.from_array(y, chunks=100)
    with pytest.raises(ValueError, match=r"half_life=5 needs the order"):
        MiniBatchRidgeSGD(half_life=5).fit(*rows)
    for model in (MiniBatchRidgeSGD(solver="sgd"), MiniBatchRidgeSGD(solver="svrg").fit(X, y)):
        model.set_params(half_life=5)
        before = state(model)
        with pytest.raises(ValueError, match="half_life=5 needs statistics of all samples"):
            model.partial_fit(X, y)
        assert state(model) == before
