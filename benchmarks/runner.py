"""Time to accuracy of every peer on every problem.

Each peer runs with increasing effort until it reaches the last accuracy or its time limit.
"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from .problems import conditioned, sparse_rows
from .timing import interleaved, timed

ACCURACIES = (1e-2, 1e-3, 1e-6)


class Trial(NamedTuple):
    """A timed fit from scratch."""

    peer: object
    setting: object
    seconds: float
    error: float
    iterations: float | None


class Line(NamedTuple):
    """A line of the CSV.

    accuracy_target is one of `ACCURACIES`, for the first setting that reached it; "end", for the
    most accurate setting; or empty, once for every setting that was tried.
    """

    problem: str
    n: int
    d: int
    peer: str
    setting: object
    accuracy_target: object
    seconds: float
    seconds_min: float
    repeats: int
    accuracy: float
    iterations: float | None


class Skipped(NamedTuple):
    problem: str
    peer: str
    reason: str


def trial(peer, problem, setting):
    model, seconds = timed(partial(peer.fit, problem, setting))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = problem.error(model.predict(problem.X))
    return Trial(peer, setting, seconds, error, model.iterations)


def climb(peer, problem, budget):
    """Trials of one peer until it reaches the last accuracy or has spent `budget` seconds."""
    trials, spent = [], 0.0
    for setting in peer.settings:
        trials.append(trial(peer, problem, setting))
        spent += trials[-1].seconds
        if trials[-1].error <= ACCURACIES[-1] or spent > budget:
            break
    return trials


def chosen(trials):
    """Return, for each accuracy, the first trial that reaches it, if there is one.

    The key "end" has the most accurate trial.
    """
    firsts = {a: next((each for each in trials if each.error <= a), None) for a in ACCURACIES}
    firsts["end"] = min(trials, key=lambda each: each.error if np.isfinite(each.error) else np.inf)
    return {accuracy: each for accuracy, each in firsts.items() if each is not None}


def compare(problem, peers, budget, repeats):
    """`Line`s and `Skipped` of all peers on a problem."""
    skipped, climbs = [], []
    warm_up = sparse_rows(300, 40, entries=4) if problem.is_sparse else conditioned(300, 5)
    for peer in peers:
        try:
            trial(
                peer, warm_up, peer.settings[0]
            )  # imports and just-in-time compilation are not timed
            peer.prepare(problem)
            climbs.append(climb(peer, problem, budget))
        except Exception as error:
            skipped.append(
                Skipped(problem.name, peer.name, f"{type(error).__name__}: {error}".splitlines()[0])
            )
            print(f"  skipped: {peer.name} on {problem.name}: {skipped[-1].reason}", flush=True)
    tried = [each for trials in climbs for each in trials]
    lines = [line_of(problem, each, "", each.seconds, each.seconds, 1) for each in tried]
    return lines + compared(problem, climbs, budget, repeats), skipped


def compared(problem, climbs, budget, repeats):
    """`Line`s of the chosen settings, timed in turn.

    Fits that took longer than the budget are not repeated.
    """
    picked = [(accuracy, each) for trials in climbs for accuracy, each in chosen(trials).items()]
    quick = list(dict.fromkeys(each for _, each in picked if each.seconds <= budget))
    times = interleaved(
        [partial(each.peer.fit, problem, each.setting) for each in quick], repeats, warm_up=False
    )
    seconds = {each: (*pair, repeats) for each, pair in zip(quick, times.T, strict=True)}
    return [
        line_of(problem, each, accuracy, *seconds.get(each, (each.seconds,) * 2 + (1,)))
        for accuracy, each in picked
    ]


def line_of(problem, each, accuracy, median, least, repeats):
    n, d = problem.X.shape
    result = accuracy, median, least, repeats, each.error, each.iterations
    return Line(problem.name, n, d, each.peer.name, each.setting, *result)
