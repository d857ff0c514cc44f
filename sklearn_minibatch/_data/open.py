"""Opens the input of a method as samples in memory or in chunks.

The functions read the parameters of the estimator, and set the attributes that scikit-learn
derives from the input: the number and the names of the columns.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _check_feature_names

from .._rows.chunk import Chunk
from .._rows.chunked import ChunkedRows
from .._rows.in_memory import in_memory
from .._rows.protocol import Rows
from .._rows.wide import KeptRows, WideRows
from .._solvers.choose import SOLVERS, Shape
from .._solvers.problem import Settings
from .._solvers.state import SOLVABLE
from .._statistics.arrays import as_float64, place_of, take, to_numpy
from .._statistics.moments import Statistics
from .._statistics.row_products import RowProducts, row_products
from .._statistics.scaling import Scaling
from .._statistics.second_moments import (
    EXACT_FEATURES,
    ColumnMoments,
    SecondMoments,
    cross_moments,
    merge,
)
from .._statistics.threads import blas_threads_to_solve, number_of_threads
from .._statistics.triangular_factor import TriangularFactor
from .held_out import held_out
from .mapped import mapped
from .same_rows import SameRows
from .source import CheckedChunks, check_alone, is_dask, source_of
from .validation import checked_chunk, look_if_not_finite, validated

# The statistics that can be merged, as functions of X, y and weights.
GATHER = {**SOLVABLE, "columns": cross_moments}


def open_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any, rng: Any
) -> "InMemory | InChunks":
    """Return the samples of `fit`; `rng` shuffles them and selects those held out."""
    chunks = open_chunks(estimator, X, y, sample_weight)
    if chunks is None:
        return InMemory(estimator, X, y, sample_weight, rng)
    if estimator.early_stopping:
        raise ValueError(
            "early_stopping=True needs all rows in memory. Set early_stopping=False: "
            "the default solver stops at the closed form; "
            "to choose alpha, use MiniBatchRidgeSGDCV."
        )
    return InChunks(chunks, estimator)


def open_chunks(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    check: Callable[..., Any] | None = None,
    method: str = "fit",
    read_again: bool = True,
) -> Any:
    """Return the chunks of samples on a cluster, in a file or in a source; None if in memory.

    `check` is as for `CheckedChunks`; the default sets the columns of the estimator to those of X.
    """
    if is_dask(X):
        return partitions(estimator, X, y, sample_weight, check)
    check_alone(X, y, method)
    source = mapped(X, y, sample_weight) or source_of(X, y, sample_weight)
    if source is None:
        return None
    half_life = None if check else estimator.half_life
    return CheckedChunks(source, check or partial(checked_chunk, estimator), read_again, half_life)


def partitions(estimator: Any, X: Any, y: Any, sample_weight: Any, check: Any) -> Any:
    """Return the partitions of Dask collections as chunks."""
    from .dask import Partitions, check_table

    check_table(X)
    if check is not None:
        return Partitions(X, y, sample_weight, check)
    solver = getattr(estimator, "solver", "auto")
    if solver != "auto" and SOLVERS[solver].needs_order:
        raise ValueError(
            f"solver={solver!r} takes its steps one after the other, which partitions on a cluster "
            "cannot. Use solver='svrg', or dask_ml.wrappers.Incremental with this estimator, "
            "which hands it from partition to partition."
        )
    if estimator.half_life is not None:
        raise ValueError(
            f"half_life={estimator.half_life:g} needs the order of the samples, and partitions on "
            "a cluster have none. Give sample_weight, or half_life=None."
        )
    estimator._single_target = np.ndim(y) == 1
    estimator.n_features_in_ = X.shape[1]
    _check_feature_names(estimator, getattr(X, "_meta", X), reset=True)
    return Partitions(X, y, sample_weight, partial(checked_chunk, worker_copy(estimator)))


class InMemory:
    """Checked samples in memory.

    Without early stopping, numbers are checked for NaN and infinity only if statistics are not
    finite.
    """

    n_passes = None

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, rng: Any) -> None:
        finite = estimator.early_stopping
        rows = validated(estimator, X, y, sample_weight, reset=True, finite=finite)
        self.settings: Settings = estimator._settings()
        self.rows, self.validation = hold_out(estimator, rows.aged(estimator.half_life), rng)
        self.place = place_of(self.rows.X)
        self.rng = rng
        self.n_jobs = number_of_threads(estimator.n_jobs)
        self._look = partial(look_if_not_finite, estimator, X=X, y=y)

    @property
    def shape(self) -> Shape:
        """The shape of the samples."""
        n_rows, d = self.rows.X.shape
        if not sparse.issparse(self.rows.X):
            return Shape(d, n_rows)
        X = self.rows.X
        count = np.bincount(X.indices) if n_rows < d else np.diff(X.indptr)
        return Shape(d, n_rows, X.nnz, float(np.square(count, dtype=float).sum()))

    def blas_threads(self) -> AbstractContextManager[None]:
        """Return the context of a fit: the number of threads changes once, not at every step."""
        return blas_threads_to_solve(self.rows.X.shape[1], self.rows.y.shape[1])

    def gather(self, kind: str) -> Any:
        """Return statistics of the samples: one of `GATHER`, or "row products"."""
        _, X, y, w = self.rows
        if kind == "row products":
            statistics: Any = row_products(X, y, w, self.settings.row_units, self.n_jobs)
        else:
            statistics = GATHER[kind](X, y, w, self.n_jobs)
        self._look(statistics)
        return statistics

    def scaled(self, statistics: Statistics, scaling: Scaling) -> Any:
        """Return the samples in scaled units, in random order if the settings say so."""
        _, X, y, w = self.rows
        if isinstance(statistics, RowProducts):
            return WideRows(X, y, statistics.x, statistics.root, scaling)
        order = self.rng.permutation(y.shape[0]) if self.settings.shuffle else None
        mean_weight = statistics.x.weight / statistics.x.n_rows
        intercept = self.settings.fit_intercept
        return in_memory(X, y, w, scaling, intercept, mean_weight, order, self.n_jobs)

    def kept(self, statistics: Statistics) -> Statistics:
        """Return the statistics that a model keeps, for a stream to continue from."""
        x, y = statistics.x, statistics.y
        if isinstance(statistics, RowProducts) and len(x.mean) <= EXACT_FEATURES:
            return KeptRows(x, y, self.rows.copied())
        return of_all_rows(statistics)


class InChunks:
    """Samples in chunks, which are checked as they are read."""

    validation = None

    def __init__(self, chunks: Any, estimator: Any) -> None:
        self.chunks = chunks
        # The number of samples is not known before the first pass.
        self.shape = Shape(chunks.n_features)
        self.settings: Settings = estimator._settings()
        # Partitions on a cluster have workers of their own.
        self.n_jobs = number_of_threads(estimator.n_jobs) if chunks.are_here else 1

    @property
    def place(self) -> Any:
        """The function that moves arrays to the device of the samples."""
        return self.chunks.place

    def blas_threads(self) -> AbstractContextManager[None]:
        """Return the context of a fit, which does not change the threads of BLAS."""
        return nullcontext()

    @property
    def n_passes(self) -> int:
        """How often the chunks have been read."""
        return self.chunks.n_passes

    def gather(self, kind: str) -> Any:
        """Return statistics of the samples, one of `GATHER`, in one pass."""
        statistics = self.chunks.reduce(gathered, merge, kind, self.n_jobs)
        if self.chunks.same_rows is None and kind != "factor":
            self.chunks.same_rows = SameRows(statistics)
        return statistics

    def scaled(self, statistics: Any, scaling: Scaling) -> Rows:
        """Return the samples in scaled units."""
        return ChunkedRows(self.chunks, statistics, scaling, self.settings.fit_intercept)

    def kept(self, statistics: Statistics) -> Statistics:
        """Return the statistics that a model keeps, for a stream to continue from."""
        return of_all_rows(statistics)


def of_all_rows(statistics: Statistics) -> Statistics:
    """Return statistics that can be solved unchanged, or else the column moments only."""
    if isinstance(statistics, SecondMoments | TriangularFactor):
        return statistics
    return ColumnMoments(statistics.x, statistics.y)


def gathered(chunk: Chunk, kind: str, n_jobs: int) -> Any:
    """Return statistics of a chunk, one of `GATHER`."""
    return GATHER[kind](chunk.X, chunk.y, chunk.w, n_jobs)


def worker_copy(estimator: Any) -> Any:
    """Return a copy with what workers need to check rows and, if it is fitted, to predict."""
    small = estimator.without_statistics() if hasattr(estimator, "_state") else copy(estimator)
    for name in ("_skl_callbacks", "_checked"):
        vars(small).pop(name, None)
    return small


def hold_out(estimator: Any, rows: Chunk, rng: Any) -> tuple[Chunk, tuple[Any, ...] | None]:
    """Split the rows into those to fit and those held out for early stopping.

    Without early stopping the latter are None. Otherwise they are X and, in NumPy, y, the weights
    and the weighted mean (t,) of y over the rows to fit.
    """
    if not estimator.early_stopping:
        return rows, None
    targets = to_numpy(as_float64(rows.y))
    out = held_out(to_numpy(rows.X), targets, estimator.validation_fraction, rng)
    weights = np.ones(len(targets)) if rows.w is None else to_numpy(as_float64(rows.w))
    baseline = np.average(targets[~out], axis=0, weights=weights[~out])
    X_out = take(rows.X, np.flatnonzero(out))
    return rows.taken(np.flatnonzero(~out)), (X_out, targets[out], weights[out], baseline)
