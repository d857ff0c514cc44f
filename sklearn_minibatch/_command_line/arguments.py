"""The options of ``python -m sklearn_minibatch``."""

import argparse
import csv

from .cells import LARGEST, number

PROGRAM = "python -m sklearn_minibatch"
SOLVERS = ("auto", "cholesky", "svrg", "sgd")
AUTO = "auto"
SEPARATORS = {"tab": "\t", r"\t": "\t"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [data.csv --target COLUMN] [options]",
        description="Fit MiniBatchRidgeSGD, closed-form Ridge and SGDRegressor to the same rows "
        "and print, side by side, their coefficients in original units, R2, epochs and seconds. "
        "Then search a grid of batch sizes and learning rates, "
        "and write the loss curve as a picture.",
        epilog=f"example: {PROGRAM} houses.csv --target price --drop id,address "
        "--save model.joblib",
    )
    found.add_argument(
        "csv",
        nargs="?",
        help="comma-separated file (UTF-8) with a header; "
        "the diabetes data of scikit-learn if left out",
    )
    _add_file_options(found.add_argument_group("the file"))
    _add_fit_options(found.add_argument_group("the fit"))
    _add_output_options(found.add_argument_group("what is shown and written"))
    return found


def _add_file_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--target", metavar="COLUMN", help="column to predict from the others")
    column_options = {
        "--drop": "columns to leave out",
        "--text": "columns to take as text, each level a column of its own, whatever is in them",
        "--numbers": "columns to use as numbers, though they look like identifiers",
    }
    for option, what in column_options.items():
        group.add_argument(
            option, type=_columns, action="extend", default=[], metavar="COLUMN[,COLUMN]", help=what
        )
    group.add_argument(
        "--sep",
        type=_separator,
        default=",",
        metavar="CHARACTER",
        help="separator of cells, or tab (default: ,)",
    )
    group.add_argument(
        "--no-header",
        action="store_true",
        help="the first line is a row; columns are called x0, x1, ...",
    )
    group.add_argument(
        "--chunks",
        action="store_true",
        help="read the rows in chunks, again and again, and do without the comparison; "
        "done by itself where they are more than a gigabyte of numbers",
    )


def _add_fit_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--alpha",
        type=_penalty,
        default=1e-4,
        help="penalty per row, as in SGDRegressor; auto chooses it by cross-validation, "
        "in one read (default: 1e-4)",
    )
    group.add_argument(
        "--solver",
        choices=SOLVERS,
        default=SOLVERS[0],
        help=f"solver of MiniBatchRidgeSGD (default: {SOLVERS[0]})",
    )
    group.add_argument(
        "--batch-size",
        type=_batch_size,
        default="auto",
        metavar="ROWS",
        help="rows per mini-batch (default: auto)",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--all", action="store_true", help="print all coefficients, however many")
    group.add_argument(
        "--save",
        metavar="PATH",
        help="write the fitted pipeline there, for joblib.load: model.joblib, say",
    )
    group.add_argument(
        "--code", action="store_true", help="print Python that does the same, and do no more"
    )
    group.add_argument(
        "--plot",
        default="loss_history.png",
        metavar="PATH",
        help="where to write the loss curve (default: loss_history.png)",
    )
    group.add_argument(
        "--grid",
        action=argparse.BooleanOptionalAction,
        help="run the grid search, or leave it out (default: run it with up to 50 columns)",
    )


def file_option(args: argparse.Namespace) -> str | None:
    """Return the first given option that needs a CSV file, or None."""
    names = ("target", "drop", "text", "numbers", "no_header", "chunks")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]
    return next(iter(given), None)


def _penalty(text: str) -> float | str:
    if text == AUTO:
        return text
    if not 0 <= (alpha := number(text)) <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be 'auto' or a number from 0 on, got {text!r}")
    return alpha


def _batch_size(text: str) -> int | str:
    if text == AUTO:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be 'auto' or a whole number from 1 on, got {text!r}"
        )
    return int(text)


def _columns(text: str) -> list[str]:
    """Split names at commas; a name that contains a comma must be in quotation marks."""
    return next(csv.reader([text], skipinitialspace=True), [])


def _separator(text: str) -> str:
    separator = SEPARATORS.get(text, text)
    if len(separator) != 1 or separator in '\r\n"\0':
        raise argparse.ArgumentTypeError(f"must be one character or 'tab', got {text!r}")
    return separator
