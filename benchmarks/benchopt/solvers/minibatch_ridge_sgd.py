"""MiniBatchRidgeSGD, measured after each of its epochs."""

import warnings
from importlib.util import find_spec

import numpy as np
from benchopt import BaseSolver
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import MiniBatchRidgeSGD


class Solver(BaseSolver):
    """Second moments in one read ("auto", up to 3,000 columns), or steps on mini-batches."""

    name = "MiniBatchRidgeSGD"
    requirements = ["pip::sklearn-minibatch", "pip::scikit-learn>=1.9"]
    sampling_strategy = "callback"
    parameters = {"solver": ["auto", "svrg"], "batch_size": ["auto"]}

    def skip(self, X, y, lmbd, fit_intercept):
        if find_spec("sklearn.callback") is None:
            return True, "callbacks need scikit-learn 1.9"
        return False, None

    def set_objective(self, X, y, lmbd, fit_intercept):
        self.X, self.y = X, y
        self.model = MiniBatchRidgeSGD(
            alpha=lmbd / len(y),
            solver=self.solver,
            batch_size=self.batch_size,
            fit_intercept=fit_intercept,
            standardize=False,
            tol=1e-9,
            max_iter=10_000,
            random_state=0,
        )

    def run(self, callback):
        self.beta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
        if not callback():
            return
        self.model.set_callbacks(EachEpoch(self, callback))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self.X, self.y)

    def get_result(self):
        return {"beta": self.beta}


class EachEpoch:
    """A callback of scikit-learn that asks benchopt after each epoch whether to go on."""

    def __init__(self, solver, callback):
        self.solver, self.callback = solver, callback

    def setup(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name != "epoch":
            return False
        beta = fitted_estimator.coef_
        if fitted_estimator.fit_intercept:
            beta = np.append(beta, fitted_estimator.intercept_)
        self.solver.beta = beta
        return not self.callback()

    def teardown(self, estimator, context): ...
