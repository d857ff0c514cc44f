"""What solvers ask of rows, wherever these are.

Rows are in scaled units, and each is held times s_i = sqrt(w_i / mean(w)), so that the weighted
objective is the plain one:

    F(beta, b) = 1/(2n) ||Z beta + s b - y||^2 + alpha/2 ||beta||^2
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Solve: TypeAlias = Callable[[np.ndarray], np.ndarray]  # P^-1 g for g (d, t)


class Rows(Protocol):
    """Rows Z (n, d) with targets y (n, t): each method but `gram` is a pass, or a part of one."""

    n_rows: int
    n_features: int
    dtype: np.dtype
    passes_are_expensive: bool  # a step over all rows, which needs no pass of its own, is then better than mini-batches

    def residual_gradient(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1/n) Z'r (d, t) and the mean square of r (t,), r = Z beta - y, in float64."""

    def hessian_product(self, p: np.ndarray) -> np.ndarray:
        """(1/n) Z'Z p for p (d, t)."""

    def gram(self) -> np.ndarray | None:
        """(1/n) Z'Z (d, d), exactly, if it is at hand without a pass; else None."""

    def sketch(self, n_buckets: int, rng: Any) -> np.ndarray:
        """Rows whose Gram matrix is close to (1/n) Z'Z: at least so many, or Z / sqrt(n) itself."""

    def diagonal_instead(self) -> np.ndarray | None:
        """The diagonal (d,) of (1/n) Z'Z where a dense (d, d) preconditioner costs more than it saves; else None."""

    def batches(self, batch_size: int, count: int, rng: Any) -> Sequence[Any]:
        """At most `count` random mini-batches Z_B."""

    def epoch(
        self,
        batch_size: int,
        g: np.ndarray,
        alpha: float,
        solve: Solve,
        lr: float,
        rng: Any,
    ) -> np.ndarray:
        """v (d, t) after one pass of variance-reduced steps from v = 0; the order is random if `rng` is given."""

    def mean_square(self, theta: np.ndarray) -> np.ndarray:
        """Mean square of the residuals (t,) of theta = [beta; b; I]."""

    def largest_square_norm(self) -> float:
        """max_i ||[z_i, s_i]||^2."""

    def textbook_epoch(
        self,
        theta: np.ndarray,
        mean: np.ndarray,
        n_steps: int,
        lr: np.ndarray,
        batch_size: int,
        alpha: float,
        rng: Any,
    ) -> None:
        """One pass of textbook steps with the learning rates `lr`, in place in theta and in its average."""
