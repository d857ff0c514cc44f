"""The objective of benchopt's benchmark_ridge, in the form its solvers expect."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    """1/2 ||y - X b||^2 + lmbd/2 ||b||^2, where the intercept, last in b, is not penalised."""

    name = "Ridge Regression"
    url = "https://github.com/benchopt/benchmark_ridge"
    min_benchopt_version = "1.7"
    parameters = {"fit_intercept": [True, False], "lmbd": [0.1]}

    def set_data(self, X, y):
        self.X, self.y = X, y

    def get_objective(self):
        return {"X": self.X, "y": self.y, "lmbd": self.lmbd, "fit_intercept": self.fit_intercept}

    def get_one_result(self):
        return {"beta": np.zeros(self.X.shape[1] + self.fit_intercept)}

    def evaluate_result(self, beta):
        d = self.X.shape[1]
        coef, intercept = beta[:d], beta[d:].sum()
        residual = self.y - self.X @ coef - intercept
        return {"value": residual @ residual / 2 + self.lmbd / 2 * (coef @ coef)}
