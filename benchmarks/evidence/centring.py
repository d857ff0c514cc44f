"""Whether it is enough to add up X'X and X'y."""

from fractions import Fraction
from typing import Any

import numpy as np

from sklearn_minibatch import MiniBatchRidgeSGD

from ..rows import Size, Table

RATIOS = 1, 10**3, 10**6, 10**8


def centring(size: Size) -> Table:
    """Correct digits of least squares from sums of products, against exact arithmetic."""
    rng = np.random.default_rng(0)
    n = 1000 if size.shrink > 1 else 10_000
    small = rng.integers(-1000, 1001, size=(n, 4))
    noise = rng.integers(-100, 101, size=n)
    rows = []
    for ratio in RATIOS:
        X = small + round(ratio * small.std())
        y = small @ np.array([3, -2, 1, 5]) + noise
        exact = exact_slopes(small, y)
        slopes = [of(X.astype(float), y.astype(float)) for of in SLOPES.values()]
        rows.append((f"{ratio:,}", *(f"{digits(each, exact):.1f}" for each in slopes)))
    return ["mean / standard deviation", *SLOPES], rows


def exact_slopes(X: Any, y: Any) -> np.ndarray:
    """Least squares with an intercept of whole numbers, in rational arithmetic."""
    n, d = X.shape
    A = np.column_stack([X, y]).astype(object)
    sums = A.sum(axis=0)
    gram = A.T @ A
    products = [
        [Fraction(int(gram[i, j])) - Fraction(int(sums[i] * sums[j]), n) for j in range(d + 1)]
        for i in range(d)
    ]
    for i in range(d):
        pivot = products[i][i]
        products[i] = [value / pivot for value in products[i]]
        for k in set(range(d)) - {i}:
            factor = products[k][i]
            products[k] = [a - factor * b for a, b in zip(products[k], products[i], strict=True)]
    return np.array([float(row[d]) for row in products])


def with_ones(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From X'X and X'y with a column of ones, added up chunk by chunk."""
    d = X.shape[1]
    gram, product = np.zeros((d + 1, d + 1)), np.zeros(d + 1)
    for rows, targets in zip(np.array_split(X, 10), np.array_split(y, 10), strict=True):
        A = np.column_stack([rows, np.ones(len(rows))])
        gram += A.T @ A
        product += A.T @ targets
    return solved(gram, product)[:d]


def centred_afterwards(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From X'X - n mean mean', the means subtracted after the products."""
    mean, n = X.mean(axis=0), len(y)
    gram = X.T @ X - n * np.outer(mean, mean)
    return solved(gram, X.T @ y - n * mean * y.mean())


def solved(gram: np.ndarray, product: np.ndarray) -> np.ndarray:
    """The solution, or NaN where rounding has made the matrix singular."""
    try:
        return np.linalg.solve(gram, product)
    except np.linalg.LinAlgError:
        return np.full(len(product), np.nan)


def merged(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From centred moments of ten chunks, merged by `partial_fit`."""
    model = MiniBatchRidgeSGD(alpha=0)
    for rows, targets in zip(np.array_split(X, 10), np.array_split(y, 10), strict=True):
        model.partial_fit(rows, targets)
    return model.coef_


def incremental_svd(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From the singular values and vectors of all rows so far, updated chunk by chunk.

    Means are merged as by Ross, Lim, Lin and Yang (2008), "Incremental learning for robust visual
    tracking", and by `IncrementalPCA`, but about the first row, so that they keep their digits.
    """
    d = X.shape[1]
    root, mean, n = np.zeros((0, d + 1)), np.zeros(d + 1), 0
    origin = np.append(X[0], y[0])
    for rows, targets in zip(np.array_split(X, 10), np.array_split(y, 10), strict=True):
        A = np.column_stack([rows, targets]) - origin
        m, chunk_mean = len(A), A.mean(axis=0)
        between = np.sqrt(n * m / (n + m)) * (mean - chunk_mean)
        _, values, Vt = np.linalg.svd(
            np.vstack([root, A - chunk_mean, between]), full_matrices=False
        )
        root, n = values[:, None] * Vt, n + m
        mean = mean + (chunk_mean - mean) * m / n
    return np.linalg.lstsq(root[:, :d], root[:, d], rcond=None)[0]


SLOPES = {
    "X'X with a column of ones": with_ones,
    "X'X - n mean mean'": centred_afterwards,
    "incremental SVD": incremental_svd,
    "centred moments, merged (`partial_fit`)": merged,
}


def digits(found: np.ndarray, exact: np.ndarray) -> float:
    """Decimal digits that all coefficients have right, relative to the largest; at least 0."""
    error = np.max(np.abs(found - exact)) / np.max(np.abs(exact))
    return float(max(0.0, -np.log10(max(error, 1e-17)))) if np.isfinite(error) else 0.0
