"""A map of shapes: the speed of a fit with default parameters relative to Ridge.

The references are the fastest solver of Ridge on raw samples, and StandardScaler + Ridge with
default parameters. Each point is measured with the default number of BLAS threads, and with one.
"""

import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_minibatch import MiniBatchRidgeSGD

from .machine import threads
from .report import markdown, provenance
from .rows import Size
from .timing import interleaved, plain, timed

ALPHA = 1e-3
# The tolerance of Ridge's iterative solvers; ours is within 1e-6 std(y).
TOL = 1e-7
DENSE_SOLVERS = ("cholesky", "svd", "lsqr")
SPARSE_SOLVERS = ("sparse_cg", "lsqr", "sag")
# A peer is measured only once if its time exceeds ours by this factor.
SLOW = 3.0
SECONDS = 0.5  # for repetitions of one call
# For larger samples "svd" is the slowest solver of Ridge.
MOST_FOR_SVD = 10**10


class Point(NamedTuple):
    """A shape: rows, columns, targets, and entries of a row, if the samples are sparse."""

    n: int
    d: int
    t: int = 1
    per_row: int | None = None

    def __str__(self):
        targets = "" if self.t == 1 else f" -> {self.t:,}"
        entries = "" if self.per_row is None else f", {self.per_row} a row"
        return f"{self.n:,} x {self.d:,}{targets}{entries}"

    @property
    def group(self):
        return "sparse" if self.per_row else "one target" if self.t == 1 else "many targets"


NARROW = [Point(n, d) for n in (100, 1_000, 10_000, 100_000) for d in (3, 10, 30, 100)]
WIDER = [Point(n, d) for n in (100, 1_000, 10_000) for d in (300, 1_000, 3_000)]
WIDE = [Point(n, d) for n in (50, 200, 1_000) for d in (2_000, 20_000)]
OTHERS = [Point(20_000, 300), Point(5_000, 1_500), Point(1_500, 1_500), Point(3_000, 6_000)]
MANY = [
    Point(1_000, 30, 100),
    Point(10_000, 100, 100),
    Point(1_000, 500, 5_000),
    Point(2_000, 200, 2_000),
    Point(300, 3_000, 2_000),
    Point(100, 10_000, 100),
]
SPARSE = [
    Point(300, 20_000, 1, 20),
    Point(2_000, 50_000, 1, 60),
    Point(20_000, 20_000, 1, 25),
    Point(20_000, 500, 1, 20),
    Point(20_000, 3_000, 1, 20),
    Point(100_000, 300, 1, 10),
]
POINTS = [*NARROW, *WIDER, *WIDE, *OTHERS, *MANY, *SPARSE]


def samples(point: Point, shrink: int) -> tuple[Any, Any]:
    """Random samples of a shape; the targets are noisy."""
    rng = np.random.default_rng(0)
    n = max(50, point.n // shrink)
    if point.per_row is None:
        X: Any = rng.standard_normal((n, point.d)) + rng.standard_normal(point.d)
    else:
        columns = rng.zipf(1.5, (n, point.per_row)) % point.d
        entries = rng.exponential(size=columns.size), columns.ravel()
        ends = np.arange(0, columns.size + 1, point.per_row)
        X = sparse.csr_matrix((*entries, ends), shape=(n, point.d))
        X.sum_duplicates()
    y = X @ rng.standard_normal((point.d, point.t)) / np.sqrt(point.d)
    y += rng.standard_normal(y.shape)
    return X, y[:, 0] if point.t == 1 else y


def calls(point: Point, X: Any, y: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Our fit, the fit of the pipeline, and the fits of Ridge by solver."""
    alpha = ALPHA * X.shape[0]
    is_sparse = point.per_row is not None
    ours = partial(MiniBatchRidgeSGD(ALPHA).fit, X, y)
    pipeline = make_pipeline(StandardScaler(with_mean=not is_sparse), Ridge(alpha))
    solvers = SPARSE_SOLVERS if is_sparse else DENSE_SOLVERS
    if X.shape[0] * X.shape[1] * min(X.shape) > MOST_FOR_SVD:
        solvers = tuple(each for each in solvers if each != "svd")
    ridge = {name: partial(Ridge(alpha, solver=name, tol=TOL).fit, X, y) for name in solvers}
    return ours, partial(pipeline.fit, X, y), ridge


def measured(point: Point, size: Size) -> tuple[float, float, float, str]:
    """Seconds of our fit, of the pipeline and of the best solver of Ridge, and its name."""
    ours, pipeline, ridge = calls(point, *samples(point, size.shrink))
    first = timed(ours)[1]
    at_most = max(SLOW * first, 0.01)
    once = {name: timed(fit)[1] for name, fit in ridge.items()}
    best = min(once, key=once.__getitem__)
    runs = [ours, ridge[best]]
    alone = timed(pipeline)[1]
    if alone <= at_most:
        runs.append(pipeline)
    longest = max(first, once[best], 1e-4)
    repeats = int(np.clip(SECONDS / longest, 1, 3 * size.repeats))
    seconds = interleaved(runs, repeats)[0]
    return seconds[0], seconds[2] if len(runs) == 3 else alone, seconds[1], best


def table(size: Size, only: str) -> list[tuple[Point, list[Any]]]:
    """Ratios of every point for Ridge and the pipeline, with default threads and with one."""
    rows = []
    for point in POINTS:
        if only not in str(point):
            continue
        ratios: list[Any] = []
        for limit in (None, 1):
            with threadpool_limits(limit), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours, pipeline, ridge, best = measured(point, size)
            ratios += [ridge / ours, pipeline / ours, best]
        rows.append((point, ratios))
        print(row(point, ratios), flush=True)
    return rows


def row(point, ratios):
    ridge, pipeline, best, ridge_1, pipeline_1, best_1 = ratios
    cells = [plain(ridge, 2), plain(pipeline, 2), plain(ridge_1, 2), plain(pipeline_1, 2)]
    return [str(point), f"{cells[0]} ({best})", cells[1], f"{cells[2]} ({best_1})", cells[3]]


def write(size: Size, run: str, out: Any, only: str) -> None:
    """Measure all points, and write the table and the picture."""
    rows = table(size, only)
    header = [
        "rows x columns",
        f"Ridge, {threads()} threads",
        "StandardScaler + Ridge",
        "Ridge, one thread",
        "StandardScaler + Ridge",
    ]
    text = markdown(header, [row(*each) for each in rows])
    out.mkdir(parents=True, exist_ok=True)
    (out / "map.md").write_text(f"{text}\n\n{provenance(run)}\n")
    draw([(point, ratios[0]) for point, ratios in rows], out / "map.png")


def draw(points: list[tuple[Point, float]], path: Any) -> None:
    """A panel for each group of shapes: a square at (columns, rows), coloured by the ratio."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    groups = list(dict.fromkeys(point.group for point, _ in points))
    figure, axes = plt.subplots(
        1, len(groups), figsize=(5 * len(groups), 4.4), layout="constrained", squeeze=False
    )
    norm = LogNorm(0.25, 4)
    for ax, group in zip(axes[0], groups, strict=True):
        chosen = [(point, ratio) for point, ratio in points if point.group == group]
        x, y = [p.d for p, _ in chosen], [p.n for p, _ in chosen]
        ratios = [ratio for _, ratio in chosen]
        marks = ax.scatter(x, y, c=ratios, s=260, marker="s", cmap="RdBu", norm=norm, ec="gray")
        for d, n, ratio in zip(x, y, ratios, strict=True):
            color = "black" if 0.4 < ratio < 2.6 else "white"
            ax.annotate(plain(ratio, 2), (d, n), ha="center", va="center", fontsize=6, color=color)
        ax.set(xscale="log", yscale="log", xlabel="columns", ylabel="rows", title=group)
        ax.margins(0.15)
    bar = figure.colorbar(marks, ax=axes[0, -1], label="time of the best of Ridge / ours")
    bar.set_ticks([0.25, 0.5, 1, 2, 4], labels=["1/4", "1/2", "1", "2", "4"])
    bar.minorticks_off()
    figure.savefig(path, dpi=160)
    plt.close(figure)
