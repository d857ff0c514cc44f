"""A stream that saves by the recipe of docs/streams.md, killed again and again.

    python -m tests.tools.killed --kills 200

Each time a process loads the last checkpoint, goes on, and gets SIGKILL: at a random moment, at a
line of `save`, or halfway through the file. The table compares what comes out in the end with a
stream that nobody killed.
"""

import argparse
import builtins
import doctest
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from itertools import count

from .. import ROOT
from .interruptions import state

PAGE = ROOT / "docs" / "streams.md"
N_CHUNKS = 60


def recipe():
    """The functions `stream` and `save` of the page, and what they import."""
    parser = doctest.DocTestParser()
    sources = [example.source for example in parser.get_examples(PAGE.read_text(encoding="utf-8"))]
    names = {"open": builtins.open}
    for source in sources:
        if source.startswith(("import ", "from ", "def stream", "def save")):
            exec(compile(source, "recipe", "exec"), names)
    return names


def go_on(names):
    """Load the checkpoint in this folder, if there is one, and learn and save to the end.

    Returns the model.
    """
    model, place = names["MiniBatchRidgeSGD"](random_state=0), 0
    if os.path.exists("model.pickle"):
        with open("model.pickle", "rb") as file:
            model, place = pickle.load(file)
    if place < N_CHUNKS:
        for k, X, y in names["stream"](place):
            names["save"](model.partial_fit(X, y), k + 1)
            if k + 1 == N_CHUNKS:
                break
    return model


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_line(line, saves):
    """Die at a line of the `saves`-th call of `save`."""
    calls = count(1)

    def trace(frame, event, arg):
        if frame.f_code.co_filename != "recipe" or frame.f_code.co_name != "save":
            return None
        if event == "call" and next(calls) < saves:
            return None
        lines = count(1)

        def at_line(frame, event, arg):
            if event == "line" and next(lines) == line:
                die()
            return at_line

        return at_line

    sys.settrace(trace)


def die_in_file(n_bytes, saves, names):
    """Die when so many bytes of the `saves`-th file are written."""
    calls = count(1)

    class HalfWritten:
        def __init__(self, name):
            self.file, self.left = builtins.open(name, "wb", buffering=0), n_bytes  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(memoryview(data)[: self.left])
            self.left -= len(data)
            if self.left <= 0:
                die()

    def opened(name, mode):
        return HalfWritten(name) if next(calls) == saves else builtins.open(name, mode)

    names["open"] = opened


def in_process(function, seconds=None):
    """Run `function` in a process of its own, which is killed after so many seconds.

    Returns whether it came to its end.
    """
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return not os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def attempt(kind, rng):
    """Go on, in a process that is going to be killed; whether it was not."""
    names = recipe()
    saves, line, n_bytes, seconds = (
        rng.randrange(1, 5),
        rng.randrange(1, 7),
        rng.randrange(1, 60_000),
        rng.uniform(0, 0.05),
    )

    def run():
        if kind == "in save":
            die_at_line(line, saves)
        if kind == "half a file":
            die_in_file(n_bytes, saves, names)
        go_on(names)

    return in_process(run, seconds if kind == "at any moment" else None)


def place():
    """That of the checkpoint in this folder, which must be whole."""
    if not os.path.exists("model.pickle"):
        return 0
    with open("model.pickle", "rb") as file:
        return pickle.load(file)[1]


def uninterrupted():
    """The state of a stream that nobody kills and nobody saves."""
    names = recipe()
    return state(go_on({**names, "save": lambda model, place: None}))


def killed(kind, kills, seed):
    """Kill streams, and count.

    Returns the kills, the streams brought to their end, the places that went back, and whether
    all of them ended as `uninterrupted`.
    """
    rng, expected = random.Random(seed), uninterrupted()
    done = streams = went_back = 0
    identical = True
    while done < kills:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            before = 0
            for _ in range(8):
                done += not attempt(kind, rng)
                went_back += place() < before
                before = place()
            identical &= state(go_on(recipe())) == expected
            streams += 1
            os.chdir("/")
    return done, streams, went_back, identical


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.killed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(
        "| killed | times | streams | checkpoints lost | ended bit by bit as without |\n"
        "|---|---|---|---|---|"
    )
    for kind in ("at any moment", "in save", "half a file"):
        done, streams, went_back, identical = killed(kind, args.kills, args.seed)
        print(
            f"| {kind} | {done} | {streams} | {went_back} | {'yes' if identical else 'NO'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
