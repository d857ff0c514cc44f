"""scikit-learn's callbacks, from its version 1.9 on: the tasks of a fit, and a progress bar with loss and distance."""

import sys
import time
import warnings
from datetime import UTC, datetime
from typing import Any, TextIO

import numpy as np

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """What stands in for scikit-learn's mixin before version 1.9."""

        def set_callbacks(self, *callbacks):
            """Warn that callbacks are never called."""
            if callbacks:
                warnings.warn(
                    "Callbacks need scikit-learn >= 1.9; they will not be called.",
                    UserWarning,
                    stacklevel=2,
                )
            return self


class NoContext:
    """The context of a task that no callback watches."""

    def subcontext(self, **task):
        return self

    def call_on_fit_task_begin(self, **data):
        return self

    def call_on_fit_task_end(self, **data):
        return False


class Task:
    """A call of `fit` or `partial_fit` as the callbacks see it: a task, with at most `max_epochs` epochs as its subtasks.

    Callbacks get X and y as the user gave them, so that they can be handed to `predict` and
    `score`.
    """

    def __init__(self, estimator, name, max_epochs, X, y, sample_weight):
        self.estimator = estimator
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"estimator": estimator, "X": X, "y": y, "metadata": weights}
        watched = hasattr(estimator, "_skl_callbacks")
        self.context = (
            estimator._init_callback_context(name, max_subtasks=max_epochs)
            if watched
            else NoContext()
        )

    def __enter__(self):
        self.context.call_on_fit_task_begin(**self.data)
        return self

    def __exit__(self, error, *_):
        if error is None:
            self.context.call_on_fit_task_end(**self.data, reconstruction_attributes={})

    def begin_epoch(self):
        """Tell the callbacks that an epoch begins."""
        self.epoch = self.context.subcontext(task_name="epoch").call_on_fit_task_begin(**self.data)

    def end_epoch(self, attributes):
        """Whether a callback asks to stop.

        `attributes()` are the fitted ones, as if fit had ended here, or None.
        """
        return self.epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=attributes)


class EpochProgressBar:
    """Callback that shows a bar with epoch, loss and distance to the closed form while `fit` runs.

    Set it with :meth:`MiniBatchRidgeSGD.set_callbacks`. It takes one line of the terminal or
    notebook, rewritten as the fit goes on. The bar is full when the distance has come down to
    `tol`, on a logarithmic scale, or at `max_iter` epochs. scikit-learn's
    :class:`~sklearn.callback.ProgressBar` works as well; it counts epochs only.

    Callbacks need scikit-learn 1.9 or newer.

    Parameters
    ----------
    interval : float, default=0.1
        Least number of seconds between two drawings, the last one aside.
    file : file object, default=None
        Where to draw; the standard error stream by default.

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

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a line."""
        self._drawn, self._open = time.monotonic(), False

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing is drawn before an epoch has ended."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Draw, after an epoch if it is time, and at the end of the fit."""
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

    def _draw(self, line):
        print(f"\r{line}", end="", file=self.file or sys.stderr, flush=True)
        self._drawn, self._open = time.monotonic(), True


def progress_line(model, fit, finished, width=20):
    """Bar, epoch, loss, distance and seconds of a `model` in the midst of the task `fit`."""
    filled = round(width * (1.0 if finished else progress(model, fit.max_subtasks)))
    seconds = (datetime.now(UTC) - fit.init_time).total_seconds()
    line = f"[{'#' * filled}{'.' * (width - filled)}] epoch {model.n_iter_:4d}  loss {model.loss_history_[-1]:.8g}"
    if len(model.distance_history_):
        line += f"  distance to closed form {model.distance_history_[-1]:.1e} std(y)"
    return f"{line}  {seconds:.1f} s"


def progress(model, max_iter):
    """Fraction of the way to `max_iter` epochs, or from the first distance to `tol` if that is more."""
    way = model.n_iter_ / max_iter
    if len(model.distance_history_) and model.tol:
        first, last = np.maximum(model.distance_history_[[0, -1]], model.tol)
        way = max(
            way, 1.0 if last == model.tol else np.log(first / last) / np.log(first / model.tol)
        )
    return way
