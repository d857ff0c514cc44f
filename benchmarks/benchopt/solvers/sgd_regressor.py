"""SGDRegressor of scikit-learn, with its default learning rate."""

import numpy as np
from benchopt import BaseSolver
from sklearn.linear_model import SGDRegressor


class Solver(BaseSolver):
    """Steps on single rows, by the number of epochs."""

    name = "SGDRegressor"
    requirements = ["scikit-learn"]
    sampling_strategy = "iteration"

    def set_objective(self, X, y, lmbd, fit_intercept):
        self.X, self.y = X, y
        self.model = SGDRegressor(
            alpha=lmbd / len(y), fit_intercept=fit_intercept, tol=None, random_state=0
        )

    def run(self, n_iter):
        self.beta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
        if n_iter == 0:
            return
        self.model.set_params(max_iter=n_iter).fit(self.X, self.y)
        self.beta[: self.X.shape[1]] = self.model.coef_
        self.beta[self.X.shape[1] :] = self.model.intercept_

    def get_result(self):
        return {"beta": self.beta}
