"""The command line, called in an empty folder."""

import pytest

from sklearn_minibatch.__main__ import main


@pytest.fixture
def call(here, capsys):
    """A function that runs the command line: arguments -> exit status, output, errors."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([*map(str, arguments), "--no-grid"])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def prints(call):
    """A function that runs the command line, which must succeed: arguments -> output."""

    def run(*arguments):
        status, out, err = call(*arguments)
        assert (status, err) == (0, "")
        return out

    return run


@pytest.fixture
def refuses(call):
    """A function that runs the command line, which must refuse: arguments -> one short line."""

    def run(*arguments):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert line.isprintable()
        assert len(line) < 2000
        start, why = line.split(": error: ", 1)
        assert start == "python -m sklearn_minibatch"
        return why

    return run
