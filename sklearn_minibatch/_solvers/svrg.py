"""Variance-reduced mini-batch SGD that lands on the closed form.

Each epoch of mini-batch steps gives a direction. Flexible conjugate gradients take an exact line
search along it. So the objective falls in every epoch, whatever the learning rate and the batch
size, and the fixed point is the minimiser.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._rows.protocol import Rows, Steps
from .._statistics.linalg import EPS, TINY, divide, dot
from .learning_rate import largest_eigenvalue
from .preconditioner import Diagonal, Identity, Preconditioner, preconditioner
from .problem import Parameters, Problem, Settings, Solution

# The batch size that "auto" stands for: large enough for NumPy, small enough for many steps.
BATCH_SIZE = 2048
# Fewer mini-batches than this make a direction no better than that of one full-batch step, which
# needs no pass.
FEW_BATCHES = 8
# A new direction is made conjugate to so many past directions. Full-batch steps are linear in g:
# the last direction would do, and two of them guard against rounding.
MEMORY, LINEAR_MEMORY = 10, 2
# With a diagonal P the estimated distance has been found too small by up to this factor.
SAFETY = 5.0
# Squares of such numbers do not overflow.
HUGE = 1e100
# A distance that is less than this part of the first one means nothing.
LEAST_DISTANCE = EPS / 20
# Noise in the gradient that is worth more than this is no rounding error.
MOST_NOISE = 1e-6


class Point(NamedTuple):
    """Coefficients, all of (d, t), with what F and its gradient are there, per target."""

    beta: np.ndarray
    g: np.ndarray
    loss: np.ndarray  # (t,)
    distance: np.ndarray  # (t,), RMS distance of the predictions to the minimiser's, estimated
    Pg: np.ndarray  # P^-1 g
    factor: np.ndarray | None = None  # (t,), of g'P^-1 g in the bound of the squared distance


class Direction(NamedTuple):
    """A direction p with Hp, both (d, t), and p.Hp per target."""

    p: np.ndarray
    Hp: np.ndarray
    pHp: np.ndarray


class Check(NamedTuple):
    """What was seen when the gradient last came from the rows."""

    distance: np.ndarray  # (t,)
    rounding: np.ndarray  # (t,), what of the distance the updated gradient had by rounding
    least: np.ndarray  # (t,), a smaller distance means nothing
    exhausted: bool = False  # whether rounding errors hide what is left of the distance


class Descent(NamedTuple):
    """What all epochs of a fit share; mini-batches come in random order if `rng` is given."""

    rows: Rows
    P: Preconditioner
    batch_size: int
    alpha: float
    tol: float | None
    rng: Any

    @property
    def memory(self) -> int:
        """How many past directions are kept."""
        return MEMORY if self.batch_size < self.rows.n_rows else LINEAR_MEMORY

    @property
    def least_eigenvalue(self) -> float:
        """A bound below the eigenvalues of P^-1 H, as H - alpha I has none below 0; 0 if not used.

        It is of use in conjugate gradients, which full-batch steps with one P are.
        """
        if self.batch_size < self.rows.n_rows:
            return 0.0
        if isinstance(self.P, Diagonal):
            return self.alpha / float(self.P.D.max())
        return self.alpha if isinstance(self.P, Identity) else 0.0

    def first_factor(self, n_targets: int) -> np.ndarray | None:
        """The factor at the start: g'H^-1 g is at most g'P^-1 g / the least eigenvalue."""
        least = self.least_eigenvalue
        return np.full(n_targets, 1 / least) if least > TINY else None

    def point(
        self, beta: np.ndarray, decreases: list[np.ndarray], factor: np.ndarray | None
    ) -> Point:
        """Compute F and its gradient from the rows."""
        g, square = self.rows.residual_gradient(beta)
        g = g + self.alpha * beta
        loss = square / 2 + self.alpha / 2 * dot(beta, beta)
        Pg = self.P.solve(g)
        return Point(beta, g, loss, self.distance(g, Pg, decreases, factor), Pg, factor)

    def distance(
        self,
        g: np.ndarray,
        Pg: np.ndarray,
        decreases: list[np.ndarray],
        factor: np.ndarray | None,
    ) -> np.ndarray:
        """Estimate the distance (t,) to the minimiser where the gradient is g, and P^-1 g is Pg."""
        square = likely = dot(g, Pg)
        if isinstance(self.P, Diagonal) and self.P.of_hessian is not self.P.D:
            # P makes short columns longer, and g'P^-1 g too little of their errors.
            likely = dot(g, g / self.P.of_hessian)
        return estimated_distance(square, likely, decreases, factor)


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Any
) -> Solution:
    """Minimise F from `start`, in mini-batches that come in random order if the settings say so."""
    rows = problem.rows
    P = preconditioner(rows, settings.alpha, settings.preconditioner, rng)
    batch_size = resolved_batch_size(settings.batch_size, rows, P)
    lr = resolved_lr(settings, rows, batch_size, P, rng)
    order_rng = rng if settings.shuffle else None
    descent = Descent(rows, P, batch_size, settings.alpha, settings.tol, order_rng)
    return minimise(descent, start[0], lr, settings, monitor)


def refined(
    rows: Rows, beta: np.ndarray, P: Preconditioner, settings: Settings, monitor: Any
) -> Solution:
    """Minimise F from `beta`, which rounding errors of P = H keep from the minimiser.

    The epoch that found `beta` has been counted.
    """
    descent = Descent(rows, P, rows.n_rows, settings.alpha, settings.tol, None)
    solution = minimise(descent, beta, 1.0, settings, monitor)
    return replace(solution, n_steps=solution.n_steps + 1)


def resolved_batch_size(batch_size: int | str, rows: Rows, P: Preconditioner) -> int:
    """Return the rows per mini-batch.

    "auto" takes so many that the pass over them takes longer than what goes on between two of them.
    """
    if not isinstance(batch_size, str):
        return min(batch_size, rows.n_rows)
    chosen = max(BATCH_SIZE, 2 * rows.n_features)
    few = rows.n_rows < FEW_BATCHES * chosen
    return rows.n_rows if isinstance(P, Diagonal) or rows.passes_are_expensive or few else chosen


def resolved_lr(
    settings: Settings, rows: Rows, batch_size: int, P: Preconditioner, rng: Any
) -> float:
    """Return the learning rate; "auto" takes 1 / (the largest curvature of a few mini-batches)."""
    if not isinstance(settings.lr, str):
        return settings.lr
    if batch_size == rows.n_rows:
        return 1.0
    largest = largest_eigenvalue(rows.batches(batch_size, 8, rng), settings.alpha, P.solve, rng)
    # With constant columns and alpha=0 there is no curvature, and any rate will do.
    return 1 / largest if largest > TINY else 1.0


def minimise(
    descent: Descent, beta: np.ndarray, lr: float, settings: Settings, monitor: Any
) -> Solution:
    """Minimise F over the coefficients, from `beta` (d, t).

    The fit has converged when the RMS distance between its predictions and those of the minimiser
    is at most `tol`, or when rounding errors hide what is left of that distance. `monitor` is told
    when an epoch begins. `monitor(solution, beta, b, loss, distance)` is called after it, with the
    `Solution` so far, and stops the fit by returning True.
    """
    tol = settings.tol
    at = descent.point(beta, [], descent.first_factor(beta.shape[1]))
    check = Check(at.distance, 0 * at.distance, LEAST_DISTANCE * at.distance)
    decreases: list[np.ndarray] = []
    directions: list[Direction] = []
    n_steps = 0
    for _ in range(monitor.n_epochs, settings.max_iter):
        monitor.begin_epoch()
        # The last epoch is one full-batch step, which costs little and takes most of what is left.
        is_final = within_tol(at.distance, tol)
        size = descent.rows.n_rows if is_final else descent.batch_size
        n_steps += -(-descent.rows.n_rows // size)
        direction, lr = next_direction(descent, at, size, lr, directions)
        at, lr, decrease = line_search(descent, at, direction, size, lr, decreases)
        directions = [*directions[1 - descent.memory :], direction]
        decreases = [*decreases[1 - MEMORY :], decrease]
        if not is_final and within_tol(at.distance, recheck_threshold(tol, check)):
            at, check = rechecked(descent, at, check, decreases)
            if not within_tol(at.distance, tol) or np.any(check.rounding > at.distance / 10):
                # The directions are no longer conjugate to the digits that are left.
                directions = []
                at = at._replace(factor=descent.first_factor(beta.shape[1]))
        # y is centred like z, so its intercept is 0 from the start.
        point = (at.beta, np.zeros(at.beta.shape[1]))
        solution = Solution(point, point, n_steps, lr, descent.batch_size, False, descent.P)
        arrived = check.exhausted or (is_final and within_tol(at.distance, tol))
        if monitor(solution, *point, at.loss, at.distance) or arrived:
            break
    else:
        if tol is not None and not (check.exhausted or within_tol(at.distance, tol)):
            return replace(solution, warning=unfinished(at.distance, settings))
    return replace(solution, converged=check.exhausted or within_tol(at.distance, tol))


def next_direction(
    descent: Descent, at: Point, size: int, lr: float, directions: list[Direction]
) -> tuple[Direction, float]:
    """Return the conjugate direction of an epoch in batches of `size`, and the learning rate."""
    rows = descent.rows
    v = -at.Pg
    if size < rows.n_rows:
        steps = Steps(size, at.g, descent.alpha, descent.P.solve, lr)
        v, lr = safeguarded(rows.epoch(steps, descent.rng), lr, at)
    return conjugate(v, directions, rows, descent.alpha), lr


def line_search(
    descent: Descent,
    at: Point,
    direction: Direction,
    size: int,
    lr: float,
    decreases: list[np.ndarray],
) -> tuple[Point, float, np.ndarray]:
    """Return the minimiser along a direction, the learning rate, and the decrease of F (t,)."""
    p, Hp, pHp = direction
    step_length = -divide(dot(at.g, p), pHp)
    if size < descent.rows.n_rows and np.all(step_length < 0.1):
        lr = cut_rate(lr)
    decrease = step_length**2 * pHp / 2
    g = at.g + step_length * Hp
    last = [*decreases[1 - MEMORY :], decrease]
    Pg = descent.P.solve(g)
    factor = at.factor
    if factor is not None:
        ratio = divide(dot(g, Pg), dot(at.g, at.Pg))
        factor = next_factor(factor, step_length, ratio, descent.least_eigenvalue)
    beta = at.beta + step_length * p
    left = descent.distance(g, Pg, last, factor)
    return Point(beta, g, at.loss - decrease, left, Pg, factor), lr, decrease


def next_factor(
    factor: np.ndarray, step_length: np.ndarray, ratio: np.ndarray, least: float
) -> np.ndarray:
    """Return the factor (t,) of g'P^-1 g in the bound of g'H^-1 g after a step.

    `ratio` is that of g'P^-1 g after the step to that before, `least` a bound below the eigenvalues
    of P^-1 H. This is Gauss-Radau quadrature in the form of Meurant and Tichy (2013), "On computing
    quadrature-based bounds for the A-norm of the error in conjugate gradients".
    """
    left = factor - step_length
    # By rounding, nothing may be left; the first factor is always a bound.
    return np.where(left > 0, divide(left, least * left + ratio), 1 / least)


def rechecked(
    descent: Descent, at: Point, check: Check, decreases: list[np.ndarray]
) -> tuple[Point, Check]:
    """Compute the gradient anew: rounding errors accumulate in the one that is updated."""
    anew = descent.point(at.beta, decreases, at.factor)
    error = anew.g - at.g
    rounding = descent.distance(error, descent.P.solve(error), [], at.factor)
    # A distance that no longer shrinks, and is no more than the errors of the updated gradient, is
    # noise.
    left = anew.distance
    noise = (left > check.distance / 2) & (left < np.minimum(2 * rounding, MOST_NOISE))
    # So is one that float64 could not tell from 0 beside the first.
    noise |= left < np.minimum(check.least, MOST_NOISE)
    is_rest_small = within_tol(np.where(noise, 0.0, left), descent.tol)
    is_exhausted = bool(noise.any()) and is_rest_small
    return anew, Check(left, rounding, check.least, is_exhausted)


def unfinished(distance: np.ndarray, settings: Settings) -> str:
    """What to warn of at the end of the last epoch."""
    return (
        f"Not converged after max_iter={settings.max_iter} epochs: the predictions are about "
        f"{np.max(distance):.1e} std(y) from those of the closed form, tol={settings.tol}. "
        "Increase max_iter or tol."
    )


def within_tol(distance: np.ndarray, tol: float | np.ndarray | None) -> bool:
    """Whether every target is within `tol`; never, if that is None."""
    return tol is not None and bool(np.all(distance <= tol))


def recheck_threshold(tol: float | None, check: Check) -> np.ndarray:
    """Return the distance (t,) at which to compute the gradient anew.

    It is `tol`, or a distance that may consist of rounding errors.
    """
    rounding = np.minimum(check.distance, check.rounding) / 10
    lost_digits = np.maximum(np.sqrt(EPS) * check.distance, rounding)
    return np.maximum(max(EPS, tol or 0.0), lost_digits)


def safeguarded(v: np.ndarray, lr: float, at: Point) -> tuple[np.ndarray, float]:
    """Return `v` (d, t) and `lr`, or the preconditioned gradient and a lower rate.

    It does so for targets whose `v` is no direction of descent, or huge.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        descends = (dot(at.g, v) < 0) & (np.abs(v).max(axis=0) < HUGE)
    failed = ~descends & at.g.any(axis=0)
    if not failed.any():
        return v, lr
    return np.where(failed, -at.Pg, v), cut_rate(lr)


def cut_rate(lr: float) -> float:
    """Return a quarter of the learning rate, but not 0."""
    return max(lr / 4, TINY)


def conjugate(v: np.ndarray, directions: list[Direction], rows: Rows, alpha: float) -> Direction:
    """Return `v` (d, t) made conjugate to the stored directions."""
    p = v.copy()
    for past in directions:
        p -= divide(dot(past.Hp, v), past.pHp) * past.p
    Hp = rows.hessian_product(p)
    Hp += alpha * p
    return Direction(p, Hp, dot(p, Hp))


def estimated_distance(
    square: np.ndarray,
    likely: np.ndarray,
    decreases: list[np.ndarray],
    factor: np.ndarray | None,
) -> np.ndarray:
    """Estimate sqrt(2 (F - F*)), the RMS distance (t,) of the predictions from the minimiser's.

    With e the error of beta, 2 (F - F*) = e'He = g'H^-1 g. It is taken as `likely`, which is
    `square` = g'P^-1 g, or what the diagonal of H makes of it. If that is a poor approximation, it
    is what the last decreases of F leave to come if they go on shrinking at their rate. A diagonal
    knows little of H, and the estimate may be too small: with a factor it is multiplied by
    `SAFETY`, or replaced by the bound if that is less.
    """
    bound = None if factor is None else np.sqrt(factor * np.maximum(square, 0))
    likely = np.maximum(likely, 0)
    if len(decreases) > 1:
        rate = divide(decreases[-1], decreases[0]) ** (1 / (len(decreases) - 1))
        rate = np.minimum(rate, 0.99)
        # The rate is a guess: twice what such a series would sum to.
        likely = np.maximum(likely, 4 * decreases[-1] * rate / (1 - rate))
    estimate = np.sqrt(likely)
    return estimate if bound is None else np.minimum(bound, SAFETY * estimate)
