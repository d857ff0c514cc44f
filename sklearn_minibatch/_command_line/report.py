"""What the command line computes, prints and draws."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import CoefficientDisplay, LossHistoryDisplay, MiniBatchRidgeSGD
from .columns import LEFT_OUT, NUMBERS, TEXT, Column
from .dialect import BadInput
from .job import FOLDS, Job

KINDS = {"low_cardinality": "one-hot", "high_cardinality": "text, as 30 columns"}
FEWEST_ROWS = 10  # for folds
MOST_CV_ROWS = 50_000
GRID: dict[str, list[Any]] = {"batch_size": [1, 16, 128], "lr": [0.01, 0.1, 1.0]}
GRID_COLUMNS = 50  # with more, mini-batches of one row take minutes
GRID_ROWS = 5000
SVRG: dict[str, Any] = {"solver": "svrg"}
TEXTBOOK: dict[str, Any] = {"solver": "sgd", "max_iter": 20, "tol": None}
BATCH = 32  # rows, in the picture of the loss
MOST_SHOWN = 40  # columns, and coefficients
MOST_DRAWN = 20  # coefficients
NOTE = "Ridge(alpha * rows) and SGDRegressor follow a StandardScaler, and are converted back."
Floats = NDArray[np.float64]


class Fit(NamedTuple):
    """A fitted linear model in original units."""

    name: str
    coef: Floats  # (n_features,); NaN if the fit has failed
    intercept: float
    notes: list[str]  # warnings, or the error

    def r2(self, X: Floats, y: Floats) -> float:
        """Return R2, or NaN if it is not defined."""
        predictions = X @ self.coef + self.intercept
        return r2_score(y, predictions) if np.isfinite(predictions).all() else np.nan


def description(job: Job) -> Iterator[str]:
    """Yield lines that say how each column is used."""
    n_used = sum(column.use != LEFT_OUT for column in job.columns)
    rows = f"{'a sample of ' * job.in_chunks}{len(job.frame):,} rows"
    rows += f" ({job.n_without_target:,} more without target)" * (job.n_without_target > 0)
    target = label(job.target.name)
    yield f"{label(job.table.path, 60)}: {rows}, {n_used} columns, target: {target}"
    kinds: dict[str, str] = {}
    for _, encoder, _ in job.encoder[0].transformers_:
        vectorizer = encoder[-1] if isinstance(encoder, Pipeline) else encoder
        kinds |= getattr(vectorizer, "column_to_kind_", {})
    decisions = [
        [label(column.name), in_words(job, column, kinds.get(column.name, ""))]
        for column in job.columns[:MOST_SHOWN]
    ]
    if any(words != NUMBERS for _, words in decisions):
        if n_more := len(job.columns) - len(decisions):
            decisions.append([f"... and {n_more:,} more", ""])
        yield from ("", *table([["column", "use"], *decisions], "<"), "")


def in_words(job: Job, column: Column, kind: str) -> str:
    """Return how a column is used; `kind` is the encoder's kind of this column."""
    if column.use == LEFT_OUT:
        return f"left out: {column.note}"
    cells = job.frame[column.name]
    n_empty = (column.numbers(cells) if column.use == NUMBERS else cells).isna().sum()
    levels = f"{cells.nunique():,} levels" if column.use == TEXT else ""
    words = [
        KINDS.get(kind, column.use),
        levels,
        f"{n_empty:,} empty" if n_empty else "",
        column.note,
    ]
    return ", ".join(filter(None, words))


def comparison(job: Job) -> list[str]:
    """Fit the model, and two others if the rows are in memory; return lines with the results."""
    model, X, y = job.model, job.X, job.y
    how = "in one read of the rows"
    notes: list[str] = []
    if job.in_chunks:
        fits = [fitted(model, X, y)]
        how += ", in chunks; Ridge and SGDRegressor would need them in memory"
        rows = [["R2", f"{float(model.score(X)):#.6g}"]]
    else:
        fits = [fitted(each, X, y) for each in estimators(model, len(y))]
        how = how if model.solver_ == "cholesky" else f"mini-batches of {model.batch_size_} rows"
        predictions = [X @ fit.coef + fit.intercept for fit in fits]
        errors = [np.sqrt(np.mean((p - predictions[1]) ** 2)) for p in predictions]
        distances = np.array(errors) / (np.std(y) or 1.0)
        rows = [
            ["R2", *(f"{fit.r2(X, y):#.6g}" for fit in fits)],
            ["R2 by cross-validation", *(f"{score:#.6g}" for score in cross_validated(job))],
            ["distance to Ridge, std(y)", *(f"{distance:.1e}" for distance in distances)],
        ]
        notes.append(NOTE)
        if fits[2].r2(X, y) < 0:
            fits[2].notes.append("it diverged; its learning rate is too large for these columns.")
    notes += [f"Note on {fit.name}: {each}" for fit in fits for each in fit.notes]
    ends, why = intervals(model)
    notes += why
    cells = [*coefficient_rows(job, fits, ends), [], *([*row, ""] for row in rows)]
    return [f"alpha={model.alpha:g}, solver={model.solver_}, {how}", "", *table(cells), "", *notes]


def estimators(model: Any, n_rows: int) -> list[Any]:
    """Return the model and two estimators with the same objective on `n_rows` rows."""
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=model.alpha * n_rows))
    sgd = make_pipeline(StandardScaler(), SGDRegressor(alpha=model.alpha, random_state=0))
    return [model, ridge, sgd]


def fitted(estimator: Any, X: Any, y: Any) -> Fit:
    """Fit an estimator, which may have a scaler before it."""
    scaler, linear = estimator if isinstance(estimator, Pipeline) else (None, estimator)
    name = type(linear).__name__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator.fit(X, y)
        except ValueError as error:
            if scaler is None:
                raise BadInput(str(error)) from error
            return Fit(name, np.full(X.shape[1], np.nan), np.nan, [str(error)])  # It overflowed.
    coef, intercept = linear.coef_, float(np.squeeze(linear.intercept_))
    if scaler is not None:
        coef = coef / scaler.scale_
        intercept -= float(scaler.mean_ @ coef)
    return Fit(name, coef, intercept, list(dict.fromkeys(str(each.message) for each in caught)))


def cross_validated(job: Job) -> list[float]:
    """Return the mean R2 of the three on held-out rows, on which the encoder is not fitted."""
    if len(job.y) < FEWEST_ROWS:
        return [np.nan] * 3
    chosen = drawn(len(job.y), MOST_CV_ROWS)
    frame, y = job.frame.iloc[chosen], job.y[chosen]
    scores = []
    for rows, out in FOLDS.split(y):
        encoder = clone(job.encoder)
        X, X_out = encoder.fit_transform(frame.iloc[rows]), encoder.transform(frame.iloc[out])
        fits = [fitted(each, X, y[rows]) for each in estimators(clone(job.model), len(rows))]
        scores.append([fit.r2(X_out, y[out]) for fit in fits])
    return list(np.mean(scores, axis=0))


def drawn(n_rows: int, most: int) -> NDArray[np.int64]:
    """Return the indices of rows, drawn at random if there are too many."""
    return np.sort(np.random.default_rng(0).permutation(n_rows)[:most])


def largest(model: MiniBatchRidgeSGD, most: int) -> NDArray[np.int64]:
    """Return the indices of the largest coefficients times the standard deviation of the column.

    They are in descending order, or in the order of the columns if all are shown.
    """
    order = np.argsort(-np.abs(model.coef_ * model.scaler_.scale_), kind="stable")
    return order[:most] if len(order) > most else np.arange(len(order))


def intervals(model: MiniBatchRidgeSGD) -> tuple[Floats, list[str]]:
    """Return the ends of the 95 % intervals, (2, n_features + 1), and why they are unknown.

    The intercept is the last; unknown ends are NaN. Intervals of kind "bayesian" would include that
    the coefficients of all levels of a text can shift together.
    """
    try:
        found: Any = model.coef_table(kind="sampling")
    except ValueError as error:
        why = str(error).split(". ")[0]
        return np.full((2, len(model.coef_) + 1), np.nan), [f"No intervals: {why}"]
    return np.roll([found.lower, found.upper], -1, axis=1), []


def coefficient_rows(job: Job, fits: Sequence[Fit], ends: Floats) -> list[list[str]]:
    """Return the header and the rows of the table of coefficients, with a column for each fit."""
    names = [*job.encoded, "(intercept)"]
    values = [np.append(fit.coef, fit.intercept) for fit in fits]
    rows = [["coefficient (original units)", *(fit.name for fit in fits), "95 % interval"]]
    chosen = largest(job.model, MOST_SHOWN)
    for j in (*chosen, -1):
        interval = "-" if np.isnan(ends[0, j]) else f"{ends[0, j]:.4g} to {ends[1, j]:.4g}"
        rows.append([label(names[j]), *(f"{each[j]:#.6g}" for each in values), interval])
    if n_more := len(job.encoded) - len(chosen):
        rows.insert(-1, [f"... and {n_more:,} that matter less", *[""] * (len(fits) + 1)])
    return rows


def label(name: str, width: int = 32) -> str:
    """Return a name for a table, without control characters and shortened if it is long."""
    printable = "".join(c if c.isprintable() else "?" for c in name[: width + 1])
    return printable if len(name) <= width else printable[: width - 3] + "..."


def table(rows: Sequence[Sequence[str]], sides: str = ">") -> list[str]:
    """Return the lines of a table with the first column aligned left, and the others to `sides`.

    Examples
    --------
    >>> print("\\n".join(table([["", "a", "b"], ["one", "1", "10"], [], ["two", "2.5", "-"]])))
           a   b
    one    1  10
    <BLANKLINE>
    two  2.5   -
    """
    widths = [max(map(len, cells)) for cells in zip(*filter(None, rows), strict=True)]
    formats = [f"{side}{width}" for side, width in zip("<" + sides * 9, widths, strict=False)]
    return ["  ".join(map(format, row, formats)).rstrip() for row in rows]


def grid(job: Job) -> Iterator[str]:
    """Yield lines with the grid searches of both solvers over batch sizes and learning rates."""
    if len(job.y) < FEWEST_ROWS:
        yield f"No grid search: it needs at least {FEWEST_ROWS} rows."
        return
    chosen = drawn(len(job.y), GRID_ROWS)
    yield f"Grid search over batch_size and lr (mean R2 of 5 folds, {len(chosen):,} rows)\n"
    for settings in (SVRG, TEXTBOOK):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = clone(job.model).set_params(**settings)
            search = GridSearchCV(model, GRID, cv=FOLDS, refit=False)
            search.fit(job.X[chosen], job.y[chosen])
        scores = search.cv_results_["mean_test_score"].reshape(len(GRID["batch_size"]), -1)
        rows = [[f'solver="{model.solver}"', *(f"lr={lr:g}" for lr in GRID["lr"])]]
        for size, cells in zip(GRID["batch_size"], scores, strict=True):
            rows.append([f"batch_size={size}", *(f"{cell:.4f}" for cell in cells)])
        n = sum("diverged" in str(warning.message) for warning in caught)
        best = ", ".join(f"{name}={value}" for name, value in search.best_params_.items())
        yield from (*table(rows), "")
        yield f"Largest difference between two cells: {np.ptp(scores):.1e}. Best: {best}."
        yield f"{n} fits diverged; scored is the best point before that.\n" if n else ""


def draw_loss(job: Job, path: Path) -> None:
    """Write a picture of the loss curves of the model and of both mini-batch solvers."""
    models = [job.model]
    for settings in (SVRG, TEXTBOOK):
        if not job.in_chunks and settings["solver"] != job.model.solver_:
            other = clone(job.model).set_params(batch_size=BATCH, **settings)
            models.append(other.fit(job.X, job.y))
    names = [f'solver="{one.solver_}", batch_size={one.batch_size_}' for one in models]
    display = LossHistoryDisplay.from_estimator(models, Figure().subplots(), names=names)
    write(display.figure_, path)


def draw_coefficients(job: Job, path: Path) -> None:
    """Write a picture of the largest coefficients, each times its column's standard deviation."""
    shown = largest(job.model, MOST_DRAWN)
    numbers = np.vstack([job.model.coef_, intervals(job.model)[0][:, :-1]])
    coef, lower, upper = (numbers * job.model.scaler_.scale_)[:, shown]
    names = np.array([label(job.encoded[j]).replace("$", r"\$") for j in shown], dtype=object)
    display = CoefficientDisplay(names=names, coef=coef, lower=lower, upper=upper)
    display.plot(Figure(figsize=(6.4, 1 + 0.28 * len(shown))).subplots())
    display.ax_.set_xlabel("Coefficient times standard deviation of the column, 95 % interval")
    write(display.figure_, path)


def write(figure: Figure, path: Path) -> None:
    """Write a picture, as PNG if the name has no suffix."""
    try:
        figure.savefig(path, format=path.suffix[1:] or "png", dpi=150, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot write {path}: {getattr(error, 'strerror', 0) or error}") from error
