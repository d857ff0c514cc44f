"""The penalty on the coefficients: a number, or one for each feature and target.

The objective has sum_j penalty_j beta_j^2 / 2 for each target. A penalty array is (d, t), where d
or t is 1 if all features or all targets have the same penalty.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

Penalty: TypeAlias = float | np.ndarray


def penalty_of(alpha: Penalty, factor: np.ndarray | None) -> Penalty:
    """Return the penalty of alpha, a number or (t,), times the factors of the features (d,)."""
    if factor is None and np.ndim(alpha) == 0:
        return float(alpha)
    factors = np.ones((1, 1)) if factor is None else np.where(np.isinf(factor), 1, factor)[:, None]
    return factors * np.atleast_1d(np.asarray(alpha, dtype=float))


def least_of_targets(penalty: Penalty) -> Penalty:
    """Return for each feature the least penalty of all targets."""
    return penalty if isinstance(penalty, float) else penalty.min(axis=1, keepdims=True)


def least_of(penalty: Penalty) -> float:
    """Return the least of all penalties."""
    return float(np.min(penalty))


def largest_of(penalty: Penalty) -> float:
    """Return the largest of all penalties."""
    return float(np.max(penalty))


def mean_of(penalty: Penalty) -> float:
    """Return the mean of all penalties."""
    return float(np.mean(penalty))


def of_features(penalty: Penalty, n_features: int) -> np.ndarray:
    """Return the penalties (d,) of one target."""
    return np.full(n_features, penalty if isinstance(penalty, float) else np.ravel(penalty))


def alike(penalty: Penalty) -> Iterator[tuple[Any, Penalty]]:
    """Yield the index of each group of targets with the same penalty, and this penalty."""
    if isinstance(penalty, float) or penalty.shape[1] == 1:
        yield slice(None), penalty
        return
    _, groups = np.unique(penalty, axis=1, return_inverse=True)
    for group in range(groups.max() + 1):
        targets = np.flatnonzero(groups == group)
        yield targets, penalty[:, targets[:1]]
