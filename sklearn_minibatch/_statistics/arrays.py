"""Arrays of NumPy, and of other libraries that follow the array API standard.

Rows stay where they are, for example on a GPU, and so does all that is computed for every row. What
has the size of the coefficients or of their (d, d) products is a NumPy array. These functions are
what differs between the two; NumPy arrays and sparse matrices pass through them as they are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from .blocks import PASS_ELEMENTS

# So many numbers of rows on a device are processed at once: enough for all of its processors.
DEVICE_ELEMENTS = 2**25

Place: TypeAlias = Callable[[np.ndarray], Any]  # moves a NumPy array there


def pass_elements(X: Any) -> int:
    """Return how many numbers of X a block of a pass has."""
    return PASS_ELEMENTS if is_numpy(X) else DEVICE_ELEMENTS


def is_numpy(X: Any) -> bool:
    """Return whether X is an array of NumPy or a sparse matrix."""
    return isinstance(X, np.ndarray) or sparse.issparse(X)


def namespace(X: Any) -> Any:
    """Return the module with the functions of the array API standard for X."""
    if is_numpy(X):
        return np
    import array_api_compat

    return array_api_compat.array_namespace(X)


def device(X: Any) -> Any:
    """Return the device of an array that is not one of NumPy."""
    import array_api_compat

    return array_api_compat.device(X)


def to_numpy(X: Any) -> Any:
    """Return X as an array of NumPy, or as the sparse matrix that it is."""
    if is_numpy(X):
        return X
    import array_api_compat

    if hasattr(X, "__array_namespace__") and namespace(X).__name__ == "array_api_strict":
        return np.asarray(X.to_device(namespace(X).Device("CPU_DEVICE")))
    return np.asarray(array_api_compat.to_device(X, "cpu"))


def place_of(X: Any) -> Place:
    """Return the function that moves NumPy arrays to the library and the device of X."""
    if is_numpy(X):
        return np.asarray
    return partial(placed, xp=namespace(X), device=device(X))


def placed(values: Any, xp: Any, device: Any) -> Any:
    """Return a copy of a NumPy array on a device; in float32 if it has no float64."""
    values = np.array(values, order="C")
    if values.dtype == np.float64 and not has_float64(xp, device):
        values = values.astype(np.float32)
    return xp.asarray(values, device=device)


def like(values: np.ndarray, X: Any) -> Any:
    """Return a NumPy array where X is."""
    return values if is_numpy(X) else place_of(X)(values)


def put(values: Any, X: Any) -> Any:
    """Return values, which are where X is or in NumPy, for an assignment to a part of X."""
    if is_numpy(X):
        return values
    if is_numpy(values):
        return like(values.astype(numpy_dtype(X)), X)
    return as_dtype(values, X.dtype)


def has_float64(xp: Any, device: Any) -> bool:
    """Return whether a device computes in float64."""
    try:
        return "float64" in xp.__array_namespace_info__().dtypes(
            device=device, kind="real floating"
        )
    except (RuntimeError, TypeError, ValueError):
        return False


def numpy_dtype(X: Any) -> np.dtype:
    """Return the data type of an array of float32 or float64 as one of NumPy."""
    if is_numpy(X):
        return X.dtype
    return np.dtype(np.float32 if X.dtype == namespace(X).float32 else np.float64)


def as_dtype(X: Any, dtype: Any) -> Any:
    """Return X in a data type of its library; X itself if it has it."""
    return X.astype(dtype, copy=False) if is_numpy(X) else namespace(X).astype(X, dtype, copy=False)


def as_float64(X: Any) -> Any:
    """Return X in float64: where it is, or as a NumPy array if its device has no float64."""
    if is_numpy(X):
        return X.astype(float, copy=False)
    xp = namespace(X)
    if X.dtype == xp.float64 or has_float64(xp, device(X)):
        return as_dtype(X, xp.float64)
    return to_numpy(X).astype(float)


def widest_float(X: Any) -> Any:
    """Return X, where it is, in float64, or in float32 if its device has no float64."""
    if is_numpy(X):
        return X.astype(float, copy=False)
    xp = namespace(X)
    return as_dtype(X, xp.float64 if has_float64(xp, device(X)) else xp.float32)


def empty(shape: tuple[int, ...], X: Any) -> Any:
    """Return a new array where X is, of its data type."""
    if is_numpy(X):
        return np.empty(shape, dtype=X.dtype)
    return namespace(X).empty(shape, dtype=X.dtype, device=device(X))


def take(X: Any, rows: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the rows of X with these numbers; in the first rows of `out` if it is given."""
    if not is_numpy(X):
        return namespace(X).take(X, like(rows, X), axis=0)
    return X[rows] if out is None else np.take(X, rows, axis=0, out=out[: len(rows)], mode="clip")


def copied(X: Any) -> Any:
    """Return a copy of X."""
    return X.copy() if is_numpy(X) else namespace(X).asarray(X, copy=True)


def concatenated(parts: list[Any]) -> Any:
    """Return the rows of all parts, which are dense and in one library."""
    return namespace(parts[0]).concat(parts, axis=0)


def ones(n: int, X: Any) -> Any:
    """Return n ones where X is, of its data type."""
    if is_numpy(X):
        return np.ones(n, dtype=X.dtype)
    return namespace(X).ones(n, dtype=X.dtype, device=device(X))


def columns_of(X: Any, numbers: np.ndarray) -> Any:
    """Return a few columns of X in NumPy, or as a sparse matrix."""
    if is_numpy(X):
        return X[:, numbers]
    return to_numpy(namespace(X).take(X, like(numbers, X), axis=1))


def as_array(X: Any) -> np.ndarray:
    """Convert a few rows, wherever they are and dense or sparse, to an array of NumPy."""
    return X.toarray() if sparse.issparse(X) else to_numpy(X)


def minus(X: Any, origin: np.ndarray, out: Any = None) -> Any:
    """Return X - origin in float64; in the first rows of `out` if it is given."""
    if not is_numpy(X):
        x = as_float64(X)
        is_copy = is_numpy(x) or x.dtype != X.dtype
        difference = x if is_copy and not origin.any() else x - like(origin, x)
        if out is None:
            return difference
        out[: x.shape[0], :] = difference
        return out[: x.shape[0], :]
    if out is None:
        return np.subtract(X, origin, dtype=float)
    out = out[: len(X)]
    if X.dtype == np.float64:
        return np.subtract(X, origin, out=out)
    # A subtraction that converts as well is slower than one after the other.
    np.copyto(out, X)
    if origin.any():
        out -= origin
    return out


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """Return the product of two matrices; in `out` if they are NumPy arrays."""
    return np.matmul(a, b, out=out) if is_numpy(a) else a @ b


def times(X: Any, coef: np.ndarray) -> Any:
    """Return X @ coef for coefficients in NumPy; where X is, in float64."""
    if is_numpy(X):
        return X @ coef
    x = as_float64(X)
    return x @ like(coef.astype(float, copy=False), x)
