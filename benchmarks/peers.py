"""Every peer in a few lines, each minimising the same F.

A peer's function fits from scratch, including any preprocessing, and returns a `Fitted`. Its
settings are in order of effort; None means that there is nothing to set. If it raises an exception,
the peer is skipped for this reason.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import Ridge, SGDRegressor, ridge_regression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

TOLERANCES = tuple(10.0**-k for k in range(1, 14))
EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MOST_ITERATIONS = 5_000  # a limit for every single fit
BATCH = 256  # rows, for peers without a default


class Fitted(NamedTuple):
    predict: Callable
    iterations: float | None


class Peer(NamedTuple):
    name: str
    fit: Callable  # (problem, setting) -> Fitted
    settings: tuple = (None,)
    prepare: Callable = lambda problem: None  # not timed


def scaler(problem):
    """Standardisation for peers that have none built in.

    Sparse rows are centred by the solver, not here.
    """
    return StandardScaler(with_mean=not problem.is_sparse) if problem.standardize else "passthrough"


def fitted(problem, model):
    """`Fitted` of scikit-learn's pipeline from the standardisation to `model`."""
    pipeline = make_pipeline(scaler(problem), model).fit(problem.X, problem.y)
    iterations = getattr(model, "n_iter_", None)
    return Fitted(pipeline.predict, None if iterations is None else float(np.max(iterations)))


def dense_only(problem, name):
    if problem.is_sparse:
        raise NotImplementedError(f"{name} would make sparse rows dense")


def minibatch(problem, tol):
    scaling = {"alpha": problem.alpha, "standardize": problem.standardize}
    model = MiniBatchRidgeSGD(**scaling, tol=tol, max_iter=MOST_ITERATIONS, random_state=0)
    model.fit(problem.X, problem.y)
    return Fitted(model.predict, model.n_iter_)


def textbook(problem, epochs):
    model = MiniBatchRidgeSGD(
        alpha=problem.alpha, standardize=problem.standardize, solver="sgd", random_state=0
    )
    model.set_params(max_iter=epochs, tol=None, average=True).fit(problem.X, problem.y)
    return Fitted(model.predict, model.n_iter_)


def ridge(solver):
    """`Ridge`, which may overwrite the scaled copy and so needs no other."""

    def fit(problem, tol):
        if solver == "sag" and problem.is_sparse:
            return sag_on_sparse_rows(problem, tol)
        model = Ridge(
            alpha=problem.ridge_alpha, solver=solver, copy_X=not problem.standardize, random_state=0
        )
        return fitted(
            problem, model if tol is None else model.set_params(tol=tol, max_iter=MOST_ITERATIONS)
        )

    return fit


def sag_on_sparse_rows(problem, tol):
    """The sag solver called directly.

    `Ridge(solver="sag")` runs sparse_cg instead for sparse rows, an intercept and a max_iter.
    """
    scale = make_pipeline(scaler(problem)).fit(problem.X)
    kwargs = {
        "alpha": problem.ridge_alpha,
        "solver": "sag",
        "tol": tol,
        "max_iter": MOST_ITERATIONS,
        "random_state": 0,
    }
    X = scale.transform(problem.X)
    coef, n_iter, intercept = ridge_regression(
        X, problem.y, return_n_iter=True, return_intercept=True, **kwargs
    )
    return Fitted(lambda X: scale.transform(X) @ coef + intercept, float(np.max(n_iter)))


def sgd_regressor(problem, epochs, **kwargs):
    model = SGDRegressor(alpha=problem.alpha, max_iter=epochs, tol=None, random_state=0, **kwargs)
    return fitted(problem, model)


def averaged_sgd_regressor(problem, epochs):
    return sgd_regressor(problem, epochs, average=True)


def tuned_sgd_regressor(problem, epochs):
    """`SGDRegressor` with the schedule and rate that come closest to the closed form in 5 epochs.

    The search is not timed.
    """
    return sgd_regressor(problem, epochs, **best_rate(problem))


@cache
def best_rate(problem):
    rates = [10.0**-k for k in range(1, 6)]
    schedules = [("invscaling", 0.25), ("invscaling", 0.5), ("constant", 0.25)]
    choices = [
        {"learning_rate": kind, "eta0": rate, "power_t": power, "average": average}
        for kind, power in schedules
        for rate in rates
        for average in (False, True)
    ]
    return min(
        choices,
        key=lambda kwargs: problem.error(sgd_regressor(problem, 5, **kwargs).predict(problem.X)),
    )


def perceptron(problem, epochs):
    """`MLPRegressor` without a hidden layer.

    It divides alpha by the rows of a mini-batch, and Adam needs a scaled y.
    """
    batch_size = min(200, len(problem.y))
    mean, std = np.mean(problem.y), np.std(problem.y)
    model = MLPRegressor(
        hidden_layer_sizes=(),
        alpha=problem.alpha * batch_size,
        batch_size=batch_size,
        max_iter=epochs,
        n_iter_no_change=epochs + 1,
        random_state=0,
    )
    pipeline = make_pipeline(scaler(problem), model).fit(problem.X, (problem.y - mean) / std)
    return Fitted(lambda X: mean + std * pipeline.predict(X), model.n_iter_)


def skglm(problem, tol):
    """skglm's elastic net without its l1 part.

    Version 0.5 has no Ridge, and no solver with an intercept for its L2 penalty.
    """
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Quadratic
    from skglm.penalties import L1_plus_L2
    from skglm.solvers import AndersonCD

    solver = AndersonCD(tol=tol, max_epochs=1000, fit_intercept=True)
    return fitted(
        problem, GeneralizedLinearEstimator(Quadratic(), L1_plus_L2(problem.alpha, 0.0), solver)
    )


def glum(problem, _):
    from glum import GeneralizedLinearRegressor

    return fitted(
        problem, GeneralizedLinearRegressor(alpha=problem.alpha, l1_ratio=0, family="normal")
    )


def incremental_ridge(problem, _):
    from sklearnex.linear_model import IncrementalRidge

    dense_only(problem, "IncrementalRidge")
    return fitted(problem, IncrementalRidge(alpha=problem.ridge_alpha))


def river(problem, epochs):
    """River's mini-batches; its squared loss has no 1/2, so its l2 is twice alpha."""
    import pandas as pd
    from river import linear_model, optim, preprocessing

    dense_only(problem, "river")
    model = linear_model.LinearRegression(optimizer=optim.SGD(0.01), l2=2 * problem.alpha)
    model = preprocessing.StandardScaler() | model if problem.standardize else model
    names = [f"x{j}" for j in range(problem.X.shape[1])]
    X, y = pd.DataFrame(problem.X, columns=names), pd.Series(problem.y, name="y")
    for _ in range(epochs):
        for start in range(0, len(y), BATCH):
            model.learn_many(X.iloc[start : start + BATCH], y.iloc[start : start + BATCH])
    return Fitted(lambda X: model.predict_many(pd.DataFrame(X, columns=names)), epochs)


def pytorch(optimizer, **kwargs):
    """A linear layer trained as in PyTorch's tutorials.

    Standardised float32 tensors, a DataLoader and weight decay.
    """

    def fit(problem, epochs):
        import torch

        dense_only(problem, "a DataLoader over a TensorDataset")
        torch.manual_seed(0)
        torch.set_num_threads(1)
        scale = make_pipeline(scaler(problem)).fit(problem.X)
        mean, std = np.mean(problem.y), np.std(problem.y)
        X = torch.tensor(scale.transform(problem.X), dtype=torch.float32)
        y = torch.tensor((problem.y - mean) / std, dtype=torch.float32)
        layer = torch.nn.Linear(X.shape[1], 1)
        penalised = {"params": [layer.weight], "weight_decay": problem.alpha}
        steps = getattr(torch.optim, optimizer)([penalised, {"params": [layer.bias]}], **kwargs)
        batches = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(X, y), batch_size=BATCH, shuffle=True
        )
        for _ in range(epochs):
            for A, b in batches:
                steps.zero_grad()
                loss = 0.5 * torch.nn.functional.mse_loss(layer(A)[:, 0], b)
                loss.backward()
                steps.step()
        weight, bias = layer.weight.detach().numpy()[0], layer.bias.item()
        return Fitted(lambda X: mean + std * (scale.transform(X) @ weight + bias), epochs)

    return fit


PEERS = (
    Peer("MiniBatchRidgeSGD", minibatch, TOLERANCES[:9]),
    Peer('MiniBatchRidgeSGD, solver="sgd", averaged', textbook, EPOCHS),
    *(Peer(f"Ridge, {solver}", ridge(solver)) for solver in ("cholesky", "svd")),
    *(
        Peer(f"Ridge, {solver}", ridge(solver), TOLERANCES)
        for solver in ("lsqr", "sparse_cg", "sag", "saga")
    ),
    Peer("SGDRegressor", sgd_regressor, EPOCHS),
    Peer("SGDRegressor, averaged", averaged_sgd_regressor, EPOCHS),
    Peer("SGDRegressor, tuned", tuned_sgd_regressor, EPOCHS, prepare=best_rate),
    Peer("MLPRegressor, no hidden layer", perceptron, EPOCHS),
    Peer("skglm", skglm, TOLERANCES[1::2]),
    Peer("glum", glum),
    Peer("IncrementalRidge", incremental_ridge),
    Peer("river", river, EPOCHS),
    Peer("PyTorch, SGD", pytorch("SGD", lr=0.01), EPOCHS),
    Peer("PyTorch, Adam", pytorch("Adam"), EPOCHS),
)
