"""The public names are typed, and a type checker sees that."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_minibatch

from .. import ROOT

PUBLIC = [
    getattr(sklearn_minibatch, name) for name in sklearn_minibatch.__all__ if name != "__version__"
]

USER_CODE = """
from collections.abc import Iterator
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from sklearn_minibatch import ChunkSource, EpochProgressBar, LossHistoryDisplay
from sklearn_minibatch import MiniBatchRidgeSGD, MiniBatchRidgeSGDCV


X, y = np.ones((3, 2)), [1.0, 2.0, 3.0]
rng = np.random.RandomState(0)
model = MiniBatchRidgeSGD(1e-3, batch_size=8, lr="auto", solver="sgd", random_state=rng)
assert_type(model.fit(X, y, sample_weight=[1, 2, 3]), MiniBatchRidgeSGD)
assert_type(model.partial_fit(X, y), MiniBatchRidgeSGD)
assert_type(model.predict(X), NDArray[np.floating])
assert_type(model.predict(ChunkSource(lambda: iter([(X, y)]))), Iterator[NDArray[np.floating]])
assert_type(model.fit(ChunkSource(lambda: iter([(X, y)]))).score([(X, y)]), float)
assert_type(model.n_iter_, int)
assert_type(model.coef_, NDArray[np.floating])
assert_type(LossHistoryDisplay.from_estimator(model).plot(), LossHistoryDisplay)
EpochProgressBar(interval=1)
chosen = MiniBatchRidgeSGDCV([0.1, 1.0], cv=3, scoring="r2")
assert_type(chosen.fit(X, y), MiniBatchRidgeSGDCV)
assert_type(chosen.predict(X), NDArray[np.floating])

MiniBatchRidgeSGD(batch_size="large")  # error: arg-type
MiniBatchRidgeSGD(solver="adam")  # error: arg-type
MiniBatchRidgeSGDCV(scoring="accuracy")  # error: arg-type
model.fit(X, y, max_iter=3)  # error: call-arg
model.partial_fit(X)  # error: call-arg
"""


def functions_of(thing):
    """The public functions and methods that `thing` defines itself, and its __init__."""
    if not inspect.isclass(thing):
        return [thing]
    members = vars(thing).items()
    unwrapped = [
        getattr(member, "__func__", getattr(member, "fget", member))
        for name, member in members
        if name[0] != "_"
    ]
    return [thing.__init__, *filter(inspect.isfunction, unwrapped)]


@pytest.mark.parametrize(
    "function", [f for thing in PUBLIC for f in functions_of(thing)], ids=lambda f: f.__qualname__
)
def test_annotated(function):
    signature = inspect.signature(function)
    parameters = [p for name, p in signature.parameters.items() if name not in ("self", "cls")]
    assert [p.name for p in parameters if p.annotation is inspect.Parameter.empty] == []
    assert signature.return_annotation is not inspect.Signature.empty


def test_marked_as_typed():
    assert (Path(sklearn_minibatch.__file__).parent / "py.typed").exists()


def mypy(*arguments):
    pytest.importorskip("mypy", reason="mypy is not installed (extra [dev])")
    if not (ROOT / "sklearn_minibatch").is_dir():
        pytest.skip("needs the checkout")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_mypy_finds_nothing():
    assert mypy() == ""


@pytest.mark.slow
def test_mypy_checks_code_that_uses_the_package(tmp_path):
    path = tmp_path / "user_code.py"
    path.write_text(USER_CODE)
    told = [
        line.split(": error: ")
        for line in mypy(str(path)).splitlines()
        if path.name in line and ": error: " in line
    ]
    found = [where.rsplit(":", 1)[1] + what[what.rindex("[") :] for where, what in told]
    lines = enumerate(USER_CODE.splitlines(), start=1)
    assert found == [
        f"{i}[{line.split('# error: ')[1]}]" for i, line in lines if "# error: " in line
    ]
