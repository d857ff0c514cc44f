"""Solvers, methods and kinds of rows that several files test, and what must be refused."""

import pickle
from dataclasses import fields, is_dataclass
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

SOLVERS = pytest.mark.parametrize("solver", ["cholesky", "svrg", "sgd"])
METHODS = pytest.mark.parametrize("method", ["fit", "partial_fit"])
DENSE_AND_SPARSE = pytest.mark.parametrize("to_rows", [np.asarray, sparse.csr_array])
# Tests that every solver passes set parameters that only some of them use.
UNUSED_IS_FINE = pytest.mark.filterwarnings("ignore:solver='cholesky' does not use:UserWarning")

# What no parameter may be.
INVALID = {
    "alpha": [
        *(-1e-9, np.nan, np.inf, "1", None, True, 10**400, Fraction(1, 3)),
        *([1.0, 2.0, 3.0], [-1.0, -1.0], [np.nan], [[1.0]], ["1"], []),
    ],
    "penalty_factor": [
        *([1.0, 2.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], np.ones((3, 1)), 1.0, "all"),
        {"a": -1.0},
    ],
    "positive": ["yes", None, 2, [True, False], np.ones((3, 1), dtype=bool), [0.5, 1.0, 1.0]],
    "solver": ["adam", None, 1],
    "batch_size": [0, -1, 1.5, "all", None, True, 10**400],
    "lr": [0.0, -0.1, np.nan, np.inf, "fast", None, True, 10**400],
    "lr_schedule": ["cosine", None],
    "lr_decay": [-0.1, np.nan, np.inf, None, True, 10**400],
    "preconditioner": [0, -1, 1.5, "full", True, 10**400],
    "average": ["yes", 2, None],
    "max_iter": [0, -1, 1.5, None, True, 10**400],
    "tol": [-1e-6, np.nan, "auto", True, 10**400],
    "fit_intercept": ["yes", None],
    "standardize": ["yes", None],
    "shuffle": ["yes", None],
    "half_life": [0.0, -1.0, np.nan, np.inf, "auto", True, 10**400],
    "early_stopping": ["yes", None],
    "validation_fraction": [0.0, 1.0, -0.1, None, True],
    "n_iter_no_change": [0, 1.5, None, True, 10**400],
    "warm_start": ["yes", None],
    "random_state": ["seed", -1],
    "verbose": [-1, "loud", None],
    "n_jobs": [1.5, "all", True, 10**400],
}


def spoilt(array, value):
    """A copy whose last element is `value`."""
    array = np.array(array)
    array.flat[-1] = value
    return array


def with_weight(y, value):
    """Weights of one, and the last of `value`."""
    return spoilt(np.ones(len(y)), value)


# What is done to 60 good rows (X, y, w) of 3 columns, and what the error then says.
FAULTS = {
    "NaN in X": (lambda X, y, w: (spoilt(X, np.nan), y, w), "Input X contains NaN"),
    "inf in X": (lambda X, y, w: (spoilt(X, np.inf), y, w), "Input X contains infinity"),
    "-inf in X": (lambda X, y, w: (spoilt(X, -np.inf), y, w), "Input X contains infinity"),
    # A row of weight 0 is left out, however large.
    "too large": (lambda X, y, w: (spoilt(X, 1e200), y, None), "Column 2 of X: too large"),
    "NaN in sparse X": (
        lambda X, y, w: (sparse.csr_array(spoilt(X, np.nan)), y, w),
        "Input X contains NaN",
    ),
    "NaN in y": (lambda X, y, w: (X, spoilt(y, np.nan), w), "Input y contains NaN"),
    "inf in y": (lambda X, y, w: (X, spoilt(y, -np.inf), w), "Input y contains infinity"),
    "one dimension": (lambda X, y, w: (X[:, 0], y, w), "Expected 2D array, got 1D array"),
    "three dimensions": (lambda X, y, w: (X[:, :, None], y, w), "dim 3"),
    "three dimensions of y": (lambda X, y, w: (X, y.reshape(len(y), -1, 1), w), "dim 3"),
    "a row too few in y": (
        lambda X, y, w: (X, y[:-1], w),
        r"inconsistent numbers of samples: \[60, 59\]",
    ),
    "a row too many in y": (
        lambda X, y, w: (X, np.append(y, y[:1], axis=0), w),
        r"inconsistent numbers of samples: \[60, 61\]",
    ),
    "no rows": (lambda X, y, w: (X[:0], y[:0], None), "0 sample"),
    "no columns": (lambda X, y, w: (X[:, :0], y, w), "0 feature"),
    "text": (
        lambda X, y, w: (np.full(X.shape, "a"), y, w),
        "Column 0, 1, 2 of X: text, such as 'a'",
    ),
    "complex": (lambda X, y, w: (X + 1j, y, w), "Complex data not supported"),
    "no y": (lambda X, y, w: (X, None, w), "requires y to be passed"),
    "negative weight": (
        lambda X, y, w: (X, y, with_weight(y, -1)),
        "Negative values in data passed to `sample_weight`",
    ),
    "weights all zero": (lambda X, y, w: (X, y, np.zeros(len(y))), "zero"),
    "NaN weight": (lambda X, y, w: (X, y, with_weight(y, np.nan)), "sample_weight contains NaN"),
    "endless weights": (
        lambda X, y, w: (X, y, np.full(len(y), 1.5e308)),
        "sum to inf, which is too much",
    ),
    "too few weights": (lambda X, y, w: (X, y, np.ones(len(y) - 1)), "sample_weight"),
    "weights of two dimensions": (
        lambda X, y, w: (X, y, np.ones((len(y), 1))),
        "[Ss]ample.?weight",
    ),
}
# The same for a chunk that comes after another.
UNLIKE_BEFORE = {
    "a column too many": lambda X, y, w: (np.hstack([X, X[:, :1]]), y, w),
    "a column too few": lambda X, y, w: (X[:, :-1], y, w),
    "another number of targets": lambda X, y, w: (X, np.column_stack([y, y]), w),
    "another dimension of y": lambda X, y, w: (X, y[:, None] if y.ndim == 1 else y[:, 0], w),
}


def state(model):
    """All that a model holds, to the last bit."""
    return bits(vars(model))


def bits(value):
    """What can be compared, whatever objects share it."""
    if is_dataclass(value):
        compared = [each.name for each in fields(value) if each.compare]
        return {name: bits(getattr(value, name)) for name in compared}
    if isinstance(value, dict):
        return {name: bits(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype == object else value.tobytes()
        return value.dtype.str, value.shape, content
    return pickle.dumps(value)
