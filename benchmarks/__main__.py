"""Command line of the benchmarks.

peers    time to accuracy against the peers: results.csv, results.md and pictures
one_read the closed form from second moments against scikit-learn's and others': one_read.md
alpha    alpha by cross-validation against searches, and the reads and memory it takes: alpha.md
device   fits of torch tensors on a GPU, or on the processor: device.md
evidence questions about mini-batches and streams, a table each: evidence_*.md
passes   passes over the data to an accuracy on 17 real problems: passes.md
curves   error by seconds as benchopt measures it, on its ridge objective: benchopt.md and a picture
compare  this checkout against another commit, in turn: ratios with their spread, printed
targets  the targets that the package is held to: targets.md and a picture
map      a fit against the best of Ridge at many shapes: map.md and a picture
page     puts the tables of the last runs, and of benchmarks.scale, into the pages of docs
"""

import argparse
from pathlib import Path

from threadpoolctl import threadpool_limits

from . import (
    alpha,
    curves,
    device,
    evidence,
    map,
    one_read,
    passes,
    problems,
    report,
    revisions,
    timing,
)
from .peers import PEERS
from .rows import Size
from .targets import TARGETS

# Problems, seconds that a peer may spend on a problem, and repetitions.
COMPARISONS = {
    "tiny": (problems.tiny, 0.02, 1),
    "short": (problems.short, 2.0, 3),
    "full": (problems.full, 20.0, 5),
}
# Tables of targets.
TABLES = {
    "one_read": one_read.TARGETS,
    "alpha": alpha.TARGETS,
    "device": device.TARGETS,
    "targets": TARGETS,
}
SIZES = {"tiny": Size(200, 1, 0.02), "short": Size(1, 5, 20.0), "full": Size(1, 15, 60.0)}


def main():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=form
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=["peers", "compare", "evidence", "curves", "passes", "map", *TABLES, "page"],
        default="peers",
    )
    parser.add_argument("revision", nargs="?", help="the commit to compare with")
    parser.add_argument(
        "--tiny", dest="size", action="store_const", const="tiny", help="a smoke run, in seconds"
    )
    parser.add_argument(
        "--full", dest="size", action="store_const", const="full", help="the long run"
    )
    parser.add_argument("--only", default="", help="targets, or problems, whose name contains this")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/benchmarks"),
        help="folder to write to, and to read from",
    )
    parser.add_argument(
        "--clock",
        choices=list(timing.CLOCKS),
        default="wall",
        help="cpu: for a machine that others use too",
    )
    parser.add_argument(
        "--threads", type=int, help="of BLAS and OpenMP; as many as they have, if it is not given"
    )
    parser.set_defaults(size="short")
    options = parser.parse_args()
    timing.use(options.clock)
    threadpool_limits(options.threads)
    if (options.what == "compare") != (options.revision is not None):
        parser.error("compare, and nothing else, takes a commit")
    if options.what == "compare":
        n_rounds = {"tiny": 1, "short": 5, "full": 11}[options.size]
        print(revisions.compare(options.revision, n_rounds, options.only))
    elif options.what == "evidence":
        evidence.write(SIZES[options.size], options.size, options.out, options.only)
    elif options.what == "curves":
        curves.write(options.size, options.out)
    elif options.what == "passes":
        passes.write(SIZES[options.size], options.size, options.out, options.only)
    elif options.what == "map":
        map.write(SIZES[options.size], options.size, options.out, options.only)
    elif options.what == "page":
        report.pages(options.out.parent, options.out)
    elif options.what in TABLES:
        chosen = [each for each in TABLES[options.what] if options.only in each.__name__]
        report.targets(
            chosen, SIZES[options.size], options.size, options.out, bool(options.only), options.what
        )
    else:
        make, budget, repeats = COMPARISONS[options.size]
        chosen = [problem for problem in make() if options.only in problem.name]
        report.comparison(chosen, PEERS, budget, repeats, options.size, options.out)


if __name__ == "__main__":
    main()
