"""The command line, run as a reader would run it: in a process of its own, on files."""

import csv
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import matplotlib.image
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from .. import ROOT

pytestmark = pytest.mark.slow

X, Y = load_diabetes(return_X_y=True, scaled=False)
NAMES = load_diabetes().feature_names
SIX_DIGITS = 6e-6  # relative error of a number printed with six digits


def run(*args, cwd, start=("-m", "sklearn_minibatch"), **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    command = [sys.executable, *start, *map(str, args)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done


def run_each(arguments, cwd):
    """Several runs at a time, most of which is waiting for imports: name -> what `run` returns."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(
            zip(
                arguments,
                pool.map(lambda args: run(*args, cwd=cwd), arguments.values()),
                strict=True,
            )
        )


def write_csv(path, names, rows, **options):
    with open(path, "w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows([names, *rows])
    return path


def diabetes_csv(path, **options):
    return write_csv(path, [*NAMES, "progression"], np.column_stack([X, Y]).tolist(), **options)


def cells(output):
    """The rows of the printed tables: label -> the cells after it."""
    found = {}
    for line in output.splitlines():
        label, *values = re.split(r" {2,}", line.strip())
        if values:
            found[label] = values
    return found


def column(output, j, names=NAMES):
    """Printed coefficients and intercept of estimator j."""
    table = cells(output)
    return np.array([float(table[name][j]) for name in [*names, "(intercept)"]])


def scaled(X):
    return X.mean(axis=0), np.sqrt(((X - X.mean(axis=0)) ** 2).mean(axis=0))


def closed_form(X, y, alpha):
    """Coefficients, then the intercept, in original units.

    By the normal equations of the standardised columns.
    """
    mean, scale = scaled(X)
    Z = (X - mean) / scale
    beta = np.linalg.solve(
        Z.T @ Z / len(y) + alpha * np.eye(Z.shape[1]), Z.T @ (y - y.mean()) / len(y)
    )
    return np.append(beta / scale, y.mean() - mean @ (beta / scale))


def by_sgd_regressor(X, y, alpha):
    mean, scale = scaled(X)
    model = SGDRegressor(alpha=alpha, random_state=0).fit((X - mean) / scale, y)
    return np.append(
        model.coef_ / scale, model.intercept_ - mean @ (model.coef_ / scale)
    ), model.n_iter_


def predicted(line):
    return X @ line[:-1] + line[-1]


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    """Output of the command without arguments, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("main")
    done = run(cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_coefficients_are_those_of_the_closed_form_and_of_sgd_regressor(main_job):
    output, _ = main_job
    expected = closed_form(X, Y, 1e-4)
    np.testing.assert_allclose(column(output, 0), expected, rtol=SIX_DIGITS)
    np.testing.assert_allclose(column(output, 1), expected, rtol=SIX_DIGITS)
    np.testing.assert_allclose(column(output, 2), by_sgd_regressor(X, Y, 1e-4)[0], rtol=SIX_DIGITS)


def test_quality_and_cost(main_job):
    table = cells(main_job[0])
    ridge, (sgd, sgd_epochs) = closed_form(X, Y, 1e-4), by_sgd_regressor(X, Y, 1e-4)
    scores = [r2_score(Y, predicted(line)) for line in (ridge, ridge, sgd)]
    np.testing.assert_allclose(np.array(table["R2"], float), scores, atol=5.1e-7)
    ours, of_ridge, of_sgd = table["distance to Ridge, std(y)"]
    assert float(ours) <= 1e-6
    assert of_ridge == "-"
    distance = np.sqrt(np.mean((predicted(sgd) - predicted(ridge)) ** 2)) / Y.std()
    assert float(of_sgd) == pytest.approx(distance, rel=0.06)  # two digits
    ours, of_ridge, of_sgd = table["epochs"]
    assert 1 <= int(ours) <= 20
    assert (of_ridge, of_sgd) == ("-", str(sgd_epochs))
    assert all(float(seconds) > 0 for seconds in table["seconds"])


def test_grid_of_svrg_is_flat_at_the_closed_form_and_that_of_sgd_is_not(main_job):
    svrg, sgd = main_job[0].split('solver="svrg"')[1].split('solver="sgd"')
    folds = KFold(5, shuffle=True, random_state=0).split(X)
    expected = np.mean(
        [
            r2_score(Y[out], predicted(closed_form(X[rows], Y[rows], 1e-4))[out])
            for rows, out in folds
        ]
    )

    def grid(text):
        return np.array([cells(text)[f"batch_size={size}"] for size in (1, 16, 128)], float)

    np.testing.assert_allclose(grid(svrg), np.full((3, 3), expected), atol=5.1e-5)
    assert np.ptp(grid(sgd)) > 0.1
    row, rate = np.unravel_index(np.argmax(grid(sgd)), (3, 3))
    assert f"Best: batch_size={(1, 16, 128)[row]}, lr={(0.01, 0.1, 1.0)[rate]}." in sgd


def test_picture_is_written(main_job):
    output, folder = main_job
    assert "Loss curve written to loss_history.png" in output
    picture = matplotlib.image.imread(folder / "loss_history.png")
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 3


def test_readme_shows_what_is_printed(main_job):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = cells(re.search(r"```text\n(.*?)```", readme, re.DOTALL).group(1))
    printed = cells(main_job[0])
    for label in [*NAMES, "(intercept)", "R2"]:
        assert shown[label][:2] == printed[label][:2]


@pytest.mark.parametrize(
    "options",
    [
        {"lineterminator": "\n"},
        {"encoding": "utf-8-sig", "lineterminator": "\r\n\r\n", "quoting": csv.QUOTE_ALL},
    ],
    ids=["plain", "with byte order mark, blank lines and quotation marks"],
)
def test_csv_gives_what_the_arrays_give(tmp_path, options):
    path = diabetes_csv(tmp_path / "diabetes.csv", **options)
    done = run(path, "--target", "progression", "--no-grid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "442 rows, 10 columns, target: progression" in done.stdout
    np.testing.assert_allclose(column(done.stdout, 0), closed_form(X, Y, 1e-4), rtol=SIX_DIGITS)


def test_options(tmp_path):
    """Another target column, small batches, a strong penalty, another picture file."""
    path = diabetes_csv(tmp_path / "diabetes.csv")
    options = [
        "--target",
        "bp",
        "--alpha",
        0.5,
        "--batch-size",
        16,
        "--plot",
        "curve.png",
        "--no-grid",
    ]
    done = run(path, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    everything = np.column_stack([X, Y])
    j = NAMES.index("bp")
    names = [name for name in [*NAMES, "progression"] if name != "bp"]
    expected = closed_form(np.delete(everything, j, axis=1), everything[:, j], 0.5)
    np.testing.assert_allclose(column(done.stdout, 0, names), expected, rtol=1e-4)
    np.testing.assert_allclose(column(done.stdout, 1, names), expected, rtol=SIX_DIGITS)
    assert "mini-batches of 16 rows" in done.stdout
    assert "Grid search" not in done.stdout
    assert (tmp_path / "curve.png").stat().st_size > 0
    assert not (tmp_path / "loss_history.png").exists()


def test_alpha_auto_is_the_best_of_a_grid_search(tmp_path):
    """In memory, from a file, and by the code that is printed."""
    path = diabetes_csv(tmp_path / "diabetes.csv")
    folds = KFold(5, shuffle=True, random_state=0)
    alphas = MiniBatchRidgeSGDCV().fit(X, Y).alphas_
    search = GridSearchCV(
        MiniBatchRidgeSGD(), {"alpha": alphas}, cv=folds, scoring="neg_mean_squared_error"
    ).fit(X, Y)
    options = ["--alpha", "auto", "--no-grid"]
    few = write_csv(tmp_path / "few.csv", "ab", [[1, 2], [2, 3]])
    runs = run_each(
        {
            "memory": options,
            "file": [path, "--target", "progression", *options],
            "code": [path, "--target", "progression", *options, "--code", "--save", "m.joblib"],
            "few": [few, "--target", "b", *options],
        },
        tmp_path,
    )
    for name in ("memory", "file"):
        assert runs[name].returncode == 0, runs[name].stderr
        assert f"alpha={search.best_params_['alpha']:.3g} has the least" in runs[name].stdout
        expected = closed_form(X, Y, search.best_params_["alpha"])
        np.testing.assert_allclose(column(runs[name].stdout, 0), expected, rtol=SIX_DIGITS)
    (tmp_path / "code.py").write_text(runs["code"].stdout)
    assert run("code.py", cwd=tmp_path, start=()).returncode == 0
    model = joblib.load(tmp_path / "m.joblib")[-1]
    np.testing.assert_allclose(model.alpha_, search.best_params_["alpha"], rtol=1e-12)
    assert_refused(runs["few"], "--alpha auto: ")


def test_alpha_auto_in_chunks(tmp_path):
    path = diabetes_csv(tmp_path / "diabetes.csv")
    done = run(path, "--target", "progression", "--alpha", "auto", "--chunks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alpha = float(re.search(r"alpha=(\S+), solver=", done.stdout)[1])
    expected = MiniBatchRidgeSGDCV(random_state=0).fit(ChunkSource(lambda: iter([(X, Y)])))
    assert alpha == pytest.approx(expected.alpha_, rel=1e-5)
    np.testing.assert_allclose(column(done.stdout, 0), closed_form(X, Y, alpha), rtol=1e-4)


def test_textbook_solver_stays_away_from_the_closed_form(tmp_path):
    done = run("--solver", "sgd", "--no-grid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 1e-4 < float(cells(done.stdout)["distance to Ridge, std(y)"][0]) < 1


@pytest.mark.parametrize(
    "rows", [["1,2,7"], [f"{i},{i * i},7" for i in range(12)]], ids=["one row", "constant"]
)
def test_target_that_does_not_vary(tmp_path, rows):
    path = tmp_path / "flat.csv"
    path.write_text("\n".join(["a,b,price", *rows]))
    done = run(path, "--target", "price", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert column(done.stdout, 0, ["a", "b"]).tolist() == [0, 0, 7]
    assert "No grid search" in done.stdout


HOSTILE = {
    "empty": (b"", "{path} is empty"),
    "blank lines only": (b"\n\n", "{path} is empty"),
    "header only": (b"a,price\n", "{path} has a header but no rows"),
    "no such column": (b"a,cost\n1,2\n", "{path} has no column 'price'; columns: 'a', 'cost'"),
    "semicolons": (
        b"a;price\n1;2\n",
        "no column 'price'; columns: 'a;price'; is it separated by ';'? Then add --sep ';'",
    ),
    "column twice": (
        b"price,a,price\n1,2,3\n",
        "{path} has 2 columns 'price'; columns: 'price', 'a', 'price'",
    ),
    "nothing but the target": (b"price\n1\n", "{path} has no column besides the target"),
    "text": (b"a,price\n1,2\nfive,3\n", "{path}, line 3, column 'a': 'five' is not a number"),
    "text after a blank line": (
        b"a,price\n\n1,2\n\n2,3 EUR\n",
        "{path}, line 5, column 'price': '3 EUR' is not a number",
    ),
    "underscore": (
        b"a,price\n1,2\n1_000,2\n",
        "{path}, line 3, column 'a': '1_000' is not a number",
    ),
    "too large, and nothing to take as text": (
        b"a,price\n1,2\ninf,2\n",
        "1e+100; --drop 'a' leaves it out",
    ),
    "text in the target": (
        b"a,price\n1,?\n2,x\n3,4\n",
        "{path}, line 3, column 'price': 'x' is not a number; the target",
    ),
    "no target": (b"a,price\n1,\n2,NA\n3,-\n", "{path} has no row with a number for 'price'"),
    "no number": (
        b"a,price\nnan,2\n",
        "{path} has no column left to predict 'price' from: 'a' (empty)",
    ),
    "inf": (b"a,price\n1,-inf\n", "{path}, line 2, column 'price': '-inf' is larger than 1e+100"),
    "overflow": (
        b"a,price\n1e200,2\n",
        "{path}, line 2, column 'a': '1e200' is larger than 1e+100",
    ),
    "short row": (b"a,price\n1,2\n3\n", "{path}, line 3: 1 instead of 2 cells"),
    "long row": (b"a,price\n1,2,3\n", "{path}, line 2: 3 instead of 2 cells"),
    "latin-1": ("a,price\n1,2\n2,3 €\n".encode("cp1252"), "{path}, line 3: byte 0x80 is not UTF-8"),
    "utf-16": ("a,price\n1,2\n".encode("utf-16"), "{path}, line 1: byte 0xff is not UTF-8"),
    "nul": (b"a,price\n1,2\n1,\x002\n", "{path}, line 3: NUL byte"),
    "open quotation mark": (b'a,price\n1,"2\n3,4\n', "{path}, line 3: unexpected end of data"),
}


@pytest.fixture(scope="module")
def hostile_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    arguments = {}
    for name, (content, _) in HOSTILE.items():
        (folder / f"{name}.csv").write_bytes(content)
        arguments[name] = [f"{name}.csv", "--target", "price"]
    return run_each(arguments, folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_csv(hostile_runs, name):
    assert_refused(hostile_runs[name], HOSTILE[name][1].format(path=f"{name}.csv"))


def assert_refused(done, message):
    """Exit status 2, and one line that says why."""
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m sklearn_minibatch: error: ")
    assert message in line


def test_file_that_cannot_be_read(tmp_path):
    assert_refused(
        run("nowhere.csv", "--target", "price", cwd=tmp_path),
        "cannot read nowhere.csv: No such file",
    )
    assert_refused(
        run(tmp_path, "--target", "price", cwd=tmp_path), f"cannot read {tmp_path}: Is a directory"
    )


def test_target_not_named(tmp_path):
    path = diabetes_csv(tmp_path / "diabetes.csv")
    assert_refused(run(path, cwd=tmp_path), "--target is missing; columns: 'age', 'sex', 'bmi'")


def test_picture_that_cannot_be_written(tmp_path):
    faults = {
        "no/such/folder.png": "No such file",
        "curve.xyz": "Format 'xyz' is not supported",
        ".": "Is a directory",
    }
    runs = run_each({plot: ["--no-grid", "--plot", plot] for plot in faults}, tmp_path)
    for plot, message in faults.items():
        assert_refused(runs[plot], f"cannot write {plot}: {message}")


def test_options_that_make_no_sense(tmp_path):
    options = [
        "--alpha=-1",
        "--alpha=nan",
        "--batch-size=0",
        "--solver=adam",
        "--target=price",
        "--depth",
        "--sep=ab",
    ]
    options += ["--sep=\n", "--drop=a", "--text=a", "--numbers=a", "--no-header", "--chunks"]
    runs = run_each({option: [option] for option in options}, tmp_path)
    for option, done in runs.items():
        assert done.returncode == 2
        usage, error = done.stderr.splitlines()
        assert usage == "usage: python -m sklearn_minibatch [data.csv --target COLUMN] [options]"
        assert option.split("=")[0] in error


def test_without_matplotlib_the_rest_works(tmp_path):
    hide = (
        "import runpy, sys; sys.modules['matplotlib'] = None; "
        "runpy.run_module('sklearn_minibatch', run_name='__main__')"
    )
    done = run("--no-grid", cwd=tmp_path, start=("-c", hide))
    assert done.returncode == 0, done.stderr
    assert "pip install 'sklearn-minibatch[plot]'" in done.stdout
    assert "(intercept)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_names_beyond_the_encoding_of_the_terminal(tmp_path):
    rows = [[1, 2, 3], [2, 5, 3.5], [4, 1, 5]]
    path = write_csv(tmp_path / "data.csv", ["größe\x1b[31m", "x" * 200, "价格"], rows)
    done = run(path, "--target", "价格", "--no-grid", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "gr??e?[31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 150


def test_reader_that_leaves_early(tmp_path):
    command = [sys.executable, "-m", "sklearn_minibatch", "--no-grid"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_help(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    options = [
        *("--target", "--drop", "--text", "--numbers", "--sep", "--no-header", "--chunks"),
        "--alpha",
        "--solver",
    ]
    for option in (
        "csv",
        *options,
        "--batch-size",
        "--all",
        "--save",
        "--code",
        "--plot",
        "--grid",
    ):
        assert re.search(rf"^  {option}\b", done.stdout, re.MULTILINE)
