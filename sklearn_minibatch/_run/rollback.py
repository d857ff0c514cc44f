"""Rollback of an estimator after a failed call."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np


class AllOrNothing:
    """A context manager that restores the attributes of an estimator after an exception.

    The attributes must be replaced and not changed in place. What scikit-learn stores on an
    estimator for its callbacks must be set before the context is entered. The state of a random
    number generator that is a parameter is restored too.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.before = vars(estimator).copy()
        self.publish: Callable[[], bool] = lambda: False
        self.generator = (
            estimator.random_state
            if isinstance(estimator.random_state, np.random.RandomState)
            else None
        )
        self.drawn: Any = None if self.generator is None else self.generator.get_state()

    def if_interrupted(self, publish: Callable[[], bool]) -> None:
        """Call `publish` after a KeyboardInterrupt, and restore nothing if it returns True."""
        self.publish = publish

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is None:
            return
        keep = False
        try:
            keep = issubclass(error, KeyboardInterrupt) and self.publish()
        finally:
            # A second interrupt may occur in `publish`. A single assignment cannot be interrupted
            # halfway.
            if not keep:
                self.estimator.__dict__ = self.before
                if self.generator is not None:
                    self.generator.set_state(self.drawn)
