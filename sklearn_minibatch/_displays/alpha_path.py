"""The error by alpha, or the coefficients by alpha, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._estimator_cv import MiniBatchRidgeSGDCV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

YLABELS = {"mse": "Mean squared error, rows held out", "coef": "Coefficient times std(x)"}


class AlphaPathDisplay:
    """Cross-validated error, or coefficients, of a `MiniBatchRidgeSGDCV` for each of its alphas.

    Make it with :meth:`from_estimator`; all parameters are kept as attributes of the same name.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        The strengths of the penalty.
    mse_path : ndarray of shape (n_alphas, n_folds) or (n_alphas, n_folds, n_targets)
        Mean squared error on the rows held out.
    coef_path : ndarray of shape (n_alphas, n_features) or (n_alphas, n_targets, n_features)
        Coefficients of all rows, times the standard deviations of the columns.
    alpha : float or ndarray of shape (n_targets,)
        The alpha chosen.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : list of matplotlib Line2D
        The mean over the folds, one line per target; or one line per coefficient.
    fill_betweens_ : list of matplotlib PolyCollection
        One standard error over the folds to either side of each mean; empty for coefficients.

    See Also
    --------
    sklearn.model_selection.ValidationCurveDisplay : Draws such a curve from one fit for each
        parameter and fold.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import AlphaPathDisplay, MiniBatchRidgeSGDCV
    >>> X, y = load_diabetes(return_X_y=True, scaled=False)
    >>> model = MiniBatchRidgeSGDCV().fit(X, y)
    >>> display = AlphaPathDisplay.from_estimator(model)
    >>> plt.show()
    """

    ax_: Axes
    figure_: Figure
    lines_: list[Line2D]
    fill_betweens_: list[PolyCollection]

    def __init__(
        self,
        *,
        alphas: NDArray[np.floating],
        mse_path: NDArray[np.floating],
        coef_path: NDArray[np.floating],
        alpha: float | NDArray[np.floating],
    ) -> None:
        self.alphas = alphas
        self.mse_path = mse_path
        self.coef_path = coef_path
        self.alpha = alpha

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        ax: Axes | None = None,
        *,
        kind: Literal["mse", "coef"] = "mse",
        **kwargs: Any,
    ) -> Self:
        """Draw the error or the coefficients of a fitted estimator.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGDCV or Pipeline
            Fitted; a Pipeline ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        kind : {"mse", "coef"}, default="mse"
            The mean squared error on rows held out, with a band of one standard error over the
            folds; or the coefficients of all rows in standard deviations of their columns.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : AlphaPathDisplay
            The picture.

        Raises
        ------
        TypeError
            If the estimator is no `MiniBatchRidgeSGDCV`.
        NotFittedError
            If it is not fitted.
        """
        model: Any = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        if not isinstance(model, MiniBatchRidgeSGDCV):
            raise TypeError(
                "AlphaPathDisplay draws a fitted MiniBatchRidgeSGDCV, alone or at the end of a "
                f"Pipeline; got {type(model).__name__}."
            )
        check_is_fitted(model)
        display = cls(
            alphas=model.alphas_,
            mse_path=model.mse_path_,
            coef_path=model.coef_path_ * model.scaler_.scale_,
            alpha=model.alpha_,
        )
        return display.plot(ax, kind=kind, **kwargs)

    def plot(
        self, ax: Axes | None = None, *, kind: Literal["mse", "coef"] = "mse", **kwargs: Any
    ) -> Self:
        """Draw once more.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        kind : {"mse", "coef"}, default="mse"
            As in :meth:`from_estimator`.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : AlphaPathDisplay
            This one.
        """
        if kind not in YLABELS:
            raise ValueError(f"kind must be 'mse' or 'coef', got {kind!r}.")
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        self.ax_ = ax
        self.figure_ = ax.figure
        draw = self._draw_errors if kind == "mse" else self._draw_coefficients
        draw(ax, kwargs)
        for number, alpha in enumerate(np.unique(self.alpha)):
            label = "chosen alpha" if number == 0 else None
            ax.axvline(alpha, color="#555555", linestyle="--", linewidth=1, label=label)
        # Zero has no place on a logarithmic axis: then it is linear next to the least other alpha.
        positive = self.alphas[self.alphas > 0]
        if len(positive) == len(self.alphas):
            ax.set_xscale("log")
        elif len(positive):
            ax.set_xscale("symlog", linthresh=positive.min())
        ax.set(xlabel="alpha", ylabel=YLABELS[kind])
        if kind == "mse":
            ax.legend()
        return self

    def _draw_errors(self, ax: Axes, kwargs: dict[str, Any]) -> None:
        """Draw the mean over the folds, and one standard error to either side, for each target."""
        mse = self.mse_path if self.mse_path.ndim == 3 else self.mse_path[:, :, None]
        # Folds without rows to hold out have no error.
        mse = mse[:, ~np.isnan(mse).any(axis=(0, 2))]
        n_folds, n_targets = mse.shape[1:]
        mean = mse.mean(axis=1)
        error = mse.std(axis=1, ddof=1) / np.sqrt(n_folds) if n_folds > 1 else np.zeros_like(mean)
        order = np.argsort(self.alphas)
        self.lines_ = []
        self.fill_betweens_ = []
        for k in range(n_targets):
            target = f", target {k}" if n_targets > 1 else ""
            style = {"label": f"mean over {n_folds} folds{target}", **kwargs}
            x, y, band = self.alphas[order], mean[order, k], error[order, k]
            (line,) = ax.plot(x, y, **style)
            label = "one standard error" if k == 0 else None
            filled = ax.fill_between(
                x, y - band, y + band, color=line.get_color(), alpha=0.25, linewidth=0, label=label
            )
            self.lines_.append(line)
            self.fill_betweens_.append(filled)

    def _draw_coefficients(self, ax: Axes, kwargs: dict[str, Any]) -> None:
        """Draw one line per coefficient."""
        order = np.argsort(self.alphas)
        paths = self.coef_path.reshape(len(self.alphas), -1)
        self.lines_ = ax.plot(self.alphas[order], paths[order], **{"linewidth": 0.8, **kwargs})
        self.fill_betweens_ = []
