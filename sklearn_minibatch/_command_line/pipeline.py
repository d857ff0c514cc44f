"""The pipeline that is fitted, saved and printed."""

from inspect import isfunction, signature
from pprint import pformat
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skrub import StringEncoder, TableVectorizer

from .columns import DATE, LEVELS, NUMBERS, OTHER, Column
from .reading import Table

MOST_LEVELS = 200  # of text that is one-hot encoded; with more, its character n-grams are
# Brings levels that pandas may read as numbers or truth values to the form that they then have.
CANONICAL = {
    r"^0+(?=\d)": "",
    r"\.0*$": "",
    r"(\.\d*[1-9])0+$": r"\1",
    "(?i)^true$": "True",
    "(?i)^false$": "False",
}

MODULES = {
    "load_diabetes": "sklearn.datasets",
    "ChunkSource": "sklearn_minibatch",
    "FunctionTransformer": "sklearn.preprocessing",
    "MiniBatchRidgeSGD": "sklearn_minibatch",
    "SimpleImputer": "sklearn.impute",
    "StringEncoder": "skrub",
    "TableVectorizer": "skrub",
    "make_column_transformer": "sklearn.compose",
    "make_pipeline": "sklearn.pipeline",
}
IN_MEMORY = """\
table = {table}
y = table{y}
table, y = table[y.notna()], y[y.notna()]
model.fit(table, y)
print(f"R2 {{model.score(table, y):.6f}}")
"""
IN_CHUNKS = """\
def parts():
    for part in {parts}:
        y = part{y}
        yield part[y.notna()], y[y.notna()]


def encoded():
    for part, y in parts():
        yield model[:-1].transform(part), y


sample, share = [], 1.0
for part, _ in parts():
    sample.append(part.sample(frac=share, random_state=0))
    if sum(map(len, sample)) > {rows}:
        share /= 2
        sample = [pd.concat(sample).sample(frac=0.5, random_state=0)]
model[:-1].fit(pd.concat(sample))
model[-1].fit(ChunkSource(encoded))
print(f"R2 {{model[-1].score(ChunkSource(encoded)):.6f}}")
"""


def pipeline_for(columns: list[Column], n_rows: int, model: BaseEstimator) -> Pipeline:
    """Return the unfitted pipeline of an encoder and the model, which takes data frames.

    A frame may have more columns, and other types than that of the fit: pandas reads numbers as
    text if one is "-", and text as numbers if all is digits.
    """
    levels = [column.name for column in columns if column.use == LEVELS]
    others = [column.name for column in columns if column.use == OTHER]
    text = TableVectorizer(
        cardinality_threshold=min(MOST_LEVELS, max(n_rows // 2, 10)),
        high_cardinality=StringEncoder(random_state=0),
    )
    to_float = _on_frames(pd.DataFrame.astype, dtype="float64")
    encoders: list[Any] = [(to_float, plain_numbers(columns))]
    if replace := {column.name: column.replace for column in columns if column.replace}:
        cleaned = _on_frames(pd.DataFrame.replace, to_replace=replace, regex=True)
        encoders.append((make_pipeline(cleaned, to_float), list(replace)))
    for form in sorted({column.format for column in columns if column.use == DATE}):
        dates = [column.name for column in columns if column.format == form]
        encoders.append((TableVectorizer(datetime_format=form), dates))
    # In categories the encoder does not look for numbers and dates.
    to_levels = [
        _on_frames(pd.DataFrame.astype, dtype="str"),
        _on_frames(pd.DataFrame.replace, to_replace=CANONICAL, regex=True),
        _on_frames(pd.DataFrame.astype, dtype="category"),
    ]
    encoders += [(make_pipeline(*to_levels, text), levels), (text, others)]
    encoder = make_column_transformer(*(pair for pair in encoders if pair[1]))
    return make_pipeline(encoder, SimpleImputer(add_indicator=True), model)


def plain_numbers(columns: list[Column]) -> list[str]:
    """Return the names of the columns of numbers that `float` can read."""
    return [each.name for each in columns if each.use == NUMBERS and not each.replace]


def _on_frames(method: Any, **arguments: Any) -> FunctionTransformer:
    return FunctionTransformer(method, kw_args=arguments, feature_names_out="one-to-one")


def encoded_names(pipeline: Pipeline) -> list[str]:
    """Return the names of the columns that the model of a fitted pipeline is given."""
    encoder, imputer = pipeline[-3], pipeline[-2]
    names = [name.split("__", 1)[1] for name in encoder.get_feature_names_out()]
    return list(imputer.get_feature_names_out(names))


def code_for(
    table: Table,
    target: Column,
    columns: list[Column],
    pipeline: Pipeline,
    save: str | None,
    part_rows: int,
) -> str:
    """Return a script that fits the pipeline to the table, in chunks if `part_rows` is not 0.

    Names and cells of the table are in it as string literals, so that they cannot be executed.
    """
    steps = "".join(f"    {expression(step)},\n" for _, step in pipeline.steps)
    script = ""
    others = [column.name for column in columns if column.use == OTHER]
    for name, names in (("numbers", plain_numbers(columns)), ("text", others)):
        if names:
            steps = steps.replace(repr(names), name)
            script += f"{name} = {pformat(names, width=88, compact=True)}\n"
    replaced = f".replace({target.replace!r}, regex=True)" if target.replace else ""
    script += f"model = make_pipeline(\n{steps})\n\n"
    script += (IN_CHUNKS if part_rows else IN_MEMORY).format(
        table=table.code(),
        parts=table.parts_code(part_rows),
        y=f"[{target.name!r}]{replaced}.astype(float)",
        rows=part_rows,
    )
    script += f"joblib.dump(model, {save!r})\n" if save else ""
    lines = ["import joblib"] if save else []
    lines += ["import pandas as pd"]
    lines += ["import pyarrow.dataset"] if "pyarrow.dataset" in script else []
    used = [f"from {MODULES[name]} import {name}" for name in MODULES if f"{name}(" in script]
    return "\n".join([*lines, *sorted(used), "", script])


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
        pairs = [f"({expression(each)}, {names!r})," for _, each, names in value.transformers]
        return "\n        ".join(["make_column_transformer(", *pairs]) + "\n    )"
    if isinstance(value, Pipeline):
        return f"make_pipeline({', '.join(expression(step) for _, step in value.steps)})"
    if isinstance(value, BaseEstimator):
        defaults = signature(type(value)).parameters
        given = {name: getattr(value, name) for name in defaults}
        changed = (
            f"{name}={expression(each)}"
            for name, each in given.items()
            if repr(each) != repr(defaults[name].default)
        )
        return f"{type(value).__name__}({', '.join(changed)})"
    return f"pd.DataFrame.{value.__name__}" if isfunction(value) else repr(value)
