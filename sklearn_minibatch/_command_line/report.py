"""What the command line computes, prints and draws."""

import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import LossHistoryDisplay, MiniBatchRidgeSGD
from .columns import LEFT_OUT, NUMBERS, Column
from .dialect import BadInput
from .job import FOLDS, Job

KINDS = {"low_cardinality": "one-hot", "high_cardinality": "text"}
KINDS |= {"datetime": "date", "numeric": "duration"}
FEWEST_ROWS = 10  # for folds
MOST_CV_ROWS = 50_000
GRID: dict[str, list[Any]] = {"batch_size": [1, 16, 128], "lr": [0.01, 0.1, 1.0]}
GRID_COLUMNS = 50  # with more, mini-batches of one row take minutes
GRID_ROWS = 5000
TEXTBOOK: dict[str, Any] = {"solver": "sgd", "max_iter": 20, "tol": None}
MOST_SHOWN = 40  # columns, and coefficients
MOST_DRAWN = 20  # coefficients
NOTE = [
    "Ridge is StandardScaler and Ridge(alpha * rows); SGDRegressor has a StandardScaler too.",
    "Both are converted back. Seconds are for one fit, the best of up to three.",
]
Floats = NDArray[np.float64]


class Fit(NamedTuple):
    """A fitted linear model in original units."""

    name: str
    coef: Floats  # (n_features,); NaN if the fit has failed
    intercept: float
    epochs: int | None
    seconds: float
    notes: list[str]  # warnings, or the error

    def r2(self, X: Floats, y: Floats) -> float:
        """Return R2, or NaN if it is not defined."""
        predictions = X @ self.coef + self.intercept
        return r2_score(y, predictions) if varies(y) and np.isfinite(predictions).all() else np.nan


def description(job: Job, most: int) -> Iterator[str]:
    """Yield lines that say what was decided about each column."""
    n_used = sum(column.use != LEFT_OUT for column in job.columns)
    rows = f"{len(job.frame):,} rows, {n_used} columns, target: {label(job.target.name)}"
    yield f"{label(job.table.path, 60)}: {'a sample of ' * job.in_chunks}{rows}"
    kinds: dict[str, str] = {}
    outputs: dict[str, list[str]] = {}
    for _, encoder, _ in job.encoder[0].transformers_:
        vectorizer = encoder[-1] if isinstance(encoder, Pipeline) else encoder
        kinds |= getattr(vectorizer, "column_to_kind_", {})
        outputs |= getattr(vectorizer, "input_to_outputs_", {})
    decisions = [["column", "use", "encoded columns"]]
    for column in job.columns[:most]:
        kind = KINDS.get(kinds.get(column.name, ""), column.use)
        encoded = set(outputs.get(column.name, [column.name]))
        encoded |= {f"missingindicator_{name}" for name in encoded}
        n_encoded = len(encoded.intersection(job.names))
        use = in_words(column, kind, job.frame[column.name])
        decisions.append([label(column.name), use, str(n_encoded)])
    if any(use != NUMBERS for _, use, _ in decisions[1:]):
        if len(job.columns) > most:
            decisions.append([f"... and {len(job.columns) - most:,} more", "", ""])
        yield from ("", *table(decisions, "<>"), "")
    if n := job.n_without_target:
        rows = f"{n:,} row{'s' * (n > 1)}{' of the sample' * job.in_chunks}"
        yield f"Left out: {rows} without {label(job.target.name)}"


def in_words(column: Column, kind: str, cells: pd.Series) -> str:
    """Return how a column is used."""
    if column.use == LEFT_OUT:
        return f"left out: {column.note}"
    n_empty = (column.numbers(cells) if column.use == NUMBERS else cells).isna().sum()
    levels = [f"{cells.nunique():,} levels"] if kind in ("one-hot", "text") else []
    empty = [f"{n_empty:,} empty"] if n_empty else []
    return ", ".join([kind, *levels, *empty, *([column.note] if column.note else [])])


def comparison(job: Job, n_shown: int) -> list[str]:
    """Fit the model, and two others if the rows are in memory; return lines with the results."""
    model, X, y = job.model, job.X, job.y
    if job.in_chunks:
        fits = [fitted(model, X, y, repeats=1)]
        how = "in chunks: without the comparison, which needs all rows in memory"
        rows = [["R2", digits(model.score(X))], ["passes over the table", str(model.n_passes_)]]
    else:
        fits = [fitted(each, X, y) for each in estimators(model, len(y))]
        how = f"mini-batches of {model.batch_size_} rows"
        how = "in one read of the rows" if model.solver_ == "cholesky" else how
        if fits[2].r2(X, y) < 0:
            fits[2].notes.append("it diverged; its learning rate is too large for these columns.")
        spread, unit = (np.std(y), "std(y)") if varies(y) else (1.0, "units of y")
        predictions = [X @ fit.coef + fit.intercept for fit in fits]
        distances = [np.sqrt(np.mean((p - predictions[1]) ** 2)) / spread for p in predictions]
        rows = [
            ["R2", *(digits(fit.r2(X, y)) for fit in fits)],
            ["R2 by cross-validation", *map(digits, cross_validated(job))],
            [f"distance to Ridge, {unit}", f"{distances[0]:.1e}", "-", f"{distances[2]:.1e}"],
            ["epochs", *(str(fit.epochs or "-") for fit in fits)],
        ]
    rows.append(["seconds", *(f"{fit.seconds:.4f}" for fit in fits)])
    note = [] if job.in_chunks else NOTE
    if len(job.names) > n_shown:
        by = "by coefficient times standard deviation; --all prints all."
        note = [*note, f"Largest coefficients first, {by}"]
    note = [*note, *(f"Note on {fit.name}: {each}" for fit in fits for each in fit.notes)]
    cells = [*coefficient_rows(job, fits, n_shown), *rows]
    return [f"alpha={model.alpha:g}, solver={model.solver_}, {how}", "", *table(cells), "", *note]


def estimators(model: Any, n_rows: int) -> list[Any]:
    """Return the model and two estimators with the same objective on so many rows."""
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=model.alpha * n_rows))
    sgd = make_pipeline(StandardScaler(), SGDRegressor(alpha=model.alpha, random_state=0))
    return [model, ridge, sgd]


def fitted(estimator: Any, X: Any, y: Any, repeats: int = 3) -> Fit:
    """Fit an estimator, and return the fit that took the least time."""
    scaler, linear = estimator if isinstance(estimator, Pipeline) else (None, estimator)
    name = type(linear).__name__
    seconds: list[float] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while len(seconds) < repeats and sum(seconds) < 1:
            start = time.perf_counter()
            try:
                estimator.fit(X, y)
            except ValueError as error:
                if scaler is None:
                    raise BadInput(str(error)) from error
                # SGDRegressor overflowed.
                return Fit(name, np.full(X.shape[1], np.nan), np.nan, None, np.nan, [str(error)])
            seconds.append(time.perf_counter() - start)
    coef, intercept = linear.coef_, float(np.squeeze(linear.intercept_))
    if scaler is not None:
        coef = coef / scaler.scale_
        intercept -= float(scaler.mean_ @ coef)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    return Fit(name, coef, intercept, linear.n_iter_, min(seconds), notes)


def cross_validated(job: Job) -> list[float]:
    """Return the mean R2 of the three on rows held out, which the encoder does not see either."""
    if len(job.y) < FEWEST_ROWS:
        return [np.nan] * 3
    chosen = drawn(len(job.y), MOST_CV_ROWS)
    frame, y = job.frame.iloc[chosen], job.y[chosen]
    scores = []
    for rows, out in FOLDS.split(y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoder = clone(job.encoder)
            X = encoder.fit_transform(frame.iloc[rows])
            X_out = encoder.transform(frame.iloc[out])
        fits = [fitted(each, X, y[rows], 1) for each in estimators(clone(job.model), len(rows))]
        scores.append([fit.r2(X_out, y[out]) for fit in fits])
    return list(np.mean(scores, axis=0))


def drawn(n_rows: int, most: int) -> NDArray[np.int64]:
    """Return the indices of rows, drawn at random if there are too many."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.random.default_rng(0).choice(n_rows, most, replace=False)


def varies(y: Floats) -> bool:
    """Return whether R2 is defined; the variance of tiny numbers underflows to 0."""
    return bool(np.ptp(y) > 0 and np.std(y) > 0)


def largest(model: MiniBatchRidgeSGD, n_shown: int) -> NDArray[np.int64]:
    """Return the indices of the largest coefficients times the standard deviation of the column.

    They are in descending order, or in that of the columns if all are shown.
    """
    if len(model.coef_) <= n_shown:
        return np.arange(len(model.coef_))
    return np.argsort(-np.abs(model.coef_ * model.scaler_.scale_), kind="stable")[:n_shown]


def coefficient_rows(job: Job, fits: Sequence[Fit], n_shown: int) -> list[list[str]]:
    """Return the header and the rows of the table of coefficients, with a column for each fit.

    Intervals of the coefficients belong here, as a further column, and into `draw_coefficients`, as
    error bars, when the model has `coef_table`.
    """
    rows = [["coefficient (original units)", *(fit.name for fit in fits)]]
    for j in largest(job.model, n_shown):
        rows.append([label(job.names[j]), *(f"{fit.coef[j]:#.6g}" for fit in fits)])
    if len(job.names) > n_shown:
        rows.append([f"... and {len(job.names) - n_shown:,} more", *("" for _ in fits)])
    return [*rows, ["(intercept)", *(f"{fit.intercept:#.6g}" for fit in fits)], []]


def digits(score: float) -> str:
    """Return R2 for a table; that of a fit that diverged has many digits."""
    return "-" if np.isnan(score) else f"{score:.2e}" if score < -100 else f"{score:.6f}"


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
    if len(job.y) < FEWEST_ROWS or not varies(job.y):
        yield "No grid search: it needs at least 10 rows and a target that is not constant."
        return
    chosen = drawn(len(job.y), GRID_ROWS)
    few = f", on {GRID_ROWS:,} rows drawn at random" if len(chosen) < len(job.y) else ""
    yield f"Grid search over batch_size and lr (GridSearchCV, mean R2 of 5 folds{few})\n"
    for settings in ({"solver": "svrg"}, TEXTBOOK):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = clone(job.model).set_params(**settings)
            search = GridSearchCV(model, GRID, cv=FOLDS, refit=False)
            search.fit(job.X[chosen], job.y[chosen])
        scores = search.cv_results_["mean_test_score"].reshape(len(GRID["batch_size"]), -1)
        rows = [["", *(f"lr={lr:g}" for lr in GRID["lr"])]]
        for size, cells in zip(GRID["batch_size"], scores, strict=True):
            rows.append([f"batch_size={size}", *(f"{cell:.4f}" for cell in cells)])
        if settings is not TEXTBOOK:
            yield 'solver="svrg" gives the same answer for every batch size and learning rate:\n'
            yield from (*table(rows), "")
            yield f"Largest difference between two cells: {np.ptp(scores):.1e}.\n"
            continue
        epochs = f"{TEXTBOOK['max_iter']} epochs"
        yield f'solver="sgd", the textbook algorithm, {epochs}, depends on both:\n'
        yield from (*table(rows), "")
        best = ", ".join(f"{name}={value}" for name, value in search.best_params_.items())
        diverged = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
        n = sum("diverged" in str(warning.message) for warning in diverged)
        end = f" {n} of {5 * scores.size} fits diverged; scored is the best point before that."
        yield f"Best: {best}.{end if n else ''}"


def draw_loss(job: Job, path: Path) -> None:
    """Write a picture of the loss curves of the model and of both mini-batch solvers."""
    models = [job.model]
    for settings in ({"solver": "svrg"}, TEXTBOOK):
        if not job.in_chunks and settings["solver"] != job.model.solver_:
            other = clone(job.model).set_params(**settings)
            if other.batch_size == "auto":
                other.set_params(batch_size=max(32, len(job.y) // 2000))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                models.append(other.fit(job.X, job.y))
    names = [f'solver="{one.solver_}", batch_size={one.batch_size_}' for one in models]
    display = LossHistoryDisplay.from_estimator(models, Figure().subplots(), names=names)
    _write(display.figure_, path)


def draw_coefficients(job: Job, path: Path) -> None:
    """Write a picture of the largest coefficients, each times its column's standard deviation."""
    shown = largest(job.model, MOST_DRAWN)[::-1]
    figure = Figure(figsize=(6.4, 1 + 0.28 * len(shown)))
    ax = figure.subplots()
    ax.barh(range(len(shown)), (job.model.coef_ * job.model.scaler_.scale_)[shown])
    ax.set_yticks(range(len(shown)), [label(job.names[j]).replace("$", r"\$") for j in shown])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("Change of the prediction for one standard deviation of the column")
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Fonts lack characters.
            figure.savefig(path, format=path.suffix[1:] or "png", dpi=150, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot write {path}: {getattr(error, 'strerror', 0) or error}") from error
