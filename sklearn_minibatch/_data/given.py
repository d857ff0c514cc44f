"""Second moments that were computed elsewhere, for example by a database."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import lapack

from .._solvers.choose import needs_samples
from .._statistics.moments import Moments
from .._statistics.second_moments import SecondMoments, merge
from .folds import GCV, LOO
from .refusals import check_kinds, is_instance
from .validation import Number, named, named_columns

# Rounding errors of covariances, relative to the standard deviations, are smaller than this.
ROUNDING = 1e-8


def given_moments(
    estimator: Any, n_samples: Any, mean: Any, covariance: Any, n_targets: Any, names: Any
) -> SecondMoments:
    """Return the moments of n samples [x, y] from their mean (d + t,) and covariance.

    Set the number and the names of the features on the estimator.
    """
    if not (Number(Real, 1, None, closed="left").is_satisfied_by(n_samples) and n_samples % 1 == 0):
        raise ValueError(f"n_samples must be a whole number from 1 on; got {n_samples!r}.")
    check_kinds(mean=mean, covariance=covariance)
    labels = labels_of(mean, covariance)
    mean = as_numbers("mean", mean)
    covariance = as_numbers("covariance", covariance)
    m = mean.size
    if mean.ndim != 1 or covariance.shape != (m, m):
        raise ValueError(
            "mean must have one number for each column of [X, y], and covariance a row and a "
            f"column for each; got the shapes {mean.shape} and {covariance.shape}."
        )
    if not (Number(Integral, 1, None, closed="left").is_satisfied_by(n_targets) and n_targets < m):
        raise ValueError(
            f"n_targets must be a whole number from 1 to {m - 1}, as [X, y] has {m} columns and "
            f"the targets are the last of them; got {n_targets!r}."
        )
    d = m - int(n_targets)
    columns = Moments(int(n_samples), float(n_samples), mean, np.diag(covariance).copy())
    check_covariance(columns, covariance, d)
    estimator._single_target = n_targets == 1
    set_features(estimator, d, labels[:d] if names is None and labels else names)
    return as_moments(columns, covariance, d)


def given_folds(estimator: Any, folds: Any, n_targets: Any, names: Any) -> tuple[Any, ...]:
    """Return the moments of each fold, or of all folds together for cv="gcv"."""
    if estimator.half_life is not None:
        raise needs_samples("half_life", estimator.half_life, None)
    single = estimator.cv if isinstance(estimator.cv, str) else None
    if single == LOO:
        raise needs_samples("cv", LOO, GCV)
    least = 1 if single == GCV else 2
    cells = []
    features = []
    for fold in folds:
        cells.append(given_moments(estimator, *as_triple(fold), n_targets, names))
        features.append((estimator.n_features_in_, named_columns(estimator)))
    if len(cells) < least or any(each != features[0] for each in features):
        raise ValueError(
            f"folds must have at least {least} tuple(s) (n_samples, mean, covariance), all of "
            f"the same columns; got {len(cells)} with {sorted({d for d, _ in features})} features."
        )
    return (reduce(merge, cells),) if single == GCV else tuple(cells)


def as_triple(fold: Any) -> tuple[Any, Any, Any]:
    """Return a fold as its three parts."""
    try:
        n_samples, mean, covariance = fold
    except (TypeError, ValueError) as error:
        raise ValueError(
            "folds must have tuples (n_samples, mean, covariance), one for each fold; got a "
            f"{type(fold).__name__}."
        ) from error
    return n_samples, mean, covariance


def as_moments(columns: Moments, covariance: np.ndarray, d: int) -> SecondMoments:
    """Return the moments of columns; the first d are features."""
    products = (covariance + covariance.T) / 2
    # With alpha=0, rounding errors of constant columns would be fitted as if they were variation.
    constant = columns.is_constant & ~columns.is_underflowed
    products[constant] = 0.0
    products[:, constant] = 0.0
    var = np.diag(products)
    x, y = (
        replace(columns, mean=columns.mean[part].copy(), var=var[part].copy())
        for part in (slice(d), slice(d, None))
    )
    return SecondMoments(x, y, products[:d, d:].copy(), products[:d, :d].copy())


def labels_of(mean: Any, covariance: Any) -> list[str]:
    """Return the names of the columns of a pandas mean and covariance, or an empty list.

    Raise ValueError if their names or their order differ.
    """
    axes = []
    if is_instance(covariance, "pandas", "DataFrame"):
        axes += [list(covariance.columns), list(covariance.index)]
    if is_instance(mean, "pandas", "Series"):
        axes.append(list(mean.index))
    if any(axis != axes[0] for axis in axes):
        raise ValueError(
            "mean and covariance name their columns differently, or in another order: select both "
            "by one list, mean[names] and covariance.loc[names, names]."
        )
    return axes[0] if axes and all(isinstance(label, str) for label in axes[0]) else []


def as_numbers(name: str, values: Any) -> np.ndarray:
    """Return a copy of the values as floats; None, the NULL of SQL, becomes NaN."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex")
        return np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}.") from error


def set_features(estimator: Any, n_features: int, names: Sequence[str] | None) -> None:
    """Set the number of features, and their names if there are any."""
    estimator.n_features_in_ = n_features
    if names is None:
        vars(estimator).pop("feature_names_in_", None)
        return
    listed = list(names)
    are_names = all(isinstance(name, str) for name in listed)
    if len(listed) != n_features or len(set(listed)) != n_features or not are_names:
        raise ValueError(
            f"feature_names must have {n_features} different strings, one for each feature and "
            f"none for the targets; got {listed}."
        )
    estimator.feature_names_in_ = np.array(listed, dtype=object)


def check_covariance(columns: Moments, covariance: np.ndarray, d: int) -> None:
    """Raise ValueError unless samples can have this mean and population covariance."""
    var = columns.var
    unknown = ~(np.isfinite(columns.mean) & np.isfinite(var))
    if not unknown.any():
        unknown = ~np.isfinite(covariance).all(axis=0)
    if unknown.any():
        raise ValueError(
            f"{of_x_or_y(unknown, d)}: the mean or a covariance is NaN, infinite or NULL. Compute "
            "both from the samples that have a finite value in every column."
        )
    if (var < 0).any():
        raise ValueError(
            f"{of_x_or_y(var < 0, d)}: the variance is negative. Compute covariances from "
            "differences from the mean (covar_pop in SQL), not from sums of squares."
        )
    correlation = covariance / columns.scale / columns.scale[:, None]
    asymmetric = np.abs(correlation - correlation.T) > ROUNDING
    if asymmetric.any():
        raise ValueError(
            f"{of_x_or_y(asymmetric.any(axis=0), d)}: covariance is not symmetric. Give the whole "
            "matrix, upper + upper.T - diag(upper), with rows and columns in one order."
        )
    correlation[np.diag_indices_from(correlation)] += ROUNDING
    _, failed_at = lapack.dpotrf(correlation, overwrite_a=1)
    if failed_at:
        raise ValueError(
            "covariance is not positive semi-definite, so no samples have it. Compute all its "
            "entries from the same samples: those with a value in every column (in SQL, covar_pop "
            "of two columns skips rows where one of them is NULL)."
        )


def of_x_or_y(mask: np.ndarray, d: int) -> str:
    """Return a text that names the columns of X in a mask of [X, y], or else those of y."""
    return named(mask[:d], "X") if mask[:d].any() else named(mask[d:], "y")
