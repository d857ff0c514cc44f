"""Ratios of the seconds of the same calls in this checkout and in another commit."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .report import markdown
from .timing import duration

ROOT = Path(__file__).resolve().parent.parent
# A row is called slower if its ratio exceeds this in the median and in most rounds.
TOLERANCE = 1.05
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")


def compare(revision: str, n_rounds: int, only: str = "") -> str:
    """Return a table of the ratios of this checkout's seconds to those of a commit.

    Each round runs a process for each of the two, in alternating order.
    """
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git("worktree", "add", "--detach", str(other), revision)
        try:
            rounds = [measured(other, number % 2 == 1, only) for number in range(n_rounds)]
        finally:
            git("worktree", "remove", "--force", str(other))
    return table(rounds)


def git(*arguments: str) -> None:
    """Run git in this checkout."""
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


def measured(other: Path, other_first: bool, only: str) -> list[dict[str, float]]:
    """Return the seconds of this checkout, and of the other, from one round."""
    order = [other, ROOT] if other_first else [ROOT, other]
    found = {root: seconds(root, only) for root in order}
    return [found[ROOT], found[other]]


def seconds(root: Path, only: str) -> dict[str, float]:
    """Return the seconds of each workload with the package in `root`."""
    workloads = Path(__file__).with_name("workloads.py")
    done = subprocess.run(
        [sys.executable, str(workloads), only],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def table(rounds: list[list[dict[str, float]]]) -> str:
    """Return a Markdown table: seconds of both, and the median and spread of their ratios."""
    lines = []
    for name in rounds[0][0]:
        ours, theirs = np.array([[each[name] for each in pair] for pair in rounds]).T
        ratios = ours / theirs
        slower = np.median(ratios) > TOLERANCE and np.mean(ratios > TOLERANCE) > 0.5
        lines.append(
            [
                name,
                duration(float(np.median(ours))),
                duration(float(np.median(theirs))),
                f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
                "**slower**" if slower else "",
            ]
        )
    return markdown(["what", "here", "there", "ratio (spread)", ""], lines)
