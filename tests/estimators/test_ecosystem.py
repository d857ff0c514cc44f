"""What the newest versions of other libraries hand over, and ask for."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from packaging.version import Version
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import distance_to_ridge, regression
from ..tables import METHODS, state

X, Y = regression(60, 3)
WORDS = np.array(["oak", "elm", "ash"])[np.arange(60) % 3]
BOTH = pytest.mark.parametrize("kind", [MiniBatchRidgeSGD, MiniBatchRidgeSGDCV])


@pytest.fixture(params=["spmatrix", "sparray"])
def sparse_kind(request):
    """Whether scikit-learn hands over matrices or arrays of SciPy, from version 1.9 on."""
    if "sparse_interface" not in sklearn.get_config():
        pytest.skip("scikit-learn has sparse_interface from 1.9 on")
    with sklearn.config_context(sparse_interface=request.param):
        yield sparse.spmatrix if request.param == "spmatrix" else sparse.sparray


class TestSparseInterface:
    def test_what_encoders_return_is_fitted_and_predicted(self, sparse_kind):
        table = pd.DataFrame({"tree": WORDS})
        encoded = OneHotEncoder().fit_transform(table)
        assert isinstance(encoded, sparse_kind)
        pipeline = make_pipeline(OneHotEncoder(), MiniBatchRidgeSGD(alpha=0.1)).fit(table, Y)
        rows = encoded.toarray()
        assert distance_to_ridge(pipeline[-1], rows, Y) <= 1e-9
        dense = MiniBatchRidgeSGD(alpha=0.1).fit(rows, Y)
        np.testing.assert_allclose(pipeline.predict(table), dense.predict(rows), rtol=1e-9)

    def test_both_kinds_are_taken_under_both_settings(self, sparse_kind):
        for kind in (sparse.csr_matrix, sparse.csr_array, sparse.coo_array):
            for method in ("fit", "partial_fit"):
                model = getattr(MiniBatchRidgeSGD(), method)(kind(X), Y)
                assert distance_to_ridge(model, X, Y) <= 1e-9
                np.testing.assert_allclose(model.predict(kind(X)), model.predict(X), rtol=1e-9)

    @pytest.mark.parametrize("solver", ["auto", "svrg"])
    def test_checks_of_scikit_learn(self, sparse_kind, solver):
        names = []
        for estimator, check in estimator_checks_generator(MiniBatchRidgeSGD(solver=solver)):
            if "sparse" in check.func.__name__:
                names.append(check.func.__name__)
                check(estimator)
        assert len(names) >= 3


class TestWeightsOfZero:
    """In a source, a chunk may have no sample that counts; alone it is refused."""

    @staticmethod
    def chunks():
        for k in range(4):
            rows = slice(15 * k, 15 * k + 15)
            yield X[rows], Y[rows], np.full(15, float(k != 1))

    @pytest.mark.parametrize("solver", ["cholesky", "qr", "svrg", "sgd"])
    def test_a_chunk_without_weight_is_left_out(self, solver):
        w = np.concatenate([weights for *_, weights in self.chunks()])
        params = {"solver": solver, "random_state": 0, "shuffle": False}
        if solver == "sgd":
            params.update(tol=None, max_iter=3, lr=0.01, batch_size=5)
        model = MiniBatchRidgeSGD(**params).fit(ChunkSource(self.chunks))
        counting = w > 0
        assert model.scaler_.n_samples_seen_ == 45
        if solver == "sgd":
            left_out = MiniBatchRidgeSGD(**params).fit(X[counting], Y[counting])
            np.testing.assert_allclose(model.coef_, left_out.coef_, rtol=1e-9)
        else:
            assert distance_to_ridge(model, X[counting], Y[counting]) <= 1e-6
        score = model.score(ChunkSource(self.chunks))
        np.testing.assert_allclose(score, model.score(X, Y, sample_weight=w), rtol=1e-9)

    def test_cross_validation_deals_the_others(self):
        counting = [chunk[:2] for chunk in self.chunks() if chunk[2].any()]
        model = MiniBatchRidgeSGDCV(random_state=0).fit(ChunkSource(self.chunks))
        left_out = MiniBatchRidgeSGDCV(random_state=0).fit(counting)
        np.testing.assert_allclose(model.alpha_, left_out.alpha_, rtol=1e-9)
        np.testing.assert_allclose(model.mse_path_, left_out.mse_path_, rtol=1e-9)

    @BOTH
    def test_a_call_of_partial_fit_is_refused_and_the_stream_goes_on(self, kind):
        stream, plain = kind(random_state=0), kind(random_state=0)
        for rows, y, w in self.chunks():
            if w.any():
                stream.partial_fit(rows, y, sample_weight=w)
                plain.partial_fit(rows, y)
                continue
            before = state(stream)
            with pytest.raises(ValueError, match="All sample weights are zero; at least one"):
                stream.partial_fit(rows, y, sample_weight=w)
            assert state(stream) == before
        np.testing.assert_allclose(stream.coef_, plain.coef_, rtol=1e-9)


def polars_table(columns):
    return pytest.importorskip("polars").DataFrame(columns)


def arrow_table(columns):
    return pytest.importorskip("pyarrow").table(columns)


def arrow_batch(columns):
    return pytest.importorskip("pyarrow").RecordBatch.from_pydict(columns)


TABLES = pytest.mark.parametrize("table", [polars_table, arrow_table, arrow_batch])


def column(table, name):
    """A column of a table as the library's own one-dimensional object."""
    return table[name] if hasattr(table, "get_column") else table.column(name)


class TestTables:
    """Tables of polars and pyarrow as X, and columns of them as y and weights."""

    @TABLES
    @BOTH
    @METHODS
    def test_they_are_the_arrays_with_names(self, table, kind, method):
        w = np.linspace(0.5, 1, 60)
        rows = table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2].astype(np.float32), "y": Y, "w": w})
        names = ["a", "b", "c"]
        features = rows.select(names)
        model = getattr(kind(random_state=0), method)(
            features, column(rows, "y"), sample_weight=column(rows, "w")
        )
        values = np.column_stack([X[:, :2], X[:, 2].astype(np.float32)])
        plain = getattr(kind(random_state=0), method)(values, Y, sample_weight=w)
        np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)
        np.testing.assert_allclose(model.predict(features), plain.predict(values), rtol=1e-9)
        np.testing.assert_allclose(
            model.score(features, column(rows, "y")), plain.score(values, Y), rtol=1e-9
        )
        if table is not arrow_batch:  # scikit-learn sees no names there
            assert model.feature_names_in_.tolist() == names
            with pytest.raises(ValueError, match="feature names"):
                model.predict(rows.select(["a", "c", "b"]))

    @TABLES
    @METHODS
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (WORDS.tolist(), "Column 'b' of X: text, such as 'oak'"),
            ([None, *X[1:, 0]], "Input X contains NaN"),
            (np.arange(60).astype("datetime64[us]"), "Column 'b' of X: dates or times"),
            (np.arange(60).astype("timedelta64[ms]"), "Column 'b' of X: dates or times"),
        ],
        ids=["text", "missing", "times", "durations"],
    )
    def test_what_is_no_number_is_named(self, table, method, values, message):
        rows = table({"a": X[:, 0], "b": values})
        with pytest.raises(ValueError, match=message):
            getattr(MiniBatchRidgeSGD(), method)(rows, Y)
        with pytest.raises(ValueError, match="Chunk 1 of pass 1: " + message):
            MiniBatchRidgeSGD().fit([(rows, Y)])
        of_y = message.replace("Column 'b' of X", "y").replace("Input X", "Input y")
        with pytest.raises(ValueError, match=of_y):
            getattr(MiniBatchRidgeSGD(), method)(X, column(rows, "b"))

    @METHODS
    def test_words_of_a_dictionary_and_columns_in_pieces(self, method):
        pa = pytest.importorskip("pyarrow")
        words = pa.array(WORDS.tolist()).dictionary_encode()
        with pytest.raises(ValueError, match="Column 'tree' of X: text, such as 'oak'"):
            getattr(MiniBatchRidgeSGD(), method)(pa.table({"tree": words}), Y)
        pieces = pa.table({"a": pa.chunked_array([X[:20, 0], X[20:, 0]])})
        model = getattr(MiniBatchRidgeSGD(), method)(pieces, pa.chunked_array([Y[:50], Y[50:]]))
        plain = MiniBatchRidgeSGD().fit(X[:, :1], Y)
        np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)

    def test_a_relation_of_duckdb_is_not_computed(self):
        duckdb = pytest.importorskip("duckdb")
        frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y)
        with duckdb.connect() as database:
            relation = database.from_df(frame)
            for method in ("fit", "partial_fit", "score"):
                model = MiniBatchRidgeSGD().fit(frame[[*"abc"]], Y)
                for rows in ((relation, Y), (X, relation)):
                    with pytest.raises(ValueError, match=r"DuckDBPyRelation .* give [Xy]\.df\(\)"):
                        getattr(model, method)(*rows)


class TestStrings:
    """The strings of pandas 3 and NumPy 2."""

    @METHODS
    @pytest.mark.parametrize("dtype", ["str", "string", "string[pyarrow]", "string[python]"])
    def test_of_pandas(self, method, dtype):
        pytest.importorskip("pyarrow")
        frame = pd.DataFrame({"a": X[:, 0], "tree": pd.Series(WORDS).astype(dtype)})
        with pytest.raises(ValueError, match="Column 'tree' of X: text, such as 'oak'"):
            getattr(MiniBatchRidgeSGD(), method)(frame, Y)
        with pytest.raises(ValueError, match="y: text, such as 'oak'"):
            getattr(MiniBatchRidgeSGD(), method)(X, frame["tree"])
        gaps = frame.assign(tree=frame["tree"].where(frame.index > 0))
        with pytest.raises(ValueError, match="Column 'tree' of X: text, such as 'elm'"):
            getattr(MiniBatchRidgeSGD(), method)(gaps, Y)
        numbers = frame.assign(tree=pd.Series([repr(float(x)) for x in X[:, 1]]).astype(dtype))
        model = getattr(MiniBatchRidgeSGD(), method)(numbers, Y)
        plain = MiniBatchRidgeSGD().fit(X[:, :2], Y)
        np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)

    @METHODS
    def test_of_numpy(self, method):
        plain, gaps = np.dtypes.StringDType(), np.dtypes.StringDType(na_object=np.nan)
        numbers = np.array([[repr(float(x)) for x in row] for row in X]).astype(plain)
        missing = numbers.astype(gaps)
        missing[0, 0] = np.nan
        words = WORDS.astype(plain)
        cure = r"strings of NumPy's StringDType.*\.astype\(float\)"
        refused = [
            (np.column_stack([words, words]), Y, "Column 0, 1 of X: text, such as 'oak'"),
            (missing, Y, f"X: {cure}"),
            (X, words, "y: text, such as 'oak'"),
        ]
        # NumPy 2.5 converts them, and so does scikit-learn 1.6.
        are_converted = Version(np.__version__) >= Version("2.5")
        if Version(sklearn.__version__) >= Version("1.7") and not are_converted:
            refused.append((X, numbers[:, 0], f"y: {cure}"))
        for rows, y, message in refused:
            model = MiniBatchRidgeSGD().fit(X[:, : rows.shape[1]], Y)
            before = state(model)
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(rows, y)
            assert state(model) == before
        with pytest.raises(ValueError, match=f"X: {cure}"):
            MiniBatchRidgeSGD().fit(X, Y).predict(missing)
        model = getattr(MiniBatchRidgeSGD(), method)(numbers, numbers[:, 0].astype(float))
        assert distance_to_ridge(model, X, X[:, 0]) <= 1e-9


class TestDisplay:
    """What a notebook shows of a model takes nothing that would have to be computed."""

    def test_the_path_of_coefficients_is_not_computed(self):
        model = MiniBatchRidgeSGDCV().fit(X, Y)
        before = state(model)
        shown = model._repr_html_()
        assert "MiniBatchRidgeSGDCV" in shown
        if Version(sklearn.__version__) >= Version("1.9"):
            table = shown[shown.index("Fitted attributes") :]
            assert "mse_path_" in table
            assert "coef_path_" not in table
        assert state(model) == before
        assert model.coef_path_.shape == (50, 3)

    @pytest.mark.parametrize(
        "unsolved",
        [
            lambda: MiniBatchRidgeSGD().partial_fit(X, Y),
            lambda: MiniBatchRidgeSGD().fit_moments(60, np.zeros(4), np.eye(4)),
            lambda: MiniBatchRidgeSGD().fit(X, Y).merge(MiniBatchRidgeSGD().fit(X, Y)),
        ],
        ids=["partial_fit", "fit_moments", "merge"],
    )
    def test_a_model_that_is_not_solved_is_not_solved_for_it(self, unsolved):
        model = unsolved()
        assert "MiniBatchRidgeSGD" in model._repr_html_()
        assert not model._state.is_solved
        assert model.coef_.shape == (3,)

    def test_models_without_statistics_show_what_they_have(self):
        shown = MiniBatchRidgeSGD().fit(X, Y).without_statistics()._repr_html_()
        if Version(sklearn.__version__) >= Version("1.9"):
            table = shown[shown.index("Fitted attributes") :]
            assert "intercept_" in table
            assert "scaler_" not in table
