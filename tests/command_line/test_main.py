"""The options of the command line and its report, and how it ends."""

import os
import re
import signal
import subprocess
import sys

import joblib
import matplotlib.image
import numpy as np
import pytest
from scipy import stats
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
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FOLDS = KFold(5, shuffle=True, random_state=0)


def run(*arguments, cwd, **environment):
    """Run it as a reader would."""
    command = [sys.executable, "-m", "sklearn_minibatch", *arguments]
    env = {**ENVIRONMENT, **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def diabetes(here):
    """The diabetes data as a file."""
    header = ",".join([*NAMES, "progression"])
    np.savetxt("d.csv", np.column_stack([X, Y]), "%.17g", ",", header=header, comments="")
    return "d.csv"


def cells(output):
    """The rows of the printed tables: label -> the cells after it."""
    lines = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
    return {label: values for label, *values in lines if values}


def column(output, j, names=NAMES):
    """Printed coefficients and intercept of estimator j."""
    table = cells(output)
    return np.array([float(table[name][j]) for name in [*names, "(intercept)"]])


def closed_form(X, y, alpha=1e-4):
    """Coefficients, then the intercept, by the normal equations of the standardised columns."""
    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = (X - mean) / scale
    gram = Z.T @ Z / len(y) + alpha * np.eye(Z.shape[1])
    beta = np.linalg.solve(gram, Z.T @ (y - y.mean()) / len(y))
    return np.append(beta / scale, y.mean() - mean @ (beta / scale))


def by_sgd_regressor(X, y, alpha=1e-4):
    mean, scale = X.mean(axis=0), X.std(axis=0)
    model = SGDRegressor(alpha=alpha, random_state=0).fit((X - mean) / scale, y)
    return np.append(model.coef_ / scale, model.intercept_ - mean @ (model.coef_ / scale))


def predicted(line, X=X):
    return X @ line[:-1] + line[-1]


@pytest.fixture(scope="module")
def main_job(tmp_path_factory):
    """Output of the command without a table, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("main")
    return run("--save", "model.joblib", cwd=folder), folder


def test_coefficients_and_scores_are_those_of_other_implementations(main_job):
    output, folder = main_job
    ridge, sgd = closed_form(X, Y), by_sgd_regressor(X, Y)
    for j, coef in enumerate([ridge, ridge, sgd]):
        np.testing.assert_allclose(column(output, j), coef, rtol=SIX_DIGITS)
    model = joblib.load(folder / "model.joblib")
    predictions = model.predict(load_diabetes(as_frame=True, scaled=False).data)
    np.testing.assert_allclose(predictions, predicted(ridge), rtol=1e-9)
    table = cells(output)
    scores = [r2_score(Y, predicted(line)) for line in (ridge, ridge, sgd)]
    np.testing.assert_allclose(np.array(table["R2"], float), scores, atol=5.1e-7)
    held_out = [
        np.mean([r2_score(Y[out], predicted(fit(X[i], Y[i]), X[out])) for i, out in FOLDS.split(X)])
        for fit in (closed_form, closed_form, by_sgd_regressor)
    ]
    printed = np.array(table["R2 by cross-validation"], float)
    np.testing.assert_allclose(printed, held_out, atol=5.1e-7)
    ours, of_ridge, of_sgd = table["distance to Ridge, std(y)"]
    assert float(ours) <= 1e-6
    assert float(of_ridge) == 0
    distance = np.sqrt(np.mean((predicted(sgd) - predicted(ridge)) ** 2)) / Y.std()
    assert float(of_sgd) == pytest.approx(distance, rel=0.06)  # two digits
    lower, upper = np.array([table[name][3].split(" to ") for name in NAMES], float).T
    errors = MiniBatchRidgeSGD().fit(X, Y).coef_table(kind="sampling").std_error[1:]
    ends = ridge[:-1] + np.outer([-1, 1], errors) * stats.t.ppf(0.975, len(Y) - len(NAMES) - 1)
    np.testing.assert_allclose([lower, upper], ends, rtol=6e-3)


def test_grid_of_svrg_is_flat_at_the_closed_form_and_that_of_sgd_is_not(main_job):
    output = main_job[0]
    svrg, sgd = (
        np.array([cells(text)[f"batch_size={size}"] for size in (1, 16, 128)], float)
        for text in output.split('solver="svrg" ')[1].split('solver="sgd" ')
    )
    expected = float(cells(output)["R2 by cross-validation"][1])
    np.testing.assert_allclose(svrg, np.full((3, 3), expected), atol=5.1e-5)
    assert np.ptp(sgd) > 0.1
    row, rate = np.unravel_index(np.argmax(sgd), (3, 3))
    assert f"Best: batch_size={(1, 16, 128)[row]}, lr={(0.01, 0.1, 1.0)[rate]}." in output


def test_pictures_are_written_and_readme_shows_what_is_printed(main_job):
    output, folder = main_job
    assert "Loss curve written to loss_history.png, coefficients to coefficients.png" in output
    for name in ("loss_history.png", "coefficients.png"):
        picture = matplotlib.image.imread(folder / name)
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 3
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = cells(re.search(r"```text\n(.*?)```", readme, re.DOTALL).group(1))
    for label in [*NAMES, "(intercept)", "R2", "R2 by cross-validation"]:
        assert shown[label][:2] == cells(output)[label][:2]


def test_options(here, prints, diabetes):
    """Another target column, small batches, a strong penalty, another picture file."""
    options = ["--target", "bp", "--alpha", "0.5", "--batch-size", "16", "--plot", "curve.pdf"]
    output = prints(diabetes, *options)
    j = NAMES.index("bp")
    names = [name for name in [*NAMES, "progression"] if name != "bp"]
    expected = closed_form(np.column_stack([np.delete(X, j, axis=1), Y]), X[:, j], 0.5)
    np.testing.assert_allclose(column(output, 0, names), expected, rtol=1e-4)
    np.testing.assert_allclose(column(output, 1, names), expected, rtol=SIX_DIGITS)
    assert "mini-batches of 16 rows" in output
    assert "No intervals: Standard errors need the second moments" in output
    assert "Grid search" not in output
    assert {path.name for path in here.iterdir()} == {diabetes, "curve.pdf", "coefficients.pdf"}


def test_alpha_auto_is_the_best_of_a_grid_search(here, prints, refuses, diabetes):
    """In memory, from a file, in chunks, and by the code that is printed."""
    alphas = {"alpha": MiniBatchRidgeSGDCV().fit(X, Y).alphas_}
    scoring = "neg_mean_squared_error"
    search = GridSearchCV(MiniBatchRidgeSGD(), alphas, cv=FOLDS, scoring=scoring).fit(X, Y)
    best = search.best_params_["alpha"]
    file = [diabetes, "--target", "progression", "--alpha", "auto"]
    for output in (prints("--alpha", "auto"), prints(*file)):
        assert f"alpha={best:.3g} has the least" in output
        np.testing.assert_allclose(column(output, 0), closed_form(X, Y, best), rtol=SIX_DIGITS)
    script = {}
    exec(prints(*file, "--code"), script)
    np.testing.assert_allclose(script["model"][-1].alpha, best, rtol=1e-12)
    alpha = float(re.search(r"alpha=(\S+), solver=", prints(*file, "--chunks"))[1])
    choice = MiniBatchRidgeSGDCV(random_state=0).fit(ChunkSource(lambda: iter([(X, Y)])))
    assert alpha == pytest.approx(choice.alpha_, rel=1e-5)
    (here / "few.csv").write_text("a,b\n1,2\n2,3\n")
    assert "--alpha auto: " in refuses("few.csv", "--target", "b", "--alpha", "auto")


@pytest.mark.parametrize("n_rows", [1, 12])
def test_target_that_does_not_vary(here, prints, n_rows):
    rows = [f"{i},{i * i},7" for i in range(n_rows)]
    (here / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    assert column(prints("t.csv", "--target", "y"), 0, ["a", "b"]).tolist() == [0, 0, 7]
    assert ("No grid search" in run("t.csv", "--target", "y", cwd=here)) == (n_rows == 1)


REFUSED = {
    "--plot no/such/folder.png": "cannot write no/such/folder.png: No such file",
    "--plot curve.xyz": "cannot write curve.xyz: Format 'xyz' is not supported",
    "--plot .": "cannot write .: Is a directory",
    "d.csv": "--target is missing; columns: 'age', 'sex', 'bmi'",
    "--alpha=-1": "alpha",
    "--alpha=nan": "alpha",
    "--batch-size=0": "batch_size",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_is_refused(call, diabetes, arguments):
    status, _, error = call(*arguments.split())
    assert status == 2
    assert re.fullmatch(f"python -m sklearn_minibatch: error: .*{REFUSED[arguments]}.*\n", error)


OPTIONS = "--alpha=x --batch-size=1.5 --depth --decimal=;"


@pytest.mark.parametrize("option", OPTIONS.split())
def test_options_that_make_no_sense(call, option):
    status, _, errors = call(option)
    assert status == 2
    usage, error = errors.splitlines()
    assert usage == "usage: python -m sklearn_minibatch [TABLE --target NAME] [options]"
    assert option.split("=")[0] in error


def test_without_the_extra_it_says_what_to_install(refuses, monkeypatch):
    monkeypatch.setitem(sys.modules, "skrub", None)
    assert refuses() == "skrub is missing; pip install 'sklearn-minibatch[cli]' brings it"


def test_names_beyond_the_encoding_of_the_terminal(here):
    table = f"größe\x1b[31m,{'x' * 200},价格\n1,2,3\n2,5,3.5\n4,1,5\n"
    (here / "t.csv").write_text(table, encoding="utf-8")
    output = run("t.csv", "--target", "价格", cwd=here, PYTHONIOENCODING="ascii")
    assert "gr??e?[31m" in output
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) < 150


@pytest.mark.parametrize("how", ["reader that leaves early", "interrupt"])
def test_no_traceback(tmp_path, how):
    command = [sys.executable, "-u", "-m", "sklearn_minibatch"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, **pipes) as process:
        process.stdout.readline()  # The fits and the grid search are still to come.
        if how == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            process.stdout.close()
        error = process.stderr.read()
    expected = {"interrupt": (130, b"\npython -m sklearn_minibatch: interrupted\n")}
    assert (process.returncode, error) == expected.get(how, (0, b""))


def test_help(call):
    status, out, _ = call("--help")
    assert status == 0
    options = "table --target --sql --drop --text --numbers --sep --decimal --encoding --no-header "
    options += "--chunks --alpha --batch-size --save --code --plot --no-grid"
    for option in options.split():
        assert re.search(rf"^  {option}\b", out, re.MULTILINE)
