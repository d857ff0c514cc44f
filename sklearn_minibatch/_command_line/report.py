"""What ``python -m sklearn_minibatch`` shows: three estimators side by side, two grid searches, a loss curve."""

import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._display import LossHistoryDisplay

GRID = {"batch_size": [1, 16, 128], "lr": [0.01, 0.1, 1.0]}
GRID_FOLDS, GRID_ROWS = 5, 5000
TEXTBOOK_BATCH, TEXTBOOK_EPOCHS = 32, 20
LABEL_WIDTH = 32
MOST_COEFFICIENTS = 1000


class Fit(NamedTuple):
    """A fitted line in original units, and what it took."""

    name: str
    coef: np.ndarray
    intercept: float
    epochs: int | None
    seconds: float
    notes: list


def compare(model, X, y):
    """Fit `model`, closed-form Ridge and SGDRegressor to the same rows and the same objective.

    Parameters
    ----------
    model : MiniBatchRidgeSGD
        Fitted in place.
    X : ndarray of shape (n_samples, n_features)
        Rows, in original units.
    y : ndarray of shape (n_samples,)
        Target.

    Returns
    -------
    fits : list of Fit
        In the order above.
    """
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=model.alpha * len(y)))
    sgd = make_pipeline(StandardScaler(), SGDRegressor(alpha=model.alpha, random_state=0))
    names = ["MiniBatchRidgeSGD", "Ridge", "SGDRegressor"]
    return [_fit(name, estimator, X, y) for name, estimator in zip(names, [model, ridge, sgd], strict=True)]


def _fit(name, estimator, X, y):
    seconds = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # The first fit also pays for loading code; the best of a few is what a fit takes.
        while len(seconds) < 3 and sum(seconds) < 1:
            start = time.perf_counter()
            try:
                estimator.fit(X, y)
            except ValueError as error:  # SGDRegressor raises when it overflows
                return Fit(name, np.full(X.shape[1], np.nan), np.nan, None, np.nan, [str(error)])
            seconds.append(time.perf_counter() - start)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    coef, intercept = original_units(estimator)
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    return Fit(name, coef, intercept, last.n_iter_, min(seconds), notes)


def original_units(estimator):
    """Coefficients and intercept for the columns as given, of a linear model or a pipeline of StandardScaler and one."""
    if not hasattr(estimator, "steps"):
        return estimator.coef_, float(estimator.intercept_)
    scaler, linear = estimator[0], estimator[-1]
    coef = linear.coef_ / scaler.scale_
    return coef, float(np.squeeze(linear.intercept_)) - float(scaler.mean_ @ coef)


def comparison_table(fits, names, X, y):
    """Lines of a table: a row per coefficient, then how good each fit is and what it took."""
    spread, unit = (np.std(y), "std(y)") if _varies(y) else (1.0, "units of y")
    predictions = [X @ fit.coef + fit.intercept for fit in fits]
    distances = [np.sqrt(np.mean((p - predictions[1]) ** 2)) / spread for p in predictions]
    scores = [r2_score(y, p) if _varies(y) and np.all(np.isfinite(p)) else np.nan for p in predictions]
    shown = zip(names[:MOST_COEFFICIENTS], _coefs(fits), strict=False)
    rows = [[_label(name), *(f"{value:#.6g}" for value in values)] for name, values in shown]
    if len(names) > MOST_COEFFICIENTS:
        rows.append([f"... and {len(names) - MOST_COEFFICIENTS} more", *("" for _ in fits)])
    rows.append(["(intercept)", *(f"{fit.intercept:#.6g}" for fit in fits)])
    rows.append([])
    rows.append(["R2", *(f"{score:.6f}" for score in scores)])
    rows.append([f"distance to Ridge, {unit}", *(f"{d:.1e}" if i != 1 else "-" for i, d in enumerate(distances))])
    rows.append(["epochs", *("-" if fit.epochs is None else str(fit.epochs) for fit in fits)])
    rows.append(["seconds", *(f"{fit.seconds:.4f}" for fit in fits)])
    return table(["coefficient (original units)", *(fit.name for fit in fits)], rows)


def _varies(y):
    # The standard deviation of equal numbers is not always 0, and that of very small ones underflows to it.
    return np.ptp(y) > 0 and np.std(y) > 0


def _coefs(fits):
    return np.column_stack([fit.coef for fit in fits])


def _label(name):
    """A column name fit for a table: one line, no control characters, not too wide."""
    shown = "".join(c if c.isprintable() else "?" for c in name) or "(no name)"
    return shown if len(shown) <= LABEL_WIDTH else shown[: LABEL_WIDTH - 3] + "..."


def table(header, rows):
    """Lines of a table, the first column flush left and the others flush right; an empty row is a blank line.

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
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        if row
        else ""
        for row in [header, *rows]
    ]


def grid_search(model, X, y):
    """Search GRID by cross-validation.

    Returns
    -------
    search : GridSearchCV
        Fitted.
    n_diverged : int
        Fits that warned of divergence.
    """
    folds = KFold(GRID_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search = GridSearchCV(model, GRID, cv=folds, refit=False).fit(X, y)
    diverged = [w for w in caught if issubclass(w.category, ConvergenceWarning) and "diverged" in str(w.message)]
    return search, len(diverged)


def grid_report(model, X, y):
    """Lines that show the two solvers over the same grid of batch sizes and learning rates."""
    if len(y) < 2 * GRID_FOLDS or not _varies(y):
        return ["No grid search: it needs at least 10 rows and a target that is not constant."]
    lines = [f"Grid search over batch_size and lr (GridSearchCV, mean R2 of {GRID_FOLDS} folds)"]
    if len(y) > GRID_ROWS:
        chosen = np.random.default_rng(0).choice(len(y), GRID_ROWS, replace=False)
        X, y = X[chosen], y[chosen]
        lines.append(f"on {GRID_ROWS} rows drawn at random")
    svrg, _ = grid_search(clone(model).set_params(solver="svrg"), X, y)
    spread = np.ptp(svrg.cv_results_["mean_test_score"])
    lines += ["", 'solver="svrg", the default, gives the same answer for every batch size and learning rate:', ""]
    lines += [*_grid_table(svrg), "", f"Largest difference between two cells: {spread:.1e}."]
    textbook = clone(model).set_params(solver="sgd", max_iter=TEXTBOOK_EPOCHS, tol=None)
    sgd, n_diverged = grid_search(textbook, X, y)
    best = ", ".join(f"{name}={value}" for name, value in sgd.best_params_.items())
    lines += ["", f'solver="sgd", the textbook algorithm, {TEXTBOOK_EPOCHS} epochs, depends on both:', ""]
    lines += [*_grid_table(sgd), "", f"Best: {best}."]
    if n_diverged:
        n_fits = GRID_FOLDS * len(sgd.cv_results_["params"])
        lines[-1] += f" {n_diverged} of {n_fits} fits diverged; scored is the best point before that."
    return lines


def _grid_table(search):
    scores = search.cv_results_["mean_test_score"].reshape(len(GRID["batch_size"]), -1)
    header = ["", *(f"lr={lr:g}" for lr in GRID["lr"])]
    rows = [[f"batch_size={size}", *(f"{s:.4f}" for s in row)] for size, row in zip(GRID["batch_size"], scores, strict=True)]
    return table(header, rows)


def closed_form_loss(fit, model, X, y):
    """The minimum of the objective: F at the closed form."""
    beta = fit.coef * model.scaler_.scale_
    return np.mean((X @ fit.coef + fit.intercept - y) ** 2) / 2 + model.alpha / 2 * beta @ beta


def draw_loss(model, minimum, X, y, path):
    """Write the loss curve of the fitted `model`, beside those of both solvers with the same mini-batches.

    Parameters
    ----------
    model : MiniBatchRidgeSGD
        Fitted to X and y.
    minimum : float
        F at the closed form, for a line to land on.
    X, y : ndarray of shape (n_samples, n_features), ndarray of shape (n_samples,)
        Rows and target.
    path : str
        Picture to write.
    """
    size = TEXTBOOK_BATCH if model.batch_size == "auto" else model.batch_size
    shared = clone(model).set_params(batch_size=size)
    svrg = clone(shared).set_params(solver="svrg")
    textbook = clone(shared).set_params(solver="sgd", max_iter=TEXTBOOK_EPOCHS, tol=None)
    others = [one for one in (svrg, textbook) if one.solver != model.solver or size != model.batch_size_]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curves = [model, *(one.fit(X, y) for one in others)]
    names = [f'solver="{one.solver}", batch_size={one.batch_size_}' for one in curves]
    display = LossHistoryDisplay.from_estimator(curves, names=names)
    display.ax_.axhline(minimum, color="black", linestyle=":", label="closed form")
    display.ax_.legend()
    suffix = Path(path).suffix[1:] or "png"
    display.figure_.savefig(path, format=suffix, dpi=150, bbox_inches="tight")
