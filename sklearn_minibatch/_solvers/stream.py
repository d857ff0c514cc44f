"""One pass over a stream: preconditioned mini-batch steps of length about 3/t, averaged, the sketch growing with the rows.

A stochastic Newton method. Coefficients are kept in original units, and the intercept follows from the running means,
so a scaler that moves leaves the slopes where they are. Between two refreshes of the preconditioner all steps are
taken in the units of the last one.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .._rows.in_memory import centred
from .._statistics.factor import Factored, factored
from .._statistics.linalg import divide, dot
from .._statistics.sketch import DENSE_FEATURES, count_sketch, n_buckets
from .preconditioner import Identity, Spectral

# Steps of c/t forget the start like t^-c, and c up to 2.4 times too long or 0.5 too short (a sketched P) does no harm:
# averaged with weights t, c = 3 costs 36 * integral of (x - x^2)^2 over [0, 1] = 1.2 times the least possible excess risk.
STEP = 3.0


# Rows that wait before they are added to the sketch, all at once, into a new copy of it.
WAITING_ROWS = 512
# Once there have been so many rows per bucket, only a sample of the chunks enters the sketch, with larger weights.
ROWS_PER_BUCKET = 8


class Curvature(NamedTuple):
    """What a stream knows of the Hessian: a CountSketch of its rows, and P as of the last refresh.

    Rows are sketched as sqrt(w) [x - origin, 1]: they can be centred and scaled by moments that come later.
    """

    origin: np.ndarray  # (d,)
    sketch: np.ndarray | None  # (m, d + 1); None where P is not made from one
    waiting: tuple  # of (X, w), not in the sketch yet
    n_waiting: int  # how many rows these are
    sketched_weight: float  # weight of the rows in the sketch or waiting
    P: NamedTuple
    scale: np.ndarray  # (d,), the units of P
    weight: float  # of all rows at the last refresh


class Slopes(NamedTuple):
    """Coefficients (d, t) in original units: the last iterate, and the average that predicts."""

    last: np.ndarray
    mean: np.ndarray


def unseen(first, choice):
    """The curvature before any row; `first` are the moments of the first chunk."""
    d = len(first.mean)
    sketch = None if choice is None or d > DENSE_FEATURES else np.zeros((n_buckets(d), d + 1))
    return Curvature(first.mean, sketch, (), 0, 0.0, Identity(), first.scale, 0.0)


def curvature_of_fit(P, moments, units):
    """The curvature after a fit: rows whose Gram matrix is P stand for its rows."""
    rows = None
    if isinstance(P, (Factored, Spectral)):
        rows = np.sqrt(moments.weight) * P.root * units.x_scale
        # Of a constant column P knows the penalty only, in units that will not be its own.
        rows[:, moments.is_constant] = 0.0
        rows = np.hstack([rows, np.zeros((len(rows), 1))])
    return Curvature(moments.mean, rows, (), 0, moments.weight, P, units.x_scale, 0.0)


def with_rows(curvature, X, w, n_seen, rng):
    """The curvature with the rows X (c, d) of weights w (c,) in it, or waiting, or passed over, after `n_seen` others."""
    if curvature.sketch is None:
        return curvature
    share = ROWS_PER_BUCKET * n_buckets(len(curvature.origin)) / (n_seen + 1)
    if share < 1:
        if rng.random() > share:
            return curvature
        w = w / share
    waiting = (*curvature.waiting, (X.copy(), w.copy()))
    n_waiting = curvature.n_waiting + len(w)
    sketched_weight = curvature.sketched_weight + w.sum()
    curvature = curvature._replace(waiting=waiting, n_waiting=n_waiting, sketched_weight=sketched_weight)
    return sketched(curvature, rng) if n_waiting >= WAITING_ROWS else curvature


def sketched(curvature, rng):
    """The curvature with all waiting rows in its sketch."""
    if not curvature.waiting:
        return curvature
    chunks, weights = zip(*curvature.waiting, strict=True)
    S = count_sketch(curvature.n_waiting, max(len(curvature.sketch), n_buckets(len(curvature.origin))), rng)
    S.data *= np.sqrt(np.concatenate(weights))
    if any(sparse.issparse(X) for X in chunks):
        count = S.sum(axis=1)
        rows = (S @ sparse.vstack([sparse.csr_array(X) for X in chunks])).toarray()
        sketch = np.column_stack([rows - np.outer(count, curvature.origin), count])
    else:
        rows = np.ones((curvature.n_waiting, len(curvature.origin) + 1))
        np.subtract(np.concatenate(chunks), curvature.origin, out=rows[:, :-1])
        sketch = S @ rows
    sketch[: len(curvature.sketch)] += curvature.sketch
    return curvature._replace(sketch=sketch, waiting=(), n_waiting=0)


def is_stale(curvature, before, moments):
    """Whether the rows or the scale of a column have doubled since the last refresh, or a column is no longer constant.

    The scale of a constant column says nothing of what it will be. `before` are the moments without the last chunk.
    """
    ratio = moments.scale / curvature.scale
    awake = before.is_constant & ~moments.is_constant
    return moments.weight >= 2 * curvature.weight or ratio.max() > 2 or ratio.min() < 0.5 or awake.any()


def refreshed(curvature, moments, units, alpha, rng):
    """The curvature with P made anew from all rows so far, in the units of the moment."""
    if curvature.sketch is None:
        return curvature._replace(scale=units.x_scale, weight=moments.weight)
    curvature = sketched(curvature, rng)
    rows = curvature.sketch[:, :-1] - curvature.sketch[:, -1:] * (units.x_mean - curvature.origin)
    rows /= moments.scale * np.sqrt(curvature.sketched_weight)
    P = factored(rows.T @ rows, alpha * (units.x_scale / moments.scale) ** 2)
    return curvature._replace(P=P, scale=moments.scale, weight=moments.weight)


def stream_chunk(X, y, w, order, slopes, curvature, seen, units, alpha, batch_size, lr):
    """`Slopes` after one pass of steps over rows X (c, d) with targets y (c, t), taken in `order` after rows of weight `seen`.

    coef <- coef - min(lr_B, exact_B) P^-1 grad F_B(coef),    lr_B = 3 w(B) / w(all rows so far), or `lr` if not None
    mean <- mean + (coef - mean) 2 w(B) / (w(all rows so far) + w(B))

    `exact_B` is the length that minimises F_B along the step: it holds back a batch that P does not know yet.
    """
    scale, penalty = curvature.scale[:, None], alpha * units.x_scale[:, None] ** 2
    coef, mean = slopes
    for start in range(0, len(y), batch_size):
        rows = order[start : start + batch_size]
        T, v, s = centred(X, rows, units.x_mean), y[rows] - units.y_mean, w[rows, None]
        weight = s.sum()
        seen, s = seen + weight, s / weight
        g = T.T @ (s * (T @ coef - v)) + penalty * coef
        step = curvature.P.solve(g / scale) / scale
        T_step = T @ step
        bend = dot(s * T_step, T_step) + dot(penalty * step, step)
        length = STEP * weight / seen if lr is None else lr
        coef = coef - np.minimum(length, divide(dot(g, step), bend)) * step
        mean = mean + (coef - mean) * (2 * weight / (seen + weight))
    return Slopes(coef, mean)
