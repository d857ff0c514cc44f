"""``python -m sklearn_minibatch``: fit a data set, and compare with Ridge and SGDRegressor."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import joblib
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from ._command_line import report
from ._command_line.arguments import AUTO, PROGRAM, file_option, parser
from ._command_line.description import description
from ._command_line.encoding import Encoded
from ._command_line.plan import Wishes, plan_for
from ._command_line.python_code import code_for, code_for_diabetes
from ._command_line.reading import BadInput, CsvFile
from ._data.source import ChunkSource
from ._estimator import MiniBatchRidgeSGD
from ._estimator_cv import MiniBatchRidgeSGDCV

# More encoded rows than this are read in chunks; the fits need several times as much memory.
MOST_BYTES = 2**30


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, which is 2 for input that cannot be used."""
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in filter(None, streams):
        # The terminal's encoding may lack characters of names in the file.
        stream.reconfigure(errors="replace")
    known = parser()
    args = known.parse_args(argv)
    if args.csv is None and (option := file_option(args)):
        known.error(f"{option} goes with a CSV file")
    try:
        if args.csv is None:
            _run_diabetes(args)
        else:
            _run_file(args)
        print(end="", flush=True)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe. Python must not fail again
        # when it flushes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BadInput as error:
        return _refused(error)
    except MemoryError:
        chunks = "" if args.csv is None or args.chunks else "; --chunks takes less"
        return _refused(f"not enough memory for {args.csv or 'the fits'}{chunks}")
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


def _refused(why: object) -> int:
    print(f"{PROGRAM}: error: {why}", file=sys.stderr)
    return 2


def _model(args: argparse.Namespace) -> MiniBatchRidgeSGD:
    alpha = MiniBatchRidgeSGD().alpha if args.alpha == AUTO else args.alpha
    return MiniBatchRidgeSGD(alpha, solver=args.solver, batch_size=args.batch_size, random_state=0)


def _choice_of_alpha() -> MiniBatchRidgeSGDCV:
    # Rows of a file may be sorted, so folds of rows in memory are drawn at random.
    return MiniBatchRidgeSGDCV(cv=KFold(5, shuffle=True, random_state=0))


def _choose_alpha(args: argparse.Namespace, model: MiniBatchRidgeSGD, X: Any, y: Any) -> None:
    """Set the alpha of the model by cross-validation, if --alpha asks for it."""
    if args.alpha != AUTO:
        return
    choice = _choice_of_alpha()
    if y is None:
        # Rows of chunks are dealt to folds at random.
        choice.set_params(cv=5, random_state=0)
    try:
        choice.fit(X, y)
    except ValueError as error:
        raise BadInput(f"--alpha auto: {error}") from error
    model.set_params(alpha=choice.alpha_)
    print(
        f"alpha={choice.alpha_:.3g} has the least mean squared error on rows held out, "
        f"of {len(choice.alphas_)} alphas in 5 folds"
    )


def _run_diabetes(args: argparse.Namespace) -> None:
    model = _model(args)
    if args.code:
        shown = _choice_of_alpha() if args.alpha == AUTO else model
        print(code_for_diabetes(shown, args.save), end="")
        return
    X, y = load_diabetes(return_X_y=True, scaled=False)
    print(
        f"diabetes data of scikit-learn: {len(y)} rows, {X.shape[1]} columns, "
        "target: progression after a year"
    )
    _show(args, model, load_diabetes().feature_names, X, y, fitted=lambda: model)


def _run_file(args: argparse.Namespace) -> None:
    _check_save(args)
    file = CsvFile(args.csv, args.sep, not args.no_header)
    if args.target is None:
        raise BadInput(f"--target is missing; {file.columns()}")
    in_terminal = sys.stderr is not None and sys.stderr.isatty()
    plan = plan_for(
        file,
        args.target,
        Wishes(args.drop, args.numbers, args.text),
        progress=in_terminal and file.is_long(),
    )
    encoded = Encoded(file, plan)
    in_chunks = args.chunks or 8 * encoded.n_rows * len(encoded.names) > MOST_BYTES
    model = _model(args)
    if args.code:
        if in_chunks:
            print("# This holds all rows in memory; the command line reads them in chunks.")
        # Characters that the terminal cannot show are printed as escape sequences of Python.
        stream: Any = sys.stdout
        stream.reconfigure(errors="backslashreplace")
        shown = _choice_of_alpha() if args.alpha == AUTO else model
        print(code_for(encoded, shown, args.save), end="")
        return
    for line in description(encoded):
        print(line)

    def pipeline() -> Any:
        return make_pipeline(encoded.named_transformer(), model)

    if in_chunks:
        _show_chunks(args, model, encoded, pipeline, in_terminal)
    else:
        X, y = encoded.in_memory()
        _show(args, model, encoded.names, X, y, pipeline)


def _show(
    args: argparse.Namespace,
    model: MiniBatchRidgeSGD,
    names: Sequence[str],
    X: Any,
    y: Any,
    fitted: Callable[[], Any],
) -> None:
    """Fit and compare in memory; `fitted()` returns the object that --save writes."""
    _choose_alpha(args, model, X, y)
    fits = report.compare(model, X, y)
    _check_fit(fits[0], model)
    shown = _shown_coefficients(args, model)
    print(f"alpha={model.alpha:g}, {report.solver_in_words(model)}\n")
    print(*report.comparison_table(fits, names, X, y, shown), sep="\n")
    print(
        "\nRidge is StandardScaler and Ridge(alpha * rows); SGDRegressor has a StandardScaler too."
    )
    print("Both are converted back. Seconds are for one fit, the best of up to three.")
    _print_notes(fits, names, shown)
    _save(args, fitted)
    if args.grid or (args.grid is None and X.shape[1] <= report.GRID_COLUMNS):
        print("", *report.grid_report(model, X, y), sep="\n")
    elif args.grid is None:
        print(f"\nNo grid search, which takes minutes with {X.shape[1]} columns; --grid runs it.")

    def draw() -> None:
        report.draw_loss(model, report.closed_form_loss(fits[1], model, X, y), X, y, args.plot)

    print(f"\n{_picture(draw, args.plot)}")


def _show_chunks(
    args: argparse.Namespace,
    model: MiniBatchRidgeSGD,
    encoded: Encoded,
    fitted: Callable[[], Any],
    with_bar: bool,
) -> None:
    """Fit in chunks, without the other estimators and the grid, which need all rows in memory."""
    _choose_alpha(args, model, ChunkSource(encoded.chunks), None)
    fit = report.fit_chunks(
        model,
        encoded.chunks,
        len(encoded.names),
        with_bar and find_spec("sklearn.callback") is not None,
    )
    _check_fit(fit, model)
    shown = _shown_coefficients(args, model)
    print(
        f"alpha={model.alpha:g}, solver={model.solver_}, in chunks: "
        "without the comparison, which needs all rows in memory\n"
    )
    print(
        *report.chunks_table(fit, model, encoded.names, encoded.chunks, encoded.plan.y.mean, shown),
        sep="\n",
    )
    print()
    _print_notes([fit], encoded.names, shown)
    _save(args, fitted)

    def draw() -> None:
        report.draw_curves([model], [f'solver="{model.solver_}"'], None, args.plot)

    print(_picture(draw, args.plot))


def _shown_coefficients(args: argparse.Namespace, model: MiniBatchRidgeSGD) -> Any:
    return report.largest(model, len(model.coef_) if args.all else report.MOST_COEFFICIENTS)


def _check_fit(fit: report.Fit, model: MiniBatchRidgeSGD) -> None:
    """Raise BadInput if the fit of `model` has failed."""
    if not hasattr(model, "coef_"):
        raise BadInput("; ".join(fit.notes))


def _print_notes(fits: Sequence[report.Fit], names: Sequence[str], shown: Any) -> None:
    if len(shown) < len(names):
        print(
            "Largest coefficients first, by coefficient times standard deviation; --all prints all."
        )
    for fit in fits:
        for note in fit.notes:
            print(f"Note on {fit.name}: {note}")


def _check_save(args: argparse.Namespace) -> None:
    """Raise BadInput if --save would overwrite the data."""
    paths = (args.save, args.csv)
    if all(path is not None and os.path.exists(path) for path in paths) and os.path.samefile(
        *paths
    ):
        raise BadInput(f"--save {args.save} would overwrite the data")


def _save(args: argparse.Namespace, fitted: Callable[[], Any]) -> None:
    if args.save is None:
        return
    try:
        joblib.dump(fitted(), args.save)
    except OSError as error:
        raise BadInput(f"cannot write {args.save}: {error.strerror or error}") from error
    print(f"Fit written to {args.save}: joblib.load({args.save!r}).predict(data_frame)")


def _picture(draw: Callable[[], None], path: str) -> str:
    """Write the picture; return a message that says so, or why it was not written."""
    if find_spec("matplotlib") is None:
        return (
            "No picture of the loss: it needs matplotlib, "
            "which comes with pip install 'sklearn-minibatch[plot]'"
        )
    import matplotlib

    matplotlib.use("Agg")
    try:
        draw()
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:
        if "not supported" in str(error):  # matplotlib does not know the suffix of the name
            raise BadInput(f"cannot write {path}: {error}") from error
        raise
    return f"Loss curve written to {path}"


if __name__ == "__main__":
    sys.exit(main())
