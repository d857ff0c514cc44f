"""Without scikit-learn's callbacks, setting one is told to be of no use, and changes nothing."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_minibatch import EpochProgressBar, MiniBatchRidgeSGD

X = np.random.default_rng(0).standard_normal((50, 3))
Y = X.sum(axis=1)

pytestmark = pytest.mark.skipif(
    find_spec("sklearn.callback") is not None, reason="scikit-learn has callbacks from 1.9 on"
)


def test_callbacks_are_never_called():
    with pytest.warns(UserWarning, match=r"scikit-learn >= 1\.9"):
        model = MiniBatchRidgeSGD(random_state=0).set_callbacks(EpochProgressBar())
    model = clone(model).fit(X, Y).partial_fit(X, Y)
    assert np.array_equal(
        model.coef_, MiniBatchRidgeSGD(random_state=0).fit(X, Y).partial_fit(X, Y).coef_
    )


def test_setting_none_says_nothing():
    model = MiniBatchRidgeSGD()
    assert model.set_callbacks() is model
