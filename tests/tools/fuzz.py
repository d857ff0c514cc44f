"""Random parameters and data on the public surface.

    python -m tests.tools.fuzz --cases 100000 --seed 0

A case is a model with random parameters and a few calls with random data, all drawn from (seed,
number of the case). A call gives a result, or an exception and warnings of the kinds that are
documented; everything else is a fault, printed with the number that runs it again: --only NUMBER.
"""

import argparse
import faulthandler
import io
import linecache
import math
import pickle
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from sklearn_minibatch import ChunkSource, LossHistoryDisplay, MiniBatchRidgeSGD
from sklearn_minibatch._solvers.textbook import DIVERGED

from ..oracles import closed_form, distance, scaling
from ..tables import state

VALID = {
    "alpha": [0, 0.0, 1e-300, 1e-12, 1e-4, 1, np.float64(0.1), 1e12, 1e300, 1.7e308],
    "solver": ["auto", "cholesky", "qr", "svrg", "sgd"],
    "batch_size": ["auto", "auto", 1, 2, 3, np.int64(5), 64, 10**9],
    "lr": ["auto", "auto", 1e-300, 1e-3, 0.1, 1, 1e3, 1e300],
    "lr_schedule": ["constant", "inverse_time", "compound"],
    "lr_decay": [0.0, 1e-3, 1, 1e300],
    "preconditioner": ["auto", "auto", None, 1, 2, 50],
    "average": ["auto", False, True, np.True_],
    "max_iter": [1, 2, 5, 30],
    "tol": [None, 0, 1e-12, 1e-6, 0.1, 1e300],
    "fit_intercept": [True, True, False],
    "standardize": [True, True, False],
    "shuffle": [True, True, False],
    "half_life": [None, None, None, 0.1, 3, 1e300],
    "early_stopping": [False, False, False, True],
    "validation_fraction": [0.1, 1e-300, 0.5, 1 - 1e-16],
    "n_iter_no_change": [1, 5, 10**9],
    "warm_start": [False, True],
    "random_state": [None, 0, 1, 2**32 - 1, "instance"],
    "verbose": [0, 0, 0, 1, True],
    "n_jobs": [None, None, 1, 2],
}
INVALID = {
    "alpha": [-1, np.nan, np.inf, "1", None, [-1.0], [], np.array([[1.0, 2.0]])],
    "penalty_factor": [[], [-1.0], 1.0, {"no such column": 1.0}],
    "positive": [None, "yes", [], [0.5]],
    "solver": ["adam", None, 1, b"svrg"],
    "batch_size": [0, -1, 2.0, None, "all", np.nan],
    "lr": [0, -1, np.nan, np.inf, None, "fast"],
    "lr_schedule": ["cosine", None],
    "lr_decay": [-1, np.nan, np.inf, None],
    "preconditioner": [0, -3, 1.5, "full"],
    "average": ["yes", None, 2],
    "max_iter": [0, None, 1.5, np.inf],
    "tol": [-1, np.nan, np.inf, "auto"],
    "fit_intercept": [None, "yes"],
    "standardize": [None, 3],
    "shuffle": [None, "yes"],
    "half_life": [0, -1, np.nan, np.inf, "auto"],
    "early_stopping": [None, "auto"],
    "validation_fraction": [0, 1, 2, np.nan, None],
    "n_iter_no_change": [0, None, 1.5],
    "warm_start": [None, "yes"],
    "random_state": ["seed", -1, 2**32, 1.5],
    "verbose": [-1, None, "loud"],
    "n_jobs": [0, 1.5, "all"],
}
SPECIAL = [
    np.nan,
    np.inf,
    -np.inf,
    1.7e308,
    -1.7e308,
    1e154,
    1e-154,
    2.2e-308,
    5e-324,
    -0.0,
    2.0**53,
]


# Of a `tol` that float64 cannot reach, so much may be left when a fit has converged.
MOST_NOISE = 1e-6


class Broken(Exception):
    """What a source of chunks raises that cannot be read to its end."""


def pick(rng, options):
    return options[rng.integers(len(options))]


def chance(rng, probability):
    return rng.random() < probability


def parameters(rng, shape):
    """A random choice of a few parameters; in one case of eight, one of them is invalid."""
    names = rng.permutation(list(VALID))[: rng.integers(9)]
    params = {str(name): pick(rng, VALID[name]) for name in names}
    if shape.plain:
        params["alpha"] = pick(rng, [0, 0, params.get("alpha", 1e-4)])
        params.setdefault("solver", pick(rng, ["auto", "svrg"]))
    if chance(rng, 0.12):
        name = pick(rng, list(INVALID))
        params[name] = pick(rng, INVALID[name])
    if "max_iter" not in params:
        params["max_iter"] = 100 if shape.plain else pick(rng, VALID["max_iter"])
    if params.get("random_state") == "instance":
        params["random_state"] = np.random.RandomState(rng.integers(2**31))
    return params


def numbers(rng, shape):
    """Random numbers: ordinary ones more often than not."""
    normal = rng.standard_normal(shape)
    if chance(rng, 0.65):
        return normal
    width = shape[-1] if len(shape) > 1 else 1
    kinds = [
        lambda: rng.integers(-3, 4, shape).astype(float),
        lambda: normal + 10.0 ** rng.integers(0, 17),
        lambda: normal * 10.0 ** rng.uniform(-308, 308),
        lambda: normal * 10.0 ** rng.uniform(-308, 308, width),
        lambda: normal * 10.0 ** rng.uniform(-150, 150, width),
        lambda: np.copysign(10.0 ** rng.uniform(-308, 308, shape), normal),
        lambda: np.full(shape, pick(rng, [0.0, 1.0, 0.1, 1e8, *SPECIAL])),
        lambda: normal[:1] * rng.integers(1, 4, (shape[0],) + (1,) * (len(shape) - 1)),
        lambda: rng.integers(0, 2**64, shape, dtype=np.uint64).view(float),
        lambda: with_special(rng, normal),
        lambda: with_special(rng, normal * (rng.random(shape) < 0.3)),
    ]
    return pick(rng, kinds)()


def with_special(rng, values):
    """The values, with an odd one in a random place."""
    if values.size:
        values.flat[rng.integers(values.size)] = pick(rng, SPECIAL)
    return values


def sparse_rows(rng, X):
    """X as a sparse matrix of some kind.

    Some entries are 0, come twice, or are out of order.
    """
    X = np.where(rng.random(X.shape) < 0.5, X, 0.0)
    kind = pick(
        rng,
        [
            sparse.csr_array,
            sparse.csr_matrix,
            sparse.csc_array,
            sparse.coo_array,
            sparse.lil_matrix,
        ],
    )
    if kind is not sparse.csr_array or not X.size or chance(rng, 0.5):
        return kind(X)
    n, d = X.shape
    starts = np.searchsorted(np.sort(rng.integers(n, size=2 * n)), np.arange(n + 1))
    found = sparse.csr_array((rng.standard_normal(2 * n), rng.integers(d, size=2 * n), starts))
    found.resize(X.shape)
    if chance(rng, 0.5):
        found.indices, found.indptr = found.indices.astype(np.int64), found.indptr.astype(np.int64)
    return found


def frame(rng, X):
    """X as a table with names of some kind."""
    names = pick(
        rng,
        [
            list("abcdefghijkl"),
            list("bacdefghijkl"),
            list(range(12)),
            ["a", 1, *"cdefghijkl"],
            ["a"] * 12,
        ],
    )
    kind = pick(rng, ["float64", "float64", "float32", "Float64", "object", "category"])
    return pd.DataFrame(X, columns=names[: X.shape[1]]).astype(kind)


def mapped(rng, X):
    """X in a file that must not be written."""
    if not X.size:
        return X
    with tempfile.TemporaryFile() as file:
        file.write(X.tobytes())
        file.flush()
        return np.memmap(file, dtype=X.dtype, mode="r", shape=X.shape)


def read_only(rng, X):
    X = X.copy()
    X.flags.writeable = False
    return X


def cast(*dtypes):
    """To one of the dtypes, whatever becomes of the numbers."""

    return lambda rng, X: X.astype(pick(rng, dtypes))


ROWS = [
    *[lambda rng, X: X] * 8,
    *[sparse_rows] * 4,
    *[frame] * 2,
    *[mapped] * 2,
    cast(np.float32),
    cast(np.float32),
    cast(np.float16, np.longdouble, ">f8", ">f4"),
    cast(np.int64, np.int8, np.uint8, bool),
    cast(complex, str, object, "M8[s]"),
    read_only,
    lambda rng, X: np.asfortranarray(X),
    lambda rng, X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::-2, ::2],
    lambda rng, X: X.tolist(),
    lambda rng, X: pick(
        rng,
        [
            X[0] if len(X) else X,
            X[None],
            X[:, :0],
            X[:0],
            None,
            "X",
            3.0,
            {"a": 1},
            [[1.0], [1.0, 2.0]],
        ],
    ),
]
PLAIN_ROWS = [
    *[lambda rng, X: X] * 5,
    lambda rng, X: sparse.csr_array(X),
    lambda rng, X: sparse.csc_matrix(X),
    lambda rng, X: pd.DataFrame(X, columns=list("abcdefghijkl")[: X.shape[1]]),
    lambda rng, X: X.astype(np.float32),
    lambda rng, X: np.asfortranarray(X),
    mapped,
]
TARGETS = [
    *[lambda rng, y: y] * 12,
    cast(np.float32, np.float16, ">f8"),
    cast(np.int64, np.uint8, bool),
    cast(complex, str, object, "M8[s]"),
    read_only,
    lambda rng, y: y.tolist(),
    lambda rng, y: pd.Series(y) if y.ndim == 1 else pd.DataFrame(y),
    lambda rng, y: pick(
        rng, [y[:-1], np.append(y, y), y[:, None, None], None, "y", 1.0, np.empty(0)]
    ),
]
WEIGHTS = [
    *[lambda rng, n: None] * 14,
    *[lambda rng, n: rng.exponential(size=n)] * 2,
    lambda rng, n: rng.integers(0, 3, n),
    lambda rng, n: (rng.random(n) < 0.5).astype(float),
    lambda rng, n: 10.0 ** rng.uniform(-10, 10, n),
    lambda rng, n: 10.0 ** rng.uniform(-323, 308, n),
    lambda rng, n: np.full(n, pick(rng, [5e-324, 1e-300, 1e-100, 1e100, 1e300, 1.7e308])),
    lambda rng, n: numbers(rng, (n,)),
    lambda rng, n: with_special(rng, rng.exponential(size=n)),
    lambda rng, n: pick(
        rng,
        [rng.random(n).tolist(), rng.random(n).astype(np.float32), read_only(rng, rng.random(n))],
    ),
    lambda rng, n: pick(
        rng,
        [np.zeros(n), np.ones(n + 1), np.ones((n, 1)), -np.ones(n), "w", 2.0, 0.0, np.full(n, "1")],
    ),
]


def with_special_columns(rng, X):
    """X with constant, nearly constant or dependent columns in random places."""
    n, d = X.shape
    X = X.copy()
    for _ in range(rng.integers(1, 4)):
        j, other, constant = (
            rng.integers(d),
            X[:, rng.integers(d)],
            pick(rng, [0.0, 1.0, 0.1, -7.0, 1e5]),
        )
        all_but_constant = np.where(np.arange(n) == rng.integers(n), constant + 1, constant)
        followers = [other, -2 * other, other - X[:, rng.integers(d)]]
        X[:, j] = pick(
            rng, [np.full(n, constant), np.full(n, constant), all_but_constant, *followers]
        )
    return X


def with_special_rows(rng, X, y):
    """X and y with rows, in random places, that are repeated, zero or far from the others."""
    X, y = X.copy(), y.copy()
    for _ in range(rng.integers(1, 4)):
        i, other = rng.integers(len(X), size=2)
        X[i], y[i] = pick(
            rng, [(X[other], y[other]), (X[other], y[i]), (0 * X[i], y[i]), (100 * X[i], y[i])]
        )
    return X, y


def plain_rows(rng, n, shape):
    """X, y and weights that a closed form in float64 is good for: the model must be near it."""
    X = rng.standard_normal((n, shape.d)) * 10.0 ** rng.uniform(-3, 3, shape.d)
    X += pick(rng, [0.0, 0.0, 1.0, 1e3]) * X.std(axis=0)
    if shape.d and chance(rng, 0.7):
        X = with_special_columns(rng, X)
    scale = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), 1e5)
    y = X / scale @ rng.standard_normal((shape.d, *shape.targets))
    y += pick(rng, [0.0, 0.1, 10.0]) * rng.standard_normal(y.shape) + pick(rng, [0, 3, -100])
    if n and chance(rng, 0.3):
        X, y = with_special_rows(rng, X, y)
    return X, y, pick(rng, [None, None, rng.exponential(size=n), rng.integers(1, 4, n)])


class Shape(NamedTuple):
    """What most calls of a case have in common.

    Columns, targets, and whether their rows are plain ones.
    """

    d: int
    targets: tuple
    plain: bool


def shape_of_case(rng):
    plain = chance(rng, 0.4)
    d = 0 if chance(rng, 0.01) else int(rng.integers(1, 11 if plain else 7))
    return Shape(d, pick(rng, [(), (), (1,), (2,), (3,)]), plain)


def data(rng, shape):
    """X, y and weights."""
    if shape.plain and chance(rng, 0.9):
        n = int(pick(rng, [1, 2, 3, 5, 8, 13, 30, 60, 60, 1200]))
        X, y, w = plain_rows(rng, n, shape)
        # A mapped file may be read row by row, which takes long.
        return pick(rng, PLAIN_ROWS if n < 1000 else PLAIN_ROWS[:-1])(rng, X), y, w
    n = (
        int(pick(rng, [1, 1, 2, 3, 5, 8, 13, 30, 60]))
        if chance(rng, 0.99)
        else int(pick(rng, [0, 700, 1200]))
    )
    d = shape.d if chance(rng, 0.95) else int(rng.integers(7))
    targets = shape.targets if chance(rng, 0.97) else pick(rng, [(), (1,), (2,)])
    X, y = numbers(rng, (n, d)), numbers(rng, (n, *targets))
    return pick(rng, ROWS)(rng, X), pick(rng, TARGETS)(rng, y), pick(rng, WEIGHTS)(rng, n)


def chunks(rng, shape):
    """What a source yields: chunks of like shape, and now and then one that is not."""
    found = []
    if shape.plain:
        X, y, w = plain_rows(rng, int(rng.integers(1, 60)), shape)
        cuts = np.sort(rng.integers(len(y) + 1, size=3))
        parts = [[] if part is None else np.split(part, cuts) for part in (X, y, w)]
        found = list(zip(*(part for part in parts if part), strict=True))
    for _ in range(0 if shape.plain else rng.integers(1, 5)):
        n = int(rng.integers(0, 12))
        X, y = numbers(rng, (n, shape.d)), numbers(rng, (n, *shape.targets))
        found.append((X, y) if chance(rng, 0.5) else (X, y, pick(rng, WEIGHTS)(rng, n)))
    if chance(rng, 0.1):
        found.append(
            pick(
                rng,
                [
                    data(rng, shape),
                    None,
                    (1, 2, 3, 4),
                    (found[0][0],),
                    Broken,
                    "chunk",
                    (None, None),
                ],
            )
        )
    return found


def source(rng, found):
    """The chunks as something that can, or seems to, be read again and again.

    Also its passes, as a list that grows.
    """
    passes, shrinks = [], chance(rng, 0.05)

    def read():
        passes.append(None)
        for chunk in found[: len(found) - (shrinks and len(passes) > 1)]:
            if chunk is Broken:
                raise Broken("The disk is gone.")
            yield chunk

    if Broken in found or chance(rng, 0.8):
        return ChunkSource(read), passes
    return pick(rng, [found, tuple(found), read()]), passes


class Call(NamedTuple):
    """A call to make: its name, its inputs, and what it does with the model.

    For a fit also the passes over a source and the rows.
    """

    name: str
    inputs: tuple
    function: Callable
    passes: list | None = None
    rows: Callable | None = None  # X, y, weights that are learnt from


@np.errstate(all="ignore")
def draw_call(rng, shape, fitted):
    learning = ["fit", "partial_fit", "fit", "partial_fit", "fit a source"]
    others = ["predict", "score", "set_params", "clone", "pickle"]
    name = pick(rng, learning if chance(rng, 0.5 if fitted else 0.9) else others)
    if chance(rng, 0.002):
        name = "display"
    if name == "fit a source":
        found = chunks(rng, shape)
        readable, passes = source(rng, found)
        extra = () if chance(rng, 0.97) else (None, np.ones(3))
        inputs = tuple(part for chunk in found if isinstance(chunk, tuple) for part in chunk)
        return Call(
            name, inputs, lambda model: model.fit(readable, *extra), passes, lambda: together(found)
        )
    if name in ("fit", "partial_fit", "score"):
        X, y, w = data(rng, shape)
        rows = (lambda: (X, y, w)) if name == "fit" else None
        return Call(
            name, (X, y, w), lambda model: getattr(model, name)(X, y, sample_weight=w), rows=rows
        )
    if name == "predict":
        X = data(rng, shape)[0]
        return Call(name, (X,), lambda model: model.predict(X))
    if name == "set_params":
        params = {"no_such": 1} if chance(rng, 0.1) else parameters(rng, shape)
        return Call(name, (), lambda model: model.set_params(**params))
    return Call(name, (), {"clone": clone, "pickle": pickled, "display": display}[name])


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def display(model):
    mpl.use("Agg")
    found = LossHistoryDisplay.from_estimator(model, optimum=0.0)
    mpl.pyplot.close(found.figure_)


def as_floats(values):
    """An array of (n, columns)."""
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return values.astype(values.dtype if values.dtype == np.float32 else float).reshape(
        len(values), math.prod(values.shape[1:])
    )


def weights(w, n):
    return np.ones(n) if w is None else np.broadcast_to(np.ravel(np.asarray(w, dtype=float)), n)


def together(found):
    """The rows of all chunks, with their weights."""
    parts = [
        (as_floats(X), as_floats(y), weights(*rest or (None,), len(y)))
        for X, y, *rest in found
        if len(y)
    ]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def is_plain(values):
    """Whether columns (n, k) are plain.

    Each is constant, or varies by more than rounding errors and not by orders of magnitude.
    """
    largest, range_of = np.abs(values).max(axis=0), np.ptp(values, axis=0)
    varies = (range_of > 1e-6 * largest) & (range_of > 1e-100)
    return bool(np.all((varies | (range_of == 0)) & (largest < 1e100)))


def condition(Z):
    """Condition number of the columns (n, d), scaled to one length.

    Columns that follow from others are left out; inf if that is unclear.
    """
    length = np.linalg.norm(Z, axis=0)
    singular = np.linalg.svd(Z / np.where(length > 0, length, 1), compute_uv=False)
    singular = singular[singular > 1e-14 * singular[0]]
    return (
        singular[0] / singular[-1]
        if len(singular) and singular[-1] > 1e-4 * singular[0]
        else np.inf
    )


def fingerprint(value):
    """Bytes that change when the input does."""
    if sparse.issparse(value):
        value = value.tocoo()
        return repr(value.shape).encode() + b"".join(
            np.asarray(part).tobytes() for part in (value.data, value.row, value.col)
        )
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return pickle.dumps((value.to_numpy(), list(value.axes[-1])))
    return (
        value.tobytes()
        if isinstance(value, np.ndarray) and value.dtype != object
        else pickle.dumps(value)
    )


@contextmanager
def recorded():
    """The warnings inside, as (category, owner, message)."""
    found = []

    def show(message, category, *_):
        found.append(
            (
                category.__name__,
                owner(frame.filename for frame in traceback.extract_stack()),
                str(message),
            )
        )

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield found


def owner(filenames):
    """This package or scikit-learn, whichever has the innermost frame."""
    found = "another package"
    for name in filenames:
        parts = Path(name).parts
        found = next((room for room in ("sklearn_minibatch", "sklearn") if room in parts), found)
    return found


def speaks(error):
    """Whether an exception was raised on purpose, and has a message.

    By this package, or by what checks the input for it.
    """
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    parts = Path(innermost.filename).parts
    if not isinstance(error, (ValueError, TypeError, NotFittedError)) or len(str(error)) < 15:
        return False
    if "sklearn_minibatch" in parts:
        return "raise" in linecache.getline(innermost.filename, innermost.lineno)
    return (
        owner(frame.filename for frame in traceback.extract_tb(error.__traceback__)) == "sklearn"
        or "joblib" in parts
    )


class Fuzz:
    """Runs cases and counts what came of them."""

    def __init__(self, seed):
        self.seed = seed
        self.calls, self.results, self.exceptions, self.warnings = (
            Counter(),
            Counter(),
            Counter(),
            Counter(),
        )
        self.compared, self.faults = 0, []

    def run(self, number, verbose=False):
        """One case; True if it went without fault."""
        self.number, self.verbose, before = number, verbose, len(self.faults)
        rng = np.random.default_rng((self.seed, number))
        shape = shape_of_case(rng)
        params = parameters(rng, shape)
        everybodys = check_random_state(None)
        kept = everybodys.get_state()
        everybodys.seed(number % 2**32)
        self.note(params)
        try:
            # As if files were too large to be loaded.
            with patch.multiple(
                "sklearn_minibatch._data.mapped",
                SHARE_OF_MEMORY=float(pick(rng, [0.5, 0.0])),
                CHUNK_ELEMENTS=int(pick(rng, [2**21, 1, 7])),
            ):
                model = MiniBatchRidgeSGD(**params)
                for _ in range(rng.integers(1, 5)):
                    model = self.one(model, draw_call(rng, shape, hasattr(model, "n_features_in_")))
        finally:
            everybodys.set_state(kept)
        return len(self.faults) == before

    def one(self, model, call):
        """One call, and what must be so after it; returns the model to go on with."""
        self.calls[call.name] += 1
        inputs, before = [fingerprint(value) for value in call.inputs], state(model)
        error = result = None
        with recorded() as warned:
            try:
                result = call.function(model)
                # A stream is solved when it is asked, and may warn then.
                getattr(model, "converged_", None)
            except Exception as raised:
                error = raised
        self.note(f"{call.name}: {error!r}" if error else f"{call.name}: {warned}")
        if inputs != [fingerprint(value) for value in call.inputs]:
            self.fault(call, "an input was written")
        if (error or result is not model) and state(model) != before:
            self.fault(call, f"changed the model, {error!r}")
        for category, whose, message in warned:
            self.warnings[
                f"{category}, of {'this package' if whose == 'sklearn_minibatch' else whose}"
            ] += 1
            if whose not in ("sklearn_minibatch", "sklearn") or (whose, category) == (
                "sklearn_minibatch",
                "RuntimeWarning",
            ):
                self.fault(call, f"{category} of {whose}: {message}")
        if error is None:
            self.results[call.name] += 1
            self.check(model, call, result, warned)
            return result if call.name in ("clone", "pickle") else model
        self.exceptions[type(error).__name__] += 1
        if not (speaks(error) or isinstance(error, Broken)):
            self.fault(call, "".join(traceback.format_exception(error)))
        return model

    def check(self, model, call, result, warned):
        """What a result promises."""
        if call.name in ("fit", "partial_fit", "fit a source"):
            if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
                self.fault(call, f"not finite: {model.coef_}, {model.intercept_}")
            if call.name != "partial_fit" and model.n_iter_ > model.max_iter:
                self.fault(call, f"{model.n_iter_} epochs, max_iter={model.max_iter}")
            if call.passes is not None and len(call.passes) > 3 * model.max_iter + 10:
                self.fault(call, f"{len(call.passes)} passes, max_iter={model.max_iter}")
        if (
            call.name == "predict"
            and not np.isfinite(result).all()
            and not any(whose != "sklearn" for _, whose, _ in warned)
        ):
            self.fault(call, "predictions that are not finite, without a word")
        if call.name == "pickle" and vars(result).keys() != vars(model).keys():
            self.fault(call, "another model came out of the pickle")
        if call.name == "fit" and call.inputs[1] is not None and not warned:
            self.check_loss(model, *call.inputs)
        if (
            call.rows is not None
            and model.converged_
            and model.solver != "sgd"
            and call.inputs[1] is not None
        ):
            self.check_end(model, call)
        if (
            call.name == "fit"
            and not isinstance(call.inputs[0], (list, tuple))
            and call.inputs[1] is not None
        ):
            with recorded() as said:
                predictions = model.predict(call.inputs[0])
            if not np.isfinite(predictions).all() and not said:
                self.fault(
                    call, "predictions for the rows of a fit that are not finite, without a word"
                )

    def check_loss(self, model, X, y, w):
        """A fit without a warning is no worse than a constant, up to rounding.

        One by noisy steps is not much worse.
        """
        if model.early_stopping or model.warm_start or model.half_life:
            return
        X, y = as_floats(X), as_floats(y)
        w = weights(w, len(y))
        with np.errstate(all="ignore"):
            share = (w / w.max() / (w / w.max()).sum())[:, None]
            y, X, share = y[w > 0], X[w > 0], share[w > 0]
            coef, intercept = np.atleast_2d(model.coef_).T, np.ravel(model.intercept_)
            centred = model.fit_intercept and model.solver != "sgd"
            limit = y - (share * y).sum(axis=0) if centred else y
            unit = np.abs(y).max() or 1.0
            got = np.sqrt((share * ((X @ coef + intercept - y) / unit) ** 2).sum())
            limit = np.sqrt((share * (limit / unit) ** 2).sum()) * (
                np.sqrt(DIVERGED) if model.solver == "sgd" else 1
            )
            eps = np.finfo(np.float32 if X.dtype == np.float32 else float).eps
            rounding = (
                1e3
                * eps
                * ((np.abs(X) @ np.abs(coef) + np.abs(intercept) + np.abs(y)) / unit).max()
            )
            # Coefficients are multiples of the smallest number.
            rounding += np.abs(X).sum(axis=1).max() * (np.finfo(float).smallest_subnormal / unit)
        if not got <= limit * (1 + 1e-6) + rounding:
            self.faults.append(
                f"case {self.number}, fit: worse than a constant: {got} > {limit} + {rounding}"
            )

    def check_end(self, model, call):
        """A fit that has converged is within `tol` by its own estimate.

        It is also near the closed form, where that is known.
        """
        if not model.distance_history_[-1] <= max(model.tol or 0, MOST_NOISE):
            self.fault(
                call, f"converged at a distance of {model.distance_history_[-1]}, tol={model.tol}"
            )
        if model.early_stopping or model.warm_start or model.half_life:
            return
        X, y, w = call.rows()
        X, y = as_floats(X), as_floats(y)
        w = weights(w, len(y))
        eps = np.finfo(X.dtype).eps
        X, y, w = X[w > 0].astype(float), y[w > 0].astype(float), w[w > 0] / w.max()
        if not (is_plain(X) and is_plain(y) and np.ptp(y, axis=0).all() and w.min() >= 1e-6):
            return
        mean, sigma = scaling(X, w, model.fit_intercept, True)
        offset = max(
            np.max(np.abs(X) / sigma * (np.ptp(X, axis=0) > 0)), np.max(np.abs(y) / y.std(axis=0))
        )
        rounding = 1e3 * eps * (1 + offset) * condition((X - mean) / sigma)
        if not rounding < 0.01:
            return
        self.compared += 1
        closed = closed_form(X, y, model.alpha, w, model.fit_intercept, model.standardize)
        predictions = X @ np.atleast_2d(model.coef_).T + np.ravel(model.intercept_)
        far = distance(predictions, closed, X, y, w)
        if not far <= 10 * (model.tol or 0) + rounding:
            self.fault(
                call,
                f"converged {far} standard deviations of y from the closed form, tol={model.tol}",
            )

    def fault(self, call, what):
        self.faults.append(f"case {self.number}, {call.name}: {what}")
        self.note(self.faults[-1])

    def note(self, what):
        if self.verbose:
            print(what)

    def table(self):
        """What came of all cases, in Markdown."""
        rows = [("calls", sum(self.calls.values()))]
        rows += [(f"results: {name}", n) for name, n in sorted(self.results.items())]
        rows += [(f"exceptions: {name}", n) for name, n in sorted(self.exceptions.items())]
        rows += [(f"warnings: {name}", n) for name, n in sorted(self.warnings.items())]
        rows.append(("fits compared with a closed form", self.compared))
        rows.append(("faults", len(self.faults)))
        return "\n".join(
            ["| what | how many |", "|---|---|", *(f"| {name} | {n:,} |" for name, n in rows)]
        )


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.fuzz", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="run one case and say what it does"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        help="seconds after which a case is a fault that ends the run",
    )
    args = parser.parse_args(argv)
    fuzz, slowest = Fuzz(args.seed), (0.0, 0)
    cases = range(args.first, args.first + args.cases) if args.only is None else [args.only]
    for number in cases:
        print(f"case {number}", end="\r", file=sys.stderr)
        faulthandler.dump_traceback_later(args.timeout, exit=True)
        start = time.perf_counter()
        before = len(fuzz.faults)
        fuzz.run(number, verbose=args.only is not None)
        slowest = max(slowest, (time.perf_counter() - start, number))
        for fault in fuzz.faults[before:]:
            print(fault, flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(
        f"{len(cases):,} cases, seed {args.seed}; "
        f"the slowest, number {slowest[1]}, took {slowest[0]:.2f} s\n"
    )
    print(fuzz.table())
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    sys.exit(main())
