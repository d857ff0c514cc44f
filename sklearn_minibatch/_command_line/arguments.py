"""The options of ``python -m sklearn_minibatch``."""

import argparse
import csv
from collections.abc import Callable
from typing import Any

PROGRAM = "python -m sklearn_minibatch"
AUTO = "auto"
TABLE_OPTIONS = ["target", "sql", "drop", "text", "numbers", "sep", "decimal", "encoding"]
TABLE_OPTIONS += ["no_header", "chunks"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [TABLE --target NAME] [options]",
        description="Fit MiniBatchRidgeSGD, closed-form Ridge and SGDRegressor to the same rows "
        "and print, side by side, their coefficients in original units, R2, epochs and seconds. "
        "Then search a grid of batch sizes and learning rates, "
        "and draw the loss curve and the coefficients.",
        epilog=f"example: {PROGRAM} houses.csv --target price --drop id --save model.joblib",
    )
    add = found.add_argument
    add(
        "table",
        nargs="?",
        help="CSV file, which may be compressed (.gz, .bz2, .xz, .zip), Parquet file or folder, or "
        "URL of a database as sqlite:///shop.db; the diabetes data of scikit-learn if left out",
    )
    add("--target", metavar="NAME", help="column to predict from the others")
    add("--sql", metavar="NAME", help="table of the database, or a query")
    names: dict[str, Any] = {"type": split, "action": "extend", "default": []}
    names["metavar"] = "NAME[,NAME]"
    add("--drop", **names, help="columns to leave out")
    add("--text", **names, help="columns to take as text, whatever is in them")
    add("--numbers", **names, help="columns to take as numbers, not as identifiers or codes")
    add("--sep", metavar="CHARACTER", help="separator of cells, or tab (default: found)")
    add("--decimal", choices=[".", ","], help="decimal mark of numbers such as 1.234")
    add("--encoding", metavar="NAME", help="such as cp1252 (default: UTF-8)")
    add("--no-header", action="store_true", help="the first line is a row: columns are x0, x1, ...")
    add(
        "--chunks",
        action="store_true",
        help="read the rows in chunks, again and again, and do without the comparison; "
        "done by itself where a table takes more than a gigabyte",
    )
    help_alpha = "penalty per row, as in SGDRegressor; auto is by cross-validation (default: 1e-4)"
    add("--alpha", type=auto_or(float), default=1e-4, help=help_alpha)
    solvers = [AUTO, "cholesky", "svrg", "sgd"]
    add("--solver", choices=solvers, default=AUTO, help="of MiniBatchRidgeSGD (default: auto)")
    rows = "rows per mini-batch (default: auto)"
    add("--batch-size", type=auto_or(int), default=AUTO, metavar="ROWS", help=rows)
    add("--all", action="store_true", help="print all columns and coefficients, however many")
    add("--save", metavar="PATH", help="write the fitted pipeline there, for joblib.load")
    add("--code", action="store_true", help="print Python that does the same, and do no more")
    plot = "where to write the loss curve, and the coefficients beside it (default: %(default)s)"
    add("--plot", default="loss_history.png", metavar="PATH", help=plot)
    grid = "run the grid search, or leave it out (default: run it with up to 50 columns)"
    add("--grid", action=argparse.BooleanOptionalAction, help=grid)
    return found


def auto_or(number: Callable[[str], float]) -> Callable[[str], Any]:
    """Return a function that reads a number, or AUTO."""

    def read(text: str) -> Any:
        return AUTO if text == AUTO else number(text)

    read.__name__ = number.__name__  # for the message
    return read


def split(text: str) -> list[str]:
    """Split names at commas; a name that contains a comma must be in quotation marks."""
    return next(csv.reader([text], skipinitialspace=True), [])


def table_option(args: argparse.Namespace) -> str | None:
    """Return the first given option that needs a table, or None."""
    given = (f"--{name.replace('_', '-')}" for name in TABLE_OPTIONS if getattr(args, name))
    return next(given, None)
