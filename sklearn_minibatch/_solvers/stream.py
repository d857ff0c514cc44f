"""One pass over a stream: mini-batch steps of length about 3/t, averaged.

"svrg" learns in this way from chunks whose second moments are not kept, as with many features.
Coefficients are kept in original units, and the intercept follows from the running means, so that a
change of the scaler does not change the slopes.

If a column changes its scale or its offset, its current coefficient is a poor starting point in
its new units. The rows that bring the change are first learnt by steps in such columns only, and
the average forgets older iterates as fast as the variance of the columns does.
"""

from typing import Any, NamedTuple

import numpy as np

from .._rows.chunk import Chunk
from .._rows.in_memory import centred
from .._statistics.linalg import divide, dot
from .._statistics.moments import Moments, column_moments, merge_columns
from .._statistics.scaling import Scaling
from .._statistics.second_moments import ColumnMoments
from .._statistics.threads import one_blas_thread
from .problem import Settings, standard_units
from .state import ModelState

# Steps of c/t forget the start like t^-c, and a c that is up to 2.4 times too long or 0.5 too short
# does no harm: averaged with weights t, c = 3 costs 36 * integral of (x - x^2)^2 over [0, 1] = 1.2
# times the least possible excess risk.
STEP = 3.0
# The rows per step that "auto" stands for.
BATCH_SIZE = 32
# A column whose scale grows by this factor in one chunk has new units.
GROWN = 2.0
# The largest number of steps for it. They end when the predictions for the rows that bring the
# change are no worse than the mean of the targets: more would fit the noise of these few rows.
MOST_STEPS = 20
# With fewer rows per column than this, the variances of the columns say little.
FEW_ROWS = 4


class Slopes(NamedTuple):
    """Coefficients (d, t) in original units: the last iterate, and the average that predicts."""

    last: np.ndarray
    mean: np.ndarray


class Seen(NamedTuple):
    """The moments of the rows of a stream up to some chunk, and the units that follow from them."""

    x: Moments
    y: Moments
    scaling: Scaling


class Pass(NamedTuple):
    """The settings for all rows of a chunk."""

    settings: Settings
    batch_size: int
    lr: float | None  # None: steps of length 3/t

    def seen(self, x: Moments, y: Moments) -> Seen:
        """Return these moments with their units."""
        return Seen(x, y, standard_units(x, y, self.settings))


@one_blas_thread()
def learn(
    chunk: Chunk, before: ModelState, moments: ColumnMoments, settings: Settings
) -> ModelState:
    """Return the state after one pass of steps over a chunk.

    `moments` are those of all rows so far, the chunk included.
    """
    chunk = chunk.in_numpy()
    batch_size = BATCH_SIZE if isinstance(settings.batch_size, str) else settings.batch_size
    lr = None if settings.lr == "auto" else float(settings.lr)
    this = Pass(settings, batch_size, lr)
    known = this.seen(before.moments.x, before.moments.y)
    now = this.seen(moments.x, moments.y)
    _, order = before.order(len(chunk.y), settings.shuffle)
    w = np.ones(len(chunk.y)) if chunk.w is None else chunk.w
    slopes = Slopes(before.last[0], before.predicting[0])
    ordered = Chunk(chunk.number, chunk.X, chunk.y, w).taken(order)
    slopes = learnt(ordered, slopes, known, now, this)
    last, predicting = [(coef, now.scaling.y_mean - now.scaling.x_mean @ coef) for coef in slopes]
    return before.stepped(
        last,
        predicting,
        moments=moments,
        settings=settings,
        n_steps=before.n_steps + -(-len(chunk.y) // batch_size),
        lr=STEP * min(batch_size, len(chunk.y)) / now.x.n_rows if lr is None else lr,
        batch_size=batch_size,
    )


def learnt(rows: Chunk, slopes: Slopes, before: Seen, now: Seen, this: Pass) -> Slopes:
    """Return the slopes after more rows; `before` and `now` are `Seen` before and after them."""
    if before.x.weight > 0 and is_rescaled(before, now):
        if rows.n_rows > this.batch_size:
            return learnt_in_parts(rows, slopes, before, this)
        slopes = step_of_changed_columns(rows, slopes, before, now, this)
    return steps(rows, slopes, before, now, this)


def learnt_in_parts(rows: Chunk, slopes: Slopes, before: Seen, this: Pass) -> Slopes:
    """Return the slopes after more rows, with each mini-batch as a chunk of its own."""
    for start in range(0, rows.n_rows, this.batch_size):
        part = rows.part(slice(start, start + this.batch_size))
        x = merge_columns(before.x, column_moments(part.X, part.w))
        now = this.seen(x, merge_columns(before.y, column_moments(part.y, part.w)))
        slopes = learnt(part, slopes, before, now, this)
        before = now
    return slopes


def growth(before: Seen, now: Seen) -> np.ndarray:
    """Return the factors (d,) by which the scales of columns grew; 2 for those constant before."""
    awake = before.x.is_constant & ~now.x.is_constant
    return np.where(awake, GROWN, now.x.scale / before.x.scale)


def is_rescaled(before: Seen, now: Seen) -> bool:
    """Whether a column has changed its scale by a factor of 2, or is no longer constant."""
    grown = growth(before, now)
    return bool(np.any((grown >= GROWN) | (grown < 1 / GROWN)))


def step_of_changed_columns(
    rows: Chunk, slopes: Slopes, before: Seen, now: Seen, this: Pass
) -> Slopes:
    """Return the slopes after steps of the columns whose scale these rows have changed.

    In its new units the coefficient of such a column may be off by many standard deviations of y.
    The columns that grew most come first, because their errors dominate the residuals. The gradient
    is that of F over all rows, as if the coefficients were optimal for the earlier rows. These
    enter only by their mean, as one more row, because the intercept follows the means.
    """
    scale, kept = finite(now.scaling.x_scale)
    old_weight = before.x.weight / now.x.weight
    T = centred(rows.X, np.arange(rows.n_rows), now.scaling.x_mean)
    s = rows.w[:, None] / now.x.weight
    mean_row = np.sqrt(old_weight) * (before.scaling.x_mean - now.scaling.x_mean)[None]
    mean_target = np.sqrt(old_weight) * (before.scaling.y_mean - now.scaling.y_mean)
    penalty = this.settings.penalty * (1 - old_weight) * scale**2
    penalty = np.tile(np.broadcast_to(penalty, slopes.last.shape), 2)
    coef = np.hstack(slopes)
    grown = growth(before, now)
    while np.any(grown >= GROWN):
        columns = (grown >= GROWN) & (grown**2 >= grown.max())
        grown[columns] = 0.0
        P = now.x.scale[:, None] ** 2
        p, square = np.zeros_like(coef), np.zeros(coef.shape[1])
        for number in range(MOST_STEPS):
            residual = T @ coef - np.tile(rows.y - now.scaling.y_mean, 2)
            is_better = dot(s * residual, residual) <= (1 - old_weight) * np.tile(now.y.var, 2)
            if number and np.all(is_better):
                break
            mean_residual = mean_row @ coef - np.tile(mean_target, 2)
            g = T.T @ (s * residual) + mean_row.T @ mean_residual + penalty * coef
            g *= kept & columns[:, None]
            # Conjugate gradients: p is conjugate to the directions before.
            p, square = g / P + divide(dot(g, g / P), square) * p, dot(g, g / P)
            Tp = T @ p
            mean_p = mean_row @ p
            exact = divide(dot(g, p), dot(s * Tp, Tp) + dot(mean_p, mean_p) + dot(penalty * p, p))
            coef = coef - np.minimum(1.0 if this.lr is None else this.lr, exact) * p
    return Slopes(*np.hsplit(coef, 2))


def finite(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales (d, 1) with 1 for columns that are left out, and a mask of the others."""
    kept = np.isfinite(scale)[:, None]
    return np.where(kept, scale[:, None], 1.0), kept


def share_of_new_rows(before: Moments, now: Moments) -> np.ndarray:
    """Return the share (d,) of the rows since `before` in the sum of squares of each column.

    The squares are about the mean. For a constant column it is the share in the weight.
    """
    old_weight = before.weight / now.weight
    new = now.var - old_weight * before.var
    return np.where(now.var > 0, divide(new, now.var), 1 - old_weight)


def steps(rows: Chunk, slopes: Slopes, before: Seen, now: Seen, this: Pass) -> Slopes:
    """Return the slopes after one pass of steps over the rows of a chunk.

    coef <- coef - min(lr_B, exact_B) S^-2 grad F_B(coef)
    mean <- mean + min(1, 2 share_B late) (coef - mean)

    with S the scales of the columns, lr_B = 3 w(B) / w(all rows so far), or `lr` if given, and
    share_B = w(B) / (w(all rows so far) + w(B)). `exact_B` is the length that minimises the loss of
    B along the step, which limits the effect of unusual rows. `late` is, per column, the share of
    the chunk in the variance divided by its share in the weight: if it is large, iterates from
    before the chunk hold little information on the column.
    """
    scaling = now.scaling
    seen = before.x.weight
    scale, kept = finite(scaling.x_scale)
    penalty = this.settings.penalty * scale**2
    late: Any = 1.0
    if now.x.n_rows >= FEW_ROWS * len(scale):
        late = share_of_new_rows(before.x, now.x)[:, None] * now.x.weight / rows.w.sum()
    coef, mean = slopes
    for start in range(0, rows.n_rows, this.batch_size):
        batch = rows.part(slice(start, start + this.batch_size))
        T = centred(batch.X, np.arange(batch.n_rows), scaling.x_mean)
        s = batch.w[:, None]
        weight = s.sum()
        seen = seen + weight
        s = s / weight
        g = T.T @ (s * (T @ coef - (batch.y - scaling.y_mean))) + penalty * coef
        p = kept * g / scale**2
        Tp = T @ p
        exact = divide(dot(g, p), dot(s * Tp, Tp) + dot(penalty * p, p))
        coef = coef - np.minimum(STEP * weight / seen if this.lr is None else this.lr, exact) * p
        mean = mean + np.minimum(1, 2 * weight / (seen + weight) * late) * (coef - mean)
    return Slopes(coef, mean)
