"""Variance-reduced mini-batch SGD that lands on the closed form.

Each epoch of mini-batch steps gives a direction; flexible conjugate gradients with an exact line
search take it from there. So the objective falls at every epoch, whatever the learning rate and the
batch size, and the fixed point is the minimiser.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .._rows.protocol import Rows
from .._statistics.linalg import divide, dot
from .learning_rate import largest_eigenvalue
from .preconditioner import Diagonal, preconditioner
from .problem import Parameters, Problem, Settings, Solution

# The batch size that "auto" stands for: large enough for NumPy, small enough for many steps.
BATCH_SIZE = 2048
# Fewer mini-batches than this make a direction no better than that of one full-batch step, which
# needs no pass.
FEW_BATCHES = 8
# Past directions that a new one is made conjugate to: of epochs of mini-batches, and of full-batch
# steps, which are linear in g, so that the last direction alone would do but for rounding.
MEMORY, LINEAR_MEMORY = 10, 2
# Squares of such numbers do not overflow.
HUGE = 1e100
# Noise in the gradient that is worth more than this is no rounding error.
MOST_NOISE = 1e-6
EPS = np.finfo(float).eps


def solve(
    problem: Problem, start: Parameters, settings: Settings, rng: Any, monitor: Any
) -> Solution:
    """Minimise F from `start`, in mini-batches that come in random order if the settings say so."""
    rows = problem.rows
    P = preconditioner(rows, settings.alpha, settings.preconditioner, rng)
    batch_size = resolved_batch_size(settings.batch_size, rows, P)
    lr = resolved_lr(settings, rows, batch_size, P, rng)
    return minimise(
        rows, start[0], P, batch_size, lr, settings, rng if settings.shuffle else None, monitor
    )


def refined(rows: Rows, beta: np.ndarray, P: Any, settings: Settings, monitor: Any) -> Solution:
    """The minimiser from a `beta` that is near it but for rounding errors of P = H, by gradients from the rows.

    The epoch by which `beta` was found has been counted.
    """
    solution = minimise(rows, beta, P, rows.n_rows, 1.0, settings, None, monitor)
    return replace(solution, n_steps=solution.n_steps + 1)


def resolved_batch_size(batch_size: int | str, rows: Rows, P: Any) -> int:
    """Rows per mini-batch; "auto" takes so many that their pass outweighs the step from one batch to the next."""
    if not isinstance(batch_size, str):
        return min(batch_size, rows.n_rows)
    chosen = max(BATCH_SIZE, 2 * rows.n_features)
    full = (
        isinstance(P, Diagonal) or rows.passes_are_expensive or rows.n_rows < FEW_BATCHES * chosen
    )
    return rows.n_rows if full else chosen


def resolved_lr(settings: Settings, rows: Rows, batch_size: int, P: Any, rng: Any) -> float:
    """The learning rate; "auto" takes 1 / (the largest curvature of a few mini-batches)."""
    if settings.lr != "auto":
        return settings.lr
    batches = rows.batches(batch_size, 8, rng)
    if batch_size == rows.n_rows:
        return 1.0
    largest = largest_eigenvalue(batches, settings.alpha, P.solve, rng)
    # Where nothing bends, as with constant columns and alpha=0, any rate will do.
    return 1 / largest if largest > np.finfo(float).tiny else 1.0


def minimise(
    rows: Rows,
    beta: np.ndarray,
    P: Any,
    batch_size: int,
    lr: float,
    settings: Settings,
    rng: Any,
    monitor: Any,
) -> Solution:
    """Minimise F over beta, (d, t), from `beta`.

    It has converged when the distance is at most `tol`: the RMS distance between its predictions
    and those of the minimiser; or when rounding errors hide what is left of that distance.
    `monitor` is told where an epoch begins, and `monitor(found, beta, b, loss, distance)` after it,
    with the `Solution` so far, stops the fit by returning True. The mini-batches come in random
    order if `rng` is given.
    """
    alpha, tol = settings.alpha, settings.tol
    g, loss = gradient_and_loss(rows, beta, alpha)
    distance, Pg = distance_to_minimiser(g, P, [])
    checked, rounding, exhausted = distance, 0 * distance, False
    memory = MEMORY if batch_size < rows.n_rows else LINEAR_MEMORY
    decreases: list[np.ndarray] = []
    directions: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_steps = 0
    for _ in range(monitor.n_epochs, settings.max_iter):
        monitor.begin_epoch()
        # The last epoch is one full-batch step, which costs little and takes most of what is left.
        final_step = within_tol(distance, tol)
        size = rows.n_rows if final_step else batch_size
        v = -Pg if size >= rows.n_rows else rows.epoch(size, g, alpha, P.solve, lr, rng)
        n_steps += -(-rows.n_rows // size)
        v, lr = safeguarded(v, lr, g, Pg)
        p, Hp, pHp = conjugate(v, directions, rows, alpha)
        step_length = -divide(dot(g, p), pHp)
        if size < rows.n_rows and np.all(step_length < 0.1):
            lr = cut_rate(lr)
        beta, g, loss = (
            beta + step_length * p,
            g + step_length * Hp,
            loss - step_length**2 * pHp / 2,
        )
        directions = [*directions[1 - memory :], (p, Hp, pHp)]
        decreases = [*decreases[1 - MEMORY :], step_length**2 * pHp / 2]
        distance, Pg = distance_to_minimiser(g, P, decreases)
        if not final_step and within_tol(distance, recheck_threshold(tol, checked, rounding)):
            # Rounding errors accumulate in the updated gradient: it is computed anew before the
            # test of convergence.
            before, (g, loss) = g, gradient_and_loss(rows, beta, alpha)
            rounding, _ = distance_to_minimiser(g - before, P, [])
            last, (distance, Pg) = checked, distance_to_minimiser(g, P, decreases)
            # A distance that no longer shrinks, and is no more than the errors that g had gathered,
            # is noise.
            noise = (distance > last / 2) & (distance < np.minimum(2 * rounding, MOST_NOISE))
            exhausted = bool(noise.any()) and within_tol(np.where(noise, 0.0, distance), tol)
            checked = distance
            if not within_tol(distance, tol) or np.any(rounding > distance / 10):
                directions = []  # They are no longer conjugate to the digits that are left.
        # y is centred like z, so its intercept is 0 from the start.
        last_point = (beta, np.zeros(beta.shape[1]))
        solution = Solution(last_point, last_point, n_steps, lr, batch_size, False, P)
        arrived = exhausted or (final_step and within_tol(distance, tol))
        if monitor(solution, *solution.last, loss, distance) or arrived:
            break
    else:
        if tol is not None and not (exhausted or within_tol(distance, tol)):
            return replace(solution, warning=unfinished(distance, settings))
    return replace(solution, converged=exhausted or within_tol(distance, tol))


def unfinished(distance: np.ndarray, settings: Settings) -> str:
    """What to warn of at the end of the last epoch."""
    return (
        f"Not converged after max_iter={settings.max_iter} epochs: the predictions are about {np.max(distance):.1e} std(y) "
        f"from those of the closed form, tol={settings.tol}. Increase max_iter or tol."
    )


def within_tol(distance, tol):
    """Whether every target is within `tol`; never, if that is None."""
    return tol is not None and bool(np.all(distance <= tol))


def recheck_threshold(tol, checked, rounding):
    """The distance (t,) at which to compute g anew: `tol`, or where it may consist of rounding errors.

    `checked` and `rounding` are the distance, and what of it was rounding errors, when g last came
    from the data.
    """
    return np.maximum(
        np.maximum(EPS, tol or 0),
        np.maximum(np.sqrt(EPS) * checked, np.minimum(checked, rounding) / 10),
    )


def gradient_and_loss(rows, beta, alpha):
    """Gradient (d, t) and value (t,) of F, one per target."""
    g, square = rows.residual_gradient(beta)
    return g + alpha * beta, square / 2 + alpha / 2 * dot(beta, beta)


def safeguarded(v, lr, g, Pg):
    """`v`, or where it is no direction of descent, or huge, the preconditioned gradient instead; `lr` is then cut."""
    with np.errstate(invalid="ignore", over="ignore"):
        failed = ~((dot(g, v) < 0) & (np.abs(v).max(axis=0) < HUGE)) & g.any(axis=0)
    if not failed.any():
        return v, lr
    return np.where(failed, -Pg, v), cut_rate(lr)


def cut_rate(lr):
    """A quarter of the learning rate, but not 0."""
    return max(lr / 4, np.finfo(float).tiny)


def conjugate(v, directions, rows, alpha):
    """p = v made conjugate to the stored directions, with Hp and p.Hp per target."""
    p = v.copy()
    for q, Hq, qHq in directions:
        p -= divide(dot(Hq, v), qHq) * q
    Hp = rows.hessian_product(p)
    Hp += alpha * p
    return p, Hp, dot(p, Hp)


def distance_to_minimiser(g, P, decreases):
    """RMS distance (t,) of the predictions to the minimiser's: sqrt(2 (F - F*)), estimated; and P^-1 g.

    With e the error of beta, 2 (F - F*) = e'He = g'H^-1 g. It is taken as g'P^-1 g, or, where P is
    a poor likeness of H, as what the last decreases of F leave to come if they go on shrinking at
    their rate.
    """
    Pg = P.solve(g)
    square = np.maximum(dot(g, Pg), 0)
    if len(decreases) > 1:
        rate = divide(decreases[-1], decreases[0]) ** (1 / (len(decreases) - 1))
        rate = np.minimum(rate, 0.99)
        # Twice what such a series would sum to: its rate is a guess.
        square = np.maximum(square, 4 * decreases[-1] * rate / (1 - rate))
    return np.sqrt(square), Pg
