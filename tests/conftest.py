"""Fixtures of several files, and how Hypothesis draws."""

import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine is.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
