"""The coefficients with their confidence intervals, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from .._linear_model import ScaledLinearModel
from .display import Display, fitted_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    from .._solvers.covariance import Kind

XLABELS = {True: "Coefficient times std(x)", False: "Coefficient"}
# The fraction of the distance between two features that the intervals of all targets take.
WIDTH = 0.6


class CoefficientDisplay(Display):
    """Coefficients of a fitted model and their confidence intervals, one row for each feature.

    Create a display with :meth:`from_estimator`.

    Parameters
    ----------
    names : ndarray of shape (n_features,)
        The names of the features.
    coef : ndarray of shape (n_features,) or (n_targets, n_features)
        The coefficients.
    lower, upper : ndarray of the shape of `coef`
        The ends of their intervals.
    standardized : bool, default=True
        Whether the coefficients are multiplied by the standard deviations of the features.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the coefficients.
    figure_ : matplotlib Figure
        The figure of `ax_`.
    lines_ : list of matplotlib Line2D
        The coefficients as points, one line per target.
    intervals_ : list of matplotlib LineCollection
        The intervals, one collection per target.

    See Also
    --------
    MiniBatchRidgeSGD.coef_table : The same numbers as a table.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_minibatch import CoefficientDisplay, MiniBatchRidgeSGD
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    >>> display = CoefficientDisplay.from_estimator(MiniBatchRidgeSGD().fit(X, y))
    >>> plt.show()
    """

    intervals_: list[LineCollection]

    def __init__(
        self,
        *,
        names: NDArray[np.object_],
        coef: NDArray[np.floating],
        lower: NDArray[np.floating],
        upper: NDArray[np.floating],
        standardized: bool = True,
    ) -> None:
        self.names = names
        self.coef = coef
        self.lower = lower
        self.upper = upper
        self.standardized = standardized

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        ax: Axes | None = None,
        *,
        features: ArrayLike | None = None,
        standardized: bool = True,
        confidence_level: float = 0.95,
        kind: Kind = "bayesian",
        **kwargs: Any,
    ) -> Self:
        """Draw the coefficients of a fitted estimator, without the intercept.

        Parameters
        ----------
        estimator : MiniBatchRidgeSGD, MiniBatchRidgeSGDCV or Pipeline
            A fitted estimator, or a Pipeline or a search that ends in one.
        ax : matplotlib Axes, default=None
            The axes to draw on. If None, a new figure is created.
        features : array-like of str or int, default=None
            The names or numbers of the features to draw, from top to bottom. None draws all.
        standardized : bool, default=True
            Whether to multiply each coefficient by the standard deviation of its feature, so that
            they can be compared.
        confidence_level : float, default=0.95
            The probability that an interval holds the true coefficient.
        kind : {"bayesian", "sampling"}, default="bayesian"
            The kind of standard errors, see :meth:`MiniBatchRidgeSGD.coef_table`.
        **kwargs : dict
            Passed to ``ax.plot`` for the points.

        Returns
        -------
        display : CoefficientDisplay

        Raises
        ------
        TypeError
            If the estimator is not from this package and does not end in one that is.
        NotFittedError
            If it is not fitted.
        ValueError
            If the model has no such features, or no standard errors.
        ImportError
            If matplotlib is not installed.
        """
        model = fitted_model(estimator, ScaledLinearModel)
        tables = model.coef_table(confidence_level, kind)
        d = model.n_features_in_
        single = tables if not isinstance(tables, list) else tables[0]
        names = single.name[-d:]
        chosen = np.arange(d) if features is None else numbers_of(features, names)
        scale = model._state.scale if standardized else np.ones(d)

        def of_features(key: str) -> NDArray[np.floating]:
            if not isinstance(tables, list):
                return (tables[key][-d:] * scale)[chosen]
            return np.array([(table[key][-d:] * scale)[chosen] for table in tables])

        display = cls(
            names=names[chosen],
            coef=of_features("coef"),
            lower=of_features("lower"),
            upper=of_features("upper"),
            standardized=standardized,
        )
        return display.plot(ax, **kwargs)

    def _draw(self, ax: Axes, style: dict[str, Any]) -> list[Line2D]:
        coef, lower, upper = map(np.atleast_2d, (self.coef, self.lower, self.upper))
        t, d = coef.shape
        ax.axvline(0, color="#555555", linestyle="--", linewidth=1)
        lines: list[Line2D] = []
        self.intervals_ = []
        for k in range(t):
            rows = np.arange(d) + WIDTH * ((k + 0.5) / t - 0.5)
            label = {"label": f"target {k}"} if t > 1 else {}
            lines += ax.plot(coef[k], rows, **{"marker": "o", "linestyle": "", **label, **style})
            color = lines[-1].get_color()
            self.intervals_.append(ax.hlines(rows, lower[k], upper[k], color=color))
        ax.set_yticks(np.arange(d), self.names)
        # The first feature is at the top.
        ax.set_ylim(d - 0.5, -0.5)
        ax.set_xlabel(XLABELS[self.standardized])
        if t > 1:
            ax.legend()
        return lines


def numbers_of(features: ArrayLike, names: NDArray[np.object_]) -> NDArray[np.integer]:
    """Return the numbers of features given by name or number; ValueError for unknown ones."""
    known = {name: number for number, name in enumerate(names)}
    wanted = np.atleast_1d(np.asarray(features, dtype=object))
    numbers = [known.get(each, each) for each in wanted]
    for each in numbers:
        if not (isinstance(each, (int, np.integer)) and -len(names) <= each < len(names)):
            raise ValueError(
                f"features must be names or numbers of the {len(names)} features of the model; "
                f"got {each!r}."
            )
    return np.array(numbers, dtype=int)
