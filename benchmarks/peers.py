"""Every peer in a few lines, each minimising the same F.

A peer is a function `peer(problem, setting)` that fits from scratch, standardisation included, and returns a function
that predicts. Its settings come in order of effort; settings of None mean that there is nothing to set.
"""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

TOLERANCES = tuple(10.0**-k for k in range(1, 14))
EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def scaler(problem):
    """The standardisation of F for those who have none inside; sparse rows are left to be centred by the solver."""
    return StandardScaler(with_mean=not problem.is_sparse) if problem.standardize else "passthrough"


def minibatch(problem, tol):
    model = MiniBatchRidgeSGD(alpha=problem.alpha, standardize=problem.standardize, tol=tol, random_state=0)
    return model.fit(problem.X, problem.y).predict


def ridge(solver):
    """`Ridge`; it may overwrite the scaled copy, which spares it another."""

    def fit(problem, tol):
        model = Ridge(alpha=problem.ridge_alpha, solver=solver, copy_X=not problem.standardize, random_state=0)
        if tol is not None:
            model.set_params(tol=tol, max_iter=100_000)
        return make_pipeline(scaler(problem), model).fit(problem.X, problem.y).predict

    return fit


class Best(NamedTuple):
    """The first setting that reaches an accuracy, or the most accurate one, with the error it leaves."""

    setting: object
    error: float


def first_to_reach(fit, settings, problem, accuracy):
    """`Best` of `settings` for an accuracy."""
    best = Best(None, np.inf)
    for setting in settings:
        error = problem.error(fit(problem, setting)(problem.X))
        if error < best.error:
            best = Best(setting, error)
        if error <= accuracy:
            break
    return best


def sgd_regressor(problem, setting):
    """`SGDRegressor` for given epochs, with a dictionary of its learning rate."""
    epochs, kwargs = setting
    model = SGDRegressor(alpha=problem.alpha, max_iter=epochs, tol=None, random_state=0, **kwargs)
    return make_pipeline(scaler(problem), model).fit(problem.X, problem.y).predict


def tuned_rates(epochs):
    """Settings of `sgd_regressor` to choose from: decaying steps, constant ones, and both averaged."""
    rates = [10.0**-k for k in range(1, 6)]
    schedules = [("invscaling", 0.25), ("invscaling", 0.5), ("constant", 0.25)]
    return [
        (epochs, {"learning_rate": kind, "eta0": rate, "power_t": power, "average": average})
        for kind, power in schedules
        for rate in rates
        for average in (False, True)
    ]
