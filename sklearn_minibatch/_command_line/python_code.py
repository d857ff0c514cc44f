"""Python code that does the same as the command line, to be copied from the terminal."""

from collections.abc import Sequence

from sklearn.model_selection import KFold

from .._linear_model import ScaledLinearModel
from .columns import Use
from .encoding import Encoded

WIDTH = 88


def code_for_diabetes(model: ScaledLinearModel, save: str | None) -> str:
    """Return a script that fits the model to the diabetes data of scikit-learn."""
    fit = [
        "X, y = load_diabetes(return_X_y=True, scaled=False)",
        f"model = {model!r}.fit(X, y)",
        'print(f"R2 {model.score(X, y):.6f}")',
    ]
    imports = [
        "from sklearn.datasets import load_diabetes",
        *_importing_folds(model),
        _importing_model(model),
    ]
    return "\n".join([*_importing_joblib(save), *imports, "", *fit, *_saving(save), ""])


def code_for(encoded: Encoded, model: ScaledLinearModel, save: str | None) -> str:
    """Return a script that fits the model to a file.

    Names and cells of the file are written as string literals, so they cannot be executed.

    Parameters
    ----------
    encoded : Encoded
        The encoded file.
    model : MiniBatchRidgeSGD or MiniBatchRidgeSGDCV
        The unfitted model.
    save : str or None
        The path to which the script writes the fitted pipeline.

    Returns
    -------
    code : str
        The script.
    """
    plan = encoded.plan
    numbers = [plan.columns[j].name for j in plan.used(Use.NUMBERS)]
    text = [plan.columns[j].name for j in plan.used(Use.TEXT)]
    used = " + ".join([*(["numbers"] if numbers else []), *(["text"] if text else [])])
    imports = [
        "import pandas as pd",
        "from sklearn.compose import make_column_transformer",
        *(["from sklearn.impute import SimpleImputer"] if numbers else []),
        *_importing_folds(model),
        "from sklearn.pipeline import make_pipeline",
        *(["from sklearn.preprocessing import OneHotEncoder"] if text else []),
        _importing_model(model),
    ]
    columns = [f"    ({step!r}, {name})," for name, step, _ in encoded.transformer.transformers]
    target = repr(plan.y.name)
    lines = [
        *_importing_joblib(save),
        *imports,
        "",
        *_names("numbers", numbers),
        *_names("text", text),
        *_reading(encoded, bool(text)),
        f"table = table.dropna(subset=[{target}])",
        f"X, y = table[{used}], table[{target}]",
        "columns = make_column_transformer(",
        *columns,
        "    verbose_feature_names_out=False,",
        ")",
        f"model = make_pipeline(columns, {model!r}).fit(X, y)",
        'print(f"R2 {model.score(X, y):.6f}")',
        *_saving(save),
        "",
    ]
    return "\n".join(lines)


def _importing_model(model: ScaledLinearModel) -> str:
    return f"from sklearn_minibatch import {type(model).__name__}"


def _importing_folds(model: ScaledLinearModel) -> list[str]:
    needed = isinstance(getattr(model, "cv", None), KFold)
    return ["from sklearn.model_selection import KFold"] if needed else []


def _importing_joblib(save: str | None) -> list[str]:
    return [] if save is None else ["import joblib"]


def _saving(save: str | None) -> list[str]:
    return [] if save is None else [f"joblib.dump(model, {save!r})"]


def _names(variable: str, names: Sequence[str]) -> list[str]:
    """Return the lines of an assignment of a list of strings."""
    if not names:
        return []
    line = f"{variable} = {list(names)!r}"
    if len(line) <= WIDTH:
        return [line]
    lines = [f"{variable} = ["]
    indent = "   "
    row = indent
    for name in names:
        item = f" {name!r},"
        if row != indent and len(row + item) > WIDTH:
            lines.append(row)
            row = indent
        row += item
    return [*lines, row, "]"]


def _reading(encoded: Encoded, has_text: bool) -> list[str]:
    """Return the line with the call of `pandas.read_csv` that reads the same table."""
    file = encoded.file
    marks = {
        column.name: sorted(column.marks)
        for column in (
            encoded.plan.y,
            *(encoded.plan.columns[j] for j in encoded.plan.used(Use.NUMBERS)),
        )
        if column.marks
    }
    # If several columns have the same name, pandas would use the type of the first for the others.
    ours = [f"header=None, names={file.names!r}"]
    if file.has_header:
        ours = [f"skiprows={file.header_line}", *ours] if file.names != file.given else []
    options = [
        repr(file.path),
        *([f"sep={file.separator!r}"] if file.separator != "," else []),
        *ours,
        "skipinitialspace=True",
        *(["dtype=dict.fromkeys(text, str)"] if has_text else []),
        *([f"na_values={marks!r}"] if marks else []),
    ]
    return [f"table = pd.read_csv({', '.join(options)})"]
