"""Conjugate gradients for the ridge objective F, and a bound on the distance to the minimum.

A step minimises F along a direction: -P^-1 g, or the result of an epoch of mini-batches, made
conjugate to the previous directions. So F falls with every step, and the fixed point is the
minimiser, wherever the directions come from.

With e the error of the coefficients, 2 (F - F*) = e'He = g'H^-1 g bounds the mean squared distance
of the predictions from those of the minimiser. It is at most g'P^-1 g / m, where m is a lower bound
on the eigenvalues of P^-1 H, the attribute `least` of a preconditioner. In conjugate gradients
Gauss-Radau quadrature reduces the factor 1 / m with each step (Meurant and Tichy, 2013, "On
computing quadrature-based bounds for the A-norm of the error in conjugate gradients").
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._rows.protocol import Rows
from .._statistics.linalg import EPS, TINY, divide, dot
from .closed_form import MOST_NOISE
from .penalty import Penalty
from .preconditioner import Preconditioner
from .problem import Settings, Solution

# The number of past directions to which a new one is made conjugate. Steps along -P^-1 g need only
# the last; a second one guards against rounding.
MEMORY, LINEAR_MEMORY = 10, 2
# Without a bound, a fit ends when the estimated distance times this is within `tol`.
SAFETY = 5.0
# A gradient shorter than this fraction of the first one consists of rounding errors.
LEAST_LENGTH = EPS / 20


class Point(NamedTuple):
    """Coefficients with F and its gradient there; the second axis is that of targets."""

    beta: np.ndarray  # (d, t)
    g: np.ndarray  # (d, t)
    Pg: np.ndarray  # (d, t), P^-1 g
    square: np.ndarray  # (t,), g'P^-1 g
    loss: np.ndarray  # (t,)
    factor: np.ndarray  # (t,), 2 (F - F*) is at most factor * square; infinite if unknown

    @property
    def length(self) -> np.ndarray:
        """The length (t,) of the gradient in the metric of P^-1, which estimates the distance."""
        return np.sqrt(self.square)

    @property
    def bound(self) -> np.ndarray:
        """A bound (t,) on the RMS distance of the predictions from those of the minimiser."""
        factor = np.where(self.square > 0, self.factor, 0.0)
        return np.sqrt(factor * self.square)


class Direction(NamedTuple):
    """A direction p with Hp, both (d, t), and p.Hp (t,)."""

    p: np.ndarray
    Hp: np.ndarray
    pHp: np.ndarray


class Check(NamedTuple):
    """What the last gradient from the rows has shown; all arrays are (t,)."""

    length: np.ndarray
    rounding: np.ndarray  # the length of the rounding errors of the updated gradient
    hidden: np.ndarray  # the distance that rounding errors of the rows hide
    least: np.ndarray  # shorter gradients are rounding errors
    exhausted: bool = False  # whether rounding errors hide the rest of the distance


# An epoch of mini-batches: maps a point and a learning rate to a direction v (d, t) and a rate.
Epoch: TypeAlias = Callable[[Point, float], tuple[np.ndarray, float]]


class MiniBatches(NamedTuple):
    """The source of directions until the estimated distance is within `tol`."""

    epoch: Epoch
    batch_size: int


class Quadratic(NamedTuple):
    """F of some rows as a function of the coefficients, and its preconditioner."""

    rows: Rows
    penalty: Penalty
    P: Preconditioner
    lengths: np.ndarray  # (d, 1), of the columns

    def point(self, beta: np.ndarray, factor: np.ndarray) -> Point:
        """Compute F and its gradient from the rows."""
        g, square = self.rows.residual_gradient(beta)
        penalised = self.penalty * beta
        loss = (square + dot(penalised, beta)) / 2
        g = g + penalised
        return self.point_with(beta, g, loss, factor)

    def point_with(
        self, beta: np.ndarray, g: np.ndarray, loss: np.ndarray, factor: np.ndarray
    ) -> Point:
        """Return the `Point` with this gradient."""
        Pg = self.P.solve(g)
        # If P is nearly singular, rounding errors hide a smaller product.
        hidden = EPS * np.sqrt(dot(g, g)) * np.sqrt(dot(Pg, Pg))
        return Point(beta, g, Pg, np.maximum(dot(g, Pg), hidden), loss, factor)

    def first_factor(self, n_targets: int) -> np.ndarray:
        """Return the factor (t,) before the first step of conjugate gradients."""
        least = self.P.least
        return np.full(n_targets, 1 / least if least > TINY else np.inf)

    def hidden(self, at: Point) -> np.ndarray:
        """Estimate the RMS effect (t,) of rounding errors of a gradient from the rows.

        Errors of the predictions count directly. Those of the products with the columns are
        amplified by H^(-1/2), and divided by sqrt(n) because they are random.
        """
        length = np.sqrt(dot(self.lengths * at.beta, self.lengths * at.beta))
        least = max(self.P.least, TINY)
        amplified = np.sqrt(2 * at.loss) * np.sqrt(self.P.inverse_norm / least / self.rows.n_rows)
        amplified = np.where(at.square > 0, amplified, 0.0)
        return float(np.finfo(self.rows.dtype).eps) * (1 + length + amplified)

    def conjugate(self, v: np.ndarray, directions: list[Direction]) -> Direction:
        """Return the direction v (d, t), made conjugate to the previous `directions`."""
        p = v.copy()
        for past in directions:
            p -= divide(dot(past.Hp, v), past.pHp) * past.p
        Hp = self.rows.hessian_product(p)
        Hp += self.penalty * p
        return Direction(p, Hp, dot(p, Hp))

    def line_search(self, at: Point, direction: Direction) -> tuple[Point, np.ndarray]:
        """Return the minimiser along a direction, and the length (t,) of the step in units of p."""
        p, Hp, pHp = direction
        step_length = -divide(dot(at.g, p), pHp)
        beta = at.beta + step_length * p
        loss = at.loss - step_length**2 * pHp / 2
        return self.point_with(beta, at.g + step_length * Hp, loss, at.factor), step_length


class Search(NamedTuple):
    """How far the minimisation has come, and what the next step needs."""

    at: Point
    check: Check
    lr: float
    in_batches: bool
    directions: list[Direction] = []
    decreases: list[np.ndarray] = []
    n_steps: int = 0

    @property
    def estimate(self) -> np.ndarray:
        """The estimated distance (t,)."""
        return estimated_distance(self.at.length, self.decreases)

    @property
    def distance(self) -> np.ndarray:
        """The bound (t,) on the distance, or a cautious estimate if there is no bound."""
        bound = self.at.bound
        return np.where(np.isfinite(bound), bound, SAFETY * self.estimate)

    @property
    def known(self) -> np.ndarray:
        """The bound (t,), plus the distance that rounding errors hide."""
        return self.at.bound + self.check.hidden


def minimise(
    problem: Quadratic,
    beta: np.ndarray,
    settings: Settings,
    monitor: Any,
    mini_batches: MiniBatches | None = None,
    lr: float = 1.0,
) -> Solution:
    """Minimise F over the coefficients, from `beta` (d, t).

    Steps go along -P^-1 g, after those of `mini_batches` if there are any. The fit has converged
    when the bound is at most `tol`, or when the gradient consists of rounding errors whose effect
    is at most `MOST_NOISE`. If epochs remain, it ends with a step along -P^-1 g, which costs little
    and removes most of the remaining error. `monitor` is told when an epoch begins, and
    `monitor(solution, beta, b, loss, distance)` stops the fit by returning True. `lr` is the first
    learning rate of the mini-batches.
    """
    n_targets = beta.shape[1]
    at = problem.point(beta, problem.first_factor(n_targets))
    check = Check(at.length, 0 * at.length, problem.hidden(at), LEAST_LENGTH * at.length)
    size = problem.rows.n_rows if mini_batches is None else mini_batches.batch_size
    in_batches = mini_batches is not None and not within_tol(at.bound, settings.tol)
    search = Search(at, check, lr, in_batches)
    while True:
        monitor.begin_epoch()
        was_in_batches = search.in_batches
        search = step(problem, search, mini_batches)
        if is_due(search, settings.tol):
            search = checked(problem, search, settings.tol)
        # The intercept is 0: columns and y are centred, or none is fitted.
        parameters = (search.at.beta, np.zeros(n_targets))
        solution = Solution(parameters, parameters, search.n_steps, search.lr, size)
        stop = monitor(solution, *parameters, search.at.loss, search.distance)
        is_last = stop or monitor.n_epochs >= settings.max_iter
        is_last = is_last or search.check.exhausted or not was_in_batches
        if has_converged(search, settings.tol) and is_last:
            return replace(solution, converged=True)
        if search.check.exhausted or is_unprovable(search, settings.tol):
            return replace(solution, warning=unproved(search, settings))
        if monitor.n_epochs >= settings.max_iter:
            warning = None if settings.tol is None else unfinished(search.distance, settings)
            return replace(solution, warning=warning)
        if stop:
            return solution


def step(problem: Quadratic, search: Search, mini_batches: MiniBatches | None) -> Search:
    """Return the search after one epoch: a direction, made conjugate, and the minimum along it."""
    before, check, lr, in_batches, directions, decreases, n_steps = search
    if in_batches:
        assert mini_batches is not None
        v, lr = mini_batches.epoch(before, lr)
    else:
        v = -before.Pg
    direction = problem.conjugate(v, directions)
    at, step_length = problem.line_search(before, direction)
    if in_batches:
        assert mini_batches is not None
        if np.all(step_length < 0.1):
            lr = cut_rate(lr)
        n_steps += -(-problem.rows.n_rows // mini_batches.batch_size)
    else:
        n_steps += 1
        ratio = divide(at.square, before.square)
        factor = next_factor(before.factor, step_length, ratio, problem.P.least)
        at = at._replace(factor=factor)
    memory = MEMORY if in_batches else LINEAR_MEMORY
    directions = [*directions[1 - memory :], direction]
    decreases = [*decreases[1 - MEMORY :], before.loss - at.loss]
    return Search(at, check, lr, in_batches, directions, decreases, n_steps)


def next_factor(
    factor: np.ndarray, step_length: np.ndarray, ratio: np.ndarray, least: float
) -> np.ndarray:
    """Return the factor (t,) of g'P^-1 g in the bound of g'H^-1 g after a step.

    `ratio` is g'P^-1 g after the step divided by that before it, and `least` a lower bound on the
    eigenvalues of P^-1 H. This is the Gauss-Radau upper bound of Meurant and Tichy (2013).
    """
    if least <= TINY:
        return factor
    left = factor - step_length
    # Rounding may make `left` 0 or negative; the first factor, 1 / least, is always a bound.
    return np.where(left > 0, divide(left, least * left + ratio), 1 / least)


def is_due(search: Search, tol: float | None) -> bool:
    """Whether to compute the gradient from the rows again.

    This is done if the fit seems to have converged, or if the updated gradient may consist of
    accumulated rounding errors.
    """
    at, check = search.at, search.check
    distance = np.minimum(search.estimate, at.bound) if search.in_batches else search.distance
    lost = np.maximum(np.sqrt(EPS) * check.length, np.minimum(check.length, check.rounding) / 10)
    return bool(np.all((distance <= max(EPS, tol or 0.0)) | (at.length <= lost)))


def checked(problem: Quadratic, search: Search, tol: float | None) -> Search:
    """Return the search with a gradient from the rows, and its `Check`.

    When mini-batches seem to have converged, steps over all rows follow, which give a bound on the
    distance.
    """
    at, check = search.at, search.check
    anew = problem.point(at.beta, at.factor)
    error = anew.g - at.g
    rounding = np.sqrt(np.maximum(dot(error, problem.P.solve(error)), 0.0))
    # The gradient is noise if it has stopped shrinking and is not much longer than the errors of
    # the updated one, or if it is negligible relative to the first gradient.
    length = anew.length
    noise = (length > check.length / 2) & (length < np.minimum(2 * rounding, MOST_NOISE))
    noise |= length <= np.minimum(check.least, MOST_NOISE)
    is_exhausted = bool(noise.any()) and within_tol(np.where(noise, 0.0, anew.bound), tol)
    check = Check(length, rounding, problem.hidden(anew), check.least, is_exhausted)
    search = search._replace(at=anew, check=check)
    arrived = search.in_batches and within_tol(np.minimum(search.estimate, anew.bound), tol)
    # After such rounding errors the previous directions are no longer conjugate.
    is_lost = not within_tol(anew.bound, tol) and np.any(rounding > length / 10)
    if not (arrived or is_lost):
        return search
    restarted = anew._replace(factor=problem.first_factor(anew.beta.shape[1]))
    in_batches = search.in_batches and not arrived
    return search._replace(at=restarted, in_batches=in_batches, directions=[])


def has_converged(search: Search, tol: float | None) -> bool:
    """Whether the bound is within `tol`, or within `MOST_NOISE` if rounding hides the rest."""
    if tol is None:
        return False
    return within_tol(search.known, max(tol, MOST_NOISE) if search.check.exhausted else tol)


def is_unprovable(search: Search, tol: float | None) -> bool:
    """Whether the fit seems to have converged, but there is no bound to prove it."""
    has_bound = bool(np.isfinite(search.at.bound).all())
    return not (has_bound or search.in_batches) and within_tol(search.distance, tol)


def estimated_distance(length: np.ndarray, decreases: list[np.ndarray]) -> np.ndarray:
    """Estimate sqrt(2 (F - F*)), the RMS distance (t,) of the predictions from the minimiser's.

    It is the length of the gradient, or if larger, a geometric extrapolation of the recent
    decreases of F: the length may be too small if P is a poor approximation of H.
    """
    if len(decreases) < 2:
        return length
    rate = divide(decreases[-1], decreases[0]) ** (1 / (len(decreases) - 1))
    rate = np.minimum(rate, 0.99)
    # The rate is a guess, so twice the sum of the series is taken.
    return np.maximum(length, np.sqrt(4 * decreases[-1] * rate / (1 - rate)))


def within_tol(distance: np.ndarray, tol: float | None) -> bool:
    """Whether every target is within `tol`; False if `tol` is None."""
    return tol is not None and bool(np.all(distance <= tol))


def cut_rate(lr: float) -> float:
    """Return a quarter of the learning rate, but not 0."""
    return max(lr / 4, TINY)


def unfinished(distance: np.ndarray, settings: Settings) -> str:
    """Return the warning for a fit that has used all epochs."""
    return (
        f"Not converged after max_iter={settings.max_iter} epochs: the predictions may be "
        f"{np.max(distance):.1e} std(y) from those of the closed form, tol={settings.tol}. "
        "Increase max_iter or tol."
    )


def unproved(search: Search, settings: Settings) -> str:
    """Return the warning for a fit that ends without a bound within `tol`."""
    bound = np.max(search.known)
    known = f"the bound is {bound:.1e}" if np.isfinite(bound) else "there is no bound"
    return (
        f"Not known to have converged: the predictions seem to be within "
        f"{np.max(SAFETY * search.estimate):.1e} std(y) of those of the closed form, but with "
        f"alpha={np.min(settings.alpha):.3g} and this preconditioner {known}. Take a larger alpha, "
        "or solver='cholesky'."
    )
