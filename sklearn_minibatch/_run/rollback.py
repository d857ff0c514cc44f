"""A call that fails leaves the estimator as it was."""

from typing import Any

import numpy as np


class AllOrNothing:
    """Leaves an estimator that raises inside with the attributes it had: they are replaced, never changed in place.

    What scikit-learn keeps on an estimator for its callbacks is therefore put there before. A
    generator of random numbers that is a parameter is put back as well.
    """

    def __init__(self, estimator):
        self.estimator, self.before = estimator, vars(estimator).copy()
        self.publish = lambda: False
        self.generator = (
            estimator.random_state
            if isinstance(estimator.random_state, np.random.RandomState)
            else None
        )
        self.drawn: Any = None if self.generator is None else self.generator.get_state()

    def if_interrupted(self, publish):
        """After a KeyboardInterrupt call `publish`, and undo nothing if that returns True."""
        self.publish = publish

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is None:
            return
        keep = False
        try:
            keep = issubclass(error, KeyboardInterrupt) and self.publish()
        finally:
            # A second interrupt may have come while publishing. One assignment cannot be
            # interrupted halfway.
            if not keep:
                self.estimator.__dict__ = self.before
                if self.generator is not None:
                    self.generator.set_state(self.drawn)
