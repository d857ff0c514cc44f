"""Predictions and R^2 of rows that come in chunks."""

import weakref

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import r2_score

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from .rows import ALPHA, CHUNK, KINDS, cut, map_to_file, spoilt, table


class TestScore:
    """R^2 of a source in one read, against scikit-learn's r2_score of all rows at once."""

    @given(
        chunks=st.lists(CHUNK, max_size=6),
        targets=st.integers(1, 3),
        offset=st.sampled_from([0.0, 1e8]),
        seed=st.integers(0, 2**16),
    )
    def test_of_any_mixture_of_chunks(self, chunks, targets, offset, seed):
        rng = np.random.default_rng(seed)
        chunks = [*chunks, (30, "array", "some")]
        n = sum(size for size, _, _ in chunks)
        X = np.round(rng.normal(size=(n, 3)) * [1, 5, 20]) / 2 + [
            0,
            3,
            100,
        ]  # halves, which float32 holds
        y, w = (
            offset
            + X @ rng.normal(size=(3, targets))
            + rng.normal(size=(n, targets)) * [1, 5, 0.2][:targets],
            np.ones(n),
        )
        parts, start = [], 0
        for size, kind, weights in chunks:
            rows = slice(start, start + size)
            w[rows] = np.maximum(0, rng.uniform(-5, 20, size)) if weights == "some" else 1.0
            if size:
                parts.append(
                    (KINDS[kind](X[rows]), y[rows], *([] if weights == "none" else [w[rows]]))
                )
            start = rows.stop
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(parts), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("sizes", [(3000,), (100,), (1,)])
    def test_of_chunks_that_drift_far_from_zero(self, sizes):
        """Sums of squares would be 1e16 times what they are to tell."""
        rng = np.random.default_rng(0)
        X = np.sort(rng.normal(size=(3000, 4)), axis=0)
        y = 1e8 + X @ np.arange(1.0, 5) + rng.normal(size=3000)
        w = rng.uniform(size=3000)
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(cut(X, y, w, sizes=sizes)), expected, rtol=1e-8)

    @pytest.mark.parametrize("error", [0.0, 0.25])
    @pytest.mark.parametrize("constant", [[True, False], [True, True]], ids=str)
    def test_of_constant_targets(self, error, constant):
        X = np.random.default_rng(0).normal(size=(60, 2))
        model = MiniBatchRidgeSGD(ALPHA).fit(X, np.zeros((60, 2)))
        y = np.where(constant, error, X)
        expected = r2_score(y, model.predict(X))
        np.testing.assert_allclose(model.score(cut(X, y, sizes=(7,))), expected)

    def test_reads_once_and_holds_two_chunks_at_most(self):
        X, y = table()
        model, alive, most = MiniBatchRidgeSGD(ALPHA).fit(X, y), [], 0

        def once():
            nonlocal most
            for start in range(0, 6000, 500):
                rows = X[start : start + 500].copy()
                alive.append(weakref.ref(rows))
                most = max(most, sum(ref() is not None for ref in alive))
                yield rows, y[start : start + 500]
                del rows

        np.testing.assert_allclose(model.score(once()), r2_score(y, model.predict(X)), rtol=1e-12)
        assert len(alive) == 12
        assert most <= 2
        assert [len(part) for part in model.predict(once())] == [500] * 12
        assert most <= 2

    def test_of_a_mapped_array(self, tmp_path, monkeypatch):
        monkeypatch.setattr("sklearn_minibatch._data.mapped.CHUNK_ELEMENTS", 800)
        monkeypatch.setattr("sklearn_minibatch._data.mapped.SHARE_OF_MEMORY", 0)
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        mapped, w = map_to_file(tmp_path, X, y), np.linspace(0, 1, 6000)
        expected = r2_score(y, model.predict(X), sample_weight=w)
        np.testing.assert_allclose(model.score(*mapped, w), expected, rtol=1e-12)

    def test_after_partial_fit_and_with_names(self):
        X, y = table()
        frame = pd.DataFrame(X, columns=list("abcdefgh"))
        model = MiniBatchRidgeSGD(ALPHA, solver="svrg").partial_fit(frame, y)
        np.testing.assert_allclose(model.score(cut(frame, y)), model.score(frame, y), rtol=1e-12)
        with pytest.raises(ValueError, match=r"Chunk 1 of pass 1: .*feature names"):
            model.score(cut(frame.rename(columns={"a": "z"}), y))

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda X, y: (cut(X, y), y), r"carries its own y\. Leave y out: score\(source\)"),
            (lambda X, y: (cut(X, y), None, y), "put the weights into the chunks"),
            (lambda X, y: (X,), "requires y to be passed"),
            (lambda X, y: (cut(X[:, 1:], y),), "Chunk 1 of pass 1: X has 7 features"),
            (
                lambda X, y: (spoilt(list(cut(X, y)), 4, np.nan),),
                "Chunk 5 of pass 1: Input X contains NaN",
            ),
            (
                lambda X, y: (cut(X, np.where(np.arange(6000) == 1500, np.inf, y)),),
                "Chunk 3 of pass 1: Input y contains inf",
            ),
            (
                lambda X, y: (cut(X, np.c_[y, y]),),
                r"Chunk 1 of pass 1: y has 2 target\(s\), the model was fitted to 1",
            ),
            (lambda X, y: (cut(X, y, 0 * y),), "All sample weights are zero"),
            (lambda X, y: ([],), "The source has no rows"),
            (lambda X, y: (cut(X, 1e200 * y),), r"R\^2: .* overflow\. Divide y by a constant"),
        ],
    )
    def test_refuses_by_name_and_changes_nothing(self, change, match):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        before = vars(model).copy()
        with pytest.raises(ValueError, match=match):
            model.score(*change(X, y))
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())

    def test_of_a_model_that_chose_its_alpha(self):
        X, y = table(targets=2)
        model = MiniBatchRidgeSGDCV(random_state=0).fit(cut(X, y))
        np.testing.assert_allclose(
            model.score(cut(X, y)), r2_score(y, model.predict(X)), rtol=1e-12
        )
        np.testing.assert_allclose(
            np.concatenate(list(model.predict(cut(X, y)))), model.predict(X), rtol=1e-12
        )
        with pytest.raises(ValueError, match=r"carries its own y\. Leave y out: fit\(source\)"):
            model.fit(cut(X, y), y)

    def test_of_one_row_is_not_defined(self):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        with pytest.warns(UndefinedMetricWarning, match="less than two samples"):
            assert np.isnan(model.score([(X[:1], y[:1])]))

    def test_before_fit(self):
        with pytest.raises(NotFittedError):
            MiniBatchRidgeSGD().score(cut(*table()))


class TestPredict:
    """Predictions of a source: an iterator over those of its chunks."""

    @pytest.mark.parametrize("targets", [None, 2])
    @pytest.mark.parametrize(
        "kind", [np.asarray, sparse.csr_array, lambda X: pd.DataFrame(X).rename(columns=str)]
    )
    def test_is_that_of_all_rows(self, targets, kind):
        X, y = table(targets=targets)
        model = MiniBatchRidgeSGD(ALPHA).fit(kind(X), y)
        chunks = [
            (kind(X[rows]), y[rows])
            for rows in (slice(0, 3000), slice(3000, 3000), slice(3000, 6000))
        ]
        expected = [model.predict(part) if part.shape[0] else y[:0] for part, _ in chunks]
        sources = [
            chunks,
            ChunkSource(lambda: iter(chunks)),
            ChunkSource(lambda: iter(chunks), prefetch=True),
        ]
        for source in (
            *sources,
            iter(chunks),
            (part for part, _ in chunks),
            ([*chunk] for chunk in chunks),
        ):
            found = model.predict(source)
            for part, of_chunk in zip(found, expected, strict=True):
                np.testing.assert_array_equal(part, of_chunk)
                assert part.shape == of_chunk.shape

    def test_each_chunk_is_read_when_it_is_asked_for(self):
        X, y = table()
        model, read = MiniBatchRidgeSGD(ALPHA).fit(X, y), []
        found = model.predict(read.append(k) or X[k : k + 10] for k in range(5))
        assert read == []
        first = next(found)
        assert read == [0]
        model.fit(X, -y)
        # The iterator keeps the model that it was made of.
        np.testing.assert_allclose(next(found), -model.predict(X[1:11]), rtol=1e-6)
        assert len(first) == 10

    def test_errors_name_the_chunk(self):
        X, y = table()
        model = MiniBatchRidgeSGD(ALPHA).fit(X, y)
        found = model.predict(spoilt(list(cut(X, y)), 1, np.nan))
        assert len(next(found)) == 700
        with pytest.raises(ValueError, match="Chunk 2: Input X contains NaN"):
            next(found)
        with pytest.raises(TypeError, match=r"Chunk 1: .*NoneType"):
            next(model.predict(iter([(None, y)])))
        with pytest.raises(NotFittedError):
            MiniBatchRidgeSGD().predict(cut(X, y))

    @pytest.mark.parametrize(
        "rows", [[[1.0] * 8], [np.ones(8)], ([1.0] * 8, [2.0] * 8), [[1.0] * 8] * 2]
    )
    def test_lists_of_rows_are_rows(self, rows):
        model = MiniBatchRidgeSGD(ALPHA).fit(*table())
        np.testing.assert_array_equal(model.predict(rows), model.predict(np.array(rows)))
