"""Functions for NumPy arrays and for arrays of other libraries with the array API standard.

Rows, and everything that is computed for each row, stay on their device, for example a GPU. Arrays
of the size of the coefficients or of their (d, d) products are always in NumPy. These functions
hide the difference.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from .blocks import PASS_ELEMENTS

# The size of a block on a device, in numbers: enough to keep all of its processors busy.
DEVICE_ELEMENTS = 2**25

Place: TypeAlias = Callable[[np.ndarray], Any]  # moves a NumPy array to a device


def pass_elements(X: Any) -> int:
    """Return the size of a block of X in a pass, in numbers."""
    return PASS_ELEMENTS if is_numpy(X) else DEVICE_ELEMENTS


def is_numpy(X: Any) -> bool:
    """Return whether X is a NumPy array or a sparse matrix."""
    return isinstance(X, np.ndarray) or sparse.issparse(X)


def namespace(X: Any) -> Any:
    """Return the module with the functions of the array API standard for X."""
    if is_numpy(X):
        return np
    import array_api_compat

    return array_api_compat.array_namespace(X)


def device(X: Any) -> Any:
    """Return the device of an array that is not a NumPy array."""
    import array_api_compat

    return array_api_compat.device(X)


def to_numpy(X: Any) -> Any:
    """Return X as a NumPy array; a sparse matrix is returned unchanged."""
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
    """Return a copy of a NumPy array on a device, in float32 if the device has no float64."""
    values = np.array(values, order="C")
    if values.dtype == np.float64 and not has_float64(xp, device):
        values = values.astype(np.float32)
    return xp.asarray(values, device=device)


def like(values: np.ndarray, X: Any) -> Any:
    """Return a NumPy array as an array of the library of X, on its device."""
    return values if is_numpy(X) else place_of(X)(values)


def put(values: Any, X: Any) -> Any:
    """Convert values, in NumPy or on the device of X, for assignment to a part of X."""
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
    """Return the NumPy data type of a float32 or float64 array."""
    if is_numpy(X):
        return X.dtype
    return np.dtype(np.float32 if X.dtype == namespace(X).float32 else np.float64)


def as_dtype(X: Any, dtype: Any) -> Any:
    """Return X in a data type of its library, without a copy if it has this type."""
    return X.astype(dtype, copy=False) if is_numpy(X) else namespace(X).astype(X, dtype, copy=False)


def as_float64(X: Any) -> Any:
    """Return X in float64: on its device, or in NumPy if the device has no float64."""
    if is_numpy(X):
        return X.astype(float, copy=False)
    xp = namespace(X)
    if X.dtype == xp.float64 or has_float64(xp, device(X)):
        return as_dtype(X, xp.float64)
    return to_numpy(X).astype(float)


def widest_float(X: Any) -> Any:
    """Return X on its device, in float64, or in float32 if the device has no float64."""
    if is_numpy(X):
        return X.astype(float, copy=False)
    xp = namespace(X)
    return as_dtype(X, xp.float64 if has_float64(xp, device(X)) else xp.float32)


def empty(shape: tuple[int, ...], X: Any) -> Any:
    """Return an uninitialised array with the library, device and data type of X."""
    if is_numpy(X):
        return np.empty(shape, dtype=X.dtype)
    return namespace(X).empty(shape, dtype=X.dtype, device=device(X))


def take(X: Any, rows: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the rows of X with these indices, in the first rows of `out` if it is given."""
    if not is_numpy(X):
        return namespace(X).take(X, like(rows, X), axis=0)
    return X[rows] if out is None else np.take(X, rows, axis=0, out=out[: len(rows)], mode="clip")


def copied(X: Any) -> Any:
    """Return a copy of X."""
    return X.copy() if is_numpy(X) else namespace(X).asarray(X, copy=True)


def concatenated(parts: list[Any]) -> Any:
    """Concatenate the rows of dense parts of one library."""
    return namespace(parts[0]).concat(parts, axis=0)


def ones(n: int, X: Any) -> Any:
    """Return n ones with the library, device and data type of X."""
    if is_numpy(X):
        return np.ones(n, dtype=X.dtype)
    return namespace(X).ones(n, dtype=X.dtype, device=device(X))


def columns_of(X: Any, numbers: np.ndarray) -> Any:
    """Return a few columns of X as a NumPy array or a sparse matrix."""
    if is_numpy(X):
        return X[:, numbers]
    return to_numpy(namespace(X).take(X, like(numbers, X), axis=1))


def as_array(X: Any) -> np.ndarray:
    """Convert a few rows, dense or sparse and on any device, to a NumPy array."""
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
    # Converting first and then subtracting is faster than both in one call.
    np.copyto(out, X)
    if origin.any():
        out -= origin
    return out


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """Return the product of two matrices; in `out` if they are NumPy arrays."""
    return np.matmul(a, b, out=out) if is_numpy(a) else a @ b


def times(X: Any, coef: np.ndarray) -> Any:
    """Return X @ coef for coefficients in NumPy, in float64 unless X is in NumPy."""
    if is_numpy(X):
        return X @ coef
    x = as_float64(X)
    return x @ like(coef.astype(float, copy=False), x)
