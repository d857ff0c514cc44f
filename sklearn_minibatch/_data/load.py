"""Loading of the input of `fit`: arrays, a mapped file, a source of chunks or Dask collections.

The functions read the parameters of the estimator, and set the attributes that scikit-learn
derives from the input: the number and the names of the columns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import _check_feature_names

from .._rows.chunk import Chunk
from .._rows.chunked import ChunkedRows
from .._rows.in_memory import in_memory
from .._rows.protocol import Rows
from .._rows.wide import KeptRows, WideRows
from .._solvers.choose import SOLVERS, Choice, Shape, choose
from .._solvers.problem import Problem, Settings
from .._statistics.arrays import Place, as_float64, place_of, take, to_numpy
from .._statistics.row_products import row_products
from .._statistics.scaling import Scaling
from .._statistics.second_moments import (
    EXACT_FEATURES,
    ColumnMoments,
    SecondMoments,
    merge,
    moments_of_columns,
    second_moments,
)
from .._statistics.triangular_factor import TriangularFactor, triangular_factor
from .held_out import held_out
from .mapped import mapped
from .same_rows import SameRows
from .source import CheckedChunks, check_alone, is_dask, source_of
from .validation import CheckedRows, checked_chunk, look_if_not_finite, validated


class TrainingData(NamedTuple):
    """The moments of the rows to fit, and the rows.

    `make_rows` returns the rows in scaled units, `read_factor` their triangular factor.
    `validation` has the rows held out, and `chunks` the chunks if rows come in chunks; both may be
    None. `place` moves arrays to where the rows are.
    """

    choice: Choice
    keep: Callable[[Any], Any]  # from a solved problem to the statistics that the model keeps
    moments: ColumnMoments | SecondMoments
    make_rows: Callable[[Scaling], Rows]
    read_factor: Callable[[], TriangularFactor]
    validation: tuple[Any, ...] | None
    chunks: Any
    place: Place


GATHER: dict[str, Callable[..., Any]] = {
    "columns": moments_of_columns,
    "products": second_moments,
}


def load_data(
    estimator: Any, X: Any, y: Any, sample_weight: Any, settings: Settings, rng: Any
) -> TrainingData:
    """Return the rows and their moments, with the products that the solver asks for."""
    if is_dask(X):
        return in_chunks(estimator, partitions(estimator, X, y, sample_weight), settings)
    check_alone(X, y, "fit")
    source = mapped(X, y, sample_weight) or source_of(X, y, sample_weight)
    if source is not None:
        chunks = CheckedChunks(source, partial(checked_chunk, estimator))
        return in_chunks(estimator, chunks, settings)
    return from_memory(estimator, X, y, sample_weight, settings, rng)


def from_memory(
    estimator: Any, X: Any, y: Any, sample_weight: Any, settings: Settings, rng: Any
) -> TrainingData:
    """Return the rows of arrays.

    Single numbers are checked for NaN and infinity only if their moments are not finite.
    """
    checked = validated(estimator, X, y, sample_weight, reset=True, finite=estimator.early_stopping)
    rows, validation = hold_out(estimator, checked, rng)
    n_jobs = effective_n_jobs(estimator.n_jobs)
    choice = choose(shape_of(rows.X), settings)
    if choice.gather == "row products":
        centred, scaled = settings.fit_intercept, settings.standardize
        moments: Any = row_products(rows.X, rows.y, rows.w, centred, scaled)
    else:
        moments = GATHER[choice.gather](rows.X, rows.y, rows.w, n_jobs)
    look_if_not_finite(estimator, moments, X, y)

    def make_rows(scaling: Scaling) -> Any:
        if choice.gather == "row products":
            return WideRows(rows.X, rows.y, moments.root, scaling)
        return in_memory(
            rows.X,
            rows.y,
            rows.w,
            scaling,
            estimator.fit_intercept,
            mean_weight=moments.x.weight / moments.x.n_rows,
            order=rng.permutation(rows.y.shape[0]) if estimator.shuffle else None,
            n_jobs=n_jobs,
        )

    def read_factor() -> TriangularFactor:
        return triangular_factor(rows.X, rows.y, rows.w)

    def keep(problem: Problem) -> Any:
        if choice.gather != "row products":
            return moments
        if rows.X.shape[1] > EXACT_FEATURES:
            wide: Any = problem.rows
            return wide.column_moments(moments.x, moments.y)
        copy = Chunk(1, rows.X, rows.y, rows.w).taken(np.arange(rows.y.shape[0]))
        return KeptRows(moments.x, moments.y, copy)

    place = place_of(rows.X)
    return TrainingData(choice, keep, moments, make_rows, read_factor, validation, None, place)


def shape_of(X: Any) -> Shape:
    """Return the shape of rows in memory."""
    if not sparse.issparse(X):
        return Shape(X.shape[1], X.shape[0])
    per_row = np.diff(X.indptr).astype(float)
    return Shape(X.shape[1], X.shape[0], X.nnz, float(per_row @ per_row))


def in_chunks(estimator: Any, chunks: Any, settings: Settings) -> TrainingData:
    """Return the rows of `chunks` and their moments, which need a first pass."""
    if estimator.early_stopping:
        raise ValueError(
            "early_stopping=True needs all rows in memory. Set early_stopping=False: "
            "the default solver stops at the closed form; "
            "to choose alpha, use MiniBatchRidgeSGDCV."
        )
    first = chunks.reduce(gathered, merge, settings)
    choice = choose(Shape(len(first.x.mean)), settings)
    chunks.same_rows = SameRows(first)
    make_rows = partial(ChunkedRows, chunks, first, fit_intercept=estimator.fit_intercept)
    read_factor = partial(chunks.reduce, factor_of, merge)
    return TrainingData(
        choice, lambda problem: first, first, make_rows, read_factor, None, chunks, chunks.place
    )


def gathered(chunk: Chunk, settings: Settings) -> ColumnMoments | SecondMoments:
    """Return the moments of a chunk, with the products that the solver asks for."""
    gather = GATHER[choose(Shape(chunk.X.shape[1]), settings).gather]
    return gather(chunk.X, chunk.y, chunk.w)


def factor_of(chunk: Chunk) -> TriangularFactor:
    """Return the triangular factor of a chunk."""
    return triangular_factor(chunk.X, chunk.y, chunk.w)


def partitions(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    """Return the partitions of Dask collections as chunks."""
    from .dask import Partitions, check_table

    check_table(X)
    solver = getattr(estimator, "solver", "auto")
    if solver != "auto" and SOLVERS[solver].needs_order:
        raise ValueError(
            f"solver={solver!r} takes its steps one after the other, which partitions on a cluster "
            "cannot. Use solver='svrg', or dask_ml.wrappers.Incremental with this estimator, "
            "which hands it from partition to partition."
        )
    estimator._single_target = np.ndim(y) == 1
    estimator.n_features_in_ = X.shape[1]
    _check_feature_names(estimator, getattr(X, "_meta", X), reset=True)
    return Partitions(X, y, sample_weight, partial(checked_chunk, worker_copy(estimator)))


def worker_copy(estimator: Any) -> Any:
    """Return a copy with what workers need to check rows and, if it is fitted, to predict."""
    names = ("n_features_in_", "feature_names_in_")
    copy = clone(estimator)
    vars(copy).pop("_skl_callbacks", None)
    vars(copy).update({name: value for name, value in vars(estimator).items() if name in names})
    if hasattr(estimator, "_state"):
        copy._state = estimator.without_statistics()._state
    return copy


def hold_out(
    estimator: Any, rows: CheckedRows, rng: Any
) -> tuple[CheckedRows, tuple[Any, ...] | None]:
    """Split the rows into those to fit and those held out for early stopping.

    The latter are None without early stopping, else X, and in NumPy y, weights and the mean of y
    (t,) in the rows to fit.
    """
    if not estimator.early_stopping:
        return rows, None
    X, y, w, single_target = rows
    targets = to_numpy(as_float64(y))
    out = held_out(to_numpy(X), targets, estimator.validation_fraction, rng)
    weights = np.ones(len(targets)) if w is None else to_numpy(as_float64(w))
    baseline = np.average(targets[~out], axis=0, weights=weights[~out])
    kept = np.flatnonzero(~out)
    w = None if w is None else take(w, kept)
    training = CheckedRows(take(X, kept), take(y, kept), w, single_target)
    return training, (take(X, np.flatnonzero(out)), targets[out], weights[out], baseline)
