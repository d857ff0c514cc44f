"""Base class of the displays, and the model that they draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Self

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


class Display(ABC):
    """A picture that can be drawn again."""

    ax_: Axes
    figure_: Figure
    lines_: list[Line2D]

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        **kwargs : dict
            Passed to ``ax.plot`` for the curves.

        Returns
        -------
        display : object
            The display itself, with `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
            from matplotlib.cbook import normalize_kwargs
            from matplotlib.lines import Line2D
        except ImportError as error:
            needed = "Pictures need matplotlib: pip install 'sklearn-minibatch[plot]'"
            raise ImportError(needed) from error
        style = normalize_kwargs(kwargs, Line2D)
        axes = plt.subplots(layout="constrained")[1] if ax is None else ax
        try:
            self.lines_ = self._draw(axes, style)
        except BaseException:
            if ax is None:
                plt.close(axes.figure)
            raise
        self.ax_ = axes
        self.figure_ = axes.figure
        return self

    @abstractmethod
    def _draw(self, ax: Axes, style: dict[str, Any]) -> list[Line2D]:
        """Draw the picture and return its curves; the user's `style` overrides ours."""


def check_kind(kind: str, kinds: Collection[str]) -> None:
    """Raise ValueError unless `kind` is one of `kinds`."""
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(map(repr, kinds))}; got {kind!r}.")


def fitted_model(estimator: Any, wanted: type) -> Any:
    """Return the fitted model of class `wanted` that a Pipeline or a search ends in."""
    if isinstance(estimator, Pipeline):
        return fitted_model(estimator.steps[-1][1], wanted)
    if hasattr(estimator, "best_estimator_"):
        return fitted_model(estimator.best_estimator_, wanted)
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    if not isinstance(estimator, wanted):
        raise TypeError(
            f"Give a fitted {wanted.__name__}, alone or at the end of a Pipeline or of a search "
            f"with refit=True; got {type(estimator).__name__}."
        )
    return estimator
