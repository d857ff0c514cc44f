"""Rows of a CSV file as numbers, by scikit-learn's imputer and one-hot encoder."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from .cells import is_empty, numbers
from .columns import Use
from .plan import Plan, Rows, rows_with_target
from .reading import BadInput, CsvFile

EMPTY_LEVEL = "(empty)"  # in the names of encoded columns


class Encoded:
    """The rows of a CSV file that have a target, encoded.

    The transformers are fitted to a small table that has every level of text, every mean and every
    kind of empty cell; they are then those that the whole file would give.

    Parameters
    ----------
    file : CsvFile
        The rows.
    plan : Plan
        What is done with each column.

    Attributes
    ----------
    transformer : ColumnTransformer
        Fitted.
    names : list of str
        The encoded columns: "price", "price=(empty)", "colour=red".
    n_rows : int
        Rows with a target.
    """

    def __init__(self, file: CsvFile, plan: Plan) -> None:
        self.file = file
        self.plan = plan
        self.n_rows = plan.y.n_rows
        self.transformer = transformers(plan).fit(_stand_in(plan))
        self.names = _names(self.transformer, plan)

    def chunks(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """X and y, in chunks of some thousand rows.

        Raises
        ------
        BadInput
            If the file is no longer the one that the plan was made for.
        """
        changed = BadInput(f"{self.file.path} was changed while it was read")
        n_rows = 0
        for rows in rows_with_target(self.file, self.plan.target):
            n_rows += len(rows.y)
            if n_rows > self.n_rows or not np.isfinite(rows.y).all():
                raise changed
            if len(rows.y):
                yield self.transformer.transform(_table(rows, self.plan)), rows.y
        if n_rows < self.n_rows:
            raise changed

    def in_memory(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X and y of all rows."""
        X = np.empty((self.n_rows, len(self.names)))
        y = np.empty(self.n_rows)
        n = 0
        for X_part, y_part in self.chunks():
            X[n : n + len(y_part)] = X_part
            y[n : n + len(y_part)] = y_part
            n += len(y_part)
        return X, y

    def named_transformer(self) -> ColumnTransformer:
        """A copy that takes data frames, whose columns it knows by their names."""
        named = deepcopy(self.transformer)
        if self.file.has_header:
            names = np.array([column.name for column in self.plan.columns], dtype=object)
            named.feature_names_in_ = names
            for _, fitted, columns in named.transformers_:
                if fitted != "drop":
                    fitted.feature_names_in_ = names[columns]
            # By names a later fit finds the columns too.
            named.transformers = [
                (step, how, list(names[columns])) for step, how, columns in named.transformers
            ]
        return named


def transformers(plan: Plan) -> ColumnTransformer:
    """What makes numbers of the columns that are used; the others are dropped."""
    text = OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False)
    steps = [
        ("numbers", SimpleImputer(add_indicator=True), plan.used(Use.NUMBERS)),
        ("text", text, plan.used(Use.TEXT)),
    ]
    return ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)


def _stand_in(plan: Plan) -> NDArray[np.object_]:
    """A table that tells transformers the same as all rows do."""
    values: dict[int, list] = {}
    for j in plan.used(Use.NUMBERS):
        column = plan.columns[j]
        has_empty = column.n_numbers < column.n_rows
        values[j] = [column.mean, np.nan] if has_empty else [column.mean]
    for j in plan.used(Use.TEXT):
        values[j] = [*plan.columns[j].texts, *([np.nan] if plan.columns[j].n_empty else [])]
    table = np.empty((max(map(len, values.values())), len(plan.columns)), dtype=object)
    for j, some in values.items():
        table[:, j] = np.resize(np.array(some, dtype=object), len(table))
    return table


def _table(rows: Rows, plan: Plan) -> NDArray[np.object_]:
    """Rows as the transformers take them: NaN in empty cells, None in columns that are not used."""
    table = np.empty((len(rows.y), len(plan.columns)), dtype=object)
    for j in plan.used(Use.NUMBERS, Use.TEXT):
        cells = rows.columns[j + (j >= plan.target)]
        if plan.uses[j][0] is Use.NUMBERS:
            table[:, j] = numbers(cells)
        else:
            levels = {cell: np.nan if is_empty(cell) else cell for cell in set(cells)}
            table[:, j] = [levels[cell] for cell in cells]
    return table


def _names(transformer: ColumnTransformer, plan: Plan) -> list[str]:
    names: list[str] = []
    if used := plan.used(Use.NUMBERS):
        known = [plan.columns[j].name for j in used]
        indicator = transformer.named_transformers_["numbers"].indicator_
        empty = [] if indicator is None else indicator.features_
        names += [*known, *(f"{known[k]}={EMPTY_LEVEL}" for k in empty)]
    if used := plan.used(Use.TEXT):
        encoder = transformer.named_transformers_["text"]
        drops = [None] * len(used) if encoder.drop_idx_ is None else encoder.drop_idx_
        for j, levels, dropped in zip(used, encoder.categories_, drops, strict=True):
            kept = [level for k, level in enumerate(levels) if k != dropped]
            shown = [EMPTY_LEVEL if isinstance(level, float) else level for level in kept]
            names += [f"{plan.columns[j].name}={level}" for level in shown]
    return names
