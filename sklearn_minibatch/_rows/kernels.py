"""Mini-batch steps, one at a time or several at once.

Several small steps are computed at once, without approximation, by solving a triangular system.

The textbook kernels use stacked rows A = [Z, s, -y] and parameters theta = [beta; b; I] of shape
(d + 1 + t, t), so that A theta is the residual Z beta + s b - y. The identity in theta never
changes. Z and y are multiplied by s = sqrt(w / mean(w)); without an intercept, the column s is 0.
"""

from collections.abc import Iterator
from functools import lru_cache
from operator import matmul
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

from .._statistics.arrays import as_dtype, namespace
from .protocol import Steps

# The matrix products of a larger mini-batch are efficient by themselves.
SMALL_BATCH = 16


def batches_per_block(batch_size: int, n_features: int) -> int:
    """Return how many mini-batches are processed together.

    There are fewer if rows are longer, since their inner products then cost more.
    """
    rows = 64 if n_features < 32 else 32 if n_features < 256 else 16
    return max(1, rows // batch_size) if batch_size <= SMALL_BATCH else 1


def stacked_parameters(beta: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return theta = [beta; b; I] (d + 1 + t, t) for beta (d, t) and b (t,)."""
    return np.vstack([beta, b[None], np.eye(len(b), dtype=beta.dtype)])


def dot(A: Any, v: np.ndarray) -> np.ndarray:
    """Return A @ v by a method that takes less time for small NumPy arrays."""
    return A.dot(v)


def plain_steps(
    A: Any,
    theta: Any,
    mean: Any,
    n_steps: int,
    lr: np.ndarray,
    batch_size: int,
    alpha: Any,
) -> None:
    """Take textbook steps, in place, over the stacked rows A, one mini-batch after the other:

        theta <- theta - lr (A_B' A_B theta / batch_size + alpha [beta; 0])
        mean <- mean + (theta - mean) 2 / (step + 1)

    The sum over a last mini-batch with fewer rows is also divided by `batch_size`, so that every
    row counts the same. `lr` has a learning rate for each step. The average, with weights
    proportional to the step (Shamir and Zhang, 2013), is computed if `mean` is not `theta` itself.
    `alpha` may be an array (d, t), where d or t may be 1.
    """
    n_moving = theta.shape[0] - theta.shape[1]
    moving = theta[:n_moving, :]
    beta = moving[: n_moving - 1, :]
    product = dot if isinstance(theta, np.ndarray) else matmul
    for q, (B, rate) in enumerate(zip(mini_batches(A, batch_size), lr.tolist(), strict=True)):
        r = product(B, theta)
        r *= rate / batch_size
        beta *= 1 - rate * alpha
        moving -= product(B.T, r)[:n_moving, :]
        if mean is not theta:
            mean += (theta - mean) * (2 / (n_steps + q + 2))


def mini_batches(A: Any, batch_size: int) -> Iterator[Any]:
    """Yield successive mini-batches of rows; a NumPy array is reshaped once, which is faster."""
    whole = A.shape[0] // batch_size if isinstance(A, np.ndarray) else 0
    if whole:
        yield from A[: whole * batch_size].reshape(whole, batch_size, A.shape[1])
    for start in range(whole * batch_size, A.shape[0], batch_size):
        yield A[start : min(start + batch_size, A.shape[0]), :]


def block_steps(
    A: np.ndarray,
    theta: np.ndarray,
    mean: np.ndarray,
    n_steps: int,
    lr: float,
    batch_size: int,
    alpha: float,
) -> None:
    """Take the steps of `plain_steps` for k mini-batches at once, with one learning rate.

    `theta` and `mean` are updated in place, and `A` is overwritten. Successive steps depend on each
    other only through the inner products of their rows, so the residuals of a block solve a lower
    triangular system. With i in mini-batch q(i) = 0, 1, ..., c = 1 - lr alpha, eta = lr /
    batch_size, beta in units of c^q, and x_i the residual in units of c^(q(i) + 1) / eta:

        u_i = [z_i, s_i / c^q(i), -y_i / c^q(i)]        v_i = [z_i, c^(q(i) + 1) s_i, 0]
        c / eta x_i + sum_(j in the block, q(j) < q(i)) (u_i . v_j) x_j = u_i . theta
        theta <- theta - sum_(j in the block) v_j x_j

    Each iterate inside a block is such a sum over the mini-batches up to its own, so the average
    needs one more sum: of v_j x_j times the total weight of the iterates from q(j) on.

    (s-step methods: Devarakonda and Demmel, "Avoiding communication in primal and dual block
    coordinate descent methods", 2019.) The number of rows must be a multiple of the block size, and
    the powers of c must be representable.
    """
    d = len(theta) - theta.shape[1] - 1
    k = batches_per_block(batch_size, A.shape[1])
    c = 1 - lr * alpha
    eta = max(lr / batch_size, np.finfo(float).tiny)
    shrunk, later = block_constants(c, len(A) // batch_size, k, batch_size, A.dtype)
    V = A.copy()
    V[:, d : d + 1] *= c * shrunk
    V[:, d + 1 :] = 0
    A[:, d:] /= shrunk
    U, V = (each.reshape(-1, k * batch_size, A.shape[1]) for each in (A, V))
    T = U[:, :, : d + 1] @ V[:, :, : d + 1].transpose(0, 2, 1)
    if batch_size > 1:
        T *= later
    T.reshape(len(T), -1)[:, :: k * batch_size + 1] = c / eta
    (trsm,) = get_blas_funcs(("trsm",), dtype=A.dtype)
    weights = None
    if mean is not theta:
        powers = c * shrunk.reshape(len(U), k, batch_size)[:, :, :1]
        before, weights = average_weights(n_steps, powers, batch_size)
        mean[: d + 1] *= before
    # BLAS uses column-major order, so it is given the transpose, whose upper triangle it reads.
    for block, (u, v, L) in enumerate(zip(U, V, T.transpose(0, 2, 1), strict=True)):
        x = trsm(1.0, L, u.dot(theta), lower=0, trans_a=1, overwrite_b=1)
        if weights is not None:
            of_beta, of_b = weights[:, block]
            mean[:d] += of_beta[0] * theta[:d] - v[:, :d].T.dot(of_beta * x)
            mean[d] += of_b[0] * theta[d] - v[:, d].dot(of_b * x)
        theta -= v.T.dot(x)
    theta[:d] *= c ** (len(A) // batch_size)


def average_weights(n_steps: int, powers: np.ndarray, batch_size: int) -> tuple[float, np.ndarray]:
    """Return the weights of iterates in the average after the mini-batches of some blocks.

    The first weight is that of the previous average, of `n_steps` iterates. The others (2, blocks,
    rows, 1) are, for each row, the total weight of the iterates from its mini-batch to the end of
    the block: for beta in units of c^q, given `powers` c^(q + 1) (blocks, mini-batches, 1), and for
    b.
    """
    step = n_steps + np.arange(1, powers.size + 1, dtype=float)
    of_all = step[-1] * (step[-1] + 1)
    weights = (2 * step / of_all).reshape(powers.shape)
    both = np.stack([weights * powers, weights])
    later = both[:, :, ::-1].cumsum(axis=2)[:, :, ::-1].astype(powers.dtype)
    return n_steps * (n_steps + 1) / of_all, np.repeat(later, batch_size, axis=2)


@lru_cache(maxsize=4)
def block_constants(
    c: float, n_batches: int, k: int, batch_size: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Return c^q(i) of the rows of `n_batches` mini-batches, as a column, and a mask.

    The square mask has a 1 if row i of k mini-batches is in a later mini-batch than row j.
    """
    shrunk = np.repeat(c ** np.arange(n_batches), batch_size)[:, None].astype(dtype)
    later = np.kron(np.tri(k, k=-1, dtype=dtype), np.ones((batch_size, batch_size), dtype=dtype))
    return shrunk, later


def textbook_steps(
    A: Any,
    theta: Any,
    mean: Any,
    n_steps: int,
    lr: np.ndarray,
    batch_size: int,
    alpha: Any,
) -> None:
    """Take the steps of `plain_steps`, by `block_steps` if that is possible and faster.

    For `block_steps`, `A` must be a NumPy array.
    """
    together = batches_per_block(batch_size, A.shape[1]) if isinstance(A, np.ndarray) else 1
    steps = 0
    is_uniform = isinstance(alpha, float)
    if together > 1 and is_uniform and lr[0] == lr[-1] and len(lr) * lr[0] * alpha <= 1:
        steps = A.shape[0] // batch_size // together * together
    blocked = steps * batch_size
    if steps:
        block_steps(A[:blocked], theta, mean, n_steps, lr[0], batch_size, alpha)
    plain_steps(A[blocked:, :], theta, mean, n_steps + steps, lr[steps:], batch_size, alpha)


def batch_sizes(n_rows: int, batch_size: int) -> np.ndarray:
    """Return the sizes of the mini-batches of `n_rows` rows; the last may be smaller."""
    return np.minimum(batch_size, n_rows - np.arange(0, n_rows, batch_size))


def svrg_epoch(Z: Any, steps: Steps, rng: Any) -> Any:
    """Return v (d, t) after one pass of the steps from v = 0.

    Mini-batches are successive rows; their order is random if `rng` is given.
    """
    n_rows = Z.shape[0]
    batch_size, g, _, solve, lr = steps
    if batch_size >= n_rows:
        return -lr * solve(g)
    # In a block, alpha v is evaluated at the first step. This does no harm as long as the sum of
    # the steps, lr k P^-1 alpha v, is smaller than v.
    together = 1
    if isinstance(g, np.ndarray):
        together = min(batches_per_block(batch_size, Z.shape[1]), max(1, int(min(0.5 / lr, 64))))
    starts = np.arange(0, n_rows, together * batch_size)
    if rng is not None:
        rng.shuffle(starts)
    v = namespace(g).zeros_like(g)
    # v overflows if the learning rate is too large, which the caller checks for. Threads do not
    # inherit this setting.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in starts.tolist():
            A = Z[start : min(start + together * batch_size, n_rows), :]
            v = svrg_step(A, v, steps) if together == 1 else svrg_block(A, v, steps)
    return v


def svrg_step(A: Any, v: Any, steps: Steps) -> Any:
    """Return v after one mini-batch of `svrg_epoch`."""
    _, g, alpha, solve, lr = steps
    if not namespace(v).any(v):
        return -lr * solve(g)
    r = A @ as_dtype(v, A.dtype)
    return v - lr * solve(as_dtype(A.T @ r, v.dtype) / r.shape[0] + alpha * v + g)


def svrg_block(A: Any, v: np.ndarray, steps: Steps) -> np.ndarray:
    """Return v after several mini-batches of `svrg_epoch`, computed at once.

    With h = lr P^-1 (alpha v + g) and eta_j = lr / |B_q(j)|:

        r_i + sum_(q(j) < q(i)) eta_j (a_i . P^-1 a_j) r_j = a_i . v - q(i) a_i . h
        v_k = v - k h - P^-1 A' (eta * r)
    """
    batch_size, g, alpha, solve, lr = steps
    A = np.asarray(A, dtype=float)
    sizes = batch_sizes(len(A), batch_size)
    batch = np.repeat(np.arange(len(sizes)), sizes)[:, None]
    h = lr * solve(alpha * v + g)
    directions = solve(A.T) * (lr / sizes)[batch].T
    T = np.where(batch > batch.T, A @ directions, 0.0)
    (trsm,) = get_blas_funcs(("trsm",), (T,))
    r = trsm(1.0, T.T, A @ v - batch * (A @ h), lower=0, trans_a=1, diag=1)
    return v - len(sizes) * h - directions @ r


def random_batches(Z: Any, batch_size: int, count: int, rng: Any) -> list[Any]:
    """Return at most `count` random mini-batches of successive rows of Z."""
    starts = np.arange(0, Z.shape[0], batch_size)
    drawn = rng.permutation(starts)[:count].tolist()
    return [Z[start : min(start + batch_size, Z.shape[0]), :] for start in drawn]


def add(a: tuple, b: tuple) -> tuple:
    """Return the elementwise sum of two tuples."""
    return tuple(x + y for x, y in zip(a, b, strict=True))
