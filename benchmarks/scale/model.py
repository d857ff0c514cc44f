"""The cost model of docs/scale.md.

Its constants come from small runs; then fits are compared by the model and by the clock.
"""

from functools import partial

import numpy as np

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._rows.chunk import Chunk
from sklearn_minibatch._rows.chunked import add, products
from sklearn_minibatch._statistics.scaling import Scaling
from sklearn_minibatch._statistics.second_moments import second_moments

from ..report import markdown
from ..timing import duration, interleaved
from .clusters import cluster_of, partitions
from .rows import ALPHA, COLUMNS, some_rows


def round_seconds(n_rows, d, n_workers, n_parts, rate, overhead, latency):
    """The constants of the cost model of docs/scale.md.

    `rate` is in bytes a second and worker; the others are the cost of each partition and each
    round.
    """
    return 8 * n_rows * d / (rate * n_workers) + overhead * n_parts + latency


def fit_seconds(rounds, *sizes, rates, **costs):
    """All rounds of a fit: the first has a rate of its own."""
    first, other = [round_seconds(*sizes, rate=rate, **costs) for rate in rates]
    return first + (rounds - 1) * other


def model(tiny):
    """Constants from small runs, checked on others, then carried on."""
    sizes = (
        [(20_000, 4), (40_000, 8)]
        if tiny
        else [(200_000, 16), (800_000, 16), (1_600_000, 64), (3_200_000, 16)]
    )
    rates, table = rates_of_passes(20_000 if tiny else 400_000, COLUMNS), []
    with cluster_of(2):
        latency, overhead = empty_rounds()
        costs = {"rates": rates, "overhead": overhead, "latency": latency}
        for n_rows, n_parts in sizes:
            estimator = MiniBatchRidgeSGD(ALPHA, random_state=0)
            ((measured,), _) = interleaved(
                [partial(estimator.fit, *partitions(n_rows, n_parts))], 3
            )
            said = fit_seconds(estimator.n_passes_, n_rows, COLUMNS, 2, n_parts, **costs)
            shown = duration(said), duration(measured), f"{measured / said:.1f}"
            table.append((f"{n_rows:,}", n_parts, estimator.n_passes_, *shown))
    constants = (
        f"B = {rates[1] / 1e9:.1f} GB/s a worker ({rates[0] / 1e9:.1f} in the first round), "
        f"a = {duration(overhead)} a partition, l = {duration(latency)} a round:"
    )
    checked = markdown(
        ["rows", "partitions", "rounds", "a fit by the model", "a fit measured", "ratio"], table
    )
    cases = [(n, k) for n in (10**9, 10**12) for k in (1, 10, 100, 1000)]
    said = markdown(
        ["rows", "machines", "TB", "eight rounds"], [far(n, k, **costs) for n, k in cases]
    )
    return (
        f"{constants}\n\n{checked}\n\nThe same for 100 columns on machines of 16 cores:\n\n{said}"
    )


def far(n_rows, n_machines, d=100, cores=16, **costs):
    """One partition to a core."""
    n_workers = n_machines * cores
    seconds = fit_seconds(8, n_rows, d, n_workers, n_workers, **costs)
    return f"{n_rows:.0e}", n_machines, f"{8 * n_rows * d / 1e12:.1f}", duration(seconds)


def rates_of_passes(n_rows, d):
    """Bytes of rows that the first pass and each other one take in per second."""
    X, y = some_rows(n_rows, 0, np.ones(d))
    units = Scaling(X.mean(axis=0), X.std(axis=0), np.zeros(1), np.ones(1))
    p = np.ones((d, 1))
    chunk = Chunk(1, X, y[:, None], None)
    (medians, _) = interleaved(
        [
            lambda: second_moments(chunk.X, chunk.y, None),
            lambda: products(chunk, units, p, 1.0, False),
        ],
        5,
    )
    return X.nbytes / medians


def empty_rounds():
    """Seconds of a round, and of each partition in it, where there is next to nothing to add up."""
    import dask.array as da

    few, many = [rounds_of(da.ones((n, 1), chunks=(1, 1)).persist()) for n in (8, 72)]
    (few, many), _ = interleaved([few, many], 5)
    overhead = (many - few) / 64
    return max(few - 8 * overhead, 0.0), overhead


def rounds_of(ones):
    from sklearn_minibatch._data.dask import Partitions

    partitions = Partitions(ones, ones[:, 0], None, unchecked)
    return lambda: partitions.reduce(nothing, add)


def unchecked(X, y, w, first, finite):
    return X, y[:, None], w


def nothing(chunk):
    return (np.zeros(COLUMNS),)
