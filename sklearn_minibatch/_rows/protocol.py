"""The interface of rows that solvers use.

Rows are in scaled units, and row i is multiplied by s_i = sqrt(w_i / mean(w)), so that the weighted
objective has the form of an unweighted one:

    F(beta, b) = 1/(2n) ||Z beta + s b - y||^2 + alpha/2 ||beta||^2
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

Solve: TypeAlias = Callable[[np.ndarray], np.ndarray]  # P^-1 g for g (d, t)


class Steps(NamedTuple):
    """The parameters of the variance-reduced steps of an epoch:

    v <- v - lr P^-1 (Z_B' Z_B v / |B| + alpha v + g)
    """

    batch_size: int
    g: Any  # (d, t)
    alpha: Any  # a number, or (d, t) where d or t may be 1
    solve: Solve
    lr: float


class Rows(Protocol):
    """Rows Z (n, d) with targets y (n, t); each method is a pass or part of one."""

    n_rows: int
    n_features: int
    dtype: np.dtype
    # If passes are expensive, a step over all rows, which needs no additional pass, is better than
    # an epoch of mini-batches.
    passes_are_expensive: bool

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (1/n) Z'r (d, t) and the mean square of r (t,), r = Z beta - y, in float64."""

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """Return (1/n) Z'Z p for p (d, t)."""

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """Return at most `count` random mini-batches Z_B."""

    def epoch(self, steps: Steps, rng: Any) -> np.ndarray:
        """Return v (d, t) after one pass of variance-reduced steps from v = 0.

        The order of the mini-batches is random if `rng` is given.
        """

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Return the mean square (t,) of the residuals of theta = [beta; b; I]."""

    def largest_square_norm(self) -> float:
        """Return max_i ||[z_i, s_i]||^2."""

    def textbook_epoch(
        self,
        theta: np.ndarray,
        mean: np.ndarray,
        n_steps: int,
        lr: np.ndarray,
        batch_size: int,
        alpha: Any,
        rng: Any,
    ) -> None:
        """Take one pass of textbook steps with the learning rates `lr`.

        `theta` and its average `mean`, both (d + 1 + t, t), are updated in place.
        """


@runtime_checkable
class RowsInMemory(Rows, Protocol):
    """Rows with a copy in scaled units in memory."""

    n_entries: int  # the number of entries that a pass reads

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Return rows (k, d) whose Gram matrix approximates (1/n) Z'Z.

        These are the rows of Z / sqrt(n) or, if there are more than `n_buckets`, that many sums of
        about equally many rows with random signs.
        """

    def diagonal(self) -> np.ndarray:
        """Return the diagonal (d,) of (1/n) Z'Z."""
