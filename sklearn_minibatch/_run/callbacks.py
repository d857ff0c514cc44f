"""Support for scikit-learn's callbacks, which need version 1.9, and a progress bar."""

import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self, TextIO

import numpy as np

from .._statistics.arrays import to_numpy

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for scikit-learn's mixin before version 1.9."""

        def set_callbacks(self, *callbacks: Any) -> Self:
            """Warn that callbacks will not be called."""
            if callbacks:
                warnings.warn(
                    "Callbacks need scikit-learn >= 1.9; they will not be called.",
                    UserWarning,
                    stacklevel=2,
                )
            return self


class NoContext:
    """The context of a task without callbacks."""

    def subcontext(self, **task: Any) -> Self:
        return self

    def call_on_fit_task_begin(self, **data: Any) -> Self:
        return self

    def call_on_fit_task_end(self, **data: Any) -> bool:
        return False


class Task:
    """A call of `fit` or `partial_fit`, as a task for the callbacks.

    It has at most `max_epochs` epochs as its subtasks. Callbacks are given X and y as the user
    passed them, so that they can be passed on to `predict` and `score`.
    """

    def __init__(
        self, estimator: Any, name: str, max_epochs: int, X: Any, y: Any, sample_weight: Any
    ) -> None:
        self.estimator = estimator
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"estimator": estimator, "X": X, "y": y, "metadata": weights}
        watched = hasattr(estimator, "_skl_callbacks")
        self.context = (
            estimator._init_callback_context(name, max_subtasks=max_epochs)
            if watched
            else NoContext()
        )

    def __enter__(self) -> Self:
        self.context.call_on_fit_task_begin(**self.data)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is None:
            self.context.call_on_fit_task_end(**self.data, reconstruction_attributes={})

    def begin_epoch(self) -> None:
        """Tell the callbacks that an epoch begins."""
        self.epoch = self.context.subcontext(task_name="epoch").call_on_fit_task_begin(**self.data)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]] | None) -> bool:
        """Tell the callbacks that an epoch has ended; return whether one requests to stop.

        `attributes()` returns the fitted attributes as if fit had ended here.
        """
        return self.epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes)


class EpochProgressBar:
    """Callback that shows a bar with epoch, loss and distance to the closed form while `fit` runs.

    Set it with :meth:`MiniBatchRidgeSGD.set_callbacks`. It rewrites one line of the terminal or
    notebook during the fit. scikit-learn's :class:`~sklearn.callback.ProgressBar` works as well,
    but shows the fraction of `max_iter` epochs, and most fits stop early. This bar also shows the
    progress of the distance towards `tol`, on a logarithmic scale.

    Callbacks need scikit-learn 1.9 or newer.

    Parameters
    ----------
    interval : float, default=0.1
        The minimum number of seconds between two updates of the bar, except for the last update.
    file : file object, default=None
        The stream to write to. If None, it is the standard error stream. Pickles and deep copies
        leave it out, so that a model with a bar can be saved and sent to other processes.

    See Also
    --------
    MiniBatchRidgeSGD : Its `verbose` prints a line per epoch, in every version of scikit-learn.

    Examples
    --------
    >>> from sklearn_minibatch import EpochProgressBar, MiniBatchRidgeSGD
    >>> model = MiniBatchRidgeSGD().set_callbacks(EpochProgressBar())  # doctest: +SKIP
    >>> model.fit(X, y)  # doctest: +SKIP
    [############........] epoch   12  loss 1429.8  distance to closed form 3.1e-04 std(y)  0.9 s
    """

    def __init__(self, interval: float = 0.1, *, file: TextIO | None = None) -> None:
        self.interval = interval
        self.file = file

    def __getstate__(self) -> dict[str, Any]:
        return {"interval": self.interval, "file": None}

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a line."""
        self._drawn = time.monotonic()
        self._open = False

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing, since the first epoch must end before the bar is drawn."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Draw the bar at the end of the fit, and after an epoch if `interval` has passed."""
        if fitted_estimator is None or not hasattr(fitted_estimator, "distance_history_"):
            return
        is_epoch = context.task_name == "epoch"
        if is_epoch and time.monotonic() - self._drawn < self.interval:
            return
        fit = context.parent if is_epoch else context
        if fit.max_subtasks:
            self._draw(progress_line(fitted_estimator, fit, finished=not is_epoch))

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the line."""
        if self._open:
            print(file=self.file or sys.stderr, flush=True)

    def _draw(self, line: str) -> None:
        print(f"\r{line}", end="", file=self.file or sys.stderr, flush=True)
        self._drawn = time.monotonic()
        self._open = True


def progress_line(model: Any, fit: Any, finished: bool, width: int = 20) -> str:
    """Return a line with bar, epoch, loss, distance and seconds of `model` in the task `fit`."""
    filled = round(width * (1.0 if finished else progress(model, fit.max_subtasks)))
    seconds = (datetime.now(UTC) - fit.init_time).total_seconds()
    bar = "#" * filled + "." * (width - filled)
    losses, distances = to_numpy(model.loss_history_), to_numpy(model.distance_history_)
    line = f"[{bar}] epoch {model.n_iter_:4d}  loss {losses[-1]:.8g}"
    if len(distances):
        line += f"  distance to closed form {distances[-1]:.1e} std(y)"
    return f"{line}  {seconds:.1f} s"


def progress(model: Any, max_iter: int) -> float:
    """Return the fraction of the fit that is done, for the bar.

    It is the larger of two fractions: of `max_iter` epochs, and of the way from the first distance
    to `tol` on a logarithmic scale.
    """
    way = model.n_iter_ / max_iter
    distances = to_numpy(model.distance_history_)
    if len(distances) and model.tol:
        first, last = np.maximum(distances[[0, -1]], model.tol)
        way = max(
            way, 1.0 if last == model.tol else np.log(first / last) / np.log(first / model.tol)
        )
    return way
