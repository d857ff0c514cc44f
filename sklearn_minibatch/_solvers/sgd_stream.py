"""The textbook algorithm over a stream: one epoch over each chunk, with a running scaler."""

from typing import Any

import numpy as np

from .._rows.chunk import Chunk
from .._rows.in_memory import in_memory
from .._rows.kernels import stacked_parameters
from .._rows.protocol import Rows
from .._statistics.scaling import Scaling, to_original, to_scaled
from .._statistics.second_moments import ColumnMoments
from .._statistics.threads import one_blas_thread
from .learning_rate import stable_rate
from .penalty import largest_of
from .problem import Parameters, Settings, textbook_units, without_intercept
from .state import ModelState
from .textbook import (
    DIVERGED,
    Descent,
    Iterate,
    best_constant,
    constant_iterate,
    is_left_alone,
    mean_squares_of_columns,
    resolved_batch_size,
    split,
)

# A chunk may have few rows, so other rows are assumed to have up to this many times the mean square
# norm.
LONG_ROW = 2.0
# If the scale of a column grows by a larger factor in one chunk, its coefficient is reduced, so
# that the coefficient of the scaled column grows only by this factor.
MOST_GROWTH = 2.0


@one_blas_thread()
def learn(
    chunk: Chunk, before: ModelState, moments: ColumnMoments, settings: Settings
) -> ModelState:
    """Return the state after one epoch over a chunk of a stream.

    `moments` are those of all rows so far, the chunk included.
    """
    scaling = textbook_units(moments.x, moments.y, settings)
    rng, order = before.order(chunk.n_rows, settings.shuffle)
    mean_weight = moments.x.weight / moments.x.n_rows
    rows = in_memory(chunk.X, chunk.y, chunk.w, scaling, settings.fit_intercept, mean_weight, order)
    batch_size = resolved_batch_size(settings, chunk.n_rows)
    lr = rate(rows, batch_size, moments, scaling, settings, rng)
    constant = best_constant(moments.y, scaling, settings.fit_intercept)
    descent = Descent(rows, settings, batch_size, lr * before.lr_factor, constant)
    start = starting_point(descent, before, moments, scaling)
    lrs, next_lr = descent.rates(descent.lr, chunk.number)
    at = descent.epoch(start, lrs, None)
    warning = check(descent, start, at, rng)
    return before.stepped(
        to_original(*split(at.theta), scaling),
        to_original(*split(at.mean), scaling),
        warning,
        moments=moments,
        settings=settings,
        n_steps=before.n_steps + len(lrs),
        lr=lr,
        batch_size=batch_size,
        lr_factor=next_lr / lr,
        n_averaged=at.n_averaged,
    )


def rate(
    rows: Rows,
    batch_size: int,
    moments: ColumnMoments,
    scaling: Scaling,
    settings: Settings,
    rng: Any,
) -> float:
    """Return the learning rate for a chunk; "auto" is stable for its rows and for typical ones."""
    if settings.lr != "auto":
        return float(settings.lr)
    mean_square = mean_squares_of_columns(moments.x, scaling).sum() + settings.fit_intercept
    return stable_rate(
        rows, batch_size, largest_of(settings.penalty), rng, LONG_ROW * float(mean_square)
    )


def starting_point(
    descent: Descent, before: ModelState, moments: ColumnMoments, scaling: Scaling
) -> Iterate:
    """Return where an epoch over a chunk starts, in the units of all rows so far.

    If a learning rate was set, no prediction changes. With lr="auto", coefficients of columns whose
    scale has grown strongly are reduced, because they are poor starting points in the new units,
    and the average begins anew.
    """
    settings = descent.settings
    if is_left_alone(settings) and not before.statistics.x.n_rows:
        return constant_iterate(descent.rows.n_features, descent.constant.b)
    known = [
        without_intercept(each, settings.fit_intercept) for each in (before.last, before.predicting)
    ]
    n_averaged = before.n_steps
    if settings.lr == "auto":
        n_averaged = before.n_averaged
        known_rows = before.statistics
        old = textbook_units(known_rows.x, known_rows.y, settings)
        growth = np.where(np.isinf(scaling.x_scale), 1.0, scaling.x_scale / old.x_scale)
        # A column that was constant had no scale from which to infer its units.
        awake = known_rows.x.is_constant & ~moments.x.is_constant & settings.standardize
        most = MOST_GROWTH / np.where(awake, np.inf, growth)
        if np.any(most < 1):
            known = [shrunk(each, np.minimum(most, 1), old.x_mean) for each in known]
            n_averaged = 0
    last, predicting = [stacked_parameters(*to_scaled(*each, scaling)) for each in known]
    return Iterate(last, predicting, n_averaged)


def shrunk(parameters: Parameters, factor: np.ndarray, x_mean: np.ndarray) -> Parameters:
    """Multiply coefficients by factors (d,), keeping the prediction for the row `x_mean` (d,)."""
    coef, intercept = parameters
    smaller = coef * factor[:, None]
    return smaller, intercept + x_mean @ (coef - smaller)


def check(descent: Descent, start: Iterate, at: Iterate, rng: Any) -> str | None:
    """Raise ValueError if the steps over a chunk diverged; return a warning or None."""
    nothing = constant_iterate(descent.rows.n_features, 0 * descent.constant.b)
    before, after, of_0 = [
        float(each.sum()) for each in descent.losses(start.mean, at.mean, nothing.theta)
    ]
    bound = max(of_0, float(descent.constant.losses_of_0.sum()))
    if not after <= DIVERGED * max(before, bound):
        raise ValueError(
            f"solver='sgd' diverged with lr={descent.lr:.3g}; the chunk was not learnt. "
            f"{descent.remedy(rng)}"
        )
    if descent.settings.lr == "auto" or after <= DIVERGED * bound:
        return None
    return (
        f"The predictions for this chunk are {np.sqrt(after / bound):.1g} times as far from the "
        "targets as 0 is, so a column has probably changed its unit or its level. With "
        f"lr={descent.lr:.3g} the model may need many chunks to adapt; with lr='auto' it needs few."
    )
