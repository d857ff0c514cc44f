"""One pass over a stream: preconditioned mini-batch steps of length about 3/t, averaged.

This is a stochastic Newton method. Coefficients are kept in original units, and the intercept
follows from the running means, so that a scaler that moves leaves the slopes as they are. Between
two refreshes of the preconditioner all steps are taken in the units of the last one.

If a column changes its scale or its offset, what was known of its coefficient is worth little in
its new units. The rows that bring the change are learnt in one Newton step, and the average follows
the iterates in the metric of the rows, so that it forgets as fast as they do.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._rows.in_memory import centred
from .._statistics.blocks import row_blocks
from .._statistics.factor import factored
from .._statistics.linalg import divide, dot
from .._statistics.moments import Moments, column_moments, merge_columns
from .._statistics.scaling import scaling_of
from .._statistics.second_moments import SecondMoments
from .curvature import (
    Curvature,
    Seen,
    add_rows,
    first_curvature,
    flush_pending,
    is_awake,
    refreshed,
    scaled_sketch,
    share_of_new_rows,
)
from .preconditioner import Identity, Preconditioner
from .problem import ModelState, Settings

# Steps of c/t forget the start like t^-c, and c up to 2.4 times too long or 0.5 too short (a
# sketched P) does no harm: averaged with weights t, c = 3 costs 36 * integral of (x - x^2)^2 over
# [0, 1] = 1.2 times the least possible excess risk.
STEP = 3.0
# Rows per step that "auto" stands for. With a sketch there are half as many as columns if that is
# more, since each step reads a (d, d) factor. Without a preconditioner the number of steps counts.
BATCH_SIZE = 512
BATCH_SIZE_WITHOUT_P = 32
# With fewer rows per column than this, the small eigenvalues of P are noise.
FEW_ROWS = 4


class Slopes(NamedTuple):
    """Coefficients (d, t) in original units: the last iterate, and the average that predicts."""

    last: np.ndarray
    mean: np.ndarray


class Pending(NamedTuple):
    """Rows of a chunk in the order of the steps over them."""

    X: Any  # (c, d)
    y: np.ndarray  # (c, t)
    w: np.ndarray  # (c,)
    order: np.ndarray  # (c,)


class Plan(NamedTuple):
    """What all rows of a chunk share."""

    alpha: float
    batch_size: int
    lr: float | None  # None: steps of length 3/t
    seen: Callable[[Moments, Moments], Seen]  # with the units that these moments make
    rng: Any


def learn(
    chunk: Chunk, before: ModelState, moments: SecondMoments, settings: Settings
) -> ModelState:
    """Return the state after one pass of steps over a chunk.

    `moments` are those of all rows so far, the chunk included.
    """

    def seen(x: Moments, y: Moments) -> Seen:
        return Seen(x, y, scaling_of(x, y, settings.fit_intercept, settings.standardize))

    chunk = chunk.in_numpy()
    # A copy: moments keep their scale once it is asked for, and a call that fails changes no byte.
    known = seen(replace(before.moments.x), replace(before.moments.y))
    now = seen(moments.x, moments.y)
    rng, order = before.order(len(chunk.y), settings.shuffle)
    curvature = before.curvature
    if curvature is None:
        curvature = first_curvature(before.moments, known, now, settings)
    batch_size = resolved_batch_size(settings, curvature)
    lr = None if settings.lr == "auto" else float(settings.lr)
    w = np.ones(len(chunk.y)) if chunk.w is None else chunk.w
    slopes, curvature = learnt(
        Pending(chunk.X, chunk.y, w, order),
        Slopes(before.last[0], before.predicting[0]),
        curvature,
        known,
        now,
        Plan(settings.alpha, batch_size, lr, seen, rng),
    )
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


def resolved_batch_size(settings: Settings, curvature: Curvature) -> int:
    """Return the rows per step."""
    if not isinstance(settings.batch_size, str):
        return settings.batch_size
    if curvature.sketch is not None:
        return max(BATCH_SIZE, len(curvature.scale) // 2)
    return BATCH_SIZE_WITHOUT_P if isinstance(curvature.P, Identity) else BATCH_SIZE


def learnt(
    rows: Pending, slopes: Slopes, curvature: Curvature, before: Seen, now: Seen, plan: Plan
) -> tuple[Slopes, Curvature]:
    """Return slopes and curvature after more rows.

    `before` and `now` are what was `Seen` without and with them.
    """
    known = before.x.weight if curvature.sketch is None else curvature.sketched_weight
    rescaled = known > 0 and curvature.is_rescaled(before, now)
    if rescaled and len(rows.order) > plan.batch_size:
        return learnt_in_parts(rows, slopes, curvature, before, plan)
    if rescaled:
        slopes, curvature = newton_step(rows, slopes, curvature, before, now, plan)
    curvature = add_rows(curvature, rows.X, rows.w, before.x, now.x, plan.rng)
    if rescaled and curvature.sketch is not None:
        return slopes, curvature
    if curvature.is_stale(before, now):
        curvature = refreshed(curvature, now, plan.alpha, plan.rng)
    return stream_chunk(rows, slopes, curvature, before, now, plan), curvature


def learnt_in_parts(
    rows: Pending, slopes: Slopes, curvature: Curvature, before: Seen, plan: Plan
) -> tuple[Slopes, Curvature]:
    """Return the same with each mini-batch as a chunk of its own."""
    for start in range(0, len(rows.order), plan.batch_size):
        taken = rows.order[start : start + plan.batch_size]
        part = Pending(rows.X[taken], rows.y[taken], rows.w[taken], np.arange(len(taken)))
        x = merge_columns(before.x, column_moments(part.X, part.w))
        now = plan.seen(x, merge_columns(before.y, column_moments(part.y, part.w)))
        slopes, curvature = learnt(part, slopes, curvature, before, now, plan)
        before = now
    return slopes, curvature


def newton_step(
    rows: Pending, slopes: Slopes, curvature: Curvature, before: Seen, now: Seen, plan: Plan
) -> tuple[Slopes, Curvature]:
    """Return slopes after one step for rows that change the scale of a column; and P of all rows.

    In its new units the coefficient of such a column may be off by many standard deviations of y,
    and a P that knows the rows from a sketch would spread so large an error over all columns. Here
    P holds them as they are. The gradient is that of F over all rows, as if the coefficients were
    the best for those before. Of these it has their mean only, as one more row, because the
    intercept follows the means.

    Without a sketch only the coefficients of columns that have changed are moved.
    """
    scale = curvature.own_scale(now)
    old_weight = before.x.weight / now.x.weight
    T = centred(rows.X, np.arange(len(rows.y)), now.scaling.x_mean)
    s = rows.w[:, None] / now.x.weight
    moved = is_awake(before, now) | (scale > 2 * curvature.scale)
    mean_row = np.sqrt(old_weight) * (before.scaling.x_mean - now.scaling.x_mean)[None]
    mean_target = np.sqrt(old_weight) * (before.scaling.y_mean - now.scaling.y_mean)
    if curvature.sketch is not None:
        moved[:] = True
        curvature = flush_pending(curvature, plan.rng)
        gram = gram_of_all(curvature, T, s, mean_row, before, now)
        penalty = plan.alpha * (now.scaling.x_scale / scale) ** 2
        curvature = curvature._replace(P=factored(gram, penalty))
    penalty = plan.alpha * (1 - old_weight) * now.scaling.x_scale[:, None] ** 2
    coef = np.hstack(slopes)
    residual = T @ coef - np.tile(rows.y - now.scaling.y_mean, 2)
    mean_residual = mean_row @ coef - np.tile(mean_target, 2)
    g = T.T @ (s * residual) + mean_row.T @ mean_residual + penalty * coef
    p = moved[:, None] * curvature.P.solve(g / scale[:, None]) / scale[:, None]
    Tp = T @ p
    mean_p = mean_row @ p
    exact = divide(dot(g, p), dot(s * Tp, Tp) + dot(mean_p, mean_p) + dot(penalty * p, p))
    coef = coef - np.minimum(1.0 if plan.lr is None else plan.lr, exact) * p
    return Slopes(*np.hsplit(coef, 2)), curvature._replace(scale=scale, weight=now.x.weight)


def gram_of_all(
    curvature: Curvature,
    T: Any,
    s: np.ndarray,
    mean_row: np.ndarray,
    before: Seen,
    now: Seen,
) -> np.ndarray:
    """Return the Gram matrix (d, d) of the sketched rows, of rows T, and of a mean."""
    scale = curvature.own_scale(now)
    old_weight = before.x.weight / now.x.weight
    Z = scaled_sketch(curvature, before.scaling.x_mean, scale)
    gram = old_weight * Z.T @ Z + (mean_row / scale).T @ (mean_row / scale)
    for block in row_blocks(*T.shape):
        Z = np.asarray(T[block]) / scale
        gram += Z.T @ (s[block] * Z)
    return gram


def stream_chunk(
    rows: Pending, slopes: Slopes, curvature: Curvature, before: Seen, now: Seen, plan: Plan
) -> Slopes:
    """Return slopes after one pass of steps over the rows of a chunk.

    coef <- coef - min(lr_B, exact_B) P^-1 grad F_B(coef)
    mean <- mean + share_B (coef - mean)
    mean <- mean + min(share_B, exact_B) P^-1 H_B (coef - mean)

    with lr_B = 3 w(B) / w(all rows so far), or `lr` if given, and share_B = w(B) / (w(all rows so
    far) + w(B)). `exact_B` is the length that minimises the loss of B along the step: it holds back
    a batch that P does not know yet. P^-1 H_B is about I in a steady stream, so that the average
    weights an iterate by the rows before it. It is more in directions that only late rows tell
    of; there the average forgets the iterates that came before these. Without a sketch the share
    of late rows in the variance of each column stands for it, and if rows are few, 1.
    """
    scaling = now.scaling
    seen = before.x.weight
    scale = curvature.scale[:, None]
    penalty = plan.alpha * scaling.x_scale[:, None] ** 2
    few = now.x.n_rows < FEW_ROWS * len(scale)
    late = np.ones_like(scale)
    if not few:
        late = share_of_new_rows(before.x, now.x)[:, None] * now.x.weight / rows.w.sum()
    coef, mean = slopes
    for start in range(0, len(rows.order), plan.batch_size):
        taken = rows.order[start : start + plan.batch_size]
        T = centred(rows.X, taken, scaling.x_mean)
        v = rows.y[taken] - scaling.y_mean
        s = rows.w[taken, None]
        weight = s.sum()
        seen = seen + weight
        s = s / weight
        metric = Metric(T, s, penalty, curvature.P, scale)
        g = T.T @ (s * (T @ coef - v)) + penalty * coef
        coef = coef - metric.step(g, STEP * weight / seen if plan.lr is None else plan.lr)
        share = weight / (seen + weight)
        away = mean - coef
        if few or curvature.sketch is None or seen == weight:
            away = (1 - np.minimum(1, 2 * share * late)) * away
        else:
            away = (1 - share) * away
            g = T.T @ (s * (T @ away)) + penalty * away
            away = away - metric.step(g, share)
        mean = coef + away
    return Slopes(coef, mean)


class Metric(NamedTuple):
    """The loss of a mini-batch, of centred rows T with weights s and a penalty (d, 1).

    P is in units of `scale`.
    """

    T: Any
    s: np.ndarray
    penalty: np.ndarray
    P: Preconditioner
    scale: np.ndarray

    def step(self, g: np.ndarray, length: float) -> np.ndarray:
        """Return P^-1 g times the length, or times the best one for this loss if that is less."""
        p = self.P.solve(g / self.scale) / self.scale
        Tp = self.T @ p
        curvature = dot(self.s * Tp, Tp) + dot(self.penalty * p, p)
        return np.minimum(length, divide(dot(g, p), curvature)) * p
