"""Dates, masked values and text are refused, with the columns and what to do."""

import datetime

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import closed_form, distance, distance_to_ridge, regression
from ..tables import METHODS, state

X, Y = regression(60, 3)
DAYS = np.datetime64("2020-01-01") + np.arange(60)
DATES = DAYS.astype("datetime64[us]")
OF_DATES = {
    "datetime64": DATES,
    "timedelta64": DATES - DATES[0],
    "dates in objects": DAYS.astype(object),
    "times in objects": DATES.astype(object),
    "durations in objects": (DATES - DATES[0]).astype(object),
    "of NumPy in objects": np.array([*(DAYS - DAYS[0]), None], dtype=object)[:-1],
    "periods": pd.period_range("2020-01-01", periods=60, freq="D"),
    "periods in objects": np.array(pd.period_range("2020-01", periods=60, freq="M"), dtype=object),
    "times of day": np.array([datetime.time(hour % 24) for hour in range(60)], dtype=object),
}


def fitted(**params):
    return MiniBatchRidgeSGD(random_state=0, **params).fit(X, Y)


def mixed(values):
    """X with the values in one of its columns, as objects.

    That is the type of a table with a column of numbers beside one of dates.
    """
    return np.column_stack([X[:, 0].astype(object), np.asarray(values, dtype=object)])


class TestDates:
    """Dates and durations have a float, of nanoseconds or of days, and no one can have meant it."""

    @METHODS
    @pytest.mark.parametrize("values", OF_DATES.values(), ids=OF_DATES)
    def test_refused_by_name(self, values, method):
        pandas = pd.DataFrame({"a": X[:, 0], "when": values, "b": X[:, 1], "then": values})
        columns = "Column 'when', 'then' of X: dates or times"
        for rows, y, w, match in (
            (np.column_stack([values, values]), Y, None, "X: dates or times"),
            (mixed(values), Y, None, "X: dates or times"),
            (mixed(values).tolist(), Y, None, "X: dates or times"),
            (pandas, Y, None, columns),
            (pandas[["when", "then"]], Y, None, columns),
            (X, values, None, "y: dates or times"),
            (X, list(values), None, "y: dates or times"),
            (X, pandas["when"], None, "y: dates or times"),
            (X, pandas[["a", "when"]], None, "Column 'when' of y: dates or times"),
            (X, Y, values, "sample_weight: dates or times"),
        ):
            model = fitted()
            before = state(model)
            with pytest.raises(ValueError, match=match) as caught:
                getattr(model, method)(rows, y, sample_weight=w)
            assert "np.timedelta64(1, 'D')" in str(caught.value)
            assert state(model) == before

    @pytest.mark.parametrize(
        "name", ["datetime64", "timedelta64", "dates in objects", "times of day"]
    )
    def test_refused_in_frames_of_polars(self, name):
        polars = pytest.importorskip("polars")
        values = OF_DATES[name]
        frame = polars.DataFrame(
            {"a": X[:, 0], "when": values if values.dtype.kind in "mM" else values.tolist()}
        )
        with pytest.raises(ValueError, match="Column 'when' of X: dates or times"):
            MiniBatchRidgeSGD().fit(frame, Y)
        with pytest.raises(ValueError, match="y: dates or times"):
            MiniBatchRidgeSGD().fit(X, frame["when"])

    def test_refused_in_types_of_pandas(self):
        when = pd.Series(DATES)
        for values in (
            when.dt.tz_localize("Europe/Paris"),
            when.astype("category"),
            [pd.NaT, *when[1:]],
        ):
            with pytest.raises(ValueError, match="Column 'when' of X: dates or times"):
                MiniBatchRidgeSGD().fit(pd.DataFrame({"a": X[:, 0], "when": values}), Y)

    def test_refused_in_chunks_and_by_predict(self):
        with pytest.raises(ValueError, match="Chunk 2 of pass 1: X: dates or times"):
            MiniBatchRidgeSGD().fit([(X[:, :2], Y), (np.column_stack([DATES, DATES]), Y)])
        with pytest.raises(ValueError, match="X: dates or times"):
            fitted().predict(np.column_stack([DATES, DATES, DATES]))
        with pytest.raises(ValueError, match="y: dates or times"):
            fitted().score(X, DATES)

    def test_days_as_the_message_says_are_numbers(self):
        days = (DATES - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")
        model = MiniBatchRidgeSGD(random_state=0).fit(pd.DataFrame({"a": X[:, 0], "when": days}), Y)
        assert distance_to_ridge(model, pd.DataFrame({"a": X[:, 0], "when": days}), Y) <= 1e-6


class TestMaskedArrays:
    @METHODS
    def test_masked_values_are_refused(self, method):
        rng = np.random.default_rng(0)
        masks = [np.zeros(shape, dtype=bool) for shape in (X.shape, Y.shape, Y.shape)]
        for mask in masks:
            mask.flat[rng.integers(mask.size)] = True
        masked = [
            np.ma.array(values, mask=mask)
            for values, mask in zip((X, Y, np.ones(60)), masks, strict=True)
        ]
        for name, args in (
            ("X", (masked[0], Y)),
            ("y", (X, masked[1])),
            ("sample_weight", (X, Y, masked[2])),
        ):
            model = fitted()
            before = state(model)
            match = (
                f"{name} is a masked array, and 1 of its values .* "
                rf"{name}\.filled\(value\), or drop"
            )
            with pytest.raises(ValueError, match=match):
                getattr(model, method)(*args)
            assert state(model) == before
        for call in (lambda: fitted().predict(masked[0]), lambda: fitted().score(masked[0], Y)):
            with pytest.raises(ValueError, match="X is a masked array"):
                call()
        with pytest.raises(ValueError, match="y is a masked array"):
            fitted().score(X, masked[1])

    def test_without_masked_values_they_are_arrays(self):
        model = fitted()
        np.testing.assert_array_equal(
            MiniBatchRidgeSGD(random_state=0).fit(np.ma.array(X), np.ma.array(Y)).coef_, model.coef_
        )
        np.testing.assert_array_equal(model.predict(np.ma.array(X)), model.predict(X))


def lazy(values):
    return pytest.importorskip("polars").DataFrame(values).lazy()


def undone(values):
    return pytest.importorskip("dask").delayed(values)


def dataset(values):
    torch = pytest.importorskip("torch")
    return torch.utils.data.TensorDataset(torch.asarray(values))


class TestWithoutRows:
    """Objects that hold no rows yet are named, with what to do, by every method."""

    @pytest.mark.parametrize("model", [MiniBatchRidgeSGD(), MiniBatchRidgeSGDCV()], ids=str)
    @pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
    @pytest.mark.parametrize(
        ("make", "match"),
        [
            (lazy, r"is a LazyFrame of polars, .* give {}\.collect\(\)"),
            (undone, r"is a Delayed.* of dask.delayed, .* give {}\.compute\(\)"),
            (dataset, r"is a TensorDataset of torch.* fit\(\*dataset\.tensors\)"),
        ],
    )
    def test_by_every_method(self, model, name, make, match):
        rows = {"X": X, "y": Y, "sample_weight": np.ones(60)}
        model.fit(**rows)
        before = state(model)
        rows[name] = make(rows[name])
        for method in (model.fit, model.partial_fit, model.score):
            with pytest.raises(ValueError, match=f"{name} {match.format(name)}"):
                method(**rows)
        if name == "X":
            for method in (model.fit, model.score, lambda X, y: model.predict(X)):
                with pytest.raises(ValueError, match=f"X {match.format('X')}"):
                    method(rows["X"], None)
        chunk = tuple(rows.values())
        with pytest.raises(ValueError, match=f"Chunk 1 of pass 1: {name} {match.format(name)}"):
            model.fit([chunk])
        assert state(model) == before

    def test_what_the_message_shows_of_datasets(self):
        torch = pytest.importorskip("torch")
        rows = torch.utils.data.TensorDataset(torch.asarray(X), torch.asarray(Y))
        whole = MiniBatchRidgeSGD().fit(X, Y)
        loader = torch.utils.data.DataLoader(rows, batch_size=7)
        for model in (MiniBatchRidgeSGD().fit(loader), MiniBatchRidgeSGD().fit(*rows.tensors)):
            np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9)

    def test_a_dataset_of_chunks_is_a_source(self):
        data = pytest.importorskip("torch.utils.data")

        class Chunks(data.IterableDataset):
            def __iter__(self):
                yield X[:20], Y[:20]
                yield X[20:], Y[20:]

        np.testing.assert_allclose(
            MiniBatchRidgeSGD().fit(Chunks()).coef_, MiniBatchRidgeSGD().fit(X, Y).coef_, rtol=1e-9
        )


@pytest.mark.parametrize("model", [MiniBatchRidgeSGD(), MiniBatchRidgeSGDCV()], ids=str)
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix])
def test_sparse_targets_and_weights_are_refused(model, kind):
    column = kind(np.ones((60, 1)))
    model.fit(X, Y)
    for method in (model.fit, model.partial_fit, model.score):
        with pytest.raises(ValueError, match=r"y is sparse, .* y\.toarray\(\)"):
            method(X, column)
        with pytest.raises(ValueError, match=r"sample_weight is sparse, .*\.toarray\(\)"):
            method(X, Y, column)
    with pytest.raises(ValueError, match="Chunk 1 of pass 1: y is sparse"):
        model.fit([(X, column)])


@METHODS
@pytest.mark.parametrize("values", [np.array, list, lambda y: pd.Series(y, dtype="category")])
def test_text_in_targets_is_named(method, values):
    for y in (["oak"] * 60, [*Y[:-1].astype(str), "elm"]):
        with pytest.raises(ValueError, match=r"y: text, such as '(oak|elm)'.*RidgeClassifier"):
            getattr(MiniBatchRidgeSGD(), method)(X, values(y))


@pytest.mark.parametrize("returned", [None, 3])
def test_a_source_whose_function_returns_no_chunks(returned):
    def rows_of_the_day():
        return returned

    source = ChunkSource(rows_of_the_day)
    model = fitted()
    for method in (
        model.fit,
        MiniBatchRidgeSGDCV().fit,
        model.score,
        lambda X: [*model.predict(X)],
    ):
        with pytest.raises(TypeError, match=r"rows_of_the_day\(\), which returned (NoneType|int)"):
            method(source)


WORDS = np.array(["oak", "elm", "ash"])[np.arange(60) % 3]


class TestText:
    """A column of words is named, and the lines of the message fit it."""

    @pytest.mark.parametrize(
        "kind",
        [
            lambda words: pd.Series(words),
            lambda words: pd.Series(words, dtype=object),
            lambda words: pd.Series(words, dtype="category"),
            lambda words: pd.Series(["1.5", *words[1:]], dtype=object),
            lambda words: pd.Series([1.5, *words[1:]], dtype=object),
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_the_lines_of_the_message_fit(self, kind, place):
        frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
        frame.insert(place, "tree", kind(WORDS))
        with pytest.raises(
            ValueError, match=r"Column 'tree' of X: text, such as '(oak|elm)'"
        ) as caught:
            MiniBatchRidgeSGD().fit(frame, Y)
        lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ")]
        assert len(lines) == 3
        known = {
            each.__name__: each
            for each in (make_column_transformer, OneHotEncoder, make_pipeline, MiniBatchRidgeSGD)
        }
        known.update(X=frame.astype({"tree": str}), y=Y)
        exec("\n".join(lines), known)
        trees = known["X"]["tree"].to_numpy()
        encoded = np.column_stack([trees[:, None] == np.unique(trees), X[:, :2]]).astype(float)
        assert (
            distance(known["model"].predict(known["X"]), closed_form(encoded, Y, 1e-4), encoded, Y)
            <= 1e-6
        )

    def test_several_columns_and_those_of_arrays(self):
        frame = pd.DataFrame({"tree": WORDS, "a": X[:, 0], "wood": WORDS[::-1]})
        for rows, match in (
            (frame, r"Column 'tree', 'wood' of X: text, such as 'oak'.*\['tree', 'wood'\]"),
            (
                pd.concat([frame, frame], axis=1).set_axis(range(6), axis=1),
                "Column 0, 2, 3, 5 of X",
            ),
            (frame.to_numpy(), r"Column 0, 2 of X: text.*\[0, 2\]"),
            (frame.astype(str).to_numpy(dtype=str), r"Column 0, 2 of X: text"),
        ):
            with pytest.raises(ValueError, match=f"(?s){match}"):
                MiniBatchRidgeSGD().fit(rows, Y)
        with pytest.raises(ValueError, match="Chunk 1 of pass 1: Column 'tree', 'wood' of X: text"):
            MiniBatchRidgeSGD().fit([(frame, Y)])

    def test_several_columns_of_polars(self):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame({"tree": WORDS, "a": X[:, 0], "wood": WORDS[::-1]})
        with pytest.raises(ValueError, match="Column 'tree', 'wood' of X"):
            MiniBatchRidgeSGD().fit(frame, Y)

    def test_intervals_are_words(self):
        frame = pd.DataFrame({"a": X[:, 0], "bin": pd.cut(X[:, 1], 3)})
        with pytest.raises(ValueError, match=r"Column 'bin' of X: text, such as '\(.*, .*\]'"):
            MiniBatchRidgeSGD().fit(frame, Y)

    def test_by_predict(self):
        frame = pd.DataFrame(X, columns=list("abc"))
        model = MiniBatchRidgeSGD().fit(frame, Y)
        with pytest.raises(ValueError, match="Column 'b' of X: text, such as 'oak'"):
            model.predict(frame.assign(b=WORDS))

    def test_numbers_as_text_are_numbers_and_other_errors_stay(self):
        frame = pd.DataFrame({"a": X[:, 0], "b": [str(value) for value in X[:, 1]]})
        np.testing.assert_allclose(
            MiniBatchRidgeSGD().fit(frame, Y).coef_, MiniBatchRidgeSGD().fit(X[:, :2], Y).coef_
        )
        with pytest.raises(ValueError, match="Input X contains NaN"):
            MiniBatchRidgeSGD().fit(frame.assign(a=np.nan), Y)
