"""The same table in the dialects of countries and programs gives the same predictions."""

import re
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch._command_line.pipeline import encoded_names

N = 60
RNG = np.random.default_rng(0)
A = RNG.normal(1000, 3000, N).round(2)
B = RNG.integers(1, 100, N)
K = RNG.choice(["Köln", "Zürich", "Aachen"], N)
D = pd.date_range("2020-01-15", periods=N)
Y = (A / 10 + 3 * B + 50 * (K == "Köln") + 20 * RNG.normal(size=N)).round(1)
HEADER = ["a", "b", "k", "d", "y"]


def closed_form():
    """Coefficients of a and b, and predictions, of Ridge on the arrays of which tables are made."""
    seconds = (D - pd.Timestamp(1970, 1, 1)).total_seconds().to_numpy()
    levels = [level == K for level in np.unique(K)]
    X = np.column_stack([A, B, *levels, D.year, D.month, D.day, np.float32(seconds)]).astype(float)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1e-4 * N)).fit(X, Y)
    return ridge[-1].coef_[:2] / ridge[0].scale_[:2], ridge.predict(X)


def english(value):
    return f"{value:,.2f}"


def german(value):
    return english(value).translate(str.maketrans(",.", ".,"))


def dollars(value):
    return f'"${english(value)}"' if value > 0 else f'"(${english(-value)})"'


def table(a=str, b=str, k=str, d="%Y-%m-%d", y=str, sep=",", end="\n", header=HEADER, cell=str):
    """The table with its columns written by the given functions."""
    columns = [map(a, A), map(b, B), map(k, K), D.strftime(d), map(y, Y)]
    if header is NUMBERED or "" in header:
        columns = [map(str, range(N)), *columns]
    rows = [header, *zip(*columns, strict=True)] if header else zip(*columns, strict=True)
    return "".join(sep.join(map(cell, row)) + end for row in rows)


NUMBERED = [*HEADER]  # without a name for the row names
QUOTED = '"{}"'.format
german_table = partial(table, german, d="%d.%m.%Y", y=german, sep=";")
PLAIN, GERMAN, SEMICOLON = table(), german_table(), {"sep": ";"}
SAPPORO = {"Köln": "ケルン", "Zürich": "チューリッヒ", "Aachen": "アーヘン"}
# How it is written, how a person would have pandas read it, and options of the command line.
DIALECTS = {
    "plain": (PLAIN, {}),
    "German": (GERMAN, SEMICOLON),
    "German, with decimal=','": (GERMAN, {"sep": ";", "decimal": ","}),
    "German, Windows": (
        GERMAN.encode("cp1252"),
        {"sep": ";", "encoding": "cp1252"},
        ["--encoding", "cp1252"],
    ),
    "German, Excel": (german_table(end="\r\n", cell=QUOTED).encode("utf-8-sig"), SEMICOLON),
    "titles filled up": (f"Report;;;;\nof;2024;;;\n;;;;\n{GERMAN}", {"sep": ";", "skiprows": 3}),
    "Excel's first line": (f"sep=;\n{GERMAN}", {"sep": ";", "skiprows": 1}),
    "Unicode text": (
        german_table(sep="\t").encode("utf-16"),
        {"sep": "\t", "encoding": "utf-16"},
    ),
    "French": (
        table(lambda v: german(v).replace(".", "\u202f") + "\u00a0€", d="%d/%m/%Y", sep=";"),
        SEMICOLON,
    ),
    "Swiss": (
        table(lambda v: "CHF " + english(v).replace(",", "\u2019"), d="%d.%m.%Y", sep=";"),
        SEMICOLON,
    ),
    "Brazilian": (table(lambda v: f"R$ {german(v)}", d="%d/%m/%Y", sep=";"), SEMICOLON),
    "American": (table(dollars, "{}%".format, d="%m/%d/%Y"), {}),
    "a unit, typographic minus": (table(lambda v: f"{v} km".replace("-", "\u2212")), {}),
    "SAP": (table(lambda v: f"{abs(v)}{'-' if v < 0 else ''}"), {}),
    "SAS": (table(d="%d%b%Y"), {}),
    "SPSS": (table(d="%d-%b-%Y"), {}),
    "R's write.table": (table(sep=" ", header=NUMBERED, cell=QUOTED), {"sep": " "}),
    "R's write.csv2": (german_table(header=["", *HEADER], cell=QUOTED), SEMICOLON),
    "row names without a name": (table(header=NUMBERED), {}),
    "World Bank": (
        '"Data Source","Indicators",\r\n\r\n"Last Updated","2024-06-28",\r\n\r\n'
        + table(end=",\r\n", cell=QUOTED),
        {"skiprows": 4},
    ),
    "comments above": (f"# made by x\n# on Monday\n{PLAIN}", {"skiprows": 2}),
    "tabs": (table(sep="\t"), {"sep": "\t"}),
    "bars": (table(sep="|"), {"sep": "|"}),
    "fixed width": (table("{:10.2f}".format, "{:5d}".format, sep=" "), {"sep": r"\s+"}),
    "blanks after commas": (table(sep=", "), {}),
    "separators at the ends": (table(end=",\n").replace("y,", "y", 1), {"index_col": False}),
    "old Mac": (table(end="\r"), {}),
    "single quotes": (table(k="'{}, DE'".format), {"quotechar": "'"}),
    "backslashes": (table(k='"{} \\"DE\\""'.format), {"escapechar": "\\"}),
    "long cells": (table(k=lambda v: f'"{v} ""DE"",\n{"x" * 200_000 * (v == "Köln")}"'), {}),
    "DOS": (f"{PLAIN}\x1a", {"comment": "\x1a"}),
    "a last line of blanks": (f"{PLAIN}   \n", {}),
    "levels that are numbers": (table(k={"Köln": "01067", "Zürich": "x", "Aachen": "y"}.get), {}),
    "no header": (table(header=[]), {"names": ["x0", "x1", "x2", "x3", "x4"]}, ["--no-header"]),
    "Japanese": (
        table(k=SAPPORO.get, d="%Y年%m月%d日").encode("shift_jis"),
        {"encoding": "shift_jis"},
        ["--encoding", "shift_jis"],
    ),
}
# Numbers without decimals, whose points or commas pandas takes for a decimal point, or for text.
WHOLE = {
    "points, another column has commas": (".", "1,5", ";", []),
    "points, by an option": (".", "2", ";", ["--decimal", ","]),
    "commas, another column has points": (",", "1.5", ";", []),
    "commas between commas": (",", "2", ",", []),
    "commas, by an option": (",", "2", "\t", ["--decimal", "."]),
}


def coefficients(model, *names):
    return model[-1].coef_[[encoded_names(model).index(name) for name in names]]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (i > 5)) for i, n in enumerate(DIALECTS)]
)
def test_saved_pipeline_and_printed_code_do_what_ridge_does(here, prints, name):
    content, reading, *options = DIALECTS[name]
    (here / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    target = "x4" if name == "no header" else "y"
    given = ["t.csv", "--target", target, *(options[0] if options else [])]
    output = prints(*given, "--save", "m.joblib")
    script = {}
    exec(prints(*given, "--code"), script)
    frame = pd.read_csv("t.csv", **reading)
    as_printed = eval(re.search(r"predict\((.*)\)", output)[1])
    coef, expected = closed_form()
    names = [name for name in frame.columns if name.strip() in ("a", "b", "x0", "x1")]
    for model in (joblib.load("m.joblib"), script["model"]):
        np.testing.assert_allclose(coefficients(model, *names), coef, rtol=1e-5)
        for table in (frame, as_printed):
            predicted = model.predict(table)
            np.testing.assert_allclose(predicted, expected, atol=1e-4 * Y.std())


@pytest.mark.parametrize("name", WHOLE)
def test_separators_between_thousands(here, prints, name):
    mark, other, separator, options = WHOLE[name]
    population = RNG.integers(1000, 1_000_000, N)
    rows = [f'"{v:,}"'.replace(",", mark) + f"{separator}{2 * v + 1}" for v in population]
    rows = [f'{row}{separator}"{other if i else 0}"' for i, row in enumerate(rows)]
    (here / "t.csv").write_text("\n".join([separator.join(["a", "y", "b"]), *rows]))
    prints("t.csv", "--target", "y", "--alpha", "0", "--save", "m.joblib", *options)
    np.testing.assert_allclose(coefficients(joblib.load("m.joblib"), "a"), 2)


@pytest.mark.parametrize("mark", [".", ","])
def test_points_or_commas_that_may_be_either(here, refuses, mark):
    (here / "t.csv").write_text(f"a;y\n1{mark}234;1\n12{mark}345;2\n")
    line = f"t.csv, column 'a': decimals or thousands in '1{mark}234'? --decimal tells the mark"
    assert refuses("t.csv", "--target", "y") == line
