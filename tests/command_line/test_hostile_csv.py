"""The command line on hostile files.

It must say what is wrong on one line, run nothing that a file holds, and use little memory.
"""

import ast
import gzip
import io
import os
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from .. import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
COMMANDS = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "__import__('os').system('touch harm')",
    "${jndi:ldap://x}",
    "$(touch harm)",
    "1+1",
]


class Harm:
    """What a pickle can do to those who load it."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def npy_with_a_pickle():
    file = io.BytesIO()
    np.save(file, np.array([Harm()], dtype=object), allow_pickle=True)
    return file.getvalue()


def utf(kind):
    return "a,price\n1,2\n".encode(kind)


def zip_of(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "a,price\n1,2\n")
    return file.getvalue()


EURO = "a,price\n1,2\n2,3 €\n".encode("cp1252")
MANY = b"n" * 100_000 + b",n" * 200 + b",price\n" + b"x," * 201 + b"2\n"
LONG_NAMES = b",".join([b"n" * 130_000] * 30) + b"\n" + b"1," * 29 + b"1\n"
ROW_NAMES = b"a,b,price\n1,2,3\n1,5,2,3\n1,7,2,4\n"
NO_NUMBER = "is not a number; "
# What is in the file, and what the message says after its name.
REFUSED = {
    **{f'a,price\n1,2\n"{text}",2\n': f", line 3, .*{NO_NUMBER}" for text in COMMANDS},
    **{f'"{text}",price\n1,2\nx,2\n': f", line 3, .*'x' {NO_NUMBER}" for text in COMMANDS},
    **{
        f'"{text}",price\n"{text}",2\n': " has no column to predict .*constant" for text in COMMANDS
    },
    "": " is empty$",
    "\n\n": " is empty$",
    "a,price\n": " has a header but no rows$",
    b"c," * 10**6 + b"price\n": " has a header but no rows$",
    "a,cost\n1,2\n": " has no column 'price'; columns: 'a', 'cost'$",
    LONG_NAMES: r" has no column 'price'; columns: 'n{37}\.\.\.', .*and 10 more$",
    '"x\ny",cost\n1,2\n': r".* columns: 'x\\ny', 'cost'$",
    "price,a,price\n1,2,3\n": " has 2 columns 'price'; ",
    "price\n1\n": " has no column to predict 'price' from$",
    b"a,price\n" + b"x" * 130_000 + b",2\n": " has no column to predict .* 'a' is constant$",
    "a,b,price\n,?,2\nNA,-,3\n": ".* 'a' is empty; 'b' is empty$",
    MANY: r" has no column to predict .* 'n{37}\.\.\.' is constant; ",
    "a,price\n1,\n2,NA\n3,-\n": " has no row with a number for 'price'$",
    "a,price\n1,2\nfive,3\n": f", line 3, column 'a': 'five' {NO_NUMBER}--text 'a'",
    "a,price\n\n1,2\n\n2,c\n": f", line 5, column 'price': 'c' {NO_NUMBER}",
    "a,price\n1,?\n2,x\n3,4\n": f", line 3, .*'x' {NO_NUMBER}the target must be numbers$",
    "a,price\n1,2\n1_000,2\n": f", line 3, column 'a': '1_000' {NO_NUMBER}",
    "a,price\n1,2\n0x10,2\n": f", .*: '0x10' {NO_NUMBER}",
    "a,price\n1,2\ninf,2\n": r", line 3, .*1e\+100; --drop 'a' leaves it out$",
    "a,price\n1,-Infinity\n": r", line 2, .*: '-Infinity' is larger than 1e\+100; ",
    b"a,price\n1,2\n" + b"9" * 130_000 + b",2\n": rf", line 3, .*'9{{37}}\.\.\.' {NO_NUMBER}",
    b"a,price\n1,2\n0." + b"1" * 130_000 + b"x,2\n": rf", line 3, .*'0\.1{{35}}\.\.\.' {NO_NUMBER}",
    "a,price\n1,2\n3\n": ", line 3: 1 instead of 2 cells: '3'$",
    "a,price\n1,2,3\n": ", line 2: 3 instead of 2 cells$",
    b"a,price\n" + b"," * 10**6 + b"\n": ", line 2: 1000001 instead of 2 cells$",
    ROW_NAMES: ", line (2: 3 instead of 4|3: 4 instead of 3) cells$",
    'a,price\n1,"2\n3,4\n': ", line 2: unexpected end of data; is a quotation mark left open.$",
    b'a,price\n"' + b"1,2\n" * 300_000: ", line 2: .* open.$",
    'a,price\n1,2\n1"2,3\n': f", line 3, .*'1\"2' {NO_NUMBER}",
    'a,price\n"1"2,3\n': ", line 2: ',' expected after '\"'; ",
    EURO: ", line 3: byte 0x80 is not UTF-8; --encoding names another, cp1252 for example$",
    utf("utf-16-le"): ", line 1: byte 0x00 is not UTF-8; ",
    utf("utf-16-be"): ", line 1: byte 0x00 is not UTF-8; ",
    b"a,price\n1,2\n\xed\xa0\x80,2\n": ", line 3: byte 0xed is not UTF-8; ",  # lone surrogate
    b"a,price\n\xc0\xaf,2\n": ", line 2: byte 0xc0 is not UTF-8; ",  # overlong slash
    b"a,price\n1,2\xe2\x82": ", line 2: byte 0xe2 is not UTF-8; ",  # cut in a character
    b"\0" * 1000: ", line 1: byte 0x00 is not UTF-8; ",
    "a\0,price\n1,2\n": ", line 1: byte 0x00 is not UTF-8; ",
    "a,price\n1,2\n1,\x002\n": ", line 3: byte 0x00 is not UTF-8; ",
    b"\x1f\x8b\x08\0\0\0\0\0": ".* is not UTF-8; ",  # gzip
    b"PK\3\4\x14\0\0\0\x08\0\x9c\xff": ".* is not UTF-8; ",  # zip
    pickle.dumps(Harm()): ".* is not UTF-8; ",
    pickle.dumps(Harm(), protocol=0): "",
    npy_with_a_pickle(): ".*byte 0x93 is not UTF-8; ",
    "\x1b]0;harm\x07,price\n1,2\n\x1b[31m,2\n": (
        rf", line 3, column '\\x1b\]0;harm\\x07': '\\x1b\[31m' {NO_NUMBER}"
    ),
    'a,price\n1,2\n"x\ny",2\n': rf", line 4, .* 'x\\ny' {NO_NUMBER}",
    "a,price\n1,2\nx\u2028y\u0085,2\n": rf", line 3, .*'x\\u2028y\\x85' {NO_NUMBER}",
}
REFUSED = [
    pytest.param(content if isinstance(content, bytes) else content.encode(), message, id=f"{k}")
    for k, (content, message) in enumerate(REFUSED.items())
]
OTHER_FILES = {
    "no.gz": (b"a,price\n1,2\n", ""),
    "no.zip": (b"a,price\n1,2\n", "File is not a zip file$"),
    "two.zip": (zip_of("a.csv", "b.csv"), "Multiple files found in ZIP file"),
    "cut.csv.gz": (gzip.compress(b"a,price\n" * 99)[:30], ""),
    "no.parquet": (b"PAR1" + pickle.dumps(Harm()), ""),
}
UNREADABLE = {
    "nowhere.csv": "cannot read nowhere.csv: No such file",
    "t.csv --encoding x": "cannot read t.csv: unknown encoding",
    "t.csv --sep ab": "--sep must be one character",
    "sqlite:///t.db": "--sql is missing",
    "sqlite:///t.db --sql t": "cannot read sqlite:///t.db: ",
    "nowhere.parquet": "cannot read nowhere.parquet: ",
    "folder": "folder is empty",
}


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_refused_on_one_short_line(here, refuses, content, message):
    (here / "data.csv").write_bytes(content)
    assert re.match(rf"data\.csv{message}", refuses("data.csv", "--target", "price"))
    assert [path.name for path in here.iterdir()] == ["data.csv"]


@pytest.mark.parametrize("path", OTHER_FILES)
def test_files_that_are_not_what_their_name_says(here, refuses, path):
    content, message = OTHER_FILES[path]
    (here / path).write_bytes(content)
    assert re.match(f"cannot read {path}: {message}", refuses(path, "--target", "price"))
    assert [path.name for path in here.iterdir()] == [path]


@pytest.mark.parametrize("arguments", UNREADABLE)
def test_what_cannot_be_read(here, refuses, arguments):
    if "sql " in arguments:
        pytest.importorskip("sqlalchemy")
    if "parquet" in arguments or arguments == "folder":
        pytest.importorskip("pyarrow")
    (here / "t.csv").write_text("a,price\n1,2\n")
    (here / "folder").mkdir()
    assert UNREADABLE[arguments] in refuses(*arguments.split(), "--target", "price")


ACCEPTED = {
    "commands for names": (
        ",".join(f'"{text}"' for text in COMMANDS) + ",price\n1,2,3,4,5,6,7\n2,2,3,5,5,6,9\n"
    ).encode(),
    "names twice": b"a,a,price\n1,2,3\n2,2,4\n3,5,6\n",
    "names of nothing": b",,price\n1,2,3\n2,2,4\n3,5,6\n",
    "names that are numbers": b"1,2,price\n1,2,3\n2,2,4\n3,5,6\n",
    "a huge name": b"n" * 3_000_000 + b",price\n1,2\n",
    "a huge cell": b"a,price\n" + b"x" * 3_000_000 + b",2\ny,3\n",
    "escape sequences": b"\x1b]0;harm\x07,\x1b[2J,price\n1,2,3\n2,2,4\n3,5,6\n",
    "commands for levels": (
        "a,b,price\n" + "".join(f'"{text}",1,{j}\n' * 2 for j, text in enumerate(COMMANDS))
    ).encode(),
    "escape sequences for levels": b"a,price\n" + b"\x1b[31m,1\n" * 3 + b"\x1b]0;harm\x07,2\n" * 3,
    "empty cells": b"a,b,price\n1,,2\n,x,4\n3,x,6\n4,y,\n5,y,8\n?,y,9\n",
    "a level of two lines": b'a,price\n"x\ny",2\n"x\ny",2\nz,3\nz,4\n',
    "UTF-16": utf("utf-16"),
    "many columns": b"c," * 2000 + b"price\n" + (b"1," * 2000 + b"2\n") + (b"3," * 2000 + b"7\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_odd_but_harmless_is_fitted(here, prints, name):
    (here / "data.csv").write_bytes(ACCEPTED[name])
    out = prints("data.csv", "--target", "price")
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out) < 100_000
    pictures = {"coefficients.png", "loss_history.png"}
    assert {path.name for path in here.iterdir()} == {"data.csv", *pictures}
    assert ("... and 1,960 that matter less" in out) == (name == "many columns")


@pytest.mark.parametrize("name", ACCEPTED)
def test_printed_code_holds_what_is_in_the_file_as_strings(here, prints, name):
    """Whatever names and levels are in the file, the code calls nothing else than these."""
    (here / "data.csv").write_bytes(ACCEPTED[name])
    code = prints("data.csv", "--target", "price", "--code")
    assert all(line.isprintable() for line in code.splitlines())
    nodes = list(ast.walk(ast.parse(code)))
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    encoders = "FunctionTransformer TableVectorizer StringEncoder SimpleImputer MiniBatchRidgeSGD "
    makers = "make_pipeline make_column_transformer "
    rest = "pd.read_csv y.notna model.fit model.score print"
    called = {call for call in called if "table['price']" not in call}
    assert called <= set((encoders + makers + rest).split())
    modules = {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert modules <= {"sklearn", "sklearn_minibatch", "skrub"}
    names = (node for node in nodes if isinstance(node, ast.Name))
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert assigned <= {"model", "table", "y"}


WATCHED = """
import sys
from pathlib import Path
from sklearn_minibatch.__main__ import main

def alarm(event, args):
    # The module inspect compiles a signature for a class of a library that has none.
    of_inspect = event == "compile" and str(args[0]).startswith("b'def foo(self, *args")
    if armed and not of_inspect and (event in FORBIDDEN or event.split(".")[0] in MODULES):
        print("ALARM", event, str(args)[:150], file=sys.__stdout__)

FORBIDDEN = {"exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__"}
MODULES = {"os.system", "subprocess", "socket", "ctypes", "shutil", "webbrowser", "urllib"}
armed = False
sys.addaudithook(alarm)
# Whatever is imported on the way is imported now.
Path("good.csv").write_text("a,b,price\\n1,x,2\\n2,x,3\\n4,y,4\\n,y,5\\n")
main(["good.csv", "--target", "price", "--no-grid", "--save", "good.joblib"])
main(["good.csv", "--target", "price", "--code"])
for path in sorted(Path().glob("hostile*.csv")):
    armed = True
    status = main([str(path), "--target", "price", "--no-grid", "--save", "model.joblib"])
    main([str(path), "--target", "price", "--code"])
    armed = False
    print("STATUS", path, status)
armed = True
eval("1")
"""


@pytest.mark.slow
def test_nothing_in_a_file_is_run(here):
    """No code is compiled, run, imported, unpickled, and no program is started."""
    accepted = ["commands for names", "commands for levels", "escape sequences for levels"]
    contents = [parameters.values[0] for parameters in REFUSED]
    contents += [ACCEPTED[name] for name in accepted]
    for k, content in enumerate(contents):
        (here / f"hostile{k:03}.csv").write_bytes(content)
    command = [sys.executable, "-c", WATCHED]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert len(re.findall(r"^STATUS .* 2$", done.stdout, re.MULTILINE)) == len(REFUSED)
    assert len(re.findall(r"^STATUS .* 0$", done.stdout, re.MULTILINE)) == len(accepted)
    # The last lines are those of the alarm's own trial.
    before, after = done.stdout.rsplit("STATUS", 1)
    assert "ALARM" not in before
    assert "ALARM exec" in after
    assert not (here / "harm").exists()


LITTLE_MEMORY = """
import resource, sys
import matplotlib.pyplot
from sklearn_minibatch.__main__ import main
open("small.csv", "w").write("a,price\\n1,2\\n2,3\\n")
main(["small.csv", "--target", "price", "--no-grid"])  # What every run needs is there now.
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]), size + int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


def with_little_memory(n_bytes, *args):
    arguments = [str(n_bytes), "data.csv", "--target", "price", *args]
    command = [sys.executable, "-c", LITTLE_MEMORY, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.removeprefix("python -m sklearn_minibatch: ")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs the size of the process")
def test_files_and_lines_larger_than_the_memory(here):
    rows = np.random.default_rng(0).integers(10, size=(1000, 60))
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    header = ",".join(f"c{j}" for j in range(59))
    (here / "data.csv").write_text(f"{header},price\n{lines * 600}")
    n_bytes = 8 * 60 * 600_000  # of the rows in memory
    refusal = "error: not enough memory for data.csv; --chunks takes less\n"
    status, _, err = with_little_memory(n_bytes)
    assert (status, err) == (2, refusal)
    status, out, err = with_little_memory(n_bytes, "--chunks")
    assert (status, err) == (0, "")
    assert "R2" in out
    with open(here / "data.csv", "wb") as file:
        file.truncate(2**31)
    status, _, err = with_little_memory(2**28)
    assert (status, err[:7], len(err.splitlines())) == (2, "error: ", 1)
