"""Checks of the user's input, and its conversion to rows of floats."""

import warnings
from inspect import signature
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._rows.chunk import Chunk
from .._solvers.choose import SOLVERS
from .._statistics.arrays import namespace, to_numpy, widest_float
from .._statistics.moments import LARGEST, TINY_WEIGHT, Moments, Statistics
from .array_api import follow, is_elsewhere
from .cures import naming_cures
from .refusals import WEIGHTLESS, check_kinds, listed
from .source import in_memory

# Numbers up to this one have squares, and give coefficients, far from overflow, even in sums.
MODERATE = 1e100
# From version 1.8 on, scikit-learn refuses weights that are all 0 unless this is set.
ALL_MAY_BE_ZERO = (
    {"allow_all_zero_weights": True}
    if "allow_all_zero_weights" in signature(_check_sample_weight).parameters
    else {}
)
UNFITTED = (
    "merge needs two fitted models. Fit both first, or begin with a fitted one: "
    "reduce(%(name)s.merge, models)."
)
# Parameters that do not change the fitted model.
MAY_DIFFER = {"random_state", "verbose", "n_jobs"}


class Number(Interval):
    """An interval of numbers that excludes booleans and numbers that float cannot represent."""

    def is_satisfied_by(self, val: Any) -> bool:
        try:
            return not isinstance(val, bool) and super().is_satisfied_by(val) and float(val) == val
        except (OverflowError, TypeError):
            return False


def validated(
    estimator: Any, X: Any, y: Any, sample_weight: Any, reset: bool, finite: bool = True
) -> Chunk:
    """Return the checked rows of positive weight; there must be at least one.

    Unless `reset`, y must have the shape of earlier calls.
    """
    rows, single_target = as_floats(estimator, X, y, sample_weight, reset, finite)
    n_targets = rows.y.shape[1]
    if not reset and (single_target, n_targets) != (
        estimator._single_target,
        estimator._state.n_targets,
    ):
        shape = "(n,)" if single_target else f"(n, {n_targets})"
        raise ValueError(
            f"y has the shape {shape}, and before it had {target_shape(estimator)}. Give targets "
            "like those before, or call fit to start anew."
        )
    if rows.n_rows == 0:
        raise ValueError(WEIGHTLESS)
    estimator._single_target = single_target
    return rows


def checked_chunk(
    estimator: Any, X: Any, y: Any, sample_weight: Any, first: bool, finite: bool
) -> tuple[Any, Any, Any]:
    """Return X, y and w of the rows of a chunk with positive weight, possibly none."""
    rows, single_target = as_floats(estimator, X, y, sample_weight, first, finite)
    if first:
        estimator._single_target = single_target
    return rows.X, rows.y, rows.w


def as_floats(
    estimator: Any, X: Any, y: Any, sample_weight: Any, reset: bool, finite: bool
) -> tuple[Chunk, bool]:
    """Convert the rows to float arrays; check for NaN and infinity only if `finite`.

    Return the rows of positive weight, and whether y was (n,).
    """
    if sample_weight is None and not (reset or finite) and are_plain(estimator, X, y):
        return Chunk(1, X, y.reshape(len(y), -1), None), y.ndim == 1
    X, y, sample_weight = in_memory(X, y, sample_weight)
    check_kinds(X=X, y=y, sample_weight=sample_weight)
    y, sample_weight = follow(X, y, sample_weight)
    xp = namespace(X) if is_elsewhere(X) else np
    # scikit-learn first checks the sum, which may overflow although all numbers are finite.
    with np.errstate(over="ignore", invalid="ignore"), naming_cures(X, y):
        X, y = validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            # Sparse rows are centred by differences of products, which are inaccurate in float32.
            dtype=np.float64 if sparse.issparse(X) else [xp.float64, xp.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
            # The moments of sparse columns ignore NaN, so they do not reveal it.
            ensure_all_finite=finite or sparse.issparse(X),
        )
        if finite:
            # Scikit-learn checks objects before the conversion that makes NaN of None.
            assert_all_finite(y, input_name="y")
        y = widest_float(y)
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            # The two conversions copy the entries and sort them in linear time.
            X = X.tocsc().tocsr()
            X.sum_duplicates()
    single_target = y.ndim == 1
    y = xp.reshape(y, (y.shape[0], -1))
    if sample_weight is None:
        return Chunk(1, X, y, None), single_target
    rows = Chunk(1, X, y, checked_weights(sample_weight, X))
    return of_positive_weight(rows, finite), single_target


def checked_weights(sample_weight: Any, X: Any) -> Any:
    """Return the weights (n,) of the rows X in float64, which may all be 0."""
    return _check_sample_weight(
        sample_weight, X, dtype=namespace(X).float64, ensure_non_negative=True, **ALL_MAY_BE_ZERO
    )


def of_positive_weight(rows: Chunk, finite: bool) -> Chunk:
    """Return the rows of positive weight; check the others for NaN and infinity if not `finite`.

    The returned rows are checked by their moments, which do not depend on rows of weight 0.
    """
    if namespace(rows.w).all(rows.w > 0):
        return rows
    counts = to_numpy(rows.w) > 0
    if not finite:
        dropped = rows.taken(np.flatnonzero(~counts))
        assert_all_finite(dropped.X, input_name="X")
        assert_all_finite(dropped.y, input_name="y")
    return rows.taken(np.flatnonzero(counts))


def are_plain(estimator: Any, X: Any, y: Any) -> bool:
    """Whether X and y are arrays that scikit-learn would return unchanged."""
    return (
        is_plain(estimator, X)
        and type(y) is np.ndarray
        and y.dtype == np.float64
        and y.ndim in (1, 2)
        and y.size >= len(y) == len(X)
    )


def is_plain(estimator: Any, X: Any) -> bool:
    """Whether X is an array that scikit-learn would return unchanged, if it is finite.

    For a single row, its checks take longer than learning or predicting it.
    """
    return (
        type(X) is np.ndarray
        and X.dtype in (np.float64, np.float32)
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    )


def look_if_not_finite(estimator: Any, moments: Statistics, X: Any, y: Any) -> None:
    """Raise scikit-learn's ValueError if X or y hold NaN or infinity.

    They are checked only if their moments are not finite.
    """
    if not moments.is_finite:
        as_floats(estimator, X, y, None, reset=False, finite=True)


def check_moments(moments: Statistics) -> None:
    """Raise ValueError if the moments are out of the range of float64.

    Warn if a column is treated as constant because its variance underflows.
    """
    if not TINY_WEIGHT <= moments.x.weight < np.inf:
        raise ValueError(
            f"The sample weights sum to {moments.x.weight:.3g}, which is too "
            f"{'much' if moments.x.weight > 1 else 'little'} for float64. "
            "Multiply them by a constant; only their ratios count."
        )
    check_columns("X", moments.x, moments.x.var + moments.x.mean**2)
    check_columns("y", moments.y, moments.y.var)


def check_columns(name: str, columns: Moments, square: np.ndarray) -> None:
    """Check the range of the columns of X or y; `square` (d,) has their mean squares."""
    if not square.max() <= LARGEST**2:
        raise ValueError(
            f"{named(~(square <= LARGEST**2), name)}: too large, beyond about {LARGEST:.0e}; "
            "sums of squares would overflow. Divide by a constant."
        )
    if columns.is_underflowed.any():
        warnings.warn(
            f"{named(columns.is_underflowed, name)}: the variance underflows float64; "
            "what varies by less than 1e-154 is taken for constant. "
            "Multiply by a large constant.",
            stacklevel=5,
        )


def may_overflow(moments: Statistics) -> bool:
    """Whether coefficients could overflow.

    Solvers leave out directions that rounding errors hide, so that coefficients are at most about
    1e16 times the ratio of the units of y and X.
    """
    x, y = moments.x, moments.y
    are_moderate = x.largest < MODERATE and y.largest < MODERATE
    return not (are_moderate and y.largest * (1 + x.largest) / x.least_scale < MODERATE**2)


def are_moderate(chunk: Chunk) -> bool:
    """Whether no sum can overflow because of these rows; NaN and infinity are not moderate."""
    X = chunk.X.data if sparse.issparse(chunk.X) else chunk.X
    xp = namespace(X)
    largest = xp.max(xp.abs(X)) if X.size else 0.0
    are_usual = float(largest) <= MODERATE and float(xp.max(xp.abs(chunk.y))) <= MODERATE
    return are_usual and (
        chunk.w is None or bool(xp.min(chunk.w) >= 1 / MODERATE and xp.max(chunk.w) <= MODERATE)
    )


def is_same(a: Any, b: Any) -> bool:
    """Whether two values of a parameter are equal and of the same type (32.0 is not 32)."""
    if a is b or type(a) is not type(b):
        return a is b
    is_array = hasattr(a, "__array__") or isinstance(a, list | tuple)
    return np.array_equal(a, b) if is_array else bool(a == b)


def check_alpha(alpha: Any, n_targets: int) -> None:
    """Raise ValueError unless alpha is a number, or one for each target."""
    if np.ndim(alpha) == 0:
        return
    alphas = np.asarray(alpha)
    if not are_numbers(alphas, n_targets) or not np.all((alphas >= 0) & np.isfinite(alphas)):
        raise ValueError(
            f"alpha must be a number that is at least 0, or one for each of the {n_targets} "
            f"target(s); got {alpha!r}."
        )


def are_numbers(values: np.ndarray, count: int) -> bool:
    """Whether these are `count` integers or real numbers, in one dimension."""
    return values.shape == (count,) and values.dtype.kind in "iuf"


def factors_of_features(estimator: Any, factor: Any) -> np.ndarray | None:
    """Return the parameter `penalty_factor` as an array (d,); raise ValueError if invalid."""
    if factor is None:
        return None
    d = estimator.n_features_in_
    if isinstance(factor, dict):
        names = list(getattr(estimator, "feature_names_in_", ()))
        if unknown := [name for name in factor if name not in names]:
            raise ValueError(
                f"penalty_factor has the name(s) {listed(unknown)}, which X does not have. "
                "Give names of columns of a data frame, or an array of one factor per feature."
            )
        factor = [factor.get(name, 1.0) for name in names]
    factors = np.array(factor)
    if not are_numbers(factors, d) or not np.all(factors >= 0):
        raise ValueError(
            f"penalty_factor must have {d} numbers that are at least 0, one for each feature; got "
            f"an array of shape {factors.shape} of {factors.dtype}, {factor!s:.100}."
        )
    return factors.astype(float)


def mask_of_features(estimator: Any, positive: Any) -> np.ndarray | None:
    """Return the parameter `positive` as a mask (d,), or None if no feature is selected."""
    d = estimator.n_features_in_
    mask = np.full(d, positive) if isinstance(positive, (bool, np.bool_)) else np.array(positive)
    if mask.shape != (d,) or mask.dtype != bool:
        raise ValueError(
            f"positive must be True, False or a mask of {d} booleans, one for each feature; got an "
            f"array of shape {mask.shape} of {mask.dtype}."
        )
    return mask if mask.any() else None


def check_can_learn(model: Any) -> None:
    """Raise ValueError for a model whose statistics were removed."""
    if hasattr(model, "_state") and not hasattr(model._state, "moments"):
        raise ValueError(
            "The statistics of this model were removed by without_statistics(), so that it cannot "
            "learn on. Use the model that it was called on, or fit again."
        )


def check_mergeable(a: Any, b: Any) -> None:
    """Raise ValueError unless two models can be merged, and NotFittedError if one is not fitted."""
    if type(a) is not type(b):
        raise ValueError(
            f"{type(a).__name__}.merge needs another {type(a).__name__}, got {type(b).__name__}."
        )
    for model in (a, b):
        check_is_fitted(model, msg=UNFITTED)
        check_can_learn(model)
    theirs = b.get_params()
    for name, value in a.get_params().items():
        if name not in MAY_DIFFER and not is_same(value, theirs[name]):
            raise ValueError(
                "merge needs models with the same parameters; "
                f"{name} is {value!r} and {theirs[name]!r}."
            )
    for name, of_a, of_b in (
        ("columns", a.n_features_in_, b.n_features_in_),
        ("shapes of y", target_shape(a), target_shape(b)),
        ("names of columns", named_columns(a), named_columns(b)),
    ):
        if of_a != of_b:
            raise ValueError(
                f"merge needs models of the same columns and targets; {name}: {of_a} and {of_b}."
            )


def check_same_statistics(a: Any, b: Any) -> None:
    """Raise ValueError unless both models are closed forms of the same kind of statistics."""
    for model in (a, b):
        if SOLVERS[model._state.solver].learn or a._state.kind not in model._state.known:
            raise ValueError(
                f"merge needs the same statistics of all samples in both models, and "
                f"solver={model.solver_!r} did not keep them. Fit with solver='cholesky' or 'qr'."
            )


def target_shape(model: Any) -> str:
    """Return the shape of the targets that a model was fitted to."""
    return f"(n,{'' if model._single_target else f' {model._state.n_targets}'})"


def named_columns(model: Any) -> list[str] | None:
    """Return the names of the columns of a fitted model, or None if they have no names."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else list(names)


def named(mask: np.ndarray, name: str) -> str:
    """Return a text that names at most five of the columns in `mask` (d,)."""
    numbers = [str(j) for j in np.flatnonzero(mask)]
    return f"Column {', '.join(numbers[:5])}{', ...' if len(numbers) > 5 else ''} of {name}"
