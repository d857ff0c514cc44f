"""Plots of the loss curves of fitted estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone

from .._statistics.arrays import to_numpy
from .labels import assignments, labels, numbered
from .optimum import (
    above_lowest,
    above_optimum,
    closed_form_losses,
    converged,
    fit,
    fitted_model,
    loss_at,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

EPS = np.finfo(float).eps
# Up to DOTTED_EPOCHS epochs, each has a marker. A curve with more epochs has about DOTS markers,
# because a marker for each epoch would hide the line.
DOTTED_EPOCHS = 40
DOTS = 12
# Curves differ in line style and marker, so that they can be distinguished without colours. The
# numbers of styles and of markers, 5 and 8, have no common factor.
LINESTYLES = ["-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2))]
MARKERS = "osD^vPX*"
# A legend of more than LEGEND_INSIDE curves would cover some of them. In a new figure it is placed
# beside the axes, if it has at most LEGEND_BESIDE lines.
LEGEND_INSIDE = 4
LEGEND_BESIDE = 20
YLABELS = {
    "loss": "Loss",
    "distance": "Distance to closed form, std(y)",
    "validation": "Validation score, R²",
}
WHO_HAS = {
    "distance": "solver='sgd' does not estimate it; draw the loss with optimum='closed_form'.",
    "validation": "rows are held out and scored with early_stopping=True.",
}


class LossHistoryDisplay:
    """Loss per epoch of one or several fitted estimators.

    Create a display with :meth:`from_estimator`, or with :meth:`from_param_range`, which also fits
    the estimators. The display stores the curves, and :meth:`plot` draws them. The curves differ in
    colour, line style and marker. The curve of a fit that diverged ends before the epoch in which
    it diverged, and its label says so.

    Parameters
    ----------
    loss_histories : list of ndarray of shape (n_epochs,)
        The losses of each estimator.
    names : list of str
        The label of each curve.
    optimum : float, array-like of shape (n_curves,), "lowest" or None, default=None
        The loss at the minimiser, either one for all curves or one for each. The differences of the
        losses from it are drawn. If rounding errors make a loss smaller than the optimum by some
        amount, smaller differences are drawn as that amount. "lowest" is the least loss of all the
        curves; epochs that reach it are not drawn, because they would seem to have reached the
        minimum. If it is None, the losses themselves are drawn.
    distance_histories : list of ndarray of shape (n_epochs,), default=None
        The estimated distances to the closed form, in standard deviations of y. An array is empty
        if an estimator has none.
    validation_scores : list of ndarray of shape (n_epochs,), default=None
        R^2 on held-out rows. An array is empty if an estimator has none.

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
    >>> small, large = [MiniBatchRidgeSGD(batch_size=b, random_state=0).fit(X, y) for b in (8, 64)]
    >>> display = LossHistoryDisplay.from_estimator([small, large])
    >>> [line.get_label() for line in display.lines_]
    ['batch_size=8', 'batch_size=64']

    How far each still is from the optimum, on a log axis:

    >>> display = LossHistoryDisplay.from_estimator(
    ...     [small, large], optimum="closed_form", X=X, y=y
    ... )
    >>> display.ax_.get_yscale()
    'log'

    The fits and the picture in one call:

    >>> display = LossHistoryDisplay.from_param_range(
    ...     MiniBatchRidgeSGD(random_state=0), X, y, param_name="batch_size", param_range=[8, 64]
    ... )
    >>> len(display.lines_)
    2
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Line2D]

    def __init__(
        self,
        *,
        loss_histories: Sequence[np.ndarray],
        names: Sequence[str],
        optimum: float | ArrayLike | str | None = None,
        distance_histories: Sequence[np.ndarray] | None = None,
        validation_scores: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.loss_histories = loss_histories
        self.names = names
        self.optimum = optimum
        self.distance_histories = distance_histories
        self.validation_scores = validation_scores

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator | Sequence[BaseEstimator],
        ax: Axes | None = None,
        *,
        names: str | Sequence[str] | None = None,
        kind: str = "loss",
        optimum: float | ArrayLike | str | BaseEstimator | None = None,
        X: Any = None,
        y: ArrayLike | None = None,
        fit_params: dict[str, Any] | None = None,
        log: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the loss history of a fitted estimator, or of several on one axis.

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
        optimum : float, array-like, "closed_form", estimator, "lowest" or None, default=None
            The loss at the minimiser, which is subtracted from the losses. For "closed_form", it is
            computed by a fit to `X` and `y`, one for each objective among the estimators. For a
            fitted estimator, which must have converged, it is its last loss. The other values are
            those of the constructor.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source, default=None
            The rows that the estimators were fitted to, for ``optimum="closed_form"``.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            The targets of these rows.
        fit_params : dict, default=None
            Other arguments that were passed to ``fit``, such as ``sample_weight``.
        log : bool, default=None
            Whether the vertical axis is logarithmic. If None, it is if `optimum` is given or
            distances are drawn.
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
            If an estimator has no such history, for example after `partial_fit` alone; if the
            number of `names` differs from that of the estimators; or if the optimum belongs to
            other rows or to another objective.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib()
        check_choices(kind, optimum, ("closed_form", "lowest"))
        several = isinstance(estimator, (list, tuple))
        estimators: list[Any] = list(estimator) if several else [estimator]
        models = [fitted_model(one) for one in estimators]
        if not models:
            raise ValueError("Got an empty list; give at least one fitted estimator.")
        if names is None:
            names = labels(models)
        names = [names] if isinstance(names, str) else list(names)
        if len(names) != len(models):
            counts = f"{len(names)} names for {len(models)} estimators"
            raise ValueError(f"Got {counts}; give one name for each.")
        if isinstance(optimum, str) and optimum == "closed_form":
            optimum = closed_form_losses(estimators, X, y, fit_params)
        elif hasattr(optimum, "fit"):
            optimum = [loss_at(converged(optimum), model) for model in models]
        scores = [getattr(model, "validation_scores_", []) for model in models]
        display = cls(
            loss_histories=[to_numpy(model.loss_history_) for model in models],
            names=names,
            optimum=optimum,
            distance_histories=[to_numpy(model.distance_history_) for model in models],
            validation_scores=[np.array(each) for each in scores],
        )
        return display.plot(ax=ax, kind=kind, log=log, **kwargs)

    @classmethod
    def from_param_range(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: ArrayLike | None = None,
        *,
        param_name: str,
        param_range: Sequence[Any] | np.ndarray,
        fit_params: dict[str, Any] | None = None,
        names: Sequence[str] | None = None,
        kind: str = "loss",
        optimum: float | ArrayLike | str | BaseEstimator | None = None,
        ax: Axes | None = None,
        log: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Fit an estimator with each value of a parameter, and draw the histories on one axis.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGD, Pipeline or search
            The estimator, which is cloned for each fit and not changed.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or source of chunks
            The rows to fit to.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            The targets of these rows.
        param_name : str
            The parameter that varies, such as "batch_size", or "minibatchridgesgd__batch_size" in a
            Pipeline.
        param_range : array-like of shape (n_values,)
            The values of the parameter.
        fit_params : dict, default=None
            Other arguments that are passed to ``fit``, such as ``sample_weight``.
        names : list of str, default=None
            The labels; by default, the parameter and its value.
        kind : {"loss", "distance", "validation"}, default="loss"
            As in :meth:`from_estimator`.
        optimum : float, array-like, "closed_form", estimator, "lowest" or None, default=None
            As in :meth:`from_estimator`; "closed_form" uses `X` and `y`.
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        log : bool, default=None
            As in :meth:`from_estimator`.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay

        Raises
        ------
        ValueError
            If the parameter does not exist or there are no values, or for the reasons of ``fit``
            and :meth:`from_estimator`.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib()
        check_choices(kind, optimum, ("closed_form", "lowest"))
        values = list(param_range)
        if not values:
            raise ValueError(f"param_range is empty; give at least one value of {param_name}.")
        fitted = []
        for value in values:
            # Values may be estimators, which a fit must not change.
            params = {param_name: clone(value, safe=False)}
            fitted.append(fit(clone(estimator).set_params(**params), X, y, fit_params))
        if names is None:
            models = [fitted_model(one) for one in fitted]
            names = numbered(assignments(models, param_name.rpartition("__")[2], values))
        rows = {"X": X, "y": y, "fit_params": fit_params}
        how = {"kind": kind, "optimum": optimum, "log": log, **kwargs}
        return cls.from_estimator(fitted, ax, names=names, **rows, **how)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: str = "loss",
        log: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        kind : {"loss", "distance", "validation"}, default="loss"
            Which of the three histories to draw; `optimum` is used for the loss only.
        log : bool, default=None
            Whether the vertical axis is logarithmic. If None, it is if `optimum` is given and used,
            or if distances are drawn.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay
            The display itself, with `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ValueError
            If `kind` is not one of the three, or an estimator has no such history.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib()
        import matplotlib.pyplot as plt
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        curves = self._curves(kind)
        above = kind == "loss" and self.optimum is not None
        ylabel = YLABELS[kind]
        if above:
            where = "lowest" if isinstance(self.optimum, str) else "optimum"
            ylabel = f"Loss above the {where}"
        legend: dict[str, Any] = {"frameon": True, "edgecolor": "0.85", "framealpha": 0.9}
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
            n_lines = sum(1 + name.count("\n") for name in self.names)
            if len(curves) > LEGEND_INSIDE and n_lines <= LEGEND_BESIDE:
                legend |= {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        self.ax_ = ax
        self.figure_ = ax.figure
        self.lines_ = self._draw(curves, normalize_kwargs(kwargs, Line2D))
        ax.set(xlabel="Epoch", ylabel=ylabel)
        if log is None:
            log = above or kind == "distance"
        # A logarithmic axis cannot show 0, so the axis is linear if there are no positive values.
        if log and any(np.any(curve > 0) for curve in curves):
            ax.set_yscale("log", nonpositive="mask")
        else:
            ax.set_yscale("linear")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        made = ax.legend(**legend)
        # The layout must not shrink the axes for a legend inside them.
        made.set_in_layout("loc" in legend)
        return self

    def _draw(self, curves: Sequence[np.ndarray], given: dict[str, Any]) -> list[Line2D]:
        """Draw the curves, each in a style of its own, but for what is `given`."""
        longest = max(map(len, curves))
        every = 1 if longest <= DOTTED_EPOCHS else -(-longest // DOTS)
        first = len(self.ax_.lines)
        lines: list[Line2D] = []
        for i, (curve, name) in enumerate(zip(curves, self._labels(), strict=True), start=first):
            style = {
                "linestyle": LINESTYLES[i % len(LINESTYLES)],
                "marker": MARKERS[i % len(MARKERS)],
                "markersize": 4,
                "markevery": every,
                "label": name,
            }
            epochs = np.arange(1, len(curve) + 1)
            lines += self.ax_.plot(epochs, curve, **{**style, **given})
        return lines

    def _curves(self, kind: str) -> list[np.ndarray]:
        """Return the curves to draw, with NaN for the epochs in which a fit has diverged."""
        check_choices(kind, self.optimum, ("lowest",))
        if kind == "loss":
            return self._losses()
        pairs = zip(self._others(kind), self._diverged(), strict=True)
        return [np.where(diverged, np.nan, curve) for curve, diverged in pairs]

    def _losses(self) -> list[np.ndarray]:
        """Return the losses, or their differences from the optimum if it is given."""
        pairs = zip(self.loss_histories, self._diverged(), strict=True)
        losses = [np.where(diverged, np.nan, history) for history, diverged in pairs]
        if self.optimum is None:
            return losses
        if isinstance(self.optimum, str):
            return above_lowest(losses)
        optima = np.ravel(self.optimum)
        if len(optima) not in (1, len(losses)):
            counts = f"{len(optima)} optima for {len(losses)} curves"
            raise ValueError(f"Got {counts}; give one for all, or one for each.")
        each = np.broadcast_to(optima, len(losses))
        return [above_optimum(*pair) for pair in zip(losses, each, strict=True)]

    def _others(self, kind: str) -> list[np.ndarray]:
        """Return the distances or the validation scores; raise ValueError if a curve has none."""
        held = self.distance_histories if kind == "distance" else self.validation_scores
        if held is None:
            held = [np.empty(0)] * len(self.names)
        curves = [np.asarray(curve) for curve in held]
        for name, curve in zip(self.names, curves, strict=True):
            if len(curve) == 0:
                raise ValueError(f"{name} has nothing to draw for kind={kind!r}: {WHO_HAS[kind]}")
        return curves

    def _diverged(self) -> list[np.ndarray]:
        """Return masks (n_epochs,) of the epochs whose loss is not finite or far too large.

        Other losses could not be seen in a plot with such a loss.
        """
        # A fit stops when it diverges, so the first of several epochs has not diverged.
        histories = [np.asarray(history) for history in self.loss_histories]
        sane = [history for history in histories if 0 < history[0] < np.inf]
        several = [history[0] for history in sane if len(history) > 1]
        bound = max(several) if several else min((each[0] for each in sane), default=0.0)
        return [~(np.isfinite(each) & (each * EPS <= bound)) for each in histories]

    def _labels(self) -> list[str]:
        """Return the names, with a remark for fits that have diverged."""
        pairs = zip(self.names, self._diverged(), strict=True)
        return [f"{name} (diverged)" if diverged[-1] else name for name, diverged in pairs]


def check_matplotlib() -> None:
    """Raise ImportError if matplotlib is not installed, before anything is fitted."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        needed = "LossHistoryDisplay.plot needs matplotlib: pip install 'sklearn-minibatch[plot]'"
        raise ImportError(needed) from error


def check_choices(kind: str, optimum: Any, optima: Sequence[str]) -> None:
    """Raise ValueError for an unknown kind, or for a text as optimum that is not in `optima`."""
    if kind not in YLABELS:
        raise ValueError(f"kind must be 'loss', 'distance' or 'validation', got {kind!r}.")
    if isinstance(optimum, str) and optimum not in optima:
        raise ValueError(
            "optimum must be a number, 'closed_form' or a fitted estimator (these two in "
            "from_estimator and from_param_range), an array with one number for each curve, "
            f"'lowest' or None, got {optimum!r}."
        )
