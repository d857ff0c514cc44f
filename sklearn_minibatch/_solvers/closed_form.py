"""A closed form: coefficients, loss and what rounding may have cost, from any statistics."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._statistics.linalg import EPS
from .problem import Monitor, Solution

# Sums of products of unit columns over many blocks of rows are wrong by about so much, and so is
# a QR factorization of them.
ROUNDING = 20 * EPS
# Smaller distances of the predictions, in std(y), cannot be told from rounding errors: those of
# rows whose columns are nearly dependent, and those of products.
MOST_NOISE = 1e-6
NOISE_OF_PRODUCTS = 1e-12
# Coefficients of least squares that may be wrong by more are refined.
LEAST_SQUARES = 1e-12


class ClosedForm(NamedTuple):
    """The minimiser of F in scaled units, and what rounding errors may have cost."""

    beta: np.ndarray  # (d, t)
    loss: np.ndarray  # (t,)
    rounding: np.ndarray  # (t,), RMS distance of the predictions from the exact ones, in std(y)
    # The norm of the inverse of the Hessian, for columns of unit length.
    inverse_norm: float
    noise: float  # the distance that the digits of the statistics hide in any case
    # Whether the statistics have all directions of the rows. If not, `beta` is of least norm
    # among those that they cannot tell apart.
    is_unique: bool

    def is_within(self, tol: float | None) -> bool:
        """Whether the predictions are known to be within `tol`, as far as rounding lets them."""
        return tol is not None and bool(np.all(self.rounding <= max(tol, self.noise)))

    def is_exact_enough(self, penalty: float, tol: float | None) -> bool:
        """Whether rounding errors may be left as they are.

        Without a penalty, or with one below rounding errors, it is the coefficients that are
        wanted, and they lose more digits than the predictions.
        """
        if tol is None:
            return True
        return bool(np.all(self.rounding <= tol / 10)) and (
            penalty > EPS or ROUNDING * self.inverse_norm <= LEAST_SQUARES
        )

    def solution(self, n_rows: int, tol: float | None) -> Solution:
        """The closed form as a `Solution`: one step over all rows, of length 1 in units of H."""
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
    """Return one closed form of those of some targets each; `shape` is that of all coefficients."""
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
    """What to warn of where rounding errors may have cost more than `tol`."""
    cure = "a larger alpha" if closed.noise == MOST_NOISE else "a larger alpha, or solver='qr'"
    return (
        "Columns nearly follow from others, and rounding errors may have taken the predictions "
        f"{np.max(closed.rounding):.1e} std(y) from those of the closed form, tol={tol}. "
        f"Take {cure}."
    )
