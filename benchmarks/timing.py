"""Timing side by side: the things compared take turns, so that a busy machine slows them alike."""

import time
import warnings
from functools import partial

import numpy as np

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = "wall"


def now():
    """Seconds on the clock in use.

    That of the processor is for busy machines, and for one thread.
    """
    return CLOCKS[clock]()


def use(name):
    """Use one of `CLOCKS` from here on."""
    global clock
    clock = name


def timed(run):
    """What a call returns, and the seconds it took.

    Warnings are ignored: a fit that is cut short gives some.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = now()
        result = run()
        return result, now() - start


def rounds(runs, repeats, warm_up=True):
    """Seconds (repeats, len(runs)) of calls that take turns.

    A first round is not counted.
    """
    return np.array([[timed(run)[1] for run in runs] for _ in range(repeats + warm_up)][-repeats:])


def median_and_least(seconds):
    """(2, k) of (repeats, k)."""
    return np.array([np.median(seconds, axis=0), np.min(seconds, axis=0)])


def interleaved(runs, repeats, warm_up=True):
    """Median and least seconds (2, len(runs)) of calls that take turns."""
    return median_and_least(rounds(runs, repeats, warm_up))


def epoch_seconds(fits, few, many, repeats, beside=()):
    """Median seconds (1, k) of one epoch of each `fit(max_iter)`, then of each call of `beside`.

    (fit of `many` epochs - fit of `few`) / (many - few), of the same round: what a fit does once,
    such as checking and standardising, cancels. The least of them would be where the fit of `few`
    was disturbed. Before the two, a fit of `few` is not counted: after other work a fit may have to
    wait for memory that the system has given away, and only the first of the two would.
    """
    runs = [partial(fit, k) for fit in fits for k in (few, few, many)]
    seconds = rounds([*runs, *beside], repeats)
    of_fits, others = np.split(seconds, [len(runs)], axis=1)
    epochs = (of_fits[:, 2::3] - of_fits[:, 1::3]) / (many - few)
    return np.median(np.hstack([epochs, others]), axis=0, keepdims=True)


def duration(seconds):
    """Seconds in words."""
    return f"{plain(seconds, 3)} s" if abs(seconds) >= 1 else f"{plain(seconds * 1000, 3)} ms"


def plain(number, digits):
    """A number to so many digits, or in whole numbers if that is more: 260, not 2.6e+02."""
    return f"{number:.{digits}g}" if abs(number) < 10 ** (digits - 1) else f"{number:,.0f}"
