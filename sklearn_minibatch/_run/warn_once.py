"""Warnings that a search over many fits shows once."""

import sys
import warnings
from types import FrameType

# Frames of these packages are skipped, so that a warning names a line of the user.
LIBRARIES = ("sklearn_minibatch", "sklearn", "joblib")
# The warnings already shown: text, file and line.
said: set[tuple[str, str, int]] = set()


def warn_once(text: str) -> None:
    """Show a UserWarning for the user's line, once unless a filter shows it every time.

    Python's default filter also shows a warning once, but forgets it whenever a filter is changed,
    which scikit-learn does in every fit.
    """
    frame = users_frame(sys._getframe(1))
    place = (text, frame.f_code.co_filename, frame.f_lineno)
    module = frame.f_globals.get("__name__", "<unknown>")
    if place in said and not is_shown_each_time(text, module, frame.f_lineno):
        return
    said.add(place)
    warnings.warn_explicit(text, UserWarning, *place[1:], module)


def users_frame(frame: FrameType) -> FrameType:
    """Return the innermost frame outside of `LIBRARIES`, or the outermost frame."""
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in LIBRARIES:
            break
        frame = frame.f_back
    return frame


def is_shown_each_time(text: str, module: str, line: int) -> bool:
    """Return whether the filters show a UserWarning more than once, or raise it."""
    # Filters belong to a context from Python 3.14 on.
    filters = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    for action, message, category, where, number in filters:
        if (
            (message is None or message.match(text))
            and issubclass(UserWarning, category)
            and (where is None or where.match(module))
            and number in (0, line)
        ):
            return action in ("always", "all", "error")
    return False
