"""``python -m sklearn_minibatch``: fit a table, and compare with Ridge and SGDRegressor."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._command_line.arguments import AUTO, PROGRAM, parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, which is 2 for input that cannot be used."""
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in filter(None, streams):
        # The terminal's encoding may lack characters of names in the table.
        stream.reconfigure(errors="replace")
    args = parser().parse_args(argv)
    missing = [
        name for name in ("fsspec", "matplotlib", "pandas", "skrub") if find_spec(name) is None
    ]
    if missing:
        return _refused(f"{missing[0]} is missing; pip install 'sklearn-minibatch[cli]' brings it")
    from ._command_line.dialect import BadInput

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The report says what the user must know.
            _run(args)
        print(end="", flush=True)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe. Python must not fail again
        # when it flushes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BadInput as error:
        return _refused(error)
    except MemoryError:
        chunks = "" if args.table is None or args.chunks else "; --chunks takes less"
        return _refused(f"not enough memory for {args.table or 'the fits'}{chunks}")
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    from ._command_line import report
    from ._command_line.job import Job

    job = Job(args)
    chosen = [job.choose_alpha()] if args.alpha == AUTO else []
    if args.code:
        # Characters that the terminal cannot show are printed as escape sequences of Python.
        stream: Any = sys.stdout
        stream.reconfigure(errors="backslashreplace")
        print(job.code(), end="")
        return
    print(*report.description(job), *chosen, *report.comparison(job), sep="\n")
    if args.save:
        print(job.save(args.save))
    if not (args.no_grid or job.in_chunks or len(job.encoded) > report.GRID_COLUMNS):
        print("", *report.grid(job), sep="\n")
    path = Path(args.plot)
    report.draw_loss(job, path)
    report.draw_coefficients(job, path.with_stem("coefficients"))
    print(f"\nLoss curve written to {path}, coefficients to {path.with_stem('coefficients')}")


def _refused(why: object) -> int:
    print(f"{PROGRAM}: error: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
