"""The folders of the package: imports run one way."""

import ast
from pathlib import Path

import pytest

import sklearn_minibatch

PACKAGE = Path(sklearn_minibatch.__file__).parent
# From the estimator down to arithmetic: each may import only what stands below it.
FOLDERS = ["_command_line", "_displays", "", "_run", "_data", "_solvers", "_rows", "_statistics"]
# The maths does not know scikit-learn, but for the moments of sparse columns.
PURE = ["_solvers", "_rows", "_statistics"]
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(path):
    """The modules that a file imports, as absolute names."""
    here = ["sklearn_minibatch", *path.parts[:-1]]
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            yield ".".join([*base, *filter(None, [node.module])])


def folder(name):
    """The folder of a module of the package; the files at the top have ""."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_one_way(path):
    here = path.parts[0] if len(path.parts) > 1 else ""
    if str(path) in ("__init__.py", "__main__.py"):
        return  # They import whatever the package shows.
    ours = [
        name
        for name in imported(path)
        if name.split(".")[0] == "sklearn_minibatch" and name != "sklearn_minibatch._version"
    ]
    for name in ours:
        assert FOLDERS.index(folder(name)) >= FOLDERS.index(here), f"{path} imports {name}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in PURE], ids=str)
def test_the_maths_does_not_know_scikit_learn(path):
    known = {name for name in imported(path) if name.split(".")[0] == "sklearn"}
    assert known <= {"sklearn.utils.sparsefuncs"}, path


def test_every_folder_has_its_place():
    assert {path.parts[0] for path in FILES if len(path.parts) > 1} == set(FOLDERS) - {""}
