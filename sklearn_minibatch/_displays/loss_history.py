"""Loss, distance to the closed form, or validation score after each epoch, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator

from .._data.validation import is_same
from .._estimator import MiniBatchRidgeSGD
from .._statistics.arrays import to_numpy
from .display import Display, check_kind, fitted_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Kind: TypeAlias = Literal["loss", "distance", "validation"]

EPS = np.finfo(float).eps
ATTRIBUTES = {
    "loss": "loss_history_",
    "distance": "distance_history_",
    "validation": "validation_scores_",
}
YLABELS = {
    "loss": "Loss",
    "distance": "Distance to closed form, std(y)",
    "validation": "Validation score, R²",
}
# The loss depends on the samples and on these parameters.
OBJECTIVE = ("alpha", "penalty_factor", "positive", "fit_intercept", "standardize", "half_life")
SAME = 1e-6
# Curves differ in line style and marker, so that they can be distinguished without colours. The
# numbers of styles and of markers, 5 and 8, have no common factor.
LINESTYLES = ["-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2))]
MARKERS = "osD^vPX*"
DOTS = 40  # the most markers of a curve
# A legend of more lines than the first would cover curves, so it is drawn beside the axes; with
# more than the second it would not fit there.
LEGEND_BESIDE = (4, 20)
LABEL_WIDTH = 40  # characters in a line of the legend


class LossHistoryDisplay(Display):
    """Loss after each epoch of one or several fitted estimators.

    Create a display with :meth:`from_estimator`. Epochs in which a fit has diverged are not drawn,
    and the label of its curve says so.

    Parameters
    ----------
    curves : list of ndarray of shape (n_epochs,)
        The values drawn for each estimator; NaN for epochs in which it had diverged.
    names : list of str
        The label of each curve.
    ylabel : str, default="Loss"
        The label of the vertical axis.
    log : bool, default=False
        Whether the vertical axis is logarithmic.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the curves.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    lines_ : list of matplotlib Line2D
        The curves.

    See Also
    --------
    sklearn.model_selection.ValidationCurveDisplay : Scores against a parameter, cross-validated.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD
    >>> X, y = load_diabetes(return_X_y=True)
    >>> models = [MiniBatchRidgeSGD(batch_size=b, random_state=0).fit(X, y) for b in (8, 64)]
    >>> display = LossHistoryDisplay.from_estimator(models)
    >>> [line.get_label() for line in display.lines_]
    ['batch_size=8', 'batch_size=64']

    How far each is above the loss of the closed form, on a logarithmic axis:

    >>> closed_form = MiniBatchRidgeSGD().fit(X, y)
    >>> display = LossHistoryDisplay.from_estimator(models, optimum=closed_form)
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(
        self,
        *,
        curves: Sequence[np.ndarray],
        names: Sequence[str],
        ylabel: str = "Loss",
        log: bool = False,
    ) -> None:
        self.curves = curves
        self.names = names
        self.ylabel = ylabel
        self.log = log

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator | Sequence[BaseEstimator],
        ax: Axes | None = None,
        *,
        names: str | Sequence[str] | None = None,
        kind: Kind = "loss",
        optimum: float | BaseEstimator | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the history of a fitted estimator, or of several on the same axes.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGD, Pipeline, search, or list of them
            One or several estimators fitted by ``fit``. The curve of a Pipeline is that of its last
            step, the curve of a search that of its ``best_estimator_``.
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        names : str or list of str, default=None
            The labels. By default, a single curve has the class name as its label, and several
            curves have the parameters that differ.
        kind : {"loss", "distance", "validation"}, default="loss"
            Whether to draw ``loss_history_``, ``distance_history_`` or ``validation_scores_``.
        optimum : float or estimator, default=None
            For losses, the minimum, which is subtracted. If it is a fitted estimator, which must
            have converged, this is its last loss: for example that of
            ``MiniBatchRidgeSGD(alpha).fit(X, y)``, which solves for the closed form. The axis is
            then logarithmic: losses that rounding errors make equal to it or less are not drawn.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        TypeError
            If an estimator is not a `MiniBatchRidgeSGD` and does not end in one.
        ValueError
            If an estimator has no such history, for example after `partial_fit` alone; if there is
            not one name for each; or if `optimum` has not converged or minimises another loss.
        ImportError
            If matplotlib is not installed.
        """
        check_kind(kind, YLABELS)
        estimators = estimator if isinstance(estimator, (list, tuple)) else [estimator]
        models = [fitted_model(one, MiniBatchRidgeSGD) for one in estimators]
        if not models:
            raise ValueError("Got an empty list; give at least one fitted estimator.")
        if names is None:
            names = labels(models)
        names = [names] if isinstance(names, str) else list(names)
        if len(names) != len(models):
            counts = f"{len(names)} names for {len(models)} estimators"
            raise ValueError(f"Got {counts}; give one name for each.")
        curves = [recorded(model, kind) for model in models]
        for name, curve in zip(names, curves, strict=True):
            if len(curve) == 0:
                raise ValueError(
                    f"{name} has no {ATTRIBUTES[kind]}: fit records losses, and distances unless "
                    "solver='sgd', and scores if early_stopping=True; partial_fit records none."
                )
        for curve, diverged in zip(curves, diverged_epochs(models), strict=True):
            curve[diverged] = np.nan
        ylabel, log = YLABELS[kind], kind == "distance"
        if kind == "loss" and optimum is not None:
            least = optimum if isinstance(optimum, Real) else least_loss(optimum, models)
            curves = [curve - least for curve in curves]
            ylabel, log = "Loss above the optimum", True
        return cls(curves=curves, names=names, ylabel=ylabel, log=log).plot(ax, **kwargs)

    def _draw(self, ax: Axes, style: dict[str, Any]) -> list[Line2D]:
        from matplotlib.ticker import MaxNLocator

        pairs = zip(self.curves, self.names, strict=True)
        lines: list[Line2D] = []
        for i, (curve, name) in enumerate(pairs, start=len(ax.lines)):
            ours = {
                "linestyle": LINESTYLES[i % len(LINESTYLES)],
                "marker": MARKERS[i % len(MARKERS)],
                "markersize": 4,
                "markevery": -(-len(curve) // DOTS),
                "label": f"{name} (diverged)" if np.isnan(curve).any() else name,
            }
            lines += ax.plot(np.arange(1, len(curve) + 1), curve, **{**ours, **style})
        ax.set(xlabel="Epoch", ylabel=self.ylabel)
        # A logarithmic axis cannot show 0, so it is linear if there are no positive values.
        if self.log and any(np.any(curve > 0) for curve in self.curves):
            ax.set_yscale("log", nonpositive="mask")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        few, many = LEGEND_BESIDE
        n_lines = sum(1 + name.count("\n") for name in self.names)
        if few < n_lines <= many and ax.figure.get_constrained_layout():
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        else:
            # The layout must not shrink the axes for a legend inside them.
            ax.legend().set_in_layout(False)
        return lines


def recorded(model: Any, kind: Kind) -> np.ndarray:
    """Return a copy of a history of a fitted model; it is empty if there is none."""
    history = getattr(model, ATTRIBUTES[kind], [])
    return np.array(history if isinstance(history, list) else to_numpy(history), dtype=float)


def diverged_epochs(models: Sequence[Any]) -> list[np.ndarray]:
    """Return masks (n_epochs,) of the epochs whose loss is not finite, or 1/EPS times too large.

    Such a loss would hide all others in a picture. A fit stops when it diverges, so the first of
    several epochs has not diverged.
    """
    losses = [recorded(model, "loss") for model in models]
    first = [each[0] for each in losses if 0 < each[0] < np.inf]
    several = [each[0] for each in losses if len(each) > 1 and 0 < each[0] < np.inf]
    bound = max(several) if several else min(first, default=0.0)
    return [~(np.isfinite(each) & (each * EPS <= bound)) for each in losses]


def least_loss(estimator: Any, models: Sequence[Any]) -> float:
    """Return the last loss of an estimator, which must minimise the objective of all the models."""
    optimum = fitted_model(estimator, MiniBatchRidgeSGD)
    for model in models:
        a, b = optimum.scaler_, model.scaler_
        alike = a.mean_.shape == b.mean_.shape and all(
            is_same(getattr(optimum, name), getattr(model, name)) for name in OBJECTIVE
        )
        # Means that are summed in another order differ by much less.
        near = {"rtol": SAME, "atol": SAME * a.scale_}
        if not (optimum.converged_ and alike and np.allclose(a.mean_, b.mean_, **near)):
            raise ValueError(
                "The estimator given as optimum must have converged, on the samples of every curve "
                f"and with the same {', '.join(OBJECTIVE)}. Draw a picture for each objective."
            )
    return float(recorded(optimum, "loss")[-1])


def labels(models: Sequence[Any]) -> list[str]:
    """Return labels with the parameters that differ between the models, or the class if none do."""
    params = [model.get_params() for model in models]
    differ = [name for name in params[0] if len({text(each[name]) for each in params}) > 1]
    found = []
    for model in models:
        parts = [f"{name}={resolved(model, name)}" for name in differ]
        found.append(textwrap.fill(", ".join(parts), LABEL_WIDTH) or type(model).__name__)
    alike = {label for label in found if found.count(label) > 1}
    return [f"{label} ({i})" if label in alike else label for i, label in enumerate(found, 1)]


def resolved(model: Any, name: str) -> str:
    """Return a parameter as text, and the value that "auto" was resolved to."""
    value = getattr(model, name)
    used = getattr(model, f"{name}_", None) if text(value) == "'auto'" else None
    return text(value) if used is None else f"{text(value)} ({text(used, digits=4)})"


def text(value: Any, digits: int = 8) -> str:
    """Return text in quotes, and a float with at most `digits` digits."""
    if isinstance(value, str):
        return repr(value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
