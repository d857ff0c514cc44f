"""Timing side by side: calls take turns, so that a busy machine slows all of them alike."""

import time
import warnings
from functools import partial

import numpy as np

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = "wall"


def now():
    """Seconds on the clock in use.

    Processor time is for busy machines and single-threaded calls.
    """
    return CLOCKS[clock]()


def use(name):
    """Use one of `CLOCKS` from here on."""
    global clock
    clock = name


def timed(run):
    """The result of a call, and its seconds.

    Warnings are ignored, because fits with few epochs give some.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = now()
        result = run()
        return result, now() - start


def rounds(runs, repeats, warm_up=True):
    """Seconds (repeats, len(runs)) of calls that take turns.

    With `warm_up`, a first round is not counted.
    """
    return np.array([[timed(run)[1] for run in runs] for _ in range(repeats + warm_up)][-repeats:])


def median_and_least(seconds):
    """Median and least seconds (2, k) of (repeats, k)."""
    return np.array([np.median(seconds, axis=0), np.min(seconds, axis=0)])


def interleaved(runs, repeats, warm_up=True):
    """Median and least seconds (2, len(runs)) of calls that take turns."""
    return median_and_least(rounds(runs, repeats, warm_up))


def epoch_seconds(fits, few, many, repeats, beside=()):
    """Median seconds (1, k) of one epoch of each `fit(max_iter)`, then of each call of `beside`.

    An epoch is (fit of `many` epochs - fit of `few`) / (many - few) in the same round, so that the
    work done once in a fit, such as checking and standardising, cancels. The minimum would prefer
    rounds in which the fit of `few` was disturbed. A fit of `few` before the two is not counted:
    the first fit after other work may have to wait for memory that the system has reclaimed.
    """
    runs = [partial(fit, k) for fit in fits for k in (few, few, many)]
    seconds = rounds([*runs, *beside], repeats)
    of_fits, others = np.split(seconds, [len(runs)], axis=1)
    epochs = (of_fits[:, 2::3] - of_fits[:, 1::3]) / (many - few)
    return np.median(np.hstack([epochs, others]), axis=0, keepdims=True)


def duration(seconds):
    """Seconds or milliseconds as text."""
    return f"{plain(seconds, 3)} s" if abs(seconds) >= 1 else f"{plain(seconds * 1000, 3)} ms"


def plain(number, digits):
    """A number with `digits` significant digits, but at least all of its integer part."""
    return f"{number:.{digits}g}" if abs(number) < 10 ** (digits - 1) else f"{number:,.0f}"
