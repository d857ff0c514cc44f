"""Numbers at the edge of float64.

A fit agrees with the exact minimiser to a stated bound, or says clearly why it cannot.

The references have fifty digits and more. EPS is the rounding unit of float64: a bound of so many
EPS is one on rounding. Errors of coefficients are those of the standardised ones, relative to the
largest; of predictions, in deviations of y.
"""

import pickle
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import pairwise, product

import mpmath
import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD
from sklearn_minibatch._rows.in_memory import in_memory as rows_in_memory
from sklearn_minibatch._solvers.conjugate_gradients import Quadratic, minimise
from sklearn_minibatch._solvers.preconditioner import Full, of_gram
from sklearn_minibatch._statistics.scaling import Scaling
from sklearn_minibatch._statistics.second_moments import cross_moments, second_moments

from ..exact import as_floats, minimiser, numbers
from ..oracles import columns, regression
from ..tables import DENSE_AND_SPARSE, SOLVERS, UNUSED_IS_FINE

pytestmark = UNUSED_IS_FINE
EPS = np.finfo(float).eps
X, Y = regression(40, 4)
CUTS = [0, 1, 4, 5, 20, 40]


def in_memory(X, y, w, **params):
    return MiniBatchRidgeSGD(random_state=0, **params).fit(X, y, w)


def in_small_batches(X, y, w, **params):
    return in_memory(X, y, w, batch_size=4, **params)


def in_chunks(X, y, w, **params):
    cuts = [cut for cut in CUTS if cut < len(y)] + [len(y)]
    parts = [slice(*ends) for ends in pairwise(cuts)]
    chunks = [(X[rows], y[rows], np.ones(len(y[rows])) if w is None else w[rows]) for rows in parts]
    return MiniBatchRidgeSGD(random_state=0, **params).fit(ChunkSource(lambda: iter(chunks)))


WAYS = pytest.mark.parametrize("fit", [in_memory, in_small_batches, in_chunks])
TOLS = pytest.mark.parametrize("tol", [1e-6, 0.0])


def errors(model, X, y, w=None, exact=None):
    """Errors of the coefficients and of the predictions.

    Each against the exact minimiser for the model's own parameters.
    """
    if exact is None:
        exact = minimiser(X, y, model.alpha, w, model.fit_intercept, model.standardize)
    with mpmath.workdps(60):
        by = (numbers(np.atleast_2d(model.coef_).T) - exact.coef) * exact.x_scale[:, None]
        largest = np.abs(exact.coef * exact.x_scale[:, None]).max()
        of_coef = float(np.abs(by).max() / largest) if largest else float(np.abs(by).max())
    spread = np.std(columns(y), axis=0)
    of_predictions = np.abs(columns(model.predict(X)) - exact.predict(X)) / np.where(
        spread > 0, spread, 1
    )
    return of_coef, of_predictions.max()


def assert_exact(model, X, y, w=None, coef=100 * EPS, predictions=100 * EPS, exact=None):
    assert model.converged_
    of_coef, of_predictions = errors(model, X, y, w, exact)
    assert of_coef <= coef
    assert of_predictions <= predictions


@TOLS
@WAYS
class TestUnitsOfTheColumns:
    def test_offsets_of_a_million_million_spreads(self, fit, tol):
        """Columns whose mean is a million million times their spread.

        The mean is rounded to float64 and so off by up to EPS * 1e12 spreads; the Gram matrix
        errs by the square of that.

        Predictions are sums of numbers of 1e12 spreads, which no float64 has more exactly than to
        EPS * 1e12 of them.
        """
        off = EPS * 1e12
        for offset in ([1e12] * 4, [0.0, 1e12, 1e6, -1e12]):
            far = X + offset
            assert_exact(
                fit(far, Y, None, tol=tol, alpha=1e-3),
                far,
                Y,
                coef=10 * off**2,
                predictions=10 * off,
            )

    def test_three_hundred_orders_of_magnitude_side_by_side(self, fit, tol):
        wide = X * [1e-150, 1e-50, 1e50, 1e150]
        assert_exact(fit(wide, Y, None, tol=tol), wide, Y)

    @pytest.mark.filterwarnings("ignore:Not converged:sklearn.exceptions.ConvergenceWarning")
    def test_the_same_unscaled(self, fit, tol):
        """The penalty keeps only the large columns.

        The coefficients of the others do not show in any digit of the predictions, and no bound may
        tell so.
        """
        wide = X * [1e-150, 1e-50, 1e50, 1e150]
        assert (
            errors(fit(wide, Y, None, tol=tol, standardize=False, alpha=1e-3), wide, Y)[1]
            <= 100 * EPS
        )

    def test_some_subnormal_values(self, fit, tol):
        some = np.where(np.arange(40)[:, None] % 3 == 0, 5e-324, X)
        assert_exact(fit(some, Y, None, tol=tol), some, Y)

    @pytest.mark.parametrize("outliers", [slice(0, 20), slice(0, 40, 2)])
    def test_outliers_of_no_weight(self, outliers, fit, tol):
        """Variances must not be taken about rows that do not count."""
        far, w = X.copy(), np.ones(40)
        far[outliers], w[outliers] = 1e9 * (1 + X[outliers]), 1e-24
        w[31] = 1e3
        assert_exact(fit(far, Y, w, tol=tol), far, Y, w, predictions=1e9 * 100 * EPS)


SUBNORMAL = X * [1e-310, 1.0, 1.0, 5e-322]


@WAYS
def test_columns_too_narrow_for_a_variance_are_left_out_with_a_warning(fit):
    with pytest.warns(
        UserWarning,
        match=r"Column 0, 3 of X: the variance underflows.*taken for constant. Multiply",
    ):
        model = fit(SUBNORMAL, Y, None)
    exact = minimiser(X[:, 1:3], Y, model.alpha)
    np.testing.assert_allclose(
        model.predict(SUBNORMAL), exact.predict(X[:, 1:3])[:, 0], rtol=1e-13, atol=1e-13
    )


@SOLVERS
@pytest.mark.parametrize("size", [1, 3, 40])
def test_so_they_are_in_a_stream(solver, size):
    model, slices = MiniBatchRidgeSGD(solver=solver, random_state=0), range(0, 40, size)
    # What is solved from moments looks at them when it is asked.
    with pytest.warns(UserWarning, match="Column 0, 3 of X"):
        _ = reduce(
            lambda model, k: model.partial_fit(SUBNORMAL[k : k + size], Y[k : k + size]),
            slices,
            model,
        ).coef_
    assert np.all(model.scaler_.scale_[[0, 3]] == 1)
    np.testing.assert_allclose(
        model.predict(SUBNORMAL), X[:, 1:3] @ model.coef_[1:3] + model.intercept_
    )


@pytest.mark.parametrize("to_format", [sparse.csr_array, sparse.csc_matrix])
def test_so_they_are_in_sparse_rows(to_format):
    with pytest.warns(UserWarning, match=r"Column 0, 3 of X: the variance underflows"):
        MiniBatchRidgeSGD().fit(to_format(SUBNORMAL), Y)


@pytest.mark.parametrize("solver", ["cholesky", "svrg"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_also_if_their_mean_is_0(place, solver):
    rows = np.insert(X[:, :2], place, 1e-170 * np.resize([1.0, -1.0, 0.0, 0.0], len(X)), axis=1)
    with pytest.warns(UserWarning, match=f"Column {place} of X: the variance underflows"):
        sparse_model = MiniBatchRidgeSGD(solver=solver).fit(sparse.csr_array(rows), Y)
    with pytest.warns(UserWarning, match=f"Column {place} of X: the variance underflows"):
        dense_model = MiniBatchRidgeSGD(solver=solver).fit(rows, Y)
    np.testing.assert_allclose(sparse_model.predict(rows), dense_model.predict(rows), rtol=1e-5)


@WAYS
def test_a_target_too_narrow_for_a_variance(fit):
    y = 1e-300 * (1 + Y * 1e-9)
    with pytest.warns(UserWarning, match="Column 0 of y: the variance underflows"):
        model = fit(X, y, None)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-8)


@SOLVERS
@DENSE_AND_SPARSE
@pytest.mark.parametrize("value", [1e155, 1e308])
def test_columns_too_wide_for_a_variance_are_refused(value, to_rows, solver):
    wide = X.copy()
    wide[::2, 2], wide[1::2, 2] = value, -value
    for call in ("fit", "partial_fit"):
        model = MiniBatchRidgeSGD(solver=solver)
        with pytest.raises(ValueError, match=r"Column 2 of X: too large, beyond about 1e\+151"):
            getattr(model, call)(to_rows(wide), Y)
        assert not hasattr(model, "coef_")
        with pytest.raises(ValueError, match=r"Column 0 of y: too large"):
            getattr(model, call)(to_rows(X), wide[:, 2])
    with pytest.raises(ValueError, match="Column 2 of X: too large"):
        MiniBatchRidgeSGD(solver=solver).fit(
            [(to_rows(wide[:20]), Y[:20]), (to_rows(wide[20:]), Y[20:])]
        )


def test_rows_whose_sum_overflows_are_predicted():
    model = in_memory(1e150 * X, Y, None)
    rows = np.where(X > 0, 1e308, -1e308)
    np.testing.assert_allclose(
        model.predict(rows), np.sign(X) @ (1e308 * model.coef_) + model.intercept_
    )


INTEGERS = np.round(100 * X)
SPECIAL_COLUMNS = {
    "duplicate": X[:, [0, 1, 0, 1, 2]],
    "scaled duplicate": X[:, [0, 1, 0, 2]] * [1, 1, -1024.0, 1],
    "sum of others": np.column_stack([INTEGERS, INTEGERS[:, 0] + INTEGERS[:, 1]]),
    "one-hot": np.eye(4)[np.arange(40) % 4],
    "constant": np.column_stack([X, np.full(40, 0.1)]),
    "constants": np.column_stack([X, np.zeros(40), np.full(40, -7.0)]),
    "constant and duplicate": np.column_stack([X, X[:, 1], np.full(40, 1e5)]),
    "constant but for one row": np.column_stack([X, np.eye(1, 40, 17)[0]]),
    "one that is not constant": np.column_stack(
        [X[:, 0], np.zeros(40), np.ones(40), np.full(40, 0.1)]
    ),
    "fewer rows than columns": regression(5, 9)[0],
}


def in_random_order(rows, *seed):
    """The rows in random order, and their columns too.

    Then special rows and columns may stand anywhere.
    """
    rng = np.random.default_rng(seed)
    return rng.permutation(rng.permutation(rows), axis=1)


@pytest.mark.parametrize(
    "alpha",
    [0.0, *(pytest.param(alpha, marks=pytest.mark.slow) for alpha in (1e-300, 1e-12)), 1e-4],
)
@pytest.mark.parametrize("kind", SPECIAL_COLUMNS)
def test_special_columns_anywhere(kind, alpha):
    """Without a penalty the coefficients of least norm are found.

    With a small one they come near to these.
    """
    bound = 1000 * EPS + (
        10 * EPS / alpha if alpha > EPS else 0
    )  # g is right to EPS, and H^-1 is 1/alpha there.
    for seed in range(2):
        rows = in_random_order(SPECIAL_COLUMNS[kind], seed)
        y = Y[: len(rows)]
        exact = minimiser(rows, y, alpha)
        for fit, tol in product((in_memory, in_small_batches, in_chunks), (1e-6, 0.0)):
            assert_exact(
                fit(rows, y, None, alpha=alpha, tol=tol),
                rows,
                y,
                coef=bound,
                predictions=1000 * EPS,
                exact=exact,
            )


@WAYS
@pytest.mark.parametrize("kind", sorted(set(SPECIAL_COLUMNS) - {"fewer rows than columns"}))
def test_special_columns_in_float32(kind, fit):
    """Rounding to float32 moves each column a little from what it depends on.

    That difference must not be fitted.
    """
    for seed in range(3):
        rows = in_random_order(SPECIAL_COLUMNS[kind], seed).astype(np.float32)
        assert_exact(fit(rows, Y, None, alpha=0.0), rows, Y, coef=1e-6, predictions=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("batch_size", [16, "auto", "chunks"])
def test_the_least_norm_where_the_preconditioner_is_a_sketch(batch_size, standardize):
    """More rows than the sketch keeps apart, which blurs the lengths of the columns."""
    rows, y = regression(1200, 3)
    rows = np.round(100 * rows)
    rows = np.column_stack([rows, rows[:, 0] - rows[:, 2], np.full(1200, 3.0)])
    rows = in_random_order(rows * (1.0 if standardize else [1.0, 1.0, 1.0, 1024.0, 1.0]), 0)
    params = {"alpha": 0.0, "tol": 0.0, "standardize": standardize, "random_state": 0}
    if batch_size == "chunks":
        model = MiniBatchRidgeSGD(**params).fit(
            [(rows[i : i + 100], y[i : i + 100]) for i in range(0, 1200, 100)]
        )
    else:
        model = MiniBatchRidgeSGD(batch_size=batch_size, **params).fit(rows, y)
    assert_exact(model, rows, y, coef=1000 * EPS)


def test_a_long_file_of_collinear_columns():
    """Chunks whose sketch has been folded into a Gram matrix.

    Half of the digits then tell which columns are collinear.
    """
    rows, y = regression(60_000, 3)
    rows = np.column_stack([rows, rows[:, 0] - rows[:, 2]])
    long = MiniBatchRidgeSGD(0.0, random_state=0).fit(
        [(rows[i : i + 1000], y[i : i + 1000]) for i in range(0, 60_000, 1000)]
    )
    scale = rows.std(axis=0)
    least = np.linalg.lstsq((rows - rows.mean(axis=0)) / scale, y - y.mean(), rcond=1e-8)[0]
    np.testing.assert_allclose(long.coef_ * scale, least, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_steps_do_not_run_away_where_nothing_holds_them(batch_size):
    """Without a penalty no mini-batch says anything about directions that no row has."""
    for seed in range(5):
        rows, y = regression(12, 20, seed=seed)
        model = MiniBatchRidgeSGD(0.0, batch_size=batch_size, random_state=seed).fit(rows, y)
        assert_exact(model, rows, y, coef=1e-6, predictions=1e-5)


@TOLS
@WAYS
@pytest.mark.parametrize("alpha", [0.0, 1e-4, 1.0, 1e12, 1e300])
def test_any_penalty(alpha, fit, tol):
    assert_exact(fit(X, Y, None, alpha=alpha, tol=tol), X, Y)


@TOLS
@WAYS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 3), (2, 1), (2, 3), (40, 1)])
def test_the_smallest_problems(n, d, fit_intercept, fit, tol):
    for alpha in (0.0, 1e-4):
        model = fit(X[:n, :d], Y[:n], None, alpha=alpha, tol=tol, fit_intercept=fit_intercept)
        # Where rows are fewer than columns, the products of columns leave H only as many digits as
        # alpha is large.
        bound = 100 * EPS + (100 * EPS / alpha if alpha else 0)
        assert_exact(model, X[:n, :d], Y[:n], coef=bound, predictions=1000 * EPS)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_no_columns(call):
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        getattr(MiniBatchRidgeSGD(), call)(np.empty((40, 0)), Y)
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        MiniBatchRidgeSGD().fit([(np.empty((40, 0)), Y)])


class TestWeights:
    @TOLS
    @WAYS
    def test_twenty_orders_of_magnitude(self, fit, tol):
        for w in (
            np.geomspace(1e-10, 1e10, 40),
            np.random.default_rng(0).permutation(np.geomspace(1, 1e20, 40)),
        ):
            assert_exact(
                fit(X, Y, w, tol=tol, alpha=1e-3), X, Y, w, coef=1000 * EPS, predictions=1000 * EPS
            )

    @TOLS
    @WAYS
    @pytest.mark.parametrize("by", [1e-290, 1e-200, 1e200, 1e300])
    def test_their_unit(self, by, fit, tol):
        w = by * np.linspace(0.1, 1, 40)
        for scale in (1e-100, 1.0, 1e100):
            assert_exact(fit(scale * X, scale * Y, w, tol=tol), scale * X, scale * Y, w)

    @WAYS
    @pytest.mark.parametrize(("by", "how_much"), [(1e-320, "little"), (1e308, "much")])
    def test_sums_that_float64_does_not_hold(self, by, how_much, fit):
        with pytest.raises(
            ValueError,
            match=rf"weights sum to .* too {how_much} for float64. Multiply them by a constant",
        ):
            fit(X, Y, np.full(40, by))


class TestTargets:
    @TOLS
    @WAYS
    @pytest.mark.parametrize("constant", [0.0, 7.0, -1e300, 5e-324])
    def test_constant(self, constant, fit, tol):
        model = fit(X, np.full(40, constant), None, tol=tol)
        assert np.all(model.coef_ == 0)
        assert np.all(model.predict(X) == constant)

    @TOLS
    @WAYS
    def test_at_a_thousand_million_million(self, fit, tol):
        """Targets of that size are multiples of 1/8, and so are the predictions.

        The coefficients are more exact than that.
        """
        y = Y + 1e15
        assert_exact(fit(X, y, None, tol=tol), X, y, predictions=0.125 / Y.std())
        assert_exact(fit(X, 1e15 * Y, None, tol=tol), X, 1e15 * Y)

    @TOLS
    @WAYS
    def test_of_different_sizes(self, fit, tol):
        y = np.column_stack([Y * 1e-100, Y[::-1] * 1e100, np.full(40, 3.0)])
        model = fit(X, y, None, tol=tol)
        for k in range(2):
            exact = minimiser(X, y[:, k], model.alpha)
            np.testing.assert_allclose(model.coef_[k], as_floats(exact.coef)[:, 0], rtol=1e-12)
            np.testing.assert_allclose(model.predict(X)[:, k], exact.predict(X)[:, 0], rtol=1e-11)
        assert np.all(model.predict(X)[:, 2] == 3)


@WAYS
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_float32_with_an_offset(offset, fit):
    """Rows are centred in float64.

    In memory the standardised rows are then rounded to float32 again.
    """
    rows = (X + offset).astype(np.float32)
    eps = np.finfo(np.float32).eps
    for tol in (1e-6, 0.0):
        assert_exact(fit(rows, Y, None, tol=tol), rows, Y, coef=2 * eps, predictions=4 * eps)


def strided(array):
    return np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": lambda a: (
        np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)
        if a.itemsize > 1
        else a
    ),
    "list": lambda a: a.tolist(),
    "object": lambda a: a.astype(object),
}
DTYPES = ["float64", "float32", "float16", "int8", "uint8", "int32", "int64", "uint64", "bool"]


def small_integers(dtype):
    rows = (np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 9, (60, 3))).astype(
        dtype
    )
    return rows, rows @ np.array([1.0, -2.0, 3.0]) + np.arange(60) % 7


@SOLVERS
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_dtypes_of_the_same_numbers(dtype, layout, solver):
    """float32 rows are computed with in float32.

    Except where a list has no type, or the bytes have to be swapped anyway.
    """
    rows, y = small_integers(dtype)
    same = (
        rows
        if dtype == "float32" and layout not in ("list", "object", "big-endian")
        else rows.astype(float)
    )
    for call in ("fit", "partial_fit"):
        plain, other = (
            MiniBatchRidgeSGD(solver=solver, lr=0.01, tol=None, max_iter=4, random_state=0)
            for _ in range(2)
        )
        getattr(plain, call)(same, y)
        getattr(other, call)(LAYOUTS[layout](rows), y)
        rtol = 0 if layout != "Fortran order" else 1e-12 if same.dtype == float else 1e-5
        np.testing.assert_allclose(other.coef_, plain.coef_, rtol=rtol)
        np.testing.assert_allclose(
            other.predict(LAYOUTS[layout](rows)), plain.predict(same), rtol=max(rtol, 1e-12)
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_against_fifty_digits(dtype):
    rows, y = small_integers(dtype)
    bound = 10 * np.finfo(np.float32).eps if dtype == "float32" else 100 * EPS
    assert_exact(in_memory(rows, y, None), rows, y, coef=bound, predictions=bound)


def test_integers_beyond_two_to_the_53():
    """Such integers are rounded to float64.

    That changes them by less than EPS of their size, here also of their spread.
    """
    rows = np.round(X * 1e18 / 10).astype(np.int64)
    assert_exact(in_memory(rows, Y, None), rows, Y)


def explicit_zeros(rows):
    rows = sparse.csr_array(np.where(rows == 0, 99.0, rows))
    rows.data[rows.data == 99.0] = 0.0
    return rows


def duplicates(rows):
    """Each entry in two parts, each row's in descending order of the columns."""
    rows = sparse.coo_array(rows)
    row, column = rows.row, rows.col
    parts = np.concatenate([rows.data * 0.25, rows.data * 0.75])
    order = np.lexsort([-np.r_[column, column], np.r_[row, row]])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(np.r_[row, row], minlength=rows.shape[0]))])
    return sparse.csr_array((parts[order], np.r_[column, column][order], indptr), shape=rows.shape)


def with_indices(dtype):
    def to_rows(rows):
        rows = sparse.csr_array(rows)
        rows.indices, rows.indptr = rows.indices.astype(dtype), rows.indptr.astype(dtype)
        return rows

    return to_rows


SPARSE = {
    "csr matrix": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "coo": sparse.coo_array,
    "lil": sparse.lil_matrix,
    "dok": sparse.dok_array,
    "bsr": sparse.bsr_array,
    "dia": sparse.dia_array,
    "32-bit indices": with_indices(np.int32),
    "64-bit indices": with_indices(np.int64),
    "explicit zeros": explicit_zeros,
    "duplicates": duplicates,
    "integers": lambda rows: sparse.csr_array(rows.astype(int)),
    "float32": lambda rows: sparse.csr_array(rows.astype(np.float32)),
}


@SOLVERS
@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_formats_of_the_same_numbers(kind, solver):
    rows = (
        4.0
        * np.random.default_rng(1).integers(-3, 4, (60, 5))
        * (np.random.default_rng(0).random((60, 5)) < 0.5)
    )
    y = rows @ np.arange(5.0) + np.arange(60) % 7

    def fresh():
        return MiniBatchRidgeSGD(
            solver=solver,
            lr=0.01,
            tol=1e-6 if solver == "svrg" else None,
            max_iter=20,
            random_state=0,
        )

    for call in ("fit", "partial_fit"):
        expected = getattr(fresh(), call)(sparse.csr_array(rows), y)
        model = getattr(fresh(), call)(SPARSE[kind](rows), y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
        assert model.t_ == expected.t_
        np.testing.assert_allclose(
            model.predict(SPARSE[kind](rows)), expected.predict(rows), rtol=1e-12, atol=1e-12
        )
    if solver == "svrg":
        assert_exact(fresh().fit(SPARSE[kind](rows), y), rows, y)


class Watched:
    """A monitor that never stops a fit."""

    n_epochs = 0

    def begin_epoch(self):
        pass

    def __call__(self, found, beta, b, loss, distance):
        self.n_epochs += 1
        return False


class TestWhenRoundingHidesTheRest:
    """A tol that float64 cannot reach is no reason to go on for ever."""

    CONDITIONS = [1.0, 1e6, 1e12]

    @WAYS
    @pytest.mark.parametrize("condition", CONDITIONS)
    @pytest.mark.parametrize("tol", [1e-12, 1e-15, 1e-300, 0.0])
    def test_small(self, tol, condition, fit):
        """The condition number is that of the covariance, whose root is that of the rows."""
        rows, y = regression(40, 4, condition=condition)
        model = fit(rows, y, None, tol=tol, alpha=0.0)
        assert model.n_iter_ <= 20
        assert_exact(
            model, rows, y, coef=100 * EPS * condition, predictions=100 * EPS * condition**0.5
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("batch_size", [16, "auto"])
    @pytest.mark.parametrize("condition", CONDITIONS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_sketched(self, dtype, condition, batch_size):
        rows, y = regression(3000, 30, condition=condition)
        rows = rows.astype(dtype)
        model = in_memory(rows, y, None, tol=0.0, batch_size=batch_size)
        assert model.converged_
        assert model.n_iter_ <= 60
        assert model.distance_history_[-1] <= 100 * EPS * condition**0.5

    @pytest.mark.slow
    @pytest.mark.parametrize("preconditioner", [None, 3])
    def test_a_poor_preconditioner(self, preconditioner):
        rows, y = regression(500, 10, condition=100)
        model = in_memory(
            rows, y, None, tol=0.0, alpha=1e-3, preconditioner=preconditioner, max_iter=300
        )
        assert model.n_iter_ < 300
        assert_exact(model, rows, y, coef=1000 * EPS, predictions=1000 * EPS)

    def test_noise_that_is_too_much_for_rounding_is_no_excuse(self):
        """Rows that are not the same each time, say, give a gradient that never settles."""
        rng = np.random.RandomState(0)
        scaling = Scaling(
            X.mean(axis=0), X.std(axis=0), Y.mean(keepdims=True), Y.std(keepdims=True)
        )
        rows = rows_in_memory(X, Y[:, None], None, scaling, True)
        gradient = rows.residual_gradient
        rows.residual_gradient = lambda beta: (
            gradient(beta)[0] + 1e-3 * rng.standard_normal((4, 1)),
            gradient(beta)[1],
        )
        P = Full(of_gram(rows.hessian_product(np.eye(4)), 0.0), 0.9)
        settings = MiniBatchRidgeSGD(alpha=0.0, tol=0.0, max_iter=30).fit(X, Y)._settings()
        quadratic = Quadratic(rows, 0.0, P, np.ones((4, 1)))
        found = minimise(quadratic, np.zeros((4, 1)), settings, Watched())
        assert not found.converged

    def test_what_is_no_rounding_error_is_not_taken_for_one(self):
        """An unfinished fit warns, however small tol."""
        rows, y = regression(3000, 30, condition=1e4)
        with pytest.warns(ConvergenceWarning, match="max_iter=3"):
            model = in_memory(rows, y, None, tol=0.0, max_iter=3, solver="svrg")
        assert not model.converged_


@DENSE_AND_SPARSE
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("moments", [second_moments, cross_moments])
def test_the_first_gradient_of_chunks(weighted, to_rows, moments):
    """The mean of y is off by up to 1/16, and the columns are far from 0.

    Neither may change their covariance.
    """
    rows, y, w = X + 1e6, Y + 1e15, np.geomspace(1e-10, 1e10, 40) if weighted else None
    found = moments(to_rows(rows), y[:, None], w)
    with mpmath.workdps(60):
        share = numbers(np.ones(40) if w is None else w)
        exact = minimiser(rows, y, w=w)
        covariance = (share / share.sum() * (numbers(y) - exact.y_mean[0])) @ (
            numbers(rows) - exact.x_mean
        )
    np.testing.assert_allclose(found.xy[:, 0], as_floats(covariance), rtol=1e-7, atol=1e-7)


class TestMomentsOfAStream:
    """The moments are right up to rounding errors, however the rows are cut."""

    @staticmethod
    def streamed(rows, w, size, solver):
        model = MiniBatchRidgeSGD(solver=solver, random_state=0)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            model.partial_fit(rows[part], Y[part], None if w is None else w[part])
        return model

    @SOLVERS
    @pytest.mark.parametrize("size", [1, 3, 40])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize(
        ("scale", "offset"),
        [(1.0, 1e12), (1e-150, 0.0), (1e150, 0.0), (1e-150, 1e-140), (1.0, -1e8)],
    )
    def test_means_and_variances(self, scale, offset, weighted, size, solver):
        """Each merge rounds the mean by EPS of it.

        That changes a variance by (EPS * offset / spread) of itself.
        """
        rows = scale * X + offset
        w = np.geomspace(1e-10, 1e10, 40) if weighted else None
        scaler = self.streamed(rows, w, size, solver).scaler_
        exact = minimiser(rows, Y, 1.0, w)
        off = EPS * max(1.0, abs(offset) / scale)
        with mpmath.workdps(60):
            of_mean = np.abs(numbers(scaler.mean_) - exact.x_mean) / exact.x_scale
            of_scale = np.abs(numbers(scaler.scale_) / exact.x_scale - 1)
        assert of_mean.max() <= 20 * off
        assert of_scale.max() <= 20 * off

    @SOLVERS
    def test_rows_of_no_weight_first(self, solver):
        model = MiniBatchRidgeSGD(solver=solver, random_state=0)
        model.partial_fit(1e9 * (1 + X[:20]), Y[:20], np.full(20, 1e-24)).partial_fit(X, Y)
        np.testing.assert_allclose(
            model.scaler_.mean_, X.mean(axis=0), rtol=100 * EPS, atol=10 * EPS
        )
        np.testing.assert_allclose(
            model.scaler_.scale_, X.std(axis=0), rtol=1e-5
        )  # 1e-24 * (1e9)^2 = 1e-6 more variance.

    @SOLVERS
    def test_the_predictor_of_extreme_units_is_that_of_plain_ones(self, solver):
        """Powers of two change no digit, of a stream or of a fit."""
        by = 2.0 ** np.array([-490, -100, 100, 490])
        plain, extreme = self.streamed(X, None, 7, solver), self.streamed(X * by, None, 7, solver)
        np.testing.assert_allclose(extreme.coef_ * by, plain.coef_, rtol=1e-12)
        plain, extreme = (
            in_memory(rows, Y, None, solver=solver, tol=None, max_iter=5) for rows in (X, X * by)
        )
        np.testing.assert_allclose(extreme.coef_ * by, plain.coef_, rtol=1e-12)


class TestCounts:
    """They are integers of any size, and weights are floats whose sum may pass 2^53."""

    @staticmethod
    def after(n_rows, solver):
        """A model as after so many rows, all of it from a pickle."""
        model = MiniBatchRidgeSGD(solver=solver, random_state=0).partial_fit(X, Y)
        known = model._state.statistics
        x, y = (replace(each, n_rows=n_rows, weight=float(n_rows)) for each in known[:2])
        model._state = model._state.changed(
            moments=known._replace(x=x, y=y),
            waiting=(),
            n_waiting=0,
            n_chunks=n_rows,
            n_steps=n_rows,
        )
        return pickle.loads(pickle.dumps(model))

    @SOLVERS
    @pytest.mark.parametrize("n_rows", [2**31 - 1, 2**53 - 1, 2**53, 2**64, 10**30])
    def test_nothing_is_lost_or_overflows(self, n_rows, solver):
        model = self.after(n_rows, solver)
        for _ in range(3):
            model.partial_fit(X[:1], Y[:1])
        assert model.t_ == model.n_iter_ == n_rows + 3
        assert (
            model._state.statistics.x.n_rows
            == model._state.statistics.y.n_rows
            == model.scaler_.n_samples_seen_
            == n_rows + 3
        )
        assert model._state.statistics.x.weight == float(n_rows + 3)
        model = pickle.loads(pickle.dumps(model)).partial_fit(X[:7], Y[:7])
        assert model.scaler_.n_samples_seen_ == n_rows + 10
        assert np.isfinite(model.predict(X)).all()

    @SOLVERS
    @pytest.mark.parametrize("n_rows", [2**31, 2**53, 10**20])
    def test_as_many_rows_again_weigh_as_much(self, n_rows, solver):
        """A chunk of weight n after n rows.

        Mean and variance are those of both, by exact arithmetic.
        """
        model = self.after(n_rows, solver)
        before, rows = model._state.statistics.x, X[:5] + 3
        model.partial_fit(rows, Y[:5], np.full(5, n_rows / 5))
        for j in range(4):
            old, new = Fraction(float(before.mean[j])), [Fraction(float(x)) for x in rows[:, j]]
            mean = (old + sum(new) / 5) / 2
            square = (Fraction(float(before.var[j])) + old**2 + sum(x**2 for x in new) / 5) / 2
            np.testing.assert_allclose(model.scaler_.mean_[j], float(mean), rtol=20 * EPS)
            np.testing.assert_allclose(
                model.scaler_.var_[j], float(square - mean**2), rtol=20 * EPS
            )
        assert model._state.statistics.x.weight == 2 * float(n_rows)

    @pytest.mark.parametrize("n_rows", [2**31, 2**53, 10**30])
    def test_columns_do_not_become_constant_with_the_number_of_rows(self, n_rows):
        model = self.after(n_rows, "svrg")
        np.testing.assert_allclose(model.scaler_.scale_, X.std(axis=0))

    def test_weights_that_sum_beyond_two_to_the_53(self):
        w = np.full(40, 2.0**50) + np.arange(40)
        assert_exact(in_memory(X, Y, w), X, Y, w)
        model = MiniBatchRidgeSGD(random_state=0)
        for _ in range(3):
            model.partial_fit(X, Y, w)
        np.testing.assert_allclose(
            model.scaler_.n_samples_seen_, 3 * sum(int(v) for v in w), rtol=EPS
        )
