"""What `fit` and `partial_fit` are given: checked, as floats, and with what a solver is told of it.

The one room that asks where the rows are. Its functions take the estimator for its parameters, and leave on it what
scikit-learn keeps of its input: the number and the names of the columns.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import _check_feature_names, _check_sample_weight, validate_data

from .._rows.chunked import ChunkedRows
from .._rows.in_memory import in_memory
from .._statistics.moments import LARGEST, TINY_WEIGHT, Moments, column_moments
from .._statistics.summary import merged, summary
from .held_out import held_out
from .source import Passes, is_dask, is_source, mapped


class TakenIn(NamedTuple):
    """Moments of X and y, a function from units to rows, rows held out, and the chunks where there are some."""

    x: Moments
    y: Moments
    rows_in: Callable
    held: tuple | None
    chunks: Passes | None


def taken_in(estimator, X, y, sample_weight, rng):
    """The rows as `fit` needs them, from wherever they are."""
    if is_dask(X):
        return in_chunks(estimator, partitions(estimator, X, y, sample_weight), rng)
    source = mapped(X, y, sample_weight)
    if source is None and y is None and is_source(X):
        if sample_weight is not None:
            raise ValueError("With a source of chunks, put the weights into the chunks: (X, y, sample_weight).")
        source = X
    if source is not None:
        return in_chunks(estimator, Passes(source, partial(checked_chunk, estimator)), rng)
    X, y, w = validated(estimator, X, y, sample_weight, reset=True)
    X, y, w, held = hold_out(estimator, X, y, w, rng)
    n_jobs = effective_n_jobs(estimator.n_jobs)
    moments, y_moments = column_moments(X, w, n_jobs), column_moments(y, w)
    how = {"fit_intercept": estimator.fit_intercept, "mean_weight": moments.weight / moments.n_rows, "n_jobs": n_jobs}
    order = rng.permutation(len(y)) if estimator.shuffle else None
    rows_in = partial(in_memory, X, y, w, order=order, **how)
    return TakenIn(moments, y_moments, rows_in, held, None)


def in_chunks(estimator, chunks, rng):
    """The rows behind `chunks`, after a first pass over them."""
    if estimator.early_stopping:
        raise ValueError(
            "early_stopping=True needs all rows in memory. Set early_stopping=False: the default solver stops at the "
            "closed form; to choose alpha, keep some chunks out of the source and score them."
        )
    first = chunks.reduce(summary, merged, rng.randint(2**31))
    if first is None:
        raise ValueError("All sample weights are zero; at least one row must count.")
    rows_in = partial(ChunkedRows, chunks, first, fit_intercept=estimator.fit_intercept)
    return TakenIn(first.x, first.y, rows_in, None, chunks)


def partitions(estimator, X, y, sample_weight):
    """The chunks of Dask collections."""
    from .dask import Partitions

    if y is None:
        raise ValueError("fit(X, y) of a Dask collection X needs y, in the same partitions.")
    if estimator.solver == "sgd":
        raise ValueError(
            "solver='sgd' takes its steps one after the other, which partitions on a cluster cannot. Use solver='svrg', "
            "or dask_ml.wrappers.Incremental with this estimator, which hands it from partition to partition."
        )
    estimator._single_target, estimator.n_features_in_ = np.ndim(y) == 1, X.shape[1]
    _check_feature_names(estimator, getattr(X, "_meta", X), reset=True)
    return Partitions(X, y, sample_weight, partial(checked_chunk, bare(estimator)))


def bare(estimator):
    """What workers need to check and to predict rows: no moments, no preconditioner."""
    names = ("n_features_in_", "feature_names_in_", "coef_", "intercept_")
    copy = clone(estimator)
    vars(copy).pop("_skl_callbacks", None)
    vars(copy).update({name: value for name, value in vars(estimator).items() if name in names})
    return copy


def validated(estimator, X, y, sample_weight, reset) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Rows of positive weight as float arrays, X (n, d), y (n, t), and their weights (n,) or None."""
    X, y, w, single_target = as_floats(estimator, X, y, sample_weight, reset)
    if not reset and (single_target, y.shape[1]) != (estimator._single_target, len(estimator._predicting[1])):
        raise ValueError(f"y has {y.shape[1]} target(s) in {1 if single_target else 2} dimensions, unlike before.")
    estimator._single_target = single_target
    if len(y) == 0:
        raise ValueError("All sample weights are zero; at least one row must count.")
    return X, y, w


def checked_chunk(estimator, X, y, sample_weight, first, finite):
    """The same of a chunk, which may be left without rows."""
    weightless = sample_weight is not None and not np.any(sample_weight)
    X, y, w, single_target = as_floats(estimator, X, y, None if weightless else sample_weight, first, finite)
    if first:
        estimator._single_target = single_target
    return (X[:0], y[:0], w) if weightless else (X, y, w)


def as_floats(estimator, X, y, sample_weight, reset, finite=True):
    """Rows of positive weight as float arrays, X (n, d), y (n, t), their weights, and whether y was (n,)."""
    # Finite numbers may have no finite sum, by which they are looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            # The centring of sparse rows is a difference of products, which float32 does not carry.
            dtype=np.float64 if sparse.issparse(X) else [np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
            ensure_all_finite=finite,
        )
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    single_target = y.ndim == 1
    y = y.astype(float, copy=False).reshape(len(y), -1)
    if sample_weight is None:
        return X, y, None, single_target
    w = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not w.all():
        kept = np.flatnonzero(w)
        X, y, w = X[kept], y[kept], w[kept]
    return X, y, w, single_target


def hold_out(estimator, X, y, w, rng) -> tuple[Any, np.ndarray, np.ndarray | None, tuple | None]:
    """Rows to fit, and with early stopping what the monitor needs of those held out."""
    if not estimator.early_stopping:
        return X, y, w, None
    out = held_out(X, y, estimator.validation_fraction, rng)
    w_all = np.ones(len(y)) if w is None else w
    baseline = np.average(y[~out], axis=0, weights=w_all[~out])
    held = X[out], y[out], w_all[out], baseline
    return X[~out], y[~out], None if w is None else w[~out], held


def check_moments(x, y):
    """Raise ValueError where float64 cannot go on from the moments of X and y; warn where they take a column for constant."""
    if not TINY_WEIGHT <= x.weight < np.inf:
        raise ValueError(
            f"The sample weights sum to {x.weight:.3g}, which is too {'much' if x.weight > 1 else 'little'} for float64. "
            "Multiply them by a constant; only their ratios count."
        )
    for name, of, square in (("X", x, x.var + x.mean**2), ("y", y, y.var)):
        too_large = ~(square <= LARGEST**2)
        if too_large.any():
            raise ValueError(
                f"{columns(too_large, name)}: too large, beyond about {LARGEST:.0e}; sums of squares would overflow. "
                "Divide by a constant."
            )
        if of.is_lost.any():
            warnings.warn(
                f"{columns(of.is_lost, name)}: the variance underflows float64; what varies by less than 1e-154 is taken for "
                "constant. Multiply by a large constant.",
                stacklevel=4,
            )


def columns(mask, name):
    """The columns in `mask` (d,), in words; no more than five of them."""
    numbers = [str(j) for j in np.flatnonzero(mask)]
    return f"Column {', '.join(numbers[:5])}{', ...' if len(numbers) > 5 else ''} of {name}"
