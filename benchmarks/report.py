"""Tables, pictures and the CSV."""

import time

from .machine import machine, threads, versions


def markdown(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def provenance():
    return f"{machine()}; {threads()} thread(s); {versions()}."


def targets(chosen, size, out):
    """Measure, print each row as it comes, and write them all to a table."""
    marks, rows = {True: "yes", False: "**no**", None: "-"}, []
    for target in chosen:
        start = time.perf_counter()
        for row in target(size):
            rows.append((row.what, row.target, row.measured, marks[row.ok]))
            print("| " + " | ".join(rows[-1]) + " |", flush=True)
        print(f"  ({target.__name__}: {time.perf_counter() - start:.0f} s)", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    table = markdown(["what", "target", "measured", "ok?"], rows)
    (out / "targets.md").write_text(f"{table}\n\n{provenance()}\n")
