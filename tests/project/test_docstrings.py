"""Docstrings of the public names, by numpydoc's own validation."""

import pytest

import sklearn_minibatch

from .test_types import PUBLIC, functions_of

validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed").validate

# Not asked for, in scikit-learn neither: an extended summary, examples and a section "See Also"
# everywhere (ES01, EX01, SA01); nor may what is returned go without its name (RT02).
EVERYWHERE = {"ES01", "EX01", "RT02", "SA01"}
NAMES = [f"sklearn_minibatch.{thing.__qualname__}" for thing in PUBLIC] + [
    f"sklearn_minibatch.{function.__qualname__}"
    for thing in PUBLIC
    for function in functions_of(thing)
    if function.__name__ != "__init__" and function is not thing
]


# The parameters of hooks are documented by scikit-learn, in sklearn.callback.FitCallback.
HOOKS = {"setup", "on_fit_task_begin", "on_fit_task_end", "teardown"}


def errors(name):
    excused = EVERYWHERE | ({"PR01"} if name.rsplit(".", 1)[-1] in HOOKS else set())
    return [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in excused]


@pytest.mark.parametrize("name", NAMES)
def test_docstring(name):
    assert errors(name) == []


def test_the_package_says_what_it_is():
    assert sklearn_minibatch.__doc__
