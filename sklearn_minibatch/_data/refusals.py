"""Checks that input is an array of numbers, with error messages that say what to do.

Without these checks, dates and masked values could be used as numbers; text and objects without
rows would fail with an unclear message.
"""

import datetime
import sys
from typing import Any

import numpy as np
from scipy import sparse

WEIGHTLESS = "All sample weights are zero; at least one row must count."
TIMES = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)
TO_DAYS = (
    "Convert dates to a number of days, "
    "(t - np.datetime64('2000-01-01')) / np.timedelta64(1, 'D'), "
    "periods to dates by t.to_timestamp(), "
    "and durations by t / np.timedelta64(1, 'D'), or drop them."
)


# Objects that have no rows to be read: module, class, and what to do.
WITHOUT_ROWS = (
    ("polars", "LazyFrame", "is not computed yet: give {name}.collect()."),
    ("dask.delayed", "Delayed", "is not computed yet: give {name}.compute()."),
    ("duckdb", "DuckDBPyRelation", "is not computed yet: give {name}.df()."),
    ("pyspark.sql", "DataFrame", "is on a cluster: give {name}.toPandas(), or merge its parts."),
    (
        "torch.utils.data",
        "Dataset",
        "is no table: read it in chunks, fit(DataLoader(dataset, batch_size=10_000)), "
        "or give its tensors, fit(*dataset.tensors).",
    ),
)


def check_has_rows(name: str, values: Any) -> None:
    """Raise ValueError for an object that has no rows to be read."""
    for module, kind, advice in WITHOUT_ROWS:
        # A dataset that can be iterated over is a source of chunks.
        if is_instance(values, module, kind) and not (
            kind == "Dataset" and hasattr(values, "__iter__")
        ):
            advice = advice.format(name=name)
            raise ValueError(f"{name} is a {type(values).__name__} of {module}, which {advice}")


def is_instance(value: Any, module: str, name: str) -> bool:
    """Return whether this is an instance of a class, without importing its module."""
    # If the module is not imported, nothing can be of its class.
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and isinstance(value, found)


def check_kinds(**arrays: Any) -> None:
    """Raise ValueError if an array holds masked values, dates or times, or has no rows.

    Sparse arrays are accepted as X only. The message names the argument.
    """
    for name, array in arrays.items():
        check_has_rows(name, array)
        if name != "X" and sparse.issparse(array):
            raise ValueError(
                f"{name} is sparse, of shape {array.shape}: give it as an array, {name}.toarray()."
            )
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise ValueError(
                f"{name} is a masked array, and {np.ma.count_masked(array)} of its values are "
                "masked, which would be taken for numbers. "
                f"Fill them, {name}.filled(value), or drop their rows."
            )
        if columns := columns_of_times(array):
            where = name if columns == [None] else f"Column {listed(columns)} of {name}"
            raise ValueError(f"{where}: dates or times, which are not numbers. {TO_DAYS}")


def columns_of_times(array: Any) -> list[Any]:
    """Return the names of the columns that hold dates or times.

    The list is [None] if an array without column names holds some.
    """
    if columns_of_arrow := arrow_columns(array):
        is_temporal = sys.modules["pyarrow"].types.is_temporal
        return [name for name, column in columns_of_arrow if is_temporal(column.type)]
    if is_frame(array):
        columns = zip(array.columns, array.dtypes, strict=True)
        return [
            name
            for j, (name, dtype) in enumerate(columns)
            if is_time(dtype) or (of_objects(dtype) and holds_times(array, j))
        ]
    dtype = getattr(array, "dtype", None)
    values: Any = ()
    if isinstance(array, (list, tuple)):
        values = (
            value for row in array for value in (row if isinstance(row, (list, tuple)) else [row])
        )
    elif of_objects(dtype) and not sparse.issparse(array):
        values = np.asarray(array).ravel()
    return [None] if is_time(dtype) or any(map(is_moment, values)) else []


def arrow_columns(array: Any) -> list[tuple[Any, Any]]:
    """Return names and columns of a table of pyarrow; (None, array) of an array; else nothing."""
    if any(is_instance(array, "pyarrow", kind) for kind in ("Table", "RecordBatch")):
        return list(zip(array.schema.names, array.columns, strict=True))
    if any(is_instance(array, "pyarrow", kind) for kind in ("Array", "ChunkedArray")):
        return [(None, array)]
    return []


def is_frame(array: Any) -> bool:
    """Return whether this is a data frame of pandas or polars."""
    return all(hasattr(array, name) for name in ("columns", "dtypes", "shape"))


def is_time(dtype: Any) -> bool:
    """Return whether a data type of NumPy, pandas or polars is one of dates, times or durations."""
    temporal = getattr(dtype, "is_temporal", None)
    return (
        getattr(dtype, "kind", None) in ("M", "m")
        or is_instance(dtype, "pandas", "PeriodDtype")
        or (callable(temporal) and bool(temporal()))
    )


def is_moment(value: Any) -> bool:
    """Return whether a Python object is a date, a time, a duration or a period."""
    return isinstance(value, TIMES) or is_instance(value, "pandas", "Period")


def of_objects(dtype: Any) -> bool:
    """Return whether a data type of NumPy or pandas holds Python objects."""
    return getattr(dtype, "kind", None) == "O"


def holds_times(frame: Any, j: int) -> bool:
    """Return whether some values of column j are dates or times."""
    return any(map(is_moment, column_of(frame, j)))


def column_of(frame: Any, j: int) -> Any:
    """Return column j of a data frame, which may have several columns of one name."""
    return frame.iloc[:, j] if hasattr(frame, "iloc") else frame[:, j]


def listed(columns: list[Any]) -> str:
    """Return the names of at most five columns, separated by commas."""
    return ", ".join(repr(column) for column in columns[:5]) + (", ..." if len(columns) > 5 else "")
