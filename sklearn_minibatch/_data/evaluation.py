"""Predictions and R^2 for rows in chunks, from a source or on a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.validation import _num_samples

from .._rows.chunk import Chunk
from .._statistics.arrays import as_float64, like, times
from .._statistics.moments import Moments, column_moments, merge_columns
from .._statistics.second_moments import merge
from .array_api import on_host
from .open import open_chunks, worker_copy
from .validation import checked_chunk


def chunks_to_score(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    """Return the chunks to score, or None if the rows are in memory."""
    check = partial(checked_like_model, worker_copy(estimator))
    return open_chunks(estimator, X, y, sample_weight, check, "score", read_again=False)


def checked_like_model(
    model: Any, X: Any, y: Any, sample_weight: Any, first: bool, finite: bool
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Return X, y and w of a chunk; check that it has the columns and targets of a fitted model."""
    X, y, w = checked_chunk(model, X, y, sample_weight, False, finite)
    n_targets = 1 if model.coef_.ndim == 1 else model.coef_.shape[0]
    if y.shape[1] != n_targets:
        raise ValueError(f"y has {y.shape[1]} target(s), the model was fitted to {n_targets}.")
    return X, y, w


def r2_of_chunks(chunks: Any, model: Any) -> float:
    """Return R^2 of a fitted model, averaged over targets, as `sklearn.metrics.r2_score` does."""
    coef = np.atleast_2d(on_host(model.coef_)).T
    intercept = np.atleast_1d(on_host(model.intercept_))
    moments = chunks.reduce(residual_moments, merge, coef, intercept)
    if chunks.n_rows < 2:
        warnings.warn(
            "R^2 score is not well-defined with less than two samples.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        unexplained = moments.residuals.var + moments.residuals.mean**2
    if not np.isfinite([unexplained, moments.y.var]).all():
        raise ValueError(
            "R^2: the squares of y, or of its distances to the predictions, overflow. "
            "Divide y by a constant."
        )
    varies = moments.y.var > 0
    ratio = np.divide(unexplained, moments.y.var, out=(unexplained > 0).astype(float), where=varies)
    return float(np.mean(1 - ratio))


class Residuals(NamedTuple):
    """The moments of residuals and of targets."""

    residuals: Moments
    y: Moments

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.residuals.is_finite and self.y.is_finite

    def merged(self, other: Residuals) -> Residuals:
        """Return the moments of the rows of both."""
        residuals = merge_columns(self.residuals, other.residuals)
        return Residuals(residuals, merge_columns(self.y, other.y))


def residual_moments(chunk: Chunk, coef: np.ndarray, intercept: np.ndarray) -> Residuals:
    """Return the moments of the residuals and of y; coef is (d, t), intercept (t,)."""
    predictions = times(chunk.X, coef)
    residuals = as_float64(chunk.y) - (predictions + like(intercept, predictions))
    return Residuals(column_moments(residuals, chunk.w), column_moments(chunk.y, chunk.w))


def predicted_chunks(
    predict: Callable[[Any], np.ndarray], source: Any, n_targets: int | None
) -> Iterator[np.ndarray]:
    """Yield `predict(X)` of each chunk.

    `n_targets` is None if predictions are (n,), else they are (n, n_targets).
    """
    none = np.empty((0,) if n_targets is None else (0, n_targets))
    for number, chunk in enumerate(source, 1):
        X = rows_of(chunk)
        try:
            predictions = predict(X) if _num_samples(X) else none
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Chunk {number}: {error}") from error
        yield predictions


def rows_of(chunk: Any) -> Any:
    """Return X of a chunk (X, y) or (X, y, sample_weight), or the chunk itself if it is X alone."""
    is_pair = isinstance(chunk, tuple) or (
        isinstance(chunk, list) and chunk and len(getattr(chunk[0], "shape", ())) == 2
    )
    return chunk[0] if is_pair else chunk
