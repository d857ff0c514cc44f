"""Encoding of the rows of a CSV file by scikit-learn's imputer and one-hot encoder."""

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
    """The encoded rows of a CSV file that have a target.

    The transformers are fitted to a small table that has the levels, the means and the empty cells
    of the file. They are equal to transformers fitted to the whole file.

    Parameters
    ----------
    file : CsvFile
        The file with the rows.
    plan : Plan
        The use of each column.

    Attributes
    ----------
    transformer : ColumnTransformer
        The fitted transformers.
    names : list of str
        The names of the encoded columns, such as "price", "price=(empty)", "colour=red".
    n_rows : int
        The number of rows with a target.
    """

    def __init__(self, file: CsvFile, plan: Plan) -> None:
        self.file = file
        self.plan = plan
        self.n_rows = plan.y.n_rows
        self.transformer = transformers(plan).fit(_stand_in(plan))
        self.names = _names(self.transformer, plan)

    def chunks(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield X (c, d) and y (c,) in chunks of some thousand rows.

        Raises
        ------
        BadInput
            If the file has changed since the plan was made.
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
        """Return X (n, d) and y (n,) of all rows."""
        X = np.empty((self.n_rows, len(self.names)))
        y = np.empty(self.n_rows)
        n = 0
        for X_part, y_part in self.chunks():
            X[n : n + len(y_part)] = X_part
            y[n : n + len(y_part)] = y_part
            n += len(y_part)
        return X, y

    def named_transformer(self) -> ColumnTransformer:
        """Return a copy of the transformers that selects the columns of data frames by name."""
        named = deepcopy(self.transformer)
        if self.file.has_header:
            names = np.array([column.name for column in self.plan.columns], dtype=object)
            named.feature_names_in_ = names
            for _, fitted, columns in named.transformers_:
                if fitted != "drop":
                    fitted.feature_names_in_ = names[columns]
            # A later fit then selects the columns by name too.
            named.transformers = [
                (step, how, list(names[columns])) for step, how, columns in named.transformers
            ]
        return named


def transformers(plan: Plan) -> ColumnTransformer:
    """Return the unfitted transformers of the columns that are used; the others are dropped."""
    text = OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False)
    steps = [
        ("numbers", SimpleImputer(add_indicator=True), plan.used(Use.NUMBERS)),
        ("text", text, plan.used(Use.TEXT)),
    ]
    return ColumnTransformer([step for step in steps if step[2]], verbose_feature_names_out=False)


def _stand_in(plan: Plan) -> NDArray[np.object_]:
    """Return a small table for which the fitted transformers are the same as for all rows."""
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
    """Convert rows to the input of the transformers.

    Empty cells become NaN, and columns that are not used have None.
    """
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
    """Return the names of the encoded columns."""
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
