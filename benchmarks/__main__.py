"""The command line: `python -m benchmarks --help`."""

import argparse
from pathlib import Path

from . import report
from .targets import TARGETS, Size

SIZES = {"tiny": Size(200, 1), "short": Size(1, 5), "full": Size(1, 15)}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["targets"], default="targets")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="a smoke run, seconds")
    parser.add_argument("--full", dest="size", action="store_const", const="full", help="the long run")
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder to write to")
    parser.set_defaults(size="short")
    options = parser.parse_args()
    chosen = [target for target in TARGETS if options.only in target.__name__]
    report.targets(chosen, SIZES[options.size], options.out)


if __name__ == "__main__":
    main()
