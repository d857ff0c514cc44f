"""The options of ``python -m sklearn_minibatch``."""

import argparse
from typing import Any

PROGRAM = "python -m sklearn_minibatch"
AUTO = "auto"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [TABLE --target NAME] [options]",
        description="Fit MiniBatchRidgeSGD, closed-form Ridge and SGDRegressor to the same rows "
        "and print, side by side, their coefficients in original units and R2. "
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
    names: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "NAME"}
    add("--drop", **names, help="columns to leave out")
    add("--text", **names, help="columns to take as text, whatever is in them")
    add("--numbers", **names, help="columns to take as numbers, not as identifiers or codes")
    add("--sep", metavar="CHARACTER", help="separator of cells, or tab (default: found)")
    add("--decimal", choices=[".", ","], help="decimal mark of numbers such as 1.234")
    add("--encoding", metavar="NAME", help="such as cp1252 (default: UTF-8)")
    add("--no-header", action="store_true", help="the first line is a row: columns are x0, x1, ...")
    chunks = "read the rows in chunks, as is done with tables of more than a gigabyte"
    add("--chunks", action="store_true", help=chunks)
    alpha = "penalty per row, as in SGDRegressor; auto is by cross-validation (default: 1e-4)"
    add("--alpha", type=float_or_auto, default=1e-4, help=alpha)
    rows = "fit by mini-batches of so many rows (default: in one read)"
    add("--batch-size", type=int, metavar="ROWS", help=rows)
    add("--save", metavar="PATH", help="write the fitted pipeline there, for joblib.load")
    add("--code", action="store_true", help="print Python that does the same, and do no more")
    plot = "where to write the loss curve, and the coefficients beside it (default: %(default)s)"
    add("--plot", default="loss_history.png", metavar="PATH", help=plot)
    add("--no-grid", action="store_true", help="leave out the grid search")
    return found


def float_or_auto(text: str) -> float | str:
    """Read a number, or AUTO."""
    return AUTO if text == AUTO else float(text)
