"""The command line on hostile files.

It must say what is wrong on one line, run nothing that a file holds, and use little memory.
"""

import ast
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sklearn_minibatch
from sklearn_minibatch.__main__ import main

from .. import ROOT

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


def npy_with_a_pickle(path="x.npy"):
    np.save(path, np.array([Harm()], dtype=object), allow_pickle=True)
    return Path(path).read_bytes()


def utf(kind):
    return "a,price\n1,2\n".encode(kind)


REFUSED = {
    **{
        f"command {text}": (
            f'a,price\n1,2\n"{text}",2\n'.encode(),
            "line 3, column 'a': .* is not a number",
        )
        for text in COMMANDS
    },
    **{
        f"name {text}": (
            f'"{text}",price\n1,2\nx,2\n'.encode(),
            "line 3, column .*: 'x' is not a number",
        )
        for text in COMMANDS
    },
    **{
        f"nothing but {text}": (
            f'"{text}",price\n"{text}",2\n'.encode(),
            "no column left to .*a level per row",
        )
        for text in COMMANDS
    },
    "nothing but text, huge": (
        b"a,price\n" + b"x" * 130_000 + b",2\n",
        "no column left to predict 'price' from: 'a'",
    ),
    "nothing but empty cells": (
        b"a,b,price\n,?,2\nNA,-,3\n",
        "no column left to predict 'price' from: 'a', 'b' .empty.",
    ),
    "many columns, all text": (
        b"n" * 100_000 + b",n" * 9000 + b",price\n" + b"x," * 9001 + b"2\n",
        "and 8,996 more",
    ),
    "huge field": (
        b"a,price\n" + b"x" * 3_000_000 + b",2\n",
        "line 2: field larger than field limit",
    ),
    "huge number": (
        b"a,price\n" + b"9" * 130_000 + b",2\n",
        r"'9{37}\.\.\.' is larger than 1e\+100",
    ),
    "huge decimals": (
        b"a,price\n1,2\n0." + b"1" * 130_000 + b"x,2\n",
        r"'0\.1{35}\.\.\.' is not a number",
    ),
    "huge name": (b"n" * 3_000_000 + b",price\n1,2\n", "line 1: field larger than field limit"),
    "long names": (
        b",".join([b"n" * 130_000] * 30) + b"\n",
        r"no column 'price'; columns: 'n{37}\.\.\.', .*and 10 more",
    ),
    "long name": (
        b"n" * 130_000 + b",price\n1,2\nx,2\n",
        r"line 3, column 'n{37}\.\.\.': 'x' is not a number",
    ),
    "quotation mark open to the end": (
        b'a,price\n"' + b"1,2\n" * 300_000,
        "is a quotation mark left open",
    ),
    "quotation marks inside": (b'a,price\n1,2\n1"2,3\n', "'1\"2' is not a number"),
    "quotation marks astray": (b'a,price\n"1"2,3\n', "line 2: ',' expected after '\"'"),
    "a million columns": (
        b",".join(b"c%d" % j for j in range(10**6)) + b"\n",
        "no column 'price'; .*'c19', and 999,980 more",
    ),
    "a million columns, no rows": (
        b"c," * 10**6 + b"price\n",
        "has 1,000,001 columns; it may have 100,000",
    ),
    "a million commas": (b"a,price\n" + b"," * 10**6 + b"\n", "line 2: 1000001 instead of 2 cells"),
    "UTF-16 without a mark": (utf("utf-16-le"), "line 1: NUL byte"),
    "UTF-16, big end first": (utf("utf-16-be"), "line 1: NUL byte"),
    "UTF-32": (utf("utf-32"), "byte 0xff is not UTF-8"),
    "lone surrogate": (b"a,price\n1,2\n\xed\xa0\x80,2\n", "line 3: byte 0xed is not UTF-8"),
    "overlong slash": (b"a,price\n\xc0\xaf,2\n", "line 2: byte 0xc0 is not UTF-8"),
    "cut in a character": (b"a,price\n1,2\xe2\x82", "line 2: byte 0xe2 is not UTF-8"),
    "NUL bytes only": (b"\0" * 1000, "line 1: NUL byte"),
    "NUL in the header": (b"a\0,price\n1,2\n", "line 1: NUL byte"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "is not UTF-8"),
    "zip": (b"PK\3\4\x14\0\0\0\x08\0\x9c\xff", "is not UTF-8"),
    "a pickle": (pickle.dumps(Harm()), "is not UTF-8"),
    "a pickle of text": (pickle.dumps(Harm(), protocol=0), "no column 'price'|not a number"),
    "escape sequences": (
        b"\x1b]0;harm\x07,price\n1,2\n\x1b[31m,2\n",
        r"column '\\x1b\]0;harm\\x07': '\\x1b\[31m' is not a number",
    ),
    "a line in a cell": (b'a,price\n1,2\n"x\ny",2\n', r"'x\\ny' is not a number"),
    "a line in a name": (b'"x\ny",cost\n1,2\n', r"columns: 'x\\ny', 'cost'"),
    "other line ends": (
        "a,price\n1,2\nx\u2028y\u0085,2\n".encode(),
        r"'x\\u2028y\\x85' is not a number",
    ),
    "hexadecimal": (b"a,price\n1,2\n0x10,2\n", "'0x10' is not a number"),
    "infinity": (b"a,price\n1,Infinity\n", "'Infinity' is larger than"),
}


def refusal(capsys, *args):
    """The one line that says why."""
    assert main(["data.csv", "--target", "price", "--no-grid", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert len(line) < 2000
    assert line.isprintable()
    return line


@pytest.mark.parametrize("name", REFUSED)
def test_refused_on_one_short_line(here, capsys, name):
    content, message = REFUSED[name]
    (here / "data.csv").write_bytes(content)
    line = refusal(capsys)
    assert re.fullmatch(rf"python -m sklearn_minibatch: error: data\.csv.*({message}).*", line)
    assert [path.name for path in here.iterdir()] == ["data.csv"]


def test_an_array_file_with_a_pickle_in_it(here, capsys):
    (here / "data.csv").write_bytes(npy_with_a_pickle())
    assert "byte 0x93 is not UTF-8" in refusal(capsys)
    assert not (here / "harm").exists()


def test_a_file_that_may_not_be_read(here, capsys, monkeypatch):
    (here / "data.csv").write_text("a,price\n1,2\n")
    (here / "data.csv").chmod(0)
    if os.access("data.csv", os.R_OK):  # as root

        def denied(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
    assert "cannot read data.csv: Permission denied" in refusal(capsys)


ACCEPTED = {
    "commands for names": (
        ",".join(f'"{text}"' for text in COMMANDS) + ",price\n1,2,3,4,5,6,7\n2,2,3,5,5,6,9\n"
    ).encode(),
    "names twice": b"a,a,price\n1,2,3\n2,2,4\n3,5,6\n",
    "names of nothing": b",,price\n1,2,3\n2,2,4\n3,5,6\n",
    "names that are numbers": b"1,2,price\n1,2,3\n2,2,4\n3,5,6\n",
    "escape sequences": b"\x1b]0;harm\x07,\x1b[2J,price\n1,2,3\n2,2,4\n3,5,6\n",
    "commands for levels": (
        "a,b,price\n" + "".join(f'"{text}",1,{j}\n' * 2 for j, text in enumerate(COMMANDS))
    ).encode(),
    "escape sequences for levels": b"a,price\n" + b"\x1b[31m,1\n" * 3 + b"\x1b]0;harm\x07,2\n" * 3,
    "empty cells": b"a,b,price\n1,,2\n,x,4\n3,x,6\n4,y,\n5,y,8\n?,y,9\n",
    "a level of two lines": b'a,price\n"x\ny",2\n"x\ny",2\nz,3\nz,4\n',
    "many columns": b"c," * 2000 + b"price\n" + (b"1," * 2000 + b"2\n") + (b"3," * 2000 + b"7\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_odd_but_harmless_is_fitted(here, capsys, name):
    (here / "data.csv").write_bytes(ACCEPTED[name])
    assert main(["data.csv", "--target", "price", "--no-grid"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out) < 100_000
    assert sorted(path.name for path in here.iterdir()) == ["data.csv", "loss_history.png"]
    if name == "many columns":
        assert "... and 1,960 more" in out


@pytest.mark.parametrize("name", ACCEPTED)
def test_printed_code_holds_what_is_in_the_file_as_strings(here, capsys, name):
    """With other names and levels in the file, the code is the same but for its strings."""
    (here / "data.csv").write_bytes(ACCEPTED[name])
    assert main(["data.csv", "--target", "price", "--code", "--save", "price'); harm = ('"]) == 0
    code, _ = capsys.readouterr()
    assert all(line.isprintable() for line in code.splitlines())
    tree = ast.parse(code)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    ours = {
        "pd.read_csv",
        "dict.fromkeys",
        "table.dropna",
        "make_column_transformer",
        "SimpleImputer",
        "OneHotEncoder",
    }
    rest = {"make_pipeline", "MiniBatchRidgeSGD", "model.score", "print", "joblib.dump"}
    assert {call for call in called if not call.endswith(".fit")} <= ours | rest
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} == {"sklearn", "sklearn_minibatch"}
    assigned = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert assigned <= {"numbers", "text", "table", "X", "y", "columns", "model"}


WATCHED = """
import sys
from pathlib import Path
from sklearn_minibatch.__main__ import main

def alarm(event, args):
    if armed and (event in FORBIDDEN or event.split(".")[0] in MODULES):
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
    accepted = [
        ACCEPTED[name]
        for name in ("commands for names", "commands for levels", "escape sequences for levels")
    ]
    contents = [
        *(content for content, _ in REFUSED.values()),
        *accepted,
        npy_with_a_pickle("good.npy"),
    ]
    for k, content in enumerate(contents):
        (here / f"hostile{k:03}.csv").write_bytes(content)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=env, capture_output=True, text=True, check=True
    )
    assert len(re.findall(r"^STATUS .* 2$", done.stdout, re.MULTILINE)) == len(REFUSED) + 1
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
    command = [
        sys.executable,
        "-c",
        LITTLE_MEMORY,
        str(n_bytes),
        "data.csv",
        "--target",
        "price",
        *args,
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


needs_size = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="needs the size of the process"
)


@pytest.mark.slow
@needs_size
def test_a_file_larger_than_the_memory_goes_in_chunks(here):
    rows = np.random.default_rng(0).integers(10, size=(1000, 60))
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    with open(here / "data.csv", "w") as file:
        file.write(",".join(f"c{j}" for j in range(59)) + ",price\n")
        for _ in range(50):
            file.write(lines)
    n_bytes = 8 * 59 * 50_000  # of the rows in memory
    done = with_little_memory(n_bytes)
    assert done.returncode == 2
    assert (
        done.stderr == "python -m sklearn_minibatch: error: not enough memory for data.csv; "
        "--chunks takes less\n"
    )
    done = with_little_memory(n_bytes, "--chunks", "--solver", "svrg")
    assert done.returncode == 0, done.stderr
    assert "50,000 rows, 59 columns" in done.stdout


@pytest.mark.slow
@needs_size
def test_a_line_larger_than_the_memory(here):
    with open(here / "data.csv", "wb") as file:
        file.truncate(2**31)
    done = with_little_memory(2**28)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m sklearn_minibatch: error: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_package_has_no_means_to_run_what_it_reads():
    calls = {
        "eval",
        "exec",
        "compile",
        "__import__",
        "load",
        "loads",
        "loadtxt",
        "genfromtxt",
        "fromfile",
        "system",
        "popen",
    }
    modules = {
        "pickle",
        "marshal",
        "shelve",
        "subprocess",
        "ctypes",
        "socket",
        "urllib",
        "http",
        "yaml",
        "importlib",
    }
    for path in Path(sklearn_minibatch.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr
                    if isinstance(node.func, ast.Attribute)
                    else getattr(node.func, "id", "")
                )
                assert called not in calls, f"{path.name}, line {node.lineno}"
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not {name for name in names if name.split(".")[0] in modules} - {
                "importlib.util"
            }, path.name
