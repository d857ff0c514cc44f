"""One pass over a stream: preconditioned mini-batch steps of length about 3/t, averaged, the sketch growing with the rows.

A stochastic Newton method. Coefficients are kept in original units, and the intercept follows from
the running means, so a scaler that moves leaves the slopes where they are. Between two refreshes of
the preconditioner all steps are taken in the units of the last one.

Where a column changes its scale or its offset, what was known of its coefficient is worth little in
its new units. The rows that bring the change are learnt in one Newton step, and the average follows
the iterates in the metric of the rows, so that it forgets as fast as they do.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from .._rows.chunk import Chunk
from .._rows.in_memory import centred
from .._statistics.blocks import row_blocks
from .._statistics.factor import Factored, factored
from .._statistics.linalg import divide, dot
from .._statistics.moments import Moments, column_moments, merge_columns
from .._statistics.scaling import Scaling, scaling_of
from .._statistics.second_moments import SecondMoments, standardized
from .._statistics.sketch import DENSE_FEATURES, count_sketch, n_buckets
from .preconditioner import Identity, Spectral, of_gram
from .problem import ModelState, Settings

# Steps of c/t forget the start like t^-c, and c up to 2.4 times too long or 0.5 too short (a
# sketched P) does no harm: averaged with weights t, c = 3 costs 36 * integral of (x - x^2)^2 over
# [0, 1] = 1.2 times the least possible excess risk.
STEP = 3.0
# Rows per step that "auto" stands for. Without a preconditioner it is the number of steps that
# counts.
BATCH_SIZE = 512
BATCH_SIZE_WITHOUT_P = 32
# Rows that wait before they are added to the sketch, all at once, into a new copy of it.
WAITING_ROWS = 512
# Once there have been so many rows per bucket, only a sample of the chunks enters the sketch, with
# larger weights.
ROWS_PER_BUCKET = 8
# With fewer rows per column than this, the small eigenvalues of P are noise.
FEW_ROWS = 4


class Curvature(NamedTuple):
    """What a stream knows of the Hessian: a CountSketch of its rows, and P as of the last refresh.

    Rows are sketched as sqrt(w) [x - origin, 1]: they can be centred and scaled by moments that
    come later.
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


class Seen(NamedTuple):
    """The rows of a stream up to some chunk: their moments, and the units that they make."""

    x: Moments
    y: Moments
    scaling: Scaling


class Plan(NamedTuple):
    """The parameters that every chunk shares."""

    alpha: float
    batch_size: int
    lr: float | None  # None: steps of length 3/t
    seen: Callable[[Moments, Moments], Seen]  # with the units that these moments make


def learn(
    chunk: Chunk, before: ModelState, moments: SecondMoments, settings: Settings
) -> ModelState:
    """The state after one pass of steps over a chunk; `moments` are those of all rows so far, the chunk included."""

    def seen(x: Moments, y: Moments) -> Seen:
        return Seen(x, y, scaling_of(x, y, settings.fit_intercept, settings.standardize))

    # A copy: moments keep their scale once it is asked for, and a call that fails changes no byte.
    known = seen(replace(before.moments.x), replace(before.moments.y))
    now = seen(moments.x, moments.y)
    rng, order = before.order(len(chunk.y), settings.shuffle)
    curvature = before.curvature
    if curvature is None:
        curvature = first_curvature(before.moments, known, now, settings)
    batch_size = settings.batch_size
    if batch_size == "auto":
        without_P = curvature.sketch is None and isinstance(curvature.P, Identity)
        batch_size = BATCH_SIZE_WITHOUT_P if without_P else BATCH_SIZE
    lr = None if settings.lr == "auto" else float(settings.lr)
    plan = Plan(settings.alpha, batch_size, lr, seen)
    w = np.ones(len(chunk.y)) if chunk.w is None else chunk.w
    slopes = Slopes(before.last[0], before.predicting[0])
    slopes, curvature = learnt(chunk.X, chunk.y, w, order, slopes, curvature, known, now, plan, rng)
    last, predicting = [(coef, now.scaling.y_mean - now.scaling.x_mean @ coef) for coef in slopes]
    return replace(
        before,
        n_chunks=chunk.number,
        last=last,
        predicting=predicting,
        moments=moments,
        n_steps=before.n_steps + -(-len(chunk.y) // batch_size),
        lr=STEP * min(batch_size, len(chunk.y)) / now.x.n_rows if lr is None else lr,
        batch_size=batch_size,
        converged=False,
        curvature=curvature,
    )


def first_curvature(
    moments: SecondMoments, before: "Seen", now: "Seen", settings: Settings
) -> "Curvature":
    """What the second moments of the rows so far tell of the Hessian, if they were kept."""
    if moments.xx is None or moments.x.n_rows == 0:
        return initial_curvature(now.x, settings.preconditioner)
    zz = standardized(moments, before.scaling).zz
    assert zz is not None
    return curvature_of_fit(of_gram(zz, settings.alpha), moments.x, before.scaling)


def learnt(X, y, w, order, slopes, curvature, before, now, plan, rng) -> tuple[Slopes, Curvature]:
    """Slopes and curvature after rows X (c, d), y (c, t), w (c,), taken in `order`.

    `before` and `now` are what was `Seen` without and with them.
    """
    known = before.x.weight if curvature.sketch is None else curvature.sketched_weight
    rescaled = known > 0 and is_rescaled(curvature, before, now)
    if rescaled and len(order) > plan.batch_size:
        return learnt_in_parts(X, y, w, order, slopes, curvature, before, plan, rng)
    if rescaled:
        slopes, curvature = newton_step(X, y, w, slopes, curvature, before, now, plan, rng)
    curvature = add_rows(curvature, X, w, before.x, now.x, rng)
    if rescaled and curvature.sketch is not None:
        return slopes, curvature
    if is_stale(curvature, before, now):
        curvature = refreshed(curvature, now, plan.alpha, rng)
    return stream_chunk(X, y, w, order, slopes, curvature, before, now, plan), curvature


def learnt_in_parts(X, y, w, order, slopes, curvature, before, plan, rng):
    """The same, each mini-batch as a chunk of its own."""
    for start in range(0, len(order), plan.batch_size):
        rows = order[start : start + plan.batch_size]
        part = X[rows], y[rows], w[rows]
        x = merge_columns(before.x, column_moments(part[0], part[2]))
        now = plan.seen(x, merge_columns(before.y, column_moments(part[1], part[2])))
        slopes, curvature = learnt(
            *part, np.arange(len(rows)), slopes, curvature, before, now, plan, rng
        )
        before = now
    return slopes, curvature


def initial_curvature(first, choice):
    """The curvature before any row; `first` are the moments of the first chunk."""
    d = len(first.mean)
    sketch = None if choice is None or d > DENSE_FEATURES else np.zeros((n_buckets(d), d + 1))
    return Curvature(first.mean, sketch, (), 0, 0.0, Identity(), first.scale, 0.0)


def curvature_of_fit(P, moments, scaling):
    """The curvature after a fit: rows whose Gram matrix is P stand for its rows."""
    rows = None
    if isinstance(P, (Factored, Spectral)):
        rows = np.sqrt(moments.weight) * P.root * scaling.x_scale
        # Of a constant column P knows the penalty only, in units that will not be its own.
        rows[:, moments.is_constant] = 0.0
        rows = np.hstack([rows, np.zeros((len(rows), 1))])
    return Curvature(moments.mean, rows, (), 0, moments.weight, P, scaling.x_scale, 0.0)


def share_of_new_rows(before, now):
    """Share (d,) of the rows since the moments `before` in the sum of squares of each column about its mean.

    Of a constant column it is their share in the weight.
    """
    old_weight = before.weight / now.weight
    new = now.var - old_weight * before.var
    return np.where(now.var > 0, divide(new, now.var), 1 - old_weight)


def add_rows(curvature, X, w, before, now, rng):
    """The curvature with the rows X (c, d) of weights w (c,) in it, or waiting, or passed over.

    `before` and `now` are the moments without and with them. In a steady stream a chunk is drawn
    with the probability of the rows that the sketch may have to the rows before; more often if it
    changes a column, so that none is passed over that P must know.
    """
    if curvature.sketch is None:
        return curvature
    most = max(share_of_new_rows(before, now).max(), w.sum() / now.weight)
    allowed, n_rows = ROWS_PER_BUCKET * n_buckets(len(curvature.origin)) * most, (1 - most) * len(w)
    if allowed < n_rows:
        if rng.random() * n_rows > allowed:
            return curvature
        w = w * (n_rows / allowed)
    waiting = (*curvature.waiting, (X.copy(), w.copy()))
    n_waiting = curvature.n_waiting + len(w)
    sketched_weight = curvature.sketched_weight + w.sum()
    curvature = curvature._replace(
        waiting=waiting, n_waiting=n_waiting, sketched_weight=sketched_weight
    )
    return flush_pending(curvature, rng) if n_waiting >= WAITING_ROWS else curvature


def flush_pending(curvature, rng):
    """The curvature with all waiting rows in its sketch."""
    if not curvature.waiting:
        return curvature
    chunks, weights = zip(*curvature.waiting, strict=True)
    S = count_sketch(
        curvature.n_waiting, max(len(curvature.sketch), n_buckets(len(curvature.origin))), rng
    )
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


def is_rescaled(curvature, before, now):
    """Whether the scale of a column has doubled or halved since the last refresh, or a column is no longer constant."""
    ratio = own_scale(curvature, now) / curvature.scale
    return ratio.max() > 2 or ratio.min() < 0.5 or is_awake(before, now).any()


def is_awake(before, now):
    """Mask (d,) of columns that are no longer constant: the scale of such a one says nothing of what it will be."""
    return before.x.is_constant & ~now.x.is_constant


def is_stale(curvature, before, now):
    """Whether the rows have doubled since the last refresh, or a column `is_rescaled`."""
    return now.x.weight >= 2 * curvature.weight or is_rescaled(curvature, before, now)


def own_scale(curvature, seen):
    """The units (d,) that P is made in.

    One that knows no rows has no scales but those of the penalty.
    """
    return seen.scaling.x_scale if curvature.sketch is None else seen.x.scale


def refreshed(curvature, now, alpha, rng):
    """The curvature with P made anew from all rows so far, in the units of the moment."""
    scale = own_scale(curvature, now)
    if curvature.sketch is not None:
        curvature = flush_pending(curvature, rng)
        rows = scaled_sketch(curvature, now.scaling.x_mean, scale)
        curvature = curvature._replace(
            P=factored(rows.T @ rows, alpha * (now.scaling.x_scale / scale) ** 2)
        )
    return curvature._replace(scale=scale, weight=now.x.weight)


def scaled_sketch(curvature, mean, scale):
    """Rows whose Gram matrix is close to the mean square of the rows in the sketch, centred and scaled."""
    rows = curvature.sketch[:, :-1] - curvature.sketch[:, -1:] * (mean - curvature.origin)
    rows /= scale * np.sqrt(curvature.sketched_weight)
    return rows


def newton_step(X, y, w, slopes, curvature, before, now, plan, rng):
    """Slopes after one step for rows that change the scale of a column, and the curvature with P of all rows so far.

    In its new units the coefficient of such a column may be off by many standard deviations of y,
    and a P that knows the rows from a sketch would spread so large an error over all columns: here
    P holds them as they are. The gradient is that of F over all rows, as if the coefficients were
    the best for those before. Of these it has their mean only, as one more row, because the
    intercept follows the means.

    Without a sketch only the coefficients of columns that have changed are moved.
    """
    scale, old_weight = own_scale(curvature, now), before.x.weight / now.x.weight
    T, s = centred(X, np.arange(len(y)), now.scaling.x_mean), w[:, None] / now.x.weight
    moved = is_awake(before, now) | (scale > 2 * curvature.scale)
    mean_row = np.sqrt(old_weight) * (before.scaling.x_mean - now.scaling.x_mean)[None]
    mean_target = np.sqrt(old_weight) * (before.scaling.y_mean - now.scaling.y_mean)
    if curvature.sketch is not None:
        moved[:] = True
        curvature = flush_pending(curvature, rng)
        Z = scaled_sketch(curvature, before.scaling.x_mean, scale)
        gram = old_weight * Z.T @ Z + (mean_row / scale).T @ (mean_row / scale)
        for rows in row_blocks(*X.shape):
            Z = np.asarray(T[rows]) / scale
            gram += Z.T @ (s[rows] * Z)
        curvature = curvature._replace(
            P=factored(gram, plan.alpha * (now.scaling.x_scale / scale) ** 2)
        )
    penalty = plan.alpha * (1 - old_weight) * now.scaling.x_scale[:, None] ** 2
    coef = np.hstack(slopes)
    residual = T @ coef - np.tile(y - now.scaling.y_mean, 2)
    mean_residual = mean_row @ coef - np.tile(mean_target, 2)
    g = T.T @ (s * residual) + mean_row.T @ mean_residual + penalty * coef
    p = moved[:, None] * curvature.P.solve(g / scale[:, None]) / scale[:, None]
    Tp, mean_p = T @ p, mean_row @ p
    exact = divide(dot(g, p), dot(s * Tp, Tp) + dot(mean_p, mean_p) + dot(penalty * p, p))
    coef = coef - np.minimum(1.0 if plan.lr is None else plan.lr, exact) * p
    return Slopes(*np.hsplit(coef, 2)), curvature._replace(scale=scale, weight=now.x.weight)


def stream_chunk(X, y, w, order, slopes, curvature, before, now, plan):
    """`Slopes` after one pass of steps over rows X (c, d) with targets y (c, t), taken in `order` after rows `before`.

    coef <- coef - min(lr_B, exact_B) P^-1 grad F_B(coef),    lr_B = 3 w(B) / w(all rows so far), or `lr` if given
    mean <- mean + share_B (coef - mean),                     share_B = w(B) / (w(all rows so far) + w(B))
    mean <- mean + min(share_B, exact_B) P^-1 H_B (coef - mean)

    `exact_B` is the length that minimises the loss of B along the step: it holds back a batch that
    P does not know yet. P^-1 H_B is about I in a steady stream, so that the average weights an
    iterate by the rows before it. It is more in what late rows alone tell, where the average then
    forgets the iterates that came before these. Without a sketch the share of late rows in the
    variance of each column stands for it, and where rows are few, 1.
    """
    scaling, seen = now.scaling, before.x.weight
    scale, penalty = curvature.scale[:, None], plan.alpha * scaling.x_scale[:, None] ** 2
    few = now.x.n_rows < FEW_ROWS * len(scale)
    late = (
        np.ones_like(scale)
        if few
        else share_of_new_rows(before.x, now.x)[:, None] * now.x.weight / w.sum()
    )
    coef, mean = slopes
    for start in range(0, len(order), plan.batch_size):
        rows = order[start : start + plan.batch_size]
        T, v, s = centred(X, rows, scaling.x_mean), y[rows] - scaling.y_mean, w[rows, None]
        weight = s.sum()
        seen, s = seen + weight, s / weight
        g = T.T @ (s * (T @ coef - v)) + penalty * coef
        length = STEP * weight / seen if plan.lr is None else plan.lr
        coef = coef - step(g, length, curvature.P, scale, T, s, penalty)
        share, away = weight / (seen + weight), mean - coef
        if few or curvature.sketch is None or seen == weight:
            away = (1 - np.minimum(1, 2 * share * late)) * away
        else:
            away = (1 - share) * away
            g = T.T @ (s * (T @ away)) + penalty * away
            away = away - step(g, share, curvature.P, scale, T, s, penalty)
        mean = coef + away
    return Slopes(coef, mean)


def step(g, length, P, scale, T, s, penalty):
    """P^-1 g times the length, or times the best length for the rows T of weights s if that is less."""
    p = P.solve(g / scale) / scale
    Tp = T @ p
    return np.minimum(length, divide(dot(g, p), dot(s * Tp, Tp) + dot(penalty * p, p))) * p
