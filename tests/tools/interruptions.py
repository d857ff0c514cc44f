"""KeyboardInterrupt at every line of a call, and a table of what was left.

    python -m tests.tools.interruptions

A trace function raises it, so each run is the same as the last. What is left must be, bit by bit,
what a fit with `max_iter` at the last complete epoch leaves; of `partial_fit`, the estimator before
the chunk.
"""

import argparse
import pickle
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import sklearn_minibatch
from sklearn_minibatch import MiniBatchRidgeSGD

from ..oracles import regression
from ..tables import bits

PACKAGE = str(Path(sklearn_minibatch.__file__).parent)
MONITOR = sklearn_minibatch._run.monitor.Monitor.__call__.__code__
# What a fit that ends by itself and an interrupted one need not share.
OWN = {"max_iter", "settings", "n_passes", "seed", "converged", "warning"}

FITS = {
    "svrg": {"batch_size": 7, "tol": None, "max_iter": 4},
    "svrg, to tol": {"batch_size": 8, "preconditioner": None},
    "svrg, early stopping": {
        "batch_size": 4,
        "early_stopping": True,
        "preconditioner": None,
        "tol": None,
        "max_iter": 4,
    },
    "svrg, chunks": {"solver": "svrg", "tol": None, "max_iter": 3},
    "svrg, warm start": {"batch_size": 7, "tol": None, "max_iter": 3, "warm_start": True},
    "sgd": {"solver": "sgd", "lr": 0.01, "tol": None, "max_iter": 4},
    "sgd, averaged": {
        "solver": "sgd",
        "average": True,
        "lr_schedule": "compound",
        "lr_decay": 0.1,
        "tol": None,
        "max_iter": 3,
    },
}
STREAMS = {
    "auto": {},
    "svrg": {"solver": "svrg"},
    "sgd": {"solver": "sgd"},
    "sgd, averaged": {"solver": "sgd", "average": True},
}


def state(model, without=()):
    """All that a model holds, to the last bit: name -> what can be compared."""
    held = dict(vars(model))
    if (of_model := held.pop("_state", None)) is not None:
        held.update({each.name: getattr(of_model, each.name) for each in fields(of_model)})
        held.update(of_model.answer._asdict(), moments=of_model.statistics)
        for name in ("given", "waiting", "n_waiting", "solving", "example"):
            del held[name]
    return {name: bits(value) for name, value in held.items() if name not in without}


class Interrupt:
    """A trace function that raises KeyboardInterrupt at the `at`-th line of the package.

    With `at=0` it only counts the lines.
    """

    def __init__(self, at=0):
        self.at, self.n_lines, self.n_epochs = at, 0, 0

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.at:
                raise KeyboardInterrupt
        if event == "return" and frame.f_code is MONITOR:
            self.n_epochs += 1
        return self

    def during(self, call):
        """Whether `call` was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            # Unlike a signal, a trace function can interrupt the end of a `with` of errstate.
            with warnings.catch_warnings(), np.errstate():
                warnings.simplefilter("ignore", ConvergenceWarning)
                call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def fit_arguments(name):
    X, y = regression(60, 3, condition=100)
    return ([(X[:25], y[:25]), (X[25:], y[25:])],) if "chunks" in name else (X, y)


def model_of(params, *first):
    """Unfitted, or fitted to `first`."""
    model = MiniBatchRidgeSGD(random_state=0, **params)
    return model.fit(*first) if first else model


def interrupted_fits(name, every, trained):
    """Fits interrupted at every so many lines, and what they should be.

    Returns a list of (line, epochs over by then, model), and the expected states by epochs.
    """
    arguments = fit_arguments(name)
    first = arguments if trained else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = model_of({**FITS[name], "max_iter": 1}, *first).set_params(
            **model_of(FITS[name]).get_params()
        )
        # The first fit of a process also looks up what later ones know.
        pickle.loads(pickle.dumps(start)).fit(*arguments)
        copy = pickle.loads(pickle.dumps(start))
        whole = Interrupt()
        whole.during(lambda: copy.fit(*arguments))
        expected = {0: state(start, OWN)}
        for k in range(1, whole.n_epochs + 1):
            model = pickle.loads(pickle.dumps(start)).set_params(max_iter=k)
            expected[k] = state(model.fit(*arguments), OWN)
    found = []
    for line in range(1, whole.n_lines + 1, every):
        model, interrupt = pickle.loads(pickle.dumps(start)), Interrupt(line)
        assert interrupt.during(lambda model=model: model.fit(*arguments))
        found.append((line, interrupt.n_epochs, model))
    return found, expected


class Outcome(NamedTuple):
    """What was left by interrupted calls.

    How many calls were tried, how many kept an epoch or the chunk, and the lines that left another
    state.
    """

    tried: int
    kept: int
    wrong: list


def check_fits(name, every=1, trained=False):
    """The `Outcome` of fits interrupted at every so many lines."""
    found, expected = interrupted_fits(name, every, trained)
    kept, wrong = 0, []
    for line, n_epochs, model in found:
        left = state(model, OWN)
        ends = [k for k in (n_epochs, n_epochs + 1) if left == expected.get(k)]
        # A fit may have converged before it was interrupted: in the last epoch, or in the call
        # before.
        if not ends or (ends[0] not in (0, max(expected)) and model.converged_):
            wrong.append(line)
        kept += ends[:1] > [0]
    return Outcome(len(found), kept, wrong)


def chunks():
    X, y = regression(60, 3)
    return [(X[start : start + 20], y[start : start + 20]) for start in (0, 20, 40)]


def check_streams(name, n_before, every=1):
    """The `Outcome` of `partial_fit` interrupted at every so many lines.

    Few of the lines come after its end.
    """
    start = MiniBatchRidgeSGD(random_state=0, **STREAMS[name])
    for chunk in chunks()[:n_before]:
        start.partial_fit(*chunk)
    start = pickle.loads(pickle.dumps(start))
    chunk = chunks()[n_before]
    before, after = state(start), pickle.loads(pickle.dumps(start))
    whole = Interrupt()
    whole.during(lambda: after.partial_fit(*chunk))
    after = state(after)
    lines = range(1, whole.n_lines + 1, every)
    kept, wrong = 0, []
    for line in lines:
        model = pickle.loads(pickle.dumps(start))
        assert Interrupt(line).during(lambda model=model: model.partial_fit(*chunk))
        left = state(model)
        kept += left == after
        if left not in (before, after):
            wrong.append(line)
    return Outcome(len(lines), kept, wrong)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.interruptions", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--every", type=int, default=1, help="try only every so many lines")
    args = parser.parse_args()
    print(
        "| call | lines interrupted | of these kept an epoch, or the chunk | left anything else |\n"
        "|---|---|---|---|"
    )
    for name in FITS:
        for trained in (False, True):
            print(
                row_of(
                    f"fit, {name}{', again' if trained else ''}",
                    check_fits(name, args.every, trained),
                ),
                flush=True,
            )
    for name in STREAMS:
        for n_before in (0, 2):
            print(
                row_of(
                    f"partial_fit, {name}, chunk {n_before + 1}",
                    check_streams(name, n_before, args.every),
                ),
                flush=True,
            )


def row_of(call, outcome):
    return f"| {call} | {outcome.tried} | {outcome.kept} | {len(outcome.wrong)} |"


if __name__ == "__main__":
    main()
