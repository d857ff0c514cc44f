"""``python -m sklearn_minibatch``: fit a data set, and show how the fit compares with Ridge and SGDRegressor."""

import argparse
import csv
import io
import math
import os
import sys
from array import array
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

from ._command_line.report import closed_form_loss, compare, comparison_table, draw_loss, grid_report
from ._estimator import MiniBatchRidgeSGD

PROGRAM = "python -m sklearn_minibatch"
LARGEST = 1e100  # sums of squares of larger numbers may overflow


class BadInput(Exception):
    """Input that cannot be used; the message says where and why, on one line."""


def main(argv=None):
    """Run the command line; returns the exit status: 0, or 2 for input that cannot be used."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")  # names in the file may not fit the terminal's encoding
    parser = _parser()
    args = parser.parse_args(argv)
    if args.csv is None and args.target is not None:
        parser.error("--target goes with a CSV file")
    try:
        _run(args)
        print(end="", flush=True)
    except BrokenPipeError:
        # Whoever reads our output, `head` for one, has seen enough. Python must not fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BadInput as error:
        return _refused(error)
    except MemoryError:
        return _refused(f"not enough memory for {args.csv or 'the fits'}")
    return 0


def _refused(why):
    print(f"{PROGRAM}: error: {why}", file=sys.stderr)
    return 2


def _parser():
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [data.csv --target COLUMN] [options]",
        description="Fit MiniBatchRidgeSGD, closed-form Ridge and SGDRegressor to the same rows and print, side by side, "
        "their coefficients in original units, R2, epochs and seconds. Then search a grid of batch sizes and learning "
        "rates, and write the loss curve as a picture.",
        epilog=f"example: {PROGRAM} houses.csv --target price --alpha 0.01",
    )
    parser.add_argument(
        "csv",
        nargs="?",
        help="comma-separated file (UTF-8) of numbers with a header; the diabetes data of scikit-learn if left out",
    )
    parser.add_argument("--target", metavar="COLUMN", help="column of the CSV file to predict from all the others")
    parser.add_argument("--alpha", type=_penalty, default=1e-4, help="penalty per row, as in SGDRegressor (default: 1e-4)")
    parser.add_argument(
        "--solver", choices=["svrg", "sgd"], default="svrg", help="solver of MiniBatchRidgeSGD (default: svrg)"
    )
    parser.add_argument(
        "--batch-size", type=_batch_size, default="auto", metavar="ROWS", help="rows per mini-batch (default: auto)"
    )
    parser.add_argument(
        "--plot", default="loss_history.png", metavar="PATH", help="where to write the loss curve (default: loss_history.png)"
    )
    parser.add_argument("--no-grid", action="store_true", help="leave the grid search out")
    return parser


def _penalty(text):
    if not 0 <= (alpha := _number(text)) <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, got {text!r}")
    return alpha


def _batch_size(text):
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 'auto' or a whole number from 1 on, got {text!r}")
    return int(text)


def _run(args):
    if args.csv is None:
        X, y = load_diabetes(return_X_y=True, scaled=False)
        names, source, target = load_diabetes().feature_names, "diabetes data of scikit-learn", "progression after a year"
    else:
        X, y, names = read_csv(args.csv, args.target)
        source, target = args.csv, args.target
    print(f"{source}: {len(y)} rows, {X.shape[1]} columns, target: {target}")
    model = MiniBatchRidgeSGD(args.alpha, solver=args.solver, batch_size=args.batch_size, random_state=0)
    fits = compare(model, X, y)
    print(f"alpha={args.alpha:g}, solver={args.solver}, mini-batches of {model.batch_size_} rows\n")
    print(*comparison_table(fits, names, X, y), sep="\n")
    print("\nRidge is StandardScaler and Ridge(alpha * rows), SGDRegressor has a StandardScaler too; both are converted back.")
    print("Seconds are for one fit, the best of up to three.")
    for fit in fits:
        for note in fit.notes:
            print(f"Note on {fit.name}: {note}")
    if not args.no_grid:
        print("", *grid_report(model, X, y), sep="\n")
    print(f"\n{_plot(model, closed_form_loss(fits[1], model, X, y), X, y, args.plot)}")


def _plot(model, minimum, X, y, path):
    """Write the picture; returns the line that says so, or why not."""
    if find_spec("matplotlib") is None:
        return "No picture of the loss: it needs matplotlib, which comes with pip install 'sklearn-minibatch[plot]'"
    import matplotlib

    matplotlib.use("Agg")
    try:
        draw_loss(model, minimum, X, y, path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:
        if "not supported" in str(error):  # matplotlib knows formats by the end of the name
            raise BadInput(f"cannot write {path}: {error}") from error
        raise
    return f"Loss curve written to {path}"


def read_csv(path, target):
    """Read a comma-separated file of numbers with a header.

    Parameters
    ----------
    path : str
        File, in UTF-8.
    target : str or None
        Name of the target column.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        All columns but the target.
    y : ndarray of shape (n_samples,)
        The target.
    names : list of str
        Names of the columns of X.

    Raises
    ------
    BadInput
        If the file cannot be read, or anything in it is not as above.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = next((row for row in reader if row), None)
        if header is None:
            raise BadInput(f"{path} is empty")
        names = [name.strip() for name in header]
        j = _target_column(path, names, target)
        values = array("d")
        for row in reader:
            if row:  # a blank line is no row
                values.extend(_numbers(path, reader.line_num, names, row))
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}; is a quotation mark left open?") from error
    if not values:
        raise BadInput(f"{path} has a header but no rows")
    rows = np.frombuffer(values).reshape(-1, len(names))
    return np.delete(rows, j, axis=1), rows[:, j].copy(), names[:j] + names[j + 1 :]


def _text(path):
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise BadInput(f"{path}, line {line}: NUL byte; this is not a CSV file in UTF-8")
    return text


def _target_column(path, names, target):
    """Index of the target column."""
    shown = [_shown(name) for name in names[:20]] + ([f"and {len(names) - 20} more"] if len(names) > 20 else [])
    columns = f"columns: {', '.join(shown)}"
    if target is None:
        raise BadInput(f"--target is missing; {columns}")
    if (count := names.count(target.strip())) != 1:
        fault = "has no column" if count == 0 else f"has {count} columns"
        hint = "; is the file separated by commas?" if len(names) == 1 else ""
        raise BadInput(f"{path} {fault} {target.strip()!r}; {columns}{hint}")
    if len(names) == 1:
        raise BadInput(f"{path} has no column besides the target; {columns}")
    return names.index(target.strip())


def _numbers(path, line, names, row):
    """The cells of a row as floats."""
    if len(row) != len(names):
        raise BadInput(f"{path}, line {line}: {len(row)} instead of {len(names)} cells")
    numbers = [_number(cell) for cell in row]
    for name, cell, number in zip(names, row, numbers, strict=True):
        if not abs(number) <= LARGEST:
            raise BadInput(f"{path}, line {line}, column {_shown(name)}: {_fault(cell)}")
    return numbers


def _number(cell):
    """The number in a cell; NaN where it is none. float() alone would read the label 2024_01 as 202401."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


def _fault(cell):
    """What is wrong with a cell that is not a number we can use."""
    if not cell.strip():
        return "empty cell"
    return f"{_shown(cell)} is " + ("not a number" if math.isnan(_number(cell)) else f"larger than {LARGEST:g}")


def _shown(text):
    """A cell or a name in a message: what it is, on one line, and not all of it where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


if __name__ == "__main__":
    sys.exit(main())
