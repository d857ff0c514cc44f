"""A closed form from any statistics: coefficients, loss and a bound on rounding errors."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._statistics.linalg import EPS
from .problem import Monitor, Solution

# About the rounding error of sums of products of unit columns over many blocks of rows, and of
# their QR factorization.
ROUNDING = 20 * EPS
# Rounding errors hide smaller distances of the predictions, in std(y): those of rows with nearly
# collinear columns, and those of products.
MOST_NOISE = 1e-6
NOISE_OF_PRODUCTS = 1e-12
# Least-squares coefficients whose error may be larger are refined.
LEAST_SQUARES = 1e-12


class ClosedForm(NamedTuple):
    """The minimiser of F in scaled units, and a bound on rounding errors."""

    beta: np.ndarray  # (d, t)
    loss: np.ndarray  # (t,)
    rounding: np.ndarray  # (t,), a bound on the RMS error of the predictions, in std(y)
    # The norm of the inverse of the Hessian, for columns of unit length.
    inverse_norm: float
    noise: float  # the distance that the precision of the statistics hides in any case
    # Whether the statistics resolve all directions of the rows. If not, `beta` has the least norm
    # among the solutions that they cannot distinguish.
    is_unique: bool

    def is_within(self, tol: float | None) -> bool:
        """Whether the error of the predictions is within `tol`, or `noise` if that is larger."""
        return tol is not None and bool(np.all(self.rounding <= max(tol, self.noise)))

    def is_exact_enough(self, penalty: float, tol: float | None) -> bool:
        """Whether the closed form needs no refinement.

        Without a penalty, or with one below rounding errors, the coefficients must be accurate too,
        and they lose more digits than the predictions.
        """
        if tol is None:
            return True
        return bool(np.all(self.rounding <= tol / 10)) and (
            penalty > EPS or ROUNDING * self.inverse_norm <= LEAST_SQUARES
        )

    def solution(self, n_rows: int, tol: float | None) -> Solution:
        """Return the closed form as a `Solution`: one Newton step over all rows, with lr=1."""
        last = (self.beta, np.zeros(self.beta.shape[1]))
        return Solution(last, last, 1, 1.0, n_rows, self.is_within(tol))


def one_epoch(closed: ClosedForm, n_rows: int, tol: float | None, monitor: Monitor) -> Solution:
    """Return the solution of a fit that ends with a closed form."""
    monitor.begin_epoch()
    solution = closed.solution(n_rows, tol)
    monitor(solution, *solution.last, closed.loss, closed.rounding)
    if tol is None or solution.converged:
        return solution
    return replace(solution, warning=out_of_digits(closed, tol))


def of_all_targets(parts: list[tuple[Any, ClosedForm]], shape: tuple[int, ...]) -> ClosedForm:
    """Join the closed forms of groups of targets; `shape` is that of all coefficients."""
    if len(parts) == 1:
        return parts[0][1]
    beta, loss, rounding = np.empty(shape), np.empty(shape[1]), np.empty(shape[1])
    for targets, part in parts:
        beta[:, targets], loss[targets], rounding[targets] = part[:3]
    closed = [part for _, part in parts]
    norm = max(part.inverse_norm for part in closed)
    is_unique = all(part.is_unique for part in closed)
    return ClosedForm(beta, loss, rounding, norm, closed[0].noise, is_unique)


def out_of_digits(closed: ClosedForm, tol: float) -> str:
    """Return the warning for rounding errors that may exceed `tol`."""
    cure = "a larger alpha" if closed.noise == MOST_NOISE else "a larger alpha, or solver='qr'"
    return (
        "Columns nearly follow from others, and rounding errors may have taken the predictions "
        f"{np.max(closed.rounding):.1e} std(y) from those of the closed form, tol={tol}. "
        f"Take {cure}."
    )
