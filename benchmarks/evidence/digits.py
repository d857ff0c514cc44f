"""How many digits of the coefficients are right when features are nearly collinear."""

import warnings
from fractions import Fraction

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

from ..rows import Size, Table
from .centring import digits, exact_slopes

CONDITIONS = 1e2, 1e4, 1e6, 1e8, 1e10, 1e12, 1e14
SEEDS = 5


def conditions(size: Size) -> Table:
    """Correct digits of least squares, against exact arithmetic; medians over problems."""
    n, d, seeds = (100, 4, 1) if size.shrink > 1 else (500, 8, SEEDS)
    rows = []
    for condition in CONDITIONS:
        found = []
        for seed in range(seeds):
            X, y = nearly_collinear(n, d, condition, seed)
            exact = exact_slopes(*map(as_integers, (X, y)))
            found.append([digits(of(X, y), exact) for of in SLOPES.values()])
        rows.append((f"{condition:.0e}", *(f"{each:.1f}" for each in np.median(found, axis=0))))
    return ["condition number", *SLOPES], rows


def nearly_collinear(n: int, d: int, condition: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with singular values from 1 to 1 / condition, and noisy targets."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((n, d)))[0]
    V = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (U * np.geomspace(1, 1 / condition, d)) @ V.T
    signal = X @ rng.standard_normal(d)
    return X, signal + 0.1 * signal.std() * rng.standard_normal(n)


def as_integers(values: np.ndarray) -> np.ndarray:
    """The numbers times a power of 2 that makes them whole."""
    flat = [int(Fraction(value) * 2**200) for value in values.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(values.shape)


def fitted(X: np.ndarray, y: np.ndarray, solver: str) -> np.ndarray:
    """Coefficients of `fit`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MiniBatchRidgeSGD(alpha=0, solver=solver).fit(X, y).coef_


def streamed(X: np.ndarray, y: np.ndarray, solver: str) -> np.ndarray:
    """Coefficients after ten calls of `partial_fit`, which cannot read samples again."""
    model = MiniBatchRidgeSGD(alpha=0, solver=solver)
    for rows, targets in zip(np.array_split(X, 10), np.array_split(y, 10), strict=True):
        model.partial_fit(rows, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.coef_


def of_ridge(X: np.ndarray, y: np.ndarray, solver: str) -> np.ndarray:
    """Coefficients of `Ridge` after a scaler."""
    scaler = StandardScaler().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Ridge(alpha=0, solver=solver).fit(scaler.transform(X), y).coef_ / scaler.scale_


SLOPES = {
    'fit, "auto"': lambda X, y: fitted(X, y, "auto"),
    'fit, "qr"': lambda X, y: fitted(X, y, "qr"),
    'partial_fit, "auto"': lambda X, y: streamed(X, y, "auto"),
    'partial_fit, "qr"': lambda X, y: streamed(X, y, "qr"),
    "StandardScaler, Ridge cholesky": lambda X, y: of_ridge(X, y, "cholesky"),
    "StandardScaler, Ridge svd": lambda X, y: of_ridge(X, y, "svd"),
}
