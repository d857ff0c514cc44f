"""scikit-learn's array API dispatch: all arrays move to the library and device of X.

It uses private functions of scikit-learn, from version 1.9 on.
"""

from typing import Any

import numpy as np
import sklearn
from sklearn import get_config

from .._statistics.arrays import is_numpy, namespace, to_numpy

try:
    from sklearn.utils._array_api import check_same_namespace, get_namespace_and_device, move_to
except ImportError:
    SUPPORTED = False
else:
    SUPPORTED = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)


def is_dispatched() -> bool:
    """Return whether scikit-learn is set to dispatch to other libraries than NumPy."""
    return bool(get_config().get("array_api_dispatch"))


def is_elsewhere(values: Any) -> bool:
    """Return whether this is an array of another library than NumPy, and dispatch is on."""
    return is_dispatched() and hasattr(values, "__dlpack__") and not is_numpy(values)


def follow(X: Any, *others: Any) -> tuple[Any, ...]:
    """Return the other arrays in the library and on the device of X.

    Lists and other sequences are converted only if X is not in NumPy. Without dispatch nothing is
    moved.
    """
    if not is_dispatched():
        return others
    check_supported(X, *others)
    if not is_elsewhere(X):
        return tuple(map(on_host, others))
    xp, _, device = get_namespace_and_device(X)

    def moved(values: Any) -> Any:
        if values is None:
            return None
        array = values if is_elsewhere(values) else np.asarray(values)
        return move_to(array, xp=xp, device=device)

    return tuple(map(moved, others))


def check_supported(*arrays: Any) -> None:
    """Raise ValueError for arrays of other libraries that cannot be used."""
    for each in arrays:
        if not is_elsewhere(each):
            continue
        if not SUPPORTED:
            raise ValueError(
                f"Arrays of other libraries than NumPy need scikit-learn >= 1.9, this is "
                f"{sklearn.__version__}. Convert them to NumPy arrays, or upgrade scikit-learn."
            )
        if getattr(each, "requires_grad", False):
            raise ValueError(
                "A tensor requires grad, and fit would record every operation on it. "
                "Give tensor.detach()."
            )
        if namespace(each).isdtype(each.dtype, "complex floating"):
            raise ValueError("Complex data not supported")


def check_place(estimator: Any, X: Any, method: str) -> None:
    """Raise ValueError unless X is on the device and in the library of the fitted arrays."""
    check_supported(X)
    if is_dispatched() and SUPPORTED:
        check_same_namespace(X, estimator, attribute="coef_", method=method)
    elif not is_numpy(estimator.coef_):
        raise ValueError(
            f"The model was fitted to arrays of {type(estimator.coef_).__module__} with "
            f"array_api_dispatch=True. {method} needs this setting too: "
            "sklearn.set_config(array_api_dispatch=True)."
        )


def on_host(values: Any) -> Any:
    """Return an array of another library as a NumPy array, and anything else unchanged."""
    return to_numpy(values) if is_elsewhere(values) else values
