"""A scaler in front of the model, or inside it, while rows arrive."""

import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

from ..problems import Problem, diamonds
from ..rows import Size, Table


def streams(size: Size) -> Table:
    """Distance to the closed form of all rows so far, for rows sorted by the first column."""
    problem = diamonds()
    order = np.argsort(problem.X[:: size.shrink, 0], kind="stable")
    X, y = problem.X[:: size.shrink][order], problem.y[:: size.shrink][order]
    n_chunks = 100 if size.shrink == 1 else 20
    learners = {
        "StandardScaler and SGDRegressor, both by partial_fit": TwoSteps(problem.alpha),
        'MiniBatchRidgeSGD(solver="sgd")': MiniBatchRidgeSGD(
            problem.alpha, solver="sgd", random_state=0
        ),
        "MiniBatchRidgeSGD()": MiniBatchRidgeSGD(problem.alpha),
    }
    marks = [n_chunks // 10, n_chunks // 2, n_chunks]
    rows = []
    for name, model in learners.items():
        errors, seen = [], 0
        for k, part in enumerate(np.array_split(np.arange(len(y)), n_chunks), 1):
            model.partial_fit(X[part], y[part])
            seen += len(part)
            if k in marks:
                so_far = Problem("", X[:seen], y[:seen], problem.alpha)
                errors.append(f"{so_far.error(model.predict(X[:seen])):.0e}")
        rows.append((name, *errors))
    return ["model", *(f"after {k} of {n_chunks} chunks" for k in marks)], rows


class TwoSteps:
    """A scaler and a regressor that learn each chunk one after the other."""

    def __init__(self, alpha: float) -> None:
        self.scaler = StandardScaler()
        self.model = SGDRegressor(alpha=alpha, random_state=0)

    def partial_fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Learn a chunk."""
        self.model.partial_fit(self.scaler.partial_fit(X).transform(X), y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict with the scaler as it is now."""
        return self.model.predict(self.scaler.transform(X))
