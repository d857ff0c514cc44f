"""The output of ``python -m sklearn_minibatch``.

It compares three estimators, runs two grid searches, and draws a loss curve.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._data.source import ChunkSource
from .._displays.loss_history import LossHistoryDisplay
from .._run.callbacks import EpochProgressBar
from .words import label

HEADING = "coefficient (original units)"
GRID: dict[str, list[Any]] = {"batch_size": [1, 16, 128], "lr": [0.01, 0.1, 1.0]}
GRID_FOLDS = 5
GRID_ROWS = 5000
# With more columns, mini-batches of one row take minutes.
GRID_COLUMNS = 50
GRID_CELLS = 50_000
TEXTBOOK_BATCH = 32
TEXTBOOK_EPOCHS = 20
TEXTBOOK_STEPS = 2000
MOST_COEFFICIENTS = 40


class Fit(NamedTuple):
    """A fitted linear model in original units, with the epochs and seconds that the fit took."""

    name: str
    coef: np.ndarray
    intercept: float
    epochs: int | None
    seconds: float
    notes: list


def compare(model: Any, X: np.ndarray, y: np.ndarray) -> list[Fit]:
    """Fit `model`, closed-form Ridge and SGDRegressor to the same rows and the same objective.

    Parameters
    ----------
    model : MiniBatchRidgeSGD
        The model, which is fitted in place.
    X : ndarray of shape (n_samples, n_features)
        The rows in original units.
    y : ndarray of shape (n_samples,)
        The target.

    Returns
    -------
    fits : list of Fit
        The three fits in the order above.
    """
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=model.alpha * len(y)))
    sgd = make_pipeline(StandardScaler(), SGDRegressor(alpha=model.alpha, random_state=0))
    names = ["MiniBatchRidgeSGD", "Ridge", "SGDRegressor"]
    fits = [
        _fit(name, estimator, X, y, X.shape[1])
        for name, estimator in zip(names, [model, ridge, sgd], strict=True)
    ]
    if _varies(y) and _r2(fits[2], X, y) < 0:
        fits[2].notes.append("it diverged; its learning rate is too large for these columns.")
    return fits


def _r2(fit: Fit, X: np.ndarray, y: np.ndarray) -> float:
    """Return R2, or NaN if it is not defined."""
    predictions = X @ fit.coef + fit.intercept
    return r2_score(y, predictions) if _varies(y) and np.all(np.isfinite(predictions)) else np.nan


def fit_chunks(model: Any, chunks: Callable[[], Any], n_features: int, with_bar: bool) -> Fit:
    """Fit `model` to chunks, with a progress bar on the standard error stream if `with_bar`.

    Returns
    -------
    fit : Fit
        The fit of `model`; the other estimators need all rows in memory.
    """
    if with_bar:
        model.set_callbacks(EpochProgressBar())
    fit = _fit("MiniBatchRidgeSGD", model, ChunkSource(chunks), None, n_features, repeats=1)
    if with_bar:
        model.set_callbacks()
    return fit


def _fit(name: str, estimator: Any, X: Any, y: Any, n_features: int, repeats: int = 3) -> Fit:
    seconds: list[float] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The first fit includes the time for loading code, so the best of a few is reported.
        while len(seconds) < repeats and sum(seconds) < 1:
            start = time.perf_counter()
            try:
                estimator.fit(X, y)
            except ValueError as error:  # SGDRegressor raises when it overflows
                return Fit(name, np.full(n_features, np.nan), np.nan, None, np.nan, [str(error)])
            seconds.append(time.perf_counter() - start)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    coef, intercept = original_units(estimator)
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    return Fit(name, coef, intercept, last.n_iter_, min(seconds), notes)


def original_units(estimator: Any) -> tuple[np.ndarray, float]:
    """Return the coefficients (d,) and the intercept in original units.

    The estimator is a linear model, or a pipeline of a StandardScaler and a linear model.
    """
    if not hasattr(estimator, "steps"):
        return estimator.coef_, float(estimator.intercept_)
    scaler = estimator[0]
    linear = estimator[-1]
    coef = linear.coef_ / scaler.scale_
    return coef, float(np.squeeze(linear.intercept_)) - float(scaler.mean_ @ coef)


def largest(model: Any, n_shown: int) -> np.ndarray:
    """Return the indices of the largest coefficients, each times the column's standard deviation.

    Parameters
    ----------
    model : MiniBatchRidgeSGD
        The fitted model.
    n_shown : int
        The largest number of indices.

    Returns
    -------
    indices : ndarray of int
        The indices in descending order of the coefficients, or in the order of the columns if there
        are no more than `n_shown`.
    """
    if len(model.coef_) <= n_shown:
        return np.arange(len(model.coef_))
    return np.argsort(-np.abs(model.coef_ * model.scaler_.scale_), kind="stable")[:n_shown]


def coefficient_rows(
    fits: Sequence[Fit], names: Sequence[str], shown: np.ndarray
) -> list[list[str]]:
    """Return the rows of a table, one for each coefficient in `shown` and one for the intercept."""
    rows = [[label(names[j]), *(f"{fit.coef[j]:#.6g}" for fit in fits)] for j in shown]
    if len(names) > len(shown):
        rows.append([f"... and {len(names) - len(shown):,} more", *("" for _ in fits)])
    return [*rows, ["(intercept)", *(f"{fit.intercept:#.6g}" for fit in fits)]]


def comparison_table(
    fits: Sequence[Fit], names: Sequence[str], X: np.ndarray, y: np.ndarray, shown: np.ndarray
) -> list[str]:
    """Return the lines of a table that compares the fits.

    It has a row for each coefficient in `shown`, the intercept, R2, the distance to Ridge, epochs
    and seconds.
    """
    spread, unit = (np.std(y), "std(y)") if _varies(y) else (1.0, "units of y")
    predictions = [X @ fit.coef + fit.intercept for fit in fits]
    distances = [np.sqrt(np.mean((p - predictions[1]) ** 2)) / spread for p in predictions]
    scores = [_r2(fit, X, y) for fit in fits]
    rows = [
        *coefficient_rows(fits, names, shown),
        [],
        ["R2", *map(_score, scores)],
        [
            f"distance to Ridge, {unit}",
            *(f"{d:.1e}" if i != 1 else "-" for i, d in enumerate(distances)),
        ],
        ["epochs", *("-" if fit.epochs is None else str(fit.epochs) for fit in fits)],
        ["seconds", *(f"{fit.seconds:.4f}" for fit in fits)],
    ]
    return table([HEADING, *(fit.name for fit in fits)], rows)


def chunks_table(
    fit: Fit,
    model: Any,
    names: Sequence[str],
    chunks: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    y_mean: float,
    shown: np.ndarray,
) -> list[str]:
    """Return the lines of a table of one fit to chunks, which are read once more for R2."""
    left = total = 0.0
    for X, y in chunks():
        left += np.sum((y - X @ fit.coef - fit.intercept) ** 2)
        total += np.sum((y - y_mean) ** 2)
    rows = [
        *coefficient_rows([fit], names, shown),
        [],
        ["R2", _score(1 - left / total if total else np.nan)],
        ["passes over the file", str(model.n_passes_)],
        ["seconds", f"{fit.seconds:.4f}"],
    ]
    return table([HEADING, fit.name], rows)


def _score(score: float) -> str:
    # The R2 of a fit that diverged has many digits.
    return f"{score:.2e}" if score < -100 else f"{score:.6f}"


def _varies(y: np.ndarray) -> bool:
    # The standard deviation of equal numbers may differ from 0 by rounding, and that of very small
    # numbers underflows to 0.
    return bool(np.ptp(y) > 0 and np.std(y) > 0)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    The first column is aligned left, the others right. An empty row becomes a blank line.

    Examples
    --------
    >>> print("\\n".join(table(["", "a", "b"], [["one", "1", "10"], [], ["two", "2.5", "-"]])))
           a   b
    one    1  10
    <BLANKLINE>
    two  2.5   -
    """
    cells = [row for row in [header, *rows] if row]
    widths = [max(len(row[j]) for row in cells) for j in range(len(header))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        if row
        else ""
        for row in [header, *rows]
    ]


def grid_search(model: Any, X: np.ndarray, y: np.ndarray) -> tuple[Any, int]:
    """Search GRID by cross-validation.

    Returns
    -------
    search : GridSearchCV
        The fitted search.
    n_diverged : int
        The number of fits that warned of divergence.
    """
    folds = KFold(GRID_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search = GridSearchCV(model, GRID, cv=folds, refit=False).fit(X, y)
    diverged = [
        w
        for w in caught
        if issubclass(w.category, ConvergenceWarning) and "diverged" in str(w.message)
    ]
    return search, len(diverged)


def grid_report(model: Any, X: np.ndarray, y: np.ndarray) -> list[str]:
    """Return lines with the grid searches of both solvers over batch sizes and learning rates."""
    if len(y) < 2 * GRID_FOLDS or not _varies(y):
        return ["No grid search: it needs at least 10 rows and a target that is not constant."]
    lines = [f"Grid search over batch_size and lr (GridSearchCV, mean R2 of {GRID_FOLDS} folds)"]
    n_rows = min(GRID_ROWS, GRID_CELLS // min(X.shape[1], GRID_COLUMNS))
    if len(y) > n_rows:
        chosen = np.random.default_rng(0).choice(len(y), n_rows, replace=False)
        X = X[chosen]
        y = y[chosen]
        lines.append(f"on {n_rows:,} rows drawn at random")
    svrg, _ = grid_search(clone(model).set_params(solver="svrg"), X, y)
    spread = np.ptp(svrg.cv_results_["mean_test_score"])
    lines += ["", 'solver="svrg" gives the same answer for every batch size and learning rate:', ""]
    lines += [*_grid_table(svrg), "", f"Largest difference between two cells: {spread:.1e}."]
    textbook = clone(model).set_params(solver="sgd", max_iter=TEXTBOOK_EPOCHS, tol=None)
    sgd, n_diverged = grid_search(textbook, X, y)
    best = ", ".join(f"{name}={value}" for name, value in sgd.best_params_.items())
    lines += [
        "",
        f'solver="sgd", the textbook algorithm, {TEXTBOOK_EPOCHS} epochs, depends on both:',
        "",
    ]
    lines += [*_grid_table(sgd), "", f"Best: {best}."]
    if n_diverged:
        n_fits = GRID_FOLDS * len(sgd.cv_results_["params"])
        lines[-1] += (
            f" {n_diverged} of {n_fits} fits diverged; scored is the best point before that."
        )
    return lines


def _grid_table(search: Any) -> list[str]:
    scores = search.cv_results_["mean_test_score"].reshape(len(GRID["batch_size"]), -1)
    header = ["", *(f"lr={lr:g}" for lr in GRID["lr"])]
    rows = [
        [f"batch_size={size}", *(f"{s:.4f}" for s in row)]
        for size, row in zip(GRID["batch_size"], scores, strict=True)
    ]
    return table(header, rows)


def closed_form_loss(fit: Fit, model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return the minimum of the objective, which is F at the closed form."""
    beta = fit.coef * model.scaler_.scale_
    return np.mean((X @ fit.coef + fit.intercept - y) ** 2) / 2 + model.alpha / 2 * beta @ beta


def draw_loss(model: Any, minimum: float, X: np.ndarray, y: np.ndarray, path: str) -> None:
    """Write a picture of the loss curves of `model` and of both solvers with the same mini-batches.

    Parameters
    ----------
    model : MiniBatchRidgeSGD
        The model fitted to X and y.
    minimum : float
        F at the closed form, which is drawn as a horizontal line.
    X, y : ndarray of shape (n_samples, n_features), ndarray of shape (n_samples,)
        The rows and the target.
    path : str
        The path of the picture.
    """
    # Mini-batches have more than TEXTBOOK_BATCH rows only if an epoch would have too many steps.
    textbook_size = max(TEXTBOOK_BATCH, len(y) // TEXTBOOK_STEPS)
    size = textbook_size if model.batch_size == "auto" else model.batch_size
    shared = clone(model).set_params(batch_size=size)
    svrg = clone(shared).set_params(solver="svrg")
    textbook = clone(shared).set_params(solver="sgd", max_iter=TEXTBOOK_EPOCHS, tol=None)
    others = [
        one for one in (svrg, textbook) if one.solver != model.solver_ or size != model.batch_size_
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curves = [model, *(one.fit(X, y) for one in others)]
    names = [curve_name(one) for one in curves]
    draw_curves(curves, names, minimum, path)


def curve_name(model: Any) -> str:
    """Return the label of the curve of a fitted model."""
    return f'solver="{model.solver_}"' + (
        "" if model.solver_ == "cholesky" else f", batch_size={model.batch_size_}"
    )


def solver_in_words(model: Any) -> str:
    """Return a text with the solver of a fitted model, and its batch size if it has one."""
    read = (
        "in one read of the rows"
        if model.solver_ == "cholesky"
        else f"mini-batches of {model.batch_size_} rows"
    )
    return f"solver={model.solver_}, {read}"


def draw_curves(
    models: Sequence[Any], names: Sequence[str], minimum: float | None, path: str
) -> None:
    """Write a picture of the loss curves of fitted models, with a line at `minimum` if given."""
    import matplotlib.pyplot as plt

    display = LossHistoryDisplay.from_estimator(models, names=names)
    if minimum is not None:
        display.ax_.axhline(minimum, color="black", linestyle=":", label="closed form")
        display.ax_.legend()
    suffix = Path(path).suffix[1:] or "png"
    try:
        display.figure_.savefig(path, format=suffix, dpi=150, bbox_inches="tight")
    finally:
        plt.close(display.figure_)
