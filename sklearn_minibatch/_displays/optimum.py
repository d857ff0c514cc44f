"""The optimum that loss curves are held against: that of the closed form, or the lowest seen."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

EPS = np.finfo(float).eps
# A solver updates F from its first value, so F has rounding errors of this many EPS of that value.
ROUNDING = 16
# F depends on the rows and on these parameters. The optimum is the same only if they are equal.
OBJECTIVE = ("alpha", "fit_intercept", "standardize")
# The parameters of the fit that finds the optimum. F is quadratic near it, so the error of F is of
# the order of the square of `tol`.
TO_CLOSED_FORM = {
    "solver": "auto",
    "batch_size": "auto",
    "lr": "auto",
    "lr_schedule": "constant",
    "lr_decay": 0.0,
    "average": False,
    "preconditioner": "auto",
    "max_iter": 10_000,
    "n_iter_no_change": 10_000,
    "tol": 1e-12,
    "verbose": 0,
}
# Moments of the same rows that are summed in another order differ by less than this fraction.
SAME = 1e-6


def above_optimum(history: np.ndarray, optimum: float) -> np.ndarray:
    """Return the differences of losses (n_epochs,) from the optimum, at least the rounding error.

    A loss is smaller than the optimum only by rounding errors, so the largest such difference is an
    estimate of these errors. Losses that are NaN stay NaN.
    """
    difference = history - optimum
    below = np.max(-difference, where=difference < 0, initial=0.0)
    return np.maximum(difference, max(below, least_difference(optimum, history)))


def above_lowest(losses: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the differences of losses from the least loss of all curves.

    They are NaN for epochs that reach the least loss, because a difference of 0 would suggest that
    the minimum is reached. A curve that has this loss in all epochs is drawn at the size of the
    rounding errors instead.
    """
    together = np.concatenate(losses)
    lowest = np.fmin.reduce(together)
    curves = []
    for history in losses:
        difference = history - lowest
        is_lowest = difference <= ROUNDING * EPS * history[0]
        if is_lowest.all():
            curves.append(np.maximum(difference, least_difference(lowest, together)))
        else:
            curves.append(np.where(is_lowest, np.nan, difference))
    return curves


def least_difference(optimum: float, losses: np.ndarray) -> float:
    """Return the larger of two rounding errors of a difference from the optimum.

    These are the spacing of floats at the optimum and the square of the errors in residuals.
    """
    largest = np.max(losses, where=np.isfinite(losses), initial=0.0)
    return max(np.spacing(abs(optimum)), EPS**2 * largest)


def fitted_model(estimator: Any) -> Any:
    """Return the fitted `MiniBatchRidgeSGD` of a search or a Pipeline, or the estimator itself."""
    if hasattr(estimator, "best_estimator_"):
        return fitted_model(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return fitted_model(estimator.steps[-1][1])
    if not hasattr(estimator, "loss_history_"):
        check_is_fitted(estimator)
        name = type(estimator).__name__
        if hasattr(estimator, "cv_results_"):
            raise ValueError(f"This {name} kept no fitted estimator; set refit=True.")
        raise TypeError(
            "LossHistoryDisplay draws a fitted MiniBatchRidgeSGD, alone or at the end of a "
            f"Pipeline or of a search; got {name}."
        )
    if estimator.loss_history_.shape[0] == 0:
        raise ValueError(
            "This estimator was trained by partial_fit alone, which records no loss history. "
            "Train it by fit, which needs all rows at once."
        )
    return estimator


def fit(estimator: Any, X: Any, y: Any, fit_params: dict[str, Any] | None) -> Any:
    """Fit the estimator, and return it."""
    return estimator.fit(X, y, **(fit_params or {}))


def closed_form_losses(
    estimators: Sequence[Any],
    X: Any,
    y: Any,
    fit_params: dict[str, Any] | None,
) -> list[float]:
    """Return the loss at the minimiser for each fitted estimator.

    Estimators with the same objective share a fit.
    """
    if X is None:
        raise ValueError("optimum='closed_form' needs X and y, the rows of the estimators' fits.")
    fits: dict[str, Any] = {}
    losses = []
    for estimator in estimators:
        solving = to_closed_form(estimator)
        key = repr(solving.get_params())
        if key not in fits:
            fits[key] = fitted_model(fit(solving, X, y, fit_params))
        losses.append(loss_at(fits[key], fitted_model(estimator)))
    return losses


def to_closed_form(estimator: Any) -> Any:
    """Return an unfitted copy, without a search, whose fit converges to the minimiser of F."""
    if hasattr(estimator, "best_estimator_"):
        return to_closed_form(estimator.best_estimator_)
    copy = clone(estimator)
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        copy.steps[-1] = (name, to_closed_form(last))
        return copy
    if not estimator.early_stopping:
        copy.set_params(random_state=0)
    elif not isinstance(estimator.random_state, Integral):
        raise ValueError(
            "optimum='closed_form' with early_stopping=True needs an int as random_state of the "
            "estimator: it decides which rows are held out."
        )
    return copy.set_params(**TO_CLOSED_FORM).set_callbacks()


def converged(estimator: Any) -> Any:
    """Return the fitted model of the estimator; raise ValueError unless it has converged."""
    model = fitted_model(estimator)
    if not model.converged_:
        raise ValueError(
            "The estimator given as optimum has not converged: its last loss is not the least. "
            "Raise its max_iter, or take optimum='closed_form'."
        )
    return model


def loss_at(optimum: Any, model: Any) -> float:
    """Return the last loss of the model `optimum`.

    Raise ValueError unless it has the objective and the rows of `model`.
    """
    for name in OBJECTIVE:
        theirs = getattr(optimum, name)
        ours = getattr(model, name)
        if theirs != ours:
            raise ValueError(
                f"The optimum has {name}={theirs} and a curve {name}={ours}: the losses differ. "
                "Take optimum='closed_form', which finds the optimum of each curve."
            )
    if not same_rows(optimum.scaler_, model.scaler_):
        raise ValueError(
            "The optimum is not that of the rows that an estimator was fitted to: their columns "
            "have other means. Give the X, y and fit_params of its fit, and an int as "
            "random_state of the steps before it."
        )
    return float(optimum.loss_history_[-1])


def same_rows(a: Any, b: Any) -> bool:
    """Return whether two fitted scalers have the same means up to rounding errors."""
    if a.n_features_in_ != b.n_features_in_:
        return False
    off = np.abs(a.mean_ - b.mean_) / (b.scale_ + np.abs(b.mean_))
    return bool(off.max() < SAME)
