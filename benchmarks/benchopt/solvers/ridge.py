"""Ridge of scikit-learn."""

import warnings

import numpy as np
from benchopt import BaseSolver
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge


class Solver(BaseSolver):
    """Its closed form, and its iterative solvers by the number of iterations."""

    name = "Ridge"
    requirements = ["scikit-learn"]
    sampling_strategy = "iteration"
    parameters = {"solver": ["cholesky", "lsqr", "sparse_cg", "sag"]}

    def set_objective(self, X, y, lmbd, fit_intercept):
        self.X, self.y = X, y
        self.model = Ridge(
            lmbd, solver=self.solver, fit_intercept=fit_intercept, tol=0, random_state=0
        )

    def run(self, n_iter):
        self.beta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
        if n_iter == 0:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(max_iter=n_iter).fit(self.X, self.y)
        self.beta[: self.X.shape[1]] = self.model.coef_
        self.beta[self.X.shape[1] :] = self.model.intercept_

    def get_result(self):
        return {"beta": self.beta}
