"""The pipeline that is fitted, saved and printed."""

from inspect import isfunction
from pprint import pformat
from textwrap import indent
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skrub import StringEncoder, TableVectorizer

from .. import ChunkSource, MiniBatchRidgeSGD
from .columns import DATE, NUMBERS, REPLACE, TEXT, Column
from .reading import Table

MOST_LEVELS = 200  # of one-hot encoded text; text with more is encoded by character n-grams
# Rewrites levels that pandas may read as numbers or booleans to the form that they then have.
CANONICAL = {
    r"^0+(?=\d)": "",
    r"\.0*$": "",
    r"(\.\d*[1-9])0+$": r"\1",
    "(?i)^true$": "True",
    "(?i)^false$": "False",
}
IMPORTED: list[Any] = [make_pipeline, make_column_transformer, load_diabetes, ChunkSource]
IMPORTED += [FunctionTransformer, MiniBatchRidgeSGD, SimpleImputer, StringEncoder, TableVectorizer]
IN_MEMORY = """\
model = {model}

table = {table}
y = table{y}
table, y = table[y.notna()], y[y.notna()]
model.fit(table, y)
print(f"R2 {{model.score(table, y):.6f}}")
"""
IN_CHUNKS = """\
model = {model}


def parts():
    yield from {parts}


def encoded():
    for part in parts():
        y = part{y}
        yield model[:-1].transform(part[y.notna()]), y[y.notna()]


sample = pd.concat(part.sample(frac={share!r}, random_state=0) for part in parts())
model[:-1].fit(sample[sample{y}.notna()])
model[-1].fit(ChunkSource(encoded))
print(f"R2 {{model[-1].score(ChunkSource(encoded)):.6f}}")
"""


def pipeline_for(columns: list[Column], n_rows: int, model: BaseEstimator) -> Pipeline:
    """Return the unfitted pipeline of an encoder and the model, which takes data frames.

    A frame may have more columns and other types than in the fit: pandas reads numbers as text if
    one is "-", and text as numbers if all of it is digits.
    """
    to_float = _on_frames(pd.DataFrame.astype, dtype="float64")
    numbers = [column for column in columns if column.use == NUMBERS]
    encoders: list[Any] = []
    for replace in ({}, REPLACE["."], REPLACE[","]):
        cleaned = _on_frames(pd.DataFrame.replace, to_replace=replace, regex=True)
        encoder = make_pipeline(cleaned, to_float) if replace else to_float
        encoders.append((encoder, [each.name for each in numbers if each.replace == replace]))
    dates = [column for column in columns if column.use == DATE]
    for form in sorted({column.format for column in dates}, key=str):
        names = [column.name for column in dates if column.format == form]
        encoders.append((TableVectorizer(datetime_format=form), names))
    # The encoder does not search categories for numbers and dates.
    text = make_pipeline(
        _on_frames(pd.DataFrame.astype, dtype="string"),
        _on_frames(pd.DataFrame.replace, to_replace=CANONICAL, regex=True),
        _on_frames(pd.DataFrame.astype, dtype="category"),
        TableVectorizer(
            cardinality_threshold=min(MOST_LEVELS, max(n_rows // 2, 10)),
            high_cardinality=StringEncoder(random_state=0),
        ),
    )
    encoders.append((text, [column.name for column in columns if column.use == TEXT]))
    encoder = make_column_transformer(*(pair for pair in encoders if pair[1]))
    return make_pipeline(encoder, SimpleImputer(add_indicator=True), model)


def _on_frames(method: Any, **arguments: Any) -> FunctionTransformer:
    return FunctionTransformer(method, kw_args=arguments, feature_names_out="one-to-one")


def encoded_names(pipeline: Pipeline) -> list[str]:
    """Return the names of the columns that the model of a fitted pipeline receives."""
    encoder, imputer = pipeline[-3], pipeline[-2]
    names = [name.split("__", 1)[1] for name in encoder.get_feature_names_out()]
    return list(imputer.get_feature_names_out(names))


def code_for(table: Table, target: Column, pipeline: Pipeline, rows: int, share: float) -> str:
    """Return a script that fits the pipeline to the table, in chunks of `rows` unless that is 0.

    It contains names and cells of the table as string literals, so that they cannot be executed.
    """
    replaced = f".replace({target.replace!r}, regex=True)" if target.replace else ""
    script = (IN_CHUNKS if rows else IN_MEMORY).format(
        model=expression(pipeline),
        table=table.code(),
        parts=table.code(chunksize=rows),
        y=f"[{target.name!r}]{replaced}.astype(float)",
        share=share,
    )
    imports = ["import pyarrow.dataset\n"] if "pyarrow.dataset" in script else []
    imports += ["import pandas as pd\n"]
    for each in IMPORTED:
        if f"{each.__name__}(" in script:
            module = each.__module__.split("._")[0]
            imports.append(f"from {module} import {each.__name__}\n")
    return "".join([*imports, "\n", script])


def expression(value: Any) -> str:
    """Return the Python expression of an estimator or a parameter, without defaults.

    Examples
    --------
    >>> print(expression(make_column_transformer((SimpleImputer(add_indicator=True), ["a"]))))
    make_column_transformer(
        (SimpleImputer(add_indicator=True), ['a']),
    )
    """
    if isinstance(value, ColumnTransformer):
        pairs = [
            f"({expression(step)}, {expression(names)})" for _, step, names in value.transformers
        ]
        return _call("make_column_transformer", pairs)
    if isinstance(value, Pipeline):
        return _call("make_pipeline", [expression(step) for _, step in value.steps])
    if isinstance(value, BaseEstimator):
        defaults = type(value)().get_params(deep=False)
        changed = (
            f"{name}={expression(each)}"
            for name, each in value.get_params(deep=False).items()
            if repr(each) != repr(defaults[name])
        )
        return f"{type(value).__name__}({', '.join(changed)})"
    return (
        f"pd.DataFrame.{value.__name__}"
        if isfunction(value)
        else pformat(value, width=88, compact=True, sort_dicts=False)
    )


def _call(function: str, arguments: list[str]) -> str:
    lines = indent("".join(f"{each},\n" for each in arguments), "    ")
    return f"{function}(\n{lines})"
