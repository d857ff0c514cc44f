"""Fits of partitions that Dask holds in the memory of its workers."""

import time
import warnings
from contextlib import contextmanager

import numpy as np

from sklearn_minibatch import MiniBatchRidgeSGD

from ..problems import Problem
from ..report import markdown
from ..timing import duration, timed
from .rows import ALPHA, COLUMNS, WEIGHTS, some_rows


class Traffic:
    """Bytes over the loopback interface and graphs sent to the scheduler while it is open."""

    def __enter__(self):
        from distributed import Client

        self.rounds, self.bytes, send = 0, self._sent(), Client._graph_to_futures

        def counted(*args, **kwargs):
            self.rounds += 1
            return send(*args, **kwargs)

        self._restore, Client._graph_to_futures = send, counted
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        from distributed import Client

        self.seconds, self.bytes = time.perf_counter() - self.start, self._sent() - self.bytes
        Client._graph_to_futures = self._restore

    @staticmethod
    def _sent():
        import psutil

        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


@contextmanager
def cluster_of(n_workers):
    """A cluster of as many processes of one thread, as the default scheduler."""
    from distributed import Client, LocalCluster

    options = {
        "n_workers": n_workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": ":0",
    }
    with LocalCluster(**options) as cluster, Client(cluster):
        yield


def partitions(n_rows, n_parts):
    """Rows and targets in the memory of the workers."""
    import dask
    import dask.array as da
    from distributed import wait

    parts = [
        dask.delayed(some_rows, nout=2)(n_rows // n_parts, seed, WEIGHTS) for seed in range(n_parts)
    ]
    X = da.concatenate([da.from_delayed(x, (n_rows // n_parts, COLUMNS), float) for x, _ in parts])
    y = da.concatenate([da.from_delayed(v, (n_rows // n_parts,), float) for _, v in parts])
    X, y = dask.persist(X, y)
    wait([X, y])
    return X, y


def peers(n_workers):
    """Names, and functions of X and y that return coefficients and intercept in the units of X."""
    workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"

    def ours(X, y):
        model = MiniBatchRidgeSGD(ALPHA, random_state=0).fit(X, y)
        return model.coef_, model.intercept_

    def scaled(make):
        def fit(X, y):
            from dask_ml.preprocessing import StandardScaler

            scaler = StandardScaler().fit(X)
            model = make().fit(scaler.transform(X), y)
            model = getattr(model, "estimator_", model)
            coef = np.ravel(model.coef_) / np.asarray(scaler.scale_)
            return coef, float(np.ravel(model.intercept_)[0]) - np.asarray(scaler.mean_) @ coef

        return fit

    def incremental():
        from dask_ml.wrappers import Incremental
        from sklearn.linear_model import SGDRegressor

        return Incremental(SGDRegressor(alpha=ALPHA, random_state=0))

    def newton():
        """Its "admm" takes minutes, and stays farther off."""
        from dask_ml.linear_model import LinearRegression

        return LinearRegression(C=1e6, solver="newton", solver_kwargs={"max_iter": 10})

    yield f"MiniBatchRidgeSGD, {workers}", ours
    yield f"dask-ml Incremental(SGDRegressor), {workers}", scaled(incremental)
    yield f"dask-ml LinearRegression (newton, 10 iterations), {workers}", scaled(newton)


def measured(name, fit, X, y, problem):
    """Row of a peer; `problem` has the same rows in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(X, y)  # imports on every worker; Dask learns how long the tasks take
        runs = []
        for _ in range(5):
            with Traffic() as traffic:
                coef, intercept = fit(X, y)
            runs.append(traffic)
    moved = f"{np.median([run.bytes for run in runs]) / 1e6:.1f} MB"
    seconds = duration(np.median([run.seconds for run in runs]))
    return (
        name,
        runs[0].rounds,
        moved,
        seconds,
        f"{problem.error(problem.X @ coef + intercept):.0e}",
    )


def dask_clusters(tiny):
    """One worker, then two."""
    n_rows, n_parts = (16_000, 4) if tiny else (1_600_000, 16)
    # Made here once more: rows gathered from a cluster leave copies behind, by which its work is no
    # longer shared evenly.
    rows = [some_rows(n_rows // n_parts, seed, WEIGHTS) for seed in range(n_parts)]
    problem = Problem(
        "", np.concatenate([X for X, _ in rows]), np.concatenate([y for _, y in rows]), ALPHA
    )
    del rows
    model = MiniBatchRidgeSGD(ALPHA, random_state=0)
    seconds = np.median([timed(lambda: model.fit(problem.X, problem.y))[1] for _ in range(5)])
    table = [
        (
            "in memory, one process",
            "",
            "",
            duration(seconds),
            f"{problem.error(model.predict(problem.X)):.0e}",
        )
    ]
    for n_workers in (1, 2):
        with cluster_of(n_workers):
            X, y = partitions(n_rows, n_parts)
            table += [measured(name, fit, X, y, problem) for name, fit in peers(n_workers)]
    heads = ["fit", "graphs computed", "bytes moved", "seconds", "distance to closed form"]
    what = f"{n_rows:,} rows of {COLUMNS} columns in {n_parts} partitions, medians of five fits:"
    return f"{what}\n\n{markdown(heads, table)}"
