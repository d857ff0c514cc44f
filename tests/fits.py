"""Fits that must reach the closed form of their parameters."""

from sklearn_minibatch import MiniBatchRidgeSGD

from .oracles import distance_to_ridge

TOL = 1e-6


def fitted(X, y, w=None, **params):
    return MiniBatchRidgeSGD(**{"random_state": 0, **params}).fit(X, y, sample_weight=w)


def assert_lands(X, y, w=None, **params):
    model = fitted(X, y, w, **params)
    assert model.converged_
    assert distance_to_ridge(model, X, y, w) <= TOL
    return model
