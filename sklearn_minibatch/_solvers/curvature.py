"""What a stream knows of the Hessian: a sketch that grows with its rows, and P made from it."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._rows.in_memory import centred
from .._statistics.factor import Factored, factored
from .._statistics.linalg import divide
from .._statistics.moments import Moments
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments, standardized
from .._statistics.sketch import DENSE_FEATURES, Sketch, n_buckets
from .preconditioner import Identity, Preconditioner, Spectral, of_gram
from .problem import Settings

# So many rows wait before they are added to the sketch, all at once.
WAITING_ROWS = 512
# The sums of a sketch are in arrays of so many, of which adding rows copies only those that change.
BLOCK_SUMS = 128
# Once there have been so many rows per bucket, only a sample of the chunks enters the sketch, with
# larger weights.
ROWS_PER_BUCKET = 8


class Seen(NamedTuple):
    """The rows of a stream up to some chunk: their moments, and the units that they make."""

    x: Moments
    y: Moments
    scaling: Scaling


class Curvature(NamedTuple):
    """A CountSketch of the rows of a stream, and P as of the last refresh.

    Moments that come later can centre and scale the rows of the sketch.
    """

    # Of rows sqrt(w) [x - origin, 1] before the stream, if any; None if P is not made from one.
    sketch: Sketch | None
    waiting: tuple  # of (X, w), not in the sketch yet
    n_waiting: int  # how many rows these are
    sketched_weight: float  # weight of the rows in the sketch or waiting
    P: Preconditioner
    scale: np.ndarray  # (d,), the units of P
    weight: float  # of all rows at the last refresh
    blocks: tuple = ()  # sums (BLOCK_SUMS, d + 1) of the rows of the stream, about the same origin
    n_added: int = 0  # how many rows these are

    def own_scale(self, seen: Seen) -> np.ndarray:
        """The units (d,) that P is made in.

        Without a sketch there are none but those of the penalty.
        """
        return seen.scaling.x_scale if self.sketch is None else seen.x.scale

    def is_rescaled(self, before: Seen, now: Seen) -> bool:
        """Whether a column has changed its scale by a factor of 2 since the last refresh.

        A column that is no longer constant counts as well.
        """
        ratio = self.own_scale(now) / self.scale
        return bool(ratio.max() > 2 or ratio.min() < 0.5 or is_awake(before, now).any())

    def is_stale(self, before: Seen, now: Seen) -> bool:
        """Whether the rows have doubled since the last refresh, or a column `is_rescaled`."""
        return now.x.weight >= 2 * self.weight or self.is_rescaled(before, now)


def is_awake(before: Seen, now: Seen) -> np.ndarray:
    """Mask (d,) of columns that are no longer constant.

    The scale of such a column says nothing of what it will be.
    """
    return before.x.is_constant & ~now.x.is_constant


def initial_curvature(first: Moments, choice: int | str | None) -> Curvature:
    """Return the curvature before any row; `first` are the moments of the first chunk."""
    d = len(first.mean)
    sketch = None
    if choice is not None and d <= DENSE_FEATURES:
        sketch = Sketch(first.mean, None, np.zeros((0, d + 1)))
    return Curvature(sketch, (), 0, 0.0, Identity(), first.scale, 0.0)


def first_curvature(
    moments: SecondMoments, before: Seen, now: Seen, settings: Settings
) -> Curvature:
    """Return what the second moments of the rows so far tell of the Hessian, if they were kept."""
    if moments.xx is None or moments.x.n_rows == 0:
        return initial_curvature(now.x, settings.preconditioner)
    zz = standardized(moments, before.scaling).zz
    assert zz is not None
    return curvature_of_fit(of_gram(zz, settings.alpha), moments.x, before.scaling)


def curvature_of_fit(P: Preconditioner, moments: Moments, scaling: Scaling) -> Curvature:
    """Return the curvature after a fit: rows whose Gram matrix is P stand for its rows."""
    sketch = None
    if isinstance(P, (Factored, Spectral)):
        rows = np.sqrt(moments.weight) * P.root * scaling.x_scale
        # Of a constant column P knows the penalty only, in units that will not be its own.
        rows[:, moments.is_constant] = 0.0
        sketch = Sketch(moments.mean, None, np.hstack([rows, np.zeros((len(rows), 1))]))
    return Curvature(sketch, (), 0, moments.weight, P, scaling.x_scale, 0.0)


def share_of_new_rows(before: Moments, now: Moments) -> np.ndarray:
    """Return the share (d,) of the rows since `before` in the sum of squares of each column.

    The squares are about the mean. For a constant column it is the share in the weight.
    """
    old_weight = before.weight / now.weight
    new = now.var - old_weight * before.var
    return np.where(now.var > 0, divide(new, now.var), 1 - old_weight)


def add_rows(
    curvature: Curvature, X: Any, w: np.ndarray, before: Moments, now: Moments, rng: Any
) -> Curvature:
    """Return the curvature after rows X (c, d) of weights w (c,).

    They are in its sketch, or wait, or are passed over. `before` and `now` are the moments without
    and with them. In a steady stream a chunk is drawn with the ratio of the rows that the sketch
    may have to the rows before as probability. The probability is higher if the chunk changes a
    column, so that none is passed over that P must know.
    """
    if curvature.sketch is None:
        return curvature
    most = max(share_of_new_rows(before, now).max(), w.sum() / now.weight)
    allowed = ROWS_PER_BUCKET * n_buckets(X.shape[1]) * most
    n_rows = (1 - most) * len(w)
    if allowed < n_rows:
        if rng.random() * n_rows > allowed:
            return curvature
        w = w * (n_rows / allowed)
    n_waiting = curvature.n_waiting + len(w)
    waits = n_waiting < WAITING_ROWS
    curvature = curvature._replace(
        waiting=(*curvature.waiting, (X.copy(), w.copy()) if waits else (X, w)),
        n_waiting=n_waiting,
        sketched_weight=curvature.sketched_weight + w.sum(),
    )
    return curvature if waits else flush_pending(curvature, rng)


def flush_pending(curvature: Curvature, rng: Any) -> Curvature:
    """Return the curvature with all waiting rows in its sketch.

    In random order and with random signs, they are added to the sums that follow those of the rows
    before, so that few rows change few blocks. After the last sum comes the first.
    """
    if not curvature.waiting:
        return curvature
    assert curvature.sketch is not None
    X, w = stacked(curvature.waiting)
    signs = rng.choice([-1.0, 1.0], len(w)) * np.sqrt(w)
    n_blocks = -(-n_buckets(X.shape[1]) // BLOCK_SUMS)
    blocks = list(curvature.blocks)
    at = curvature.n_added
    ends = range(BLOCK_SUMS - at % BLOCK_SUMS, len(w), BLOCK_SUMS)
    for rows in np.split(rng.permutation(len(w)), ends):
        k, first = at // BLOCK_SUMS % n_blocks, at % BLOCK_SUMS
        if k == len(blocks):
            blocks.append(np.zeros((BLOCK_SUMS, X.shape[1] + 1)))
        else:
            blocks[k] = blocks[k].copy()
        Z = np.asarray(centred(X, rows, curvature.sketch.origin))
        Z *= signs[rows, None]
        sums = blocks[k][first : first + len(rows)]
        sums[:, :-1] += Z
        sums[:, -1] += signs[rows]
        at += len(rows)
    return curvature._replace(blocks=tuple(blocks), n_added=at, waiting=(), n_waiting=0)


def stacked(waiting: tuple) -> tuple[Any, np.ndarray]:
    """Return X (n, d) and w (n,) of waiting rows."""
    if len(waiting) == 1:
        return waiting[0]
    chunks, weights = zip(*waiting, strict=True)
    if any(sparse.issparse(X) for X in chunks):
        X = sparse.vstack([sparse.csr_array(X) for X in chunks], format="csr")
    else:
        X = np.concatenate(chunks)
    return X, np.concatenate(weights)


def refreshed(curvature: Curvature, now: Seen, alpha: float, rng: Any) -> Curvature:
    """Return the curvature with P made anew from all rows so far, in the units they make."""
    scale = curvature.own_scale(now)
    if curvature.sketch is not None:
        curvature = flush_pending(curvature, rng)
        rows = scaled_sketch(curvature, now.scaling.x_mean, scale)
        penalty = alpha * (now.scaling.x_scale / scale) ** 2
        curvature = curvature._replace(P=factored(rows.T @ rows, penalty))
    return curvature._replace(scale=scale, weight=now.x.weight)


def scaled_sketch(curvature: Curvature, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return rows whose Gram matrix is close to that of the sketched rows, centred and scaled."""
    assert curvature.sketch is not None
    sums = np.vstack([curvature.sketch.sums, *curvature.blocks])
    sketch = curvature.sketch._replace(sums=sums)
    return sketch.scaled(mean, scale * np.sqrt(curvature.sketched_weight))
