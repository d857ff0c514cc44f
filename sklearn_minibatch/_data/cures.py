"""Errors of scikit-learn's checks, replaced by a sentence that names the column and the cure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .refusals import arrow_columns, column_of, is_frame, is_instance, listed

ENCODED = """Column {where} of X: text, such as {value!r}. Make a column of 0 and 1 of each word:

    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), {columns!r}), \
remainder="passthrough")
    model = make_pipeline(encoded, MiniBatchRidgeSGD())
    model.fit(X, y)

(from sklearn.compose, sklearn.preprocessing and sklearn.pipeline), or drop the column."""

# The beginning of an error of scikit-learn, and its cure.
CURES = {
    "Expected 2D array": (
        "Reshape your data: X.reshape(-1, 1) is one feature, X.reshape(1, -1) is one sample."
    ),
    "Input X contains NaN": (
        "Fill it, make_pipeline(SimpleImputer(), MiniBatchRidgeSGD()), or drop these samples."
    ),
    "Input y contains NaN": "Drop the samples that have no target.",
    "Found input variables with": "Take X, y and the weights from the same samples.",
    "Found array with 0 sample": "Leave empty chunks out.",
    "X has ": "Give the features that fit has seen.",
    "The feature names should": "Select the features of fit: X[list(model.feature_names_in_)].",
}


@contextmanager
def naming_cures(X: Any, y: Any = None) -> Iterator[None]:
    """Improve the errors of scikit-learn's checks: name columns of X, and say what to do."""
    try:
        yield
    except (TypeError, ValueError) as error:
        better = cured(str(error), X) or about_text(X, y)
        if better is None:
            raise
        raise ValueError(better) from None


def cured(message: str, X: Any) -> str | None:
    """Return a shortened message of scikit-learn with its cure; None if no cure is known."""
    start = next((start for start in CURES if message.startswith(start)), None)
    if start is None:
        return None
    cure = CURES[start]
    if start == "The feature names should":
        return f"{message.strip()}\n{cure}"
    fact = message.partition("\n")[0].rstrip(":.")
    where = f" in column {listed(found)}" if (found := missing_columns(start, X)) else ""
    return f"{fact}{where}. {cure}"


def missing_columns(start: str, X: Any) -> list[Any]:
    """Return the columns of X with NaN, if the error that begins with `start` is about NaN."""
    if start != "Input X contains NaN":
        return []
    if hasattr(X, "isna") and is_frame(X):
        return list(X.columns[np.asarray(X.isna().any(axis=0))])
    if isinstance(X, np.ndarray) and X.dtype.kind == "f":
        return np.flatnonzero(np.isnan(X).any(axis=0)).tolist()
    return []


def about_text(X: Any, y: Any) -> str | None:
    """Return what to do about text in X or y; None without text."""
    if found := text_columns(X):
        names = list(found)
        return ENCODED.format(where=listed(names), value=found[names[0]], columns=names)
    if (text := text_of_targets(y)) is not None:
        return (
            f"y: text, such as {text!r}, which is no number. Targets are numbers; "
            "for classes, use a classifier such as RidgeClassifier."
        )
    for name, values in (("X", X), ("y", y)):
        if getattr(getattr(values, "dtype", None), "kind", None) == "T":
            return (
                f"{name}: strings of NumPy's StringDType. Fill those that are missing, and "
                f"convert them to numbers, {name}.astype(float)."
            )
    return None


def text_of_targets(y: Any) -> str | None:
    """Return the first text in y, or None."""
    # Tensors have no text, and may be on another device.
    if hasattr(y, "__dlpack__") and not (isinstance(y, np.ndarray) or arrow_columns(y)):
        return None
    return first_text(np.ravel(np.asarray(y, dtype=object)))


def text_columns(X: Any) -> dict[Any, str]:
    """Return the names or numbers of the columns that hold text, with the first text of each."""
    if is_frame(X):
        columns = {name: np.asarray(column_of(X, j)) for j, name in enumerate(X.columns)}
    elif isinstance(X, np.ndarray) and X.ndim == 2:
        columns = dict(enumerate(X.T))
    elif arrow := arrow_columns(X):
        columns = {name: np.asarray(column) for name, column in arrow}
    else:
        return {}
    found = {
        name: first_text(values) for name, values in columns.items() if values.dtype.kind in "OUST"
    }
    return {name: value for name, value in found.items() if value is not None}


def first_text(values: np.ndarray) -> str | None:
    """Return the first of the values that is text, or an interval, and not a number; or None."""
    for value in values:
        if is_instance(value, "pandas", "Interval"):
            return str(value)
        if isinstance(value, str) and not is_number(value):
            return str(value)
    return None


def is_number(text: str) -> bool:
    """Return whether the text can be converted to a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
