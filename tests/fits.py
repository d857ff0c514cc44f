"""Fits that must reach the closed form of their parameters."""

from sklearn.base import clone

from sklearn_minibatch import MiniBatchRidgeSGD

from .oracles import distance_to_ridge

TOL = 1e-6


def cut(X, Y, w, size=10):
    """Chunks of so many rows."""
    return [
        (X[i : i + size], Y[i : i + size], None if w is None else w[i : i + size])
        for i in range(0, len(Y), size)
    ]


def streamed(model, chunks):
    """Learn the chunks one after the other."""
    for chunk in chunks:
        model.partial_fit(*chunk)
    return model


def merged(model, chunks):
    """Merge models of one chunk each."""
    first, *others = [clone(model).fit(*chunk) for chunk in chunks]
    for other in others:
        first.merge(other)
    return first


def fitted(X, y, w=None, **params):
    return MiniBatchRidgeSGD(**{"random_state": 0, **params}).fit(X, y, sample_weight=w)


def assert_lands(X, y, w=None, **params):
    model = fitted(X, y, w, **params)
    assert model.converged_
    assert distance_to_ridge(model, X, y, w) <= TOL
    return model
