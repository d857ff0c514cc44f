"""A wheel and an sdist are built with the right files, and work when installed."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import sklearn_minibatch

from .. import ROOT

pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools >= 77")
pytestmark = pytest.mark.skipif(
    not (ROOT / "sklearn_minibatch").is_dir(), reason="needs the checkout"
)

BUILD = """
from setuptools import build_meta
build_meta.build_sdist('dist')
build_meta.build_wheel('dist')
"""
USE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, sklearn_minibatch as m

X = np.arange(12.0).reshape(6, 2) ** 2
print(m.__file__, m.__version__, m.MiniBatchRidgeSGD().fit(X, X[:, 0]).predict(X).shape)
"""


def run(*command, cwd):
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


def tracked():
    """Files of the checkout, but for those that .gitignore names."""
    ignored = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())]
    found = set()
    for folder, folders, files in os.walk(ROOT):
        for names in (folders, files):
            names[:] = [
                name for name in names if not any(fnmatch(name, pattern) for pattern in ignored)
            ]
        found.update((Path(folder) / name).relative_to(ROOT).as_posix() for name in files)
    return found


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder with both, built from a copy."""
    copy = tmp_path_factory.mktemp("build")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    run("-c", BUILD, cwd=copy)
    return copy / "dist"


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    (wheel,) = dist.glob("*.whl")
    assert wheel.name == f"sklearn_minibatch-{sklearn_minibatch.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    info = f"sklearn_minibatch-{sklearn_minibatch.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == {
        name
        for name in tracked()
        if re.fullmatch(r"sklearn_minibatch/((\w+/)*\w+\.py|py\.typed)", name)
    }
    assert f"{info}licenses/LICENSE" in names


def test_the_wheel_needs_three_packages(dist):
    (wheel,) = dist.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [
        archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")
    ]
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert sorted(required) == ["numpy", "scikit-learn", "scipy"]
    assert "License-Expression: BSD-3-Clause" in metadata


def test_the_sdist_holds_all_that_is_tracked(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert names - made == tracked() - {".gitignore"}


@pytest.mark.slow
def test_an_installed_wheel_works(dist, tmp_path):
    pytest.importorskip("pip", reason="pip is not installed")
    (wheel,) = dist.glob("*.whl")
    run(
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path / "site",
        wheel,
        cwd=tmp_path,
    )
    file, version, *shape = run("-I", "-c", USE, str(tmp_path / "site"), cwd=tmp_path).split()
    assert Path(file).parent == tmp_path / "site" / "sklearn_minibatch"
    assert version == sklearn_minibatch.__version__
    assert shape == ["(6,)"]


def test_dependencies_have_lower_bounds_only():
    """An upper bound or a pin would keep users from the fixes of others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    assert len(requirements) > 10
    for text in requirements:
        requirement = Requirement(text)
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == ([] if requirement.name == project["name"] else [">="]), text
        assert requirement.url is None, text


def test_the_citation_names_this_version():
    assert f"\nversion: {sklearn_minibatch.__version__}\n" in (ROOT / "CITATION.cff").read_text()
