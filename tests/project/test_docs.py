"""The documentation is correct.

Its code runs, all public names and files are listed, and alphas convert as the table says.
"""

import ast
import doctest
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import Ridge, SGDRegressor

import sklearn_minibatch
from sklearn_minibatch import MiniBatchRidgeSGD

from .. import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if "_build" not in page.parts and "auto_examples" not in page.parts
)
# What a page's blocks import beyond the test extra.
NEEDS = {
    "keras_pytorch.md": "torch",
    "dask.md": "dask",
    "array_api.md": "torch",
    "spark.md": "pyspark",
    "sql.md": "duckdb",
}
# Pages whose blocks take seconds.
SLOW = {"dask.md", "larger_than_memory.md", "scale.md", "spark.md", "streams.md", "tuning.md"}


# Pages that change a copy of the package.
CHANGES = sorted((DOCS / "contributing").glob("*.md"))
EVERY_PAGE = [
    pytest.param(page, marks=pytest.mark.slow if page.name in SLOW else ())
    for page in PAGES
    if page not in CHANGES
]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_blocks_run(page, monkeypatch, tmp_path):
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    if page.name == "spark.md" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if page.name == "array_api.md":
        pytest.importorskip("sklearn", "1.9")
        # Set by the page as well, and restored after it.
        monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    monkeypatch.chdir(tmp_path)
    doctest.testfile(
        str(page),
        module_relative=False,
        optionflags=doctest.ELLIPSIS,
        raise_on_error=True,
        encoding="utf-8",
    )


def change(folder, kind, block):
    """Make the file that a block holds, or change the one that it names, in a folder."""
    first, rest = block.split("\n", 1)
    path = folder / first.removeprefix("# ")
    if kind == "python":
        assert not path.exists()
        path.write_text(rest, encoding="utf-8")
        return path
    text = path.read_text(encoding="utf-8")
    for hunk in rest.removesuffix("\n").split("\n@@\n"):
        before, after = (
            "".join(f"{line[1:]}\n" for line in hunk.split("\n") if line[:1] in kept)
            for kept in ([" ", "-"], [" ", "+"])
        )
        assert text.count(before) == 1, f"{path.name} has no longer, or more than once:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("page", CHANGES, ids=lambda page: page.stem)
def test_an_extension_works_with_the_files_on_its_page(page, tmp_path):
    for name in ("sklearn_minibatch", "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "_build", "auto_examples", "generated")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|diff)\n(.*?)^```", text, re.M | re.S)
    changed = [change(tmp_path, kind, block).relative_to(tmp_path) for kind, block in blocks]
    shown = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert shown == [path.as_posix().removeprefix("sklearn_minibatch/") for path in changed]
    tests = [str(path) for path in changed if path.parts[0] == "tests"]
    docs = ["tests/project/test_docstrings.py", "tests/project/test_structure.py"]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *docs]
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", *map(str, changed)]
    for command in run, ruff:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=with_path(tmp_path)
        )
        assert done.returncode == 0, done.stdout + done.stderr


def with_path(folder):
    """The environment in which Python imports from a folder first."""
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_no_block_is_left_out(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    if page in CHANGES:
        blocks = [block for block in blocks if not block.startswith(("# sklearn_", "# tests/"))]
    assert all(block.startswith(">>> ") for block in blocks)
    # Without the blank line the closing fence would be taken for expected output.
    assert all(block.endswith("\n\n") for block in blocks)
    # Longer ones would need a scroll bar on the site.
    assert max((len(line) for block in blocks for line in block.split("\n")), default=0) <= 100


def test_examples_are_scripts_with_a_picture():
    scripts = sorted((DOCS / "gallery").glob("*.py"))
    assert scripts
    for script in scripts:
        tree = ast.parse(script.read_text(encoding="utf-8"))
        assert script.name.startswith("plot_")
        assert ast.get_docstring(tree)


def test_pages_show_pictures_that_examples_make():
    scripts = {script.stem for script in (DOCS / "gallery").glob("plot_*.py")}
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r"sphx_glr_(plot_\w+?)_\d{3}_2_00x", text))
    assert shown
    assert shown <= scripts


def test_public_names_are_on_the_api_page():
    page = (DOCS / "api.md").read_text(encoding="utf-8").replace("\\", "")
    assert set(re.findall(r"^## (\w+)$", page, re.M)) == set(sklearn_minibatch.__all__)
    members = dict(re.findall(r"autoclass:: (\w+)\n   :members: (.*)", page))
    for name, listed in members.items():
        own = {
            key
            for key, value in ours(getattr(sklearn_minibatch, name))
            if is_method(value) and key[0] != "_"
        }
        assert own - {"score"} == set(listed.split(", ")) - {"score"}


def ours(cls):
    """The attributes that a class or a base class of this package defines, by name."""
    for base in cls.__mro__:
        if base.__module__.startswith("sklearn_minibatch"):
            yield from vars(base).items()


def is_method(value):
    return inspect.isfunction(value) or isinstance(value, classmethod)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sklearn_minibatch").rglob("*.py")), ids=lambda path: path.stem
)
def test_a_module_says_in_one_line_what_is_in_it(path):
    """The table of files in the guide for contributors is made of these lines."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring.splitlines()[0].endswith(".")


def table_of_alphas():
    page = (DOCS / "objective.md").read_text(encoding="utf-8")
    return [
        tuple(row)
        for row in re.findall(r"^\| (.+?) \| `(?:\w+)` \| `(.+?)` \| (.+?) \|$", page, re.M)
    ]


def standardized(X, w, ddof=0):
    mu = np.average(X, axis=0, weights=w)
    sigma = np.sqrt(np.average((X - mu) ** 2, axis=0, weights=w) * len(X) / (len(X) - ddof))
    return (X - mu) / sigma, mu, sigma


def by_ridge(Z, y, w, value):
    return Ridge(alpha=value).fit(Z, y, sample_weight=w).coef_


def by_sag(Z, y, w, value):
    return (
        Ridge(alpha=value, solver="sag", tol=1e-10, max_iter=10_000, random_state=0)
        .fit(Z, y, sample_weight=w)
        .coef_
    )


def by_sgd_regressor(Z, y, w, value):
    sgd = SGDRegressor(
        alpha=value,
        learning_rate="constant",
        eta0=2e-3,
        average=2000,
        max_iter=300,
        tol=None,
        random_state=0,
    )
    return sgd.fit(Z, y, sample_weight=w).coef_


def by_glum(Z, y, w, value):
    glum = pytest.importorskip("glum")
    model = glum.GeneralizedLinearRegressor(
        family="normal", l1_ratio=0, alpha=value, gradient_tol=1e-10
    )
    return model.fit(Z, y, sample_weight=w).coef_


def by_skglm(Z, y, w, value):
    skglm = pytest.importorskip("skglm")
    from skglm.solvers import LBFGS

    datafit, penalty = skglm.datafits.Quadratic(), skglm.penalties.L2(value)
    # This solver has no intercept; of centred columns it is the mean of y.
    return LBFGS(tol=1e-10).solve(Z, y - y.mean(), datafit, penalty)[0]


def by_torch(half):
    def coefficients(Z, y, w, value):
        torch = pytest.importorskip("torch")
        layer = torch.nn.Linear(Z.shape[1], 1).double()
        groups = [{"params": [layer.weight], "weight_decay": value}, {"params": [layer.bias]}]
        optimizer = torch.optim.SGD(groups, lr=0.2)
        rows, targets = torch.tensor(Z), torch.tensor(y)[:, None]
        for _ in range(2000):
            optimizer.zero_grad()
            loss = torch.nn.MSELoss()(layer(rows), targets)
            (loss / 2 if half else loss).backward()
            optimizer.step()
        return layer.weight.detach().numpy()[0]

    return coefficients


def minimum(objective, n_features):
    """Coefficients at the minimum of objective(beta, b).

    Found by a method that does not know of ridge regression.
    """
    found = optimize.minimize(
        lambda p: objective(p[:-1], p[-1]), np.zeros(n_features + 1), tol=1e-12, method="BFGS"
    )
    return found.x[:-1]


def by_glmnet(Z, y, w, value):
    s = np.sqrt(np.average((y - np.average(y, weights=w)) ** 2, weights=w))
    share, v = w / w.sum(), y / s
    # y in units of its standard deviation, and lambda with it; the coefficients are taken back.
    return s * minimum(
        lambda beta, b: share @ (v - Z @ beta - b) ** 2 / 2 + value / s * beta @ beta / 2,
        Z.shape[1],
    )


def by_cuml(Z, y, w, value):
    U, S, Vt = np.linalg.svd(Z, full_matrices=False)
    return Vt.T @ (S / (S**2 + value) * (U.T @ (y - y.mean())))


def by_keras_regularizer(Z, y, w, value):
    return minimum(
        lambda beta, b: np.mean((Z @ beta + b - y) ** 2) + value * beta @ beta, Z.shape[1]
    )


def by_keras_decay(Z, y, w, value):
    beta, b, lr = np.zeros(Z.shape[1]), 0.0, 0.1
    for _ in range(2000):
        r = Z @ beta + b - y
        beta = beta - lr * value * beta
        beta, b = beta - lr * 2 * Z.T @ r / len(y), b - lr * 2 * r.mean()
    return beta


def by_matlab(Z, y, w, value):
    return minimum(
        lambda beta, b: np.sum((Z @ beta + b - y) ** 2) / (2 * len(y)) + value * beta @ beta / 2,
        Z.shape[1],
    )


# How each row of the table is checked, how closely, and whether with weights too.
LIBRARIES = {
    "scikit-learn `Ridge`": (by_ridge, 1e-9, True),
    'scikit-learn `Ridge(solver="sag")`': (by_sag, 1e-6, True),
    "scikit-learn `SGDRegressor`": (by_sgd_regressor, 1e-2, True),
    "glum `GeneralizedLinearRegressor`": (by_glum, 1e-6, True),
    "skglm `Quadratic()` with `L2`": (by_skglm, 1e-6, False),
    "PyTorch `MSELoss`, `optim.SGD`": (by_torch(half=False), 1e-6, False),
    "PyTorch `MSELoss` / 2, `optim.SGD`": (by_torch(half=True), 1e-6, False),
    "R glmnet `alpha=0`": (by_glmnet, 1e-4, True),
    "cuML `Ridge`": (by_cuml, 1e-9, False),
    'Keras `loss="mse"`, `kernel_regularizer=L2`': (by_keras_regularizer, 1e-4, False),
    'Keras `loss="mse"`, `optimizers.SGD`': (by_keras_decay, 1e-2, False),
    "MATLAB function, columns by `std(X, 1)`": (by_matlab, 1e-4, False),
    "MATLAB function, columns by `std(X)`": (by_matlab, 1e-4, False),
}


def test_every_row_of_the_table_is_checked():
    assert [library for library, *_ in table_of_alphas()] == list(LIBRARIES)
    runs = {library for library, _, checked in table_of_alphas() if checked == "run"}
    assert {library.split()[0] for library in runs} == {"scikit-learn", "glum", "skglm", "PyTorch"}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("library", "value"), [row[:2] for row in table_of_alphas()])
@pytest.mark.filterwarnings("ignore:Desired error not necessarily achieved")
def test_alpha_elsewhere(library, value, weighted):
    coefficients, rtol, takes_weights = LIBRARIES[library]
    if weighted and not takes_weights:
        pytest.skip("takes no weights")
    rng = np.random.RandomState(0)
    n, alpha = 60, 0.3
    X = rng.standard_normal((n, 4)) * [1, 10, 0.1, 3] + [0, 5, 1, -100]
    y = X @ [1, 0.2, -20, 0.5] + 30 + rng.standard_normal(n)
    w = rng.randint(1, 6, n).astype(float) if weighted else np.ones(n)
    ours = (
        MiniBatchRidgeSGD(alpha=alpha, tol=1e-10, random_state=0).fit(X, y, sample_weight=w).coef_
    )
    Z, _, sigma = standardized(X, w, ddof=1 if "`std(X)`" in library else 0)
    s_y = np.sqrt(np.average((y - np.average(y, weights=w)) ** 2, weights=w))
    given = eval(value, {"alpha": alpha, "W": w.sum(), "n": n, "s_y": s_y})
    theirs = coefficients(Z, y, w, given) / sigma
    np.testing.assert_allclose(theirs, ours, rtol=rtol)


@pytest.mark.skipif(importlib.util.find_spec("glum") is None, reason="needs glum")
def test_glum_scales_like_us():
    import glum

    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((60, 3)) * [1, 10, 0.1], rng.standard_normal(60)
    theirs = glum.GeneralizedLinearRegressor(
        family="normal", l1_ratio=0, alpha=0.3, scale_predictors=True, gradient_tol=1e-10
    )
    ours = MiniBatchRidgeSGD(alpha=0.3, tol=1e-10, random_state=0).fit(X, y)
    np.testing.assert_allclose(theirs.fit(X, y).coef_, ours.coef_, rtol=1e-6)
