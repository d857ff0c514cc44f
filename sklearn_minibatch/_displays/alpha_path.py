"""The error by alpha, or the coefficients by alpha, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._estimator_cv import MiniBatchRidgeSGDCV
from .._statistics.arrays import to_numpy
from .display import Display, check_kind, fitted_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

Kind: TypeAlias = Literal["mse", "coef"]

YLABELS = {"mse": "Mean squared error, held-out samples", "coef": "Coefficient times std(x)"}


class AlphaPathDisplay(Display):
    """Cross-validated error, or coefficients, of a `MiniBatchRidgeSGDCV` for each of its alphas.

    Create a display with :meth:`from_estimator`.

    Parameters
    ----------
    alphas : ndarray of shape (n_alphas,)
        The strengths of the penalty.
    mse_path : ndarray of shape (n_alphas, n_folds) or (n_alphas, n_folds, n_targets)
        Mean squared error on the held-out samples of each fold.
    coef_path : ndarray of shape (n_alphas, n_features) or (n_alphas, n_targets, n_features)
        Coefficients of the fit to all samples, times the standard deviations of the features.
    alpha : float or ndarray of shape (n_targets,)
        The chosen alpha.
    kind : {"mse", "coef"}, default="mse"
        Whether to draw errors or coefficients.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the curves.
    figure_ : matplotlib Figure
        The figure of `ax_`.
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

    fill_betweens_: list[PolyCollection]

    def __init__(
        self,
        *,
        alphas: NDArray[np.floating],
        mse_path: NDArray[np.floating],
        coef_path: NDArray[np.floating],
        alpha: float | NDArray[np.floating],
        kind: Kind = "mse",
    ) -> None:
        check_kind(kind, YLABELS)
        self.alphas = alphas
        self.mse_path = mse_path
        self.coef_path = coef_path
        self.alpha = alpha
        self.kind = kind

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        ax: Axes | None = None,
        *,
        kind: Kind = "mse",
        **kwargs: Any,
    ) -> Self:
        """Draw the error or the coefficients of a fitted estimator.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGDCV or Pipeline
            A fitted estimator, or a Pipeline that ends in one.
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        kind : {"mse", "coef"}, default="mse"
            The mean squared error on held-out samples, with a band of one standard error over the
            folds; or the coefficients of the fit to all samples, per standard deviation of their
            features.
        **kwargs : dict
            Passed to ``ax.plot`` for the curves.

        Returns
        -------
        display : AlphaPathDisplay

        Raises
        ------
        TypeError
            If the estimator is not a `MiniBatchRidgeSGDCV` and does not end in one.
        NotFittedError
            If it is not fitted.
        ValueError
            If `kind` is neither of the two.
        ImportError
            If matplotlib is not installed.
        """
        model = fitted_model(estimator, MiniBatchRidgeSGDCV)
        per_target = not isinstance(model.alpha_, float)
        display = cls(
            alphas=to_numpy(model.alphas_),
            mse_path=to_numpy(model.mse_path_),
            coef_path=to_numpy(model.coef_path_) * model.scaler_.scale_,
            alpha=to_numpy(model.alpha_) if per_target else model.alpha_,
            kind=kind,
        )
        return display.plot(ax, **kwargs)

    def _draw(self, ax: Axes, style: dict[str, Any]) -> list[Line2D]:
        draw = self._draw_errors if self.kind == "mse" else self._draw_coefficients
        lines = draw(ax, np.argsort(self.alphas), style)
        for number, alpha in enumerate(np.unique(self.alpha)):
            label = "chosen alpha" if number == 0 else None
            ax.axvline(alpha, color="#555555", linestyle="--", linewidth=1, label=label)
        # A logarithmic axis cannot show 0, so it is linear below the least positive alpha.
        positive = self.alphas[self.alphas > 0]
        if len(positive) == len(self.alphas):
            ax.set_xscale("log")
        elif len(positive):
            ax.set_xscale("symlog", linthresh=positive.min())
        ax.set(xlabel="alpha", ylabel=YLABELS[self.kind])
        if self.kind == "mse":
            ax.legend()
        return lines

    def _draw_errors(
        self, ax: Axes, order: NDArray[np.integer], style: dict[str, Any]
    ) -> list[Line2D]:
        """Draw the mean over the folds, and one standard error to either side, for each target."""
        mse = self.mse_path if self.mse_path.ndim == 3 else self.mse_path[:, :, None]
        # Folds in which all held-out weights are 0 have no error.
        mse = mse[order][:, ~np.isnan(mse).any(axis=(0, 2))]
        n_folds, n_targets = mse.shape[1:]
        mean = mse.mean(axis=1)
        error = mse.std(axis=1, ddof=1) / np.sqrt(n_folds) if n_folds > 1 else np.zeros_like(mean)
        alphas = self.alphas[order]
        lines: list[Line2D] = []
        self.fill_betweens_ = []
        for k in range(n_targets):
            target = f", target {k}" if n_targets > 1 else ""
            lines += ax.plot(
                alphas, mean[:, k], **{"label": f"mean over {n_folds} folds{target}", **style}
            )
            low, high = mean[:, k] - error[:, k], mean[:, k] + error[:, k]
            how = {"color": lines[-1].get_color(), "alpha": 0.25, "linewidth": 0}
            label = "one standard error" if k == 0 else None
            self.fill_betweens_.append(ax.fill_between(alphas, low, high, label=label, **how))
        return lines

    def _draw_coefficients(
        self, ax: Axes, order: NDArray[np.integer], style: dict[str, Any]
    ) -> list[Line2D]:
        """Draw one line per coefficient."""
        paths = self.coef_path.reshape(len(self.alphas), -1)
        self.fill_betweens_ = []
        return ax.plot(self.alphas[order], paths[order], **{"linewidth": 0.8, **style})
