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


class LossHistoryDisplay:
    """Loss per epoch of one or several fitted estimators.

    Make it with :meth:`from_estimator`; it holds the curves and draws them in :meth:`plot`.

    Parameters
    ----------
    loss_histories : list of ndarray of shape (n_epochs,)
        One curve per estimator, in the units of the loss.
    names : list of str
        Label of each curve.

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
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Line2D]

    def __init__(self, *, loss_histories: Sequence[np.ndarray], names: Sequence[str]) -> None:
        self.loss_histories = loss_histories
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: MiniBatchRidgeSGD | Sequence[MiniBatchRidgeSGD],
        ax: Axes | None = None,
        *,
        names: str | Sequence[str] | None = None,
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
            Labels; the class name by default, with the batch size where there are several.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay
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
        display = cls(loss_histories=[np.asarray(one.loss_history_) for one in estimators], names=names)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        display : LossHistoryDisplay
            Itself, with `ax_`, `figure_` and `lines_`.
        """
        try:
            import matplotlib.pyplot as plt
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise ImportError("LossHistoryDisplay.plot needs matplotlib: pip install 'sklearn-minibatch[plot]'") from error
        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        style = {"marker": "o", "markersize": 4, **kwargs}
        self.lines_ = [
            ax.plot(np.arange(1, len(history) + 1), history, **{"label": name, **style})[0]
            for history, name in zip(self.loss_histories, self.names, strict=True)
        ]
        ax.set(xlabel="Epoch", ylabel="Loss")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
        return self
