"""The loss curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from ._estimator import MiniBatchRidgeSGD

# With more epochs than this, a dot per epoch would hide the line.
DOTTED_EPOCHS = 40


class LossHistoryDisplay:
    """Loss per epoch of one or several fitted estimators.

    Make it with :meth:`from_estimator`; it holds the curves and draws them in :meth:`plot`.

    Parameters
    ----------
    loss_histories : list of ndarray of shape (n_epochs,)
        One curve per estimator, in the units of the loss.
    names : list of str
        Label of each curve.
    optimum : float, "lowest" or None, default=None
        Loss at the minimiser, which the curves are drawn above. "lowest" is the least loss of all the curves: good for
        comparison with a run that has converged. None draws the loss itself. A loss that is at the optimum up to rounding
        is drawn at the least difference that its number format can hold.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves were drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    lines_ : list of matplotlib Line2D
        The curves.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD
    >>> X, y = load_diabetes(return_X_y=True)
    >>> small, large = [MiniBatchRidgeSGD(batch_size=b, random_state=0).fit(X, y) for b in (8, 64)]
    >>> display = LossHistoryDisplay.from_estimator([small, large], names=["8 rows", "64 rows"])
    >>> len(display.lines_)
    2

    How far each still is from the optimum, on a log axis:

    >>> display = LossHistoryDisplay.from_estimator([small, large], optimum="lowest")
    >>> display.ax_.get_yscale()
    'log'
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Line2D]

    def __init__(
        self,
        *,
        loss_histories: Sequence[np.ndarray],
        names: Sequence[str],
        optimum: float | str | None = None,
    ) -> None:
        self.loss_histories = loss_histories
        self.names = names
        self.optimum = optimum

    @classmethod
    def from_estimator(
        cls,
        estimator: MiniBatchRidgeSGD | Sequence[MiniBatchRidgeSGD],
        ax: Axes | None = None,
        *,
        names: str | Sequence[str] | None = None,
        optimum: float | str | None = None,
        log: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the loss history of a fitted estimator, or of several on one axis.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGD or list of MiniBatchRidgeSGD
            Fitted by ``fit``.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        names : str or list of str, default=None
            Labels; by default the class name, or the batch sizes where there are several.
        optimum : float, "lowest" or None, default=None
            Loss at the minimiser, to draw the distance to; "lowest" is the least loss of all the curves.
        log : bool, default=None
            Whether the loss has a log axis; None means: if `optimum` is given.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        ValueError
            If one was trained by `partial_fit` alone, which records no loss history; or if `names` are not as many.
        ImportError
            If matplotlib is not installed.
        """
        estimators: list[Any] = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
        for one in estimators:
            check_is_fitted(one, "loss_history_")
            if len(one.loss_history_) == 0:
                raise ValueError("This estimator was trained by partial_fit alone, which records no loss history.")
        if names is None:
            names = [type(one).__name__ for one in estimators]
            if len(estimators) > 1:
                names = [f"batch_size={one.batch_size_}" for one in estimators]
        names = [names] if isinstance(names, str) else list(names)
        if len(names) != len(estimators):
            raise ValueError(f"Got {len(names)} names for {len(estimators)} estimators; give one name for each.")
        display = cls(loss_histories=[np.asarray(one.loss_history_) for one in estimators], names=names, optimum=optimum)
        return display.plot(ax=ax, log=log, **kwargs)

    def plot(self, ax: Axes | None = None, *, log: bool | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        log : bool, default=None
            Whether the loss has a log axis; None means: if `optimum` is given.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay
            Itself, with `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise ImportError("LossHistoryDisplay.plot needs matplotlib: pip install 'sklearn-minibatch[plot]'") from error
        curves = self._curves()
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        dots = "o" if max(map(len, curves)) <= DOTTED_EPOCHS else None
        style = {"marker": dots, "markersize": 4, **kwargs}
        self.lines_ = [
            ax.plot(np.arange(1, len(curve) + 1), curve, **{"label": name, **style})[0]
            for curve, name in zip(curves, self.names, strict=True)
        ]
        ax.set(xlabel="Epoch", ylabel="Loss" if self.optimum is None else "Loss above the optimum")
        ax.set_yscale("log" if log or (log is None and self.optimum is not None) else "linear")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
        return self

    def _curves(self) -> Sequence[np.ndarray]:
        """The losses, or their distances to the optimum, at least the spacing of floats there."""
        if self.optimum is None:
            return self.loss_histories
        if isinstance(self.optimum, str) and self.optimum != "lowest":
            raise ValueError(f"optimum must be a number, 'lowest' or None, got {self.optimum!r}.")
        lowest = np.fmin.reduce(np.concatenate(self.loss_histories))
        optimum = lowest if isinstance(self.optimum, str) else self.optimum
        return [np.maximum(history - optimum, np.spacing(lowest)) for history in self.loss_histories]
