"""Mini-batch steps: one at a time, and several small ones at once, exactly, through a triangular system.

Successive steps of a linear model with squared loss see each other only through the inner products of their rows. So
the residuals r of k mini-batches in a row solve a unit lower triangular system, (I + T) r = r0, with r0 what the
residuals would be if nothing moved, and all k steps together are one more matrix product. (Known as s-step SGD:
Devarakonda and Demmel, "Avoiding communication in primal and dual block coordinate descent methods", 2019.)

Rows come multiplied by s = sqrt(w / mean(w)), so weights need no further mention.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs

# Rows in one triangular system, and rows fetched from the shuffled order at once.
BLOCK_ROWS = 64
FETCH_ROWS = 4096


def batches_per_block(batch_size):
    """How many mini-batches to take together: above 16 rows a single step already fills its matrix products."""
    return max(1, BLOCK_ROWS // batch_size) if batch_size <= 16 else 1


class Iterate(NamedTuple):
    """Where the textbook solver stands: beta (d, t), b (t,), the averages of both, and the steps taken."""

    beta: np.ndarray
    b: np.ndarray
    mean_beta: np.ndarray
    mean_b: np.ndarray
    n_steps: int


class Couplings(NamedTuple):
    """How the M rows of k successive mini-batches act on each other: with i in batch q(i) of size |B|,

    c_q = 1 - lr_q alpha,   C_q = c_0 ... c_(q-1),   eta_i = lr_q(i) / |B_q(i)|
    """

    entry: np.ndarray  # (M, 1): C_q(i), the weight of the entry parameters in r_i
    pairs: np.ndarray  # (M, M): eta_j C_q(i) / C_(q(j)+1) where q(j) < q(i), else 0
    pairs_b: np.ndarray  # (M, M): eta_j where q(j) < q(i), else 0
    exit: np.ndarray  # (k, M): eta_j C_q / C_(q(j)+1) where q(j) < q, else 0, for q = 1 ... k
    exit_b: np.ndarray  # (k, M): eta_j where q(j) < q, else 0
    decay: np.ndarray  # (k,): C_1 ... C_k


def couplings(lr, sizes, alpha):
    """`Couplings` of mini-batches with `sizes` rows taken at the learning rates `lr`, both (k,)."""
    decay = np.concatenate([[1.0], np.cumprod(1 - lr * alpha)])
    batch = np.repeat(np.arange(len(sizes)), sizes)
    step = np.arange(len(sizes) + 1)
    reached_b = np.where(batch < step[:, None], (lr / sizes)[batch], 0.0)
    reached = reached_b * decay[:, None] / decay[batch + 1]
    return Couplings(decay[batch, None], reached[batch], reached_b[batch], reached[1:], reached_b[1:], decay[1:])


def averaging_weights(n_steps, k):
    """Weights (k + 1,) of the old mean and of the next k iterates in the new mean.

    Polynomial decay: mean_t = mean_(t-1) + 2/(t+1) (iterate_t - mean_(t-1))  (Shamir and Zhang, 2013).
    """
    gamma = 2 / (n_steps + np.arange(1, k + 1) + 1)
    keep = np.append(np.cumprod((1 - gamma)[::-1])[::-1], 1.0)
    return np.append(keep[0], gamma * keep[1:])


def sgd_steps(A, y, s, at, couple, fit_intercept, average):
    """The textbook steps over the rows A (M, d) of `couple`, from the iterate `at` to the next.

    r_i = C_q(i) a_i.beta + s_i b - y_i - sum_j T_ij r_j,    T = pairs * AA' + pairs_b * ss'
    beta_q = C_q beta - A' (exit_q * r),    b_q = b - s' (exit_b_q * r)
    """
    k = len(couple.decay)
    r = couple.entry * (A @ at.beta) + s * at.b - y
    if k > 1:
        T = couple.pairs * (A @ A.T)
        if fit_intercept:
            T += couple.pairs_b * (s * s.T)
        r = solve_unit_lower(T, r)
    beta = couple.decay[-1] * at.beta - A.T @ (couple.exit[-1][:, None] * r)
    sr = s * r if fit_intercept else np.zeros_like(r)
    b = at.b - couple.exit_b[-1] @ sr
    if not average:
        return Iterate(beta, b, beta, b, at.n_steps + k)
    old, new = np.split(averaging_weights(at.n_steps, k).astype(beta.dtype), [1])
    mean_beta = old * at.mean_beta + (new @ couple.decay) * at.beta - A.T @ ((new @ couple.exit)[:, None] * r)
    mean_b = old * at.mean_b + new.sum() * at.b - (new @ couple.exit_b) @ sr
    return Iterate(beta, b, mean_beta, mean_b, at.n_steps + k)


def solve_unit_lower(T, r):
    """x with (I + T) x = r for a strictly lower triangular T; the diagonal and above are not read."""
    (trsm,) = get_blas_funcs(("trsm",), (T, r))
    # BLAS reads columns first: handing it the transpose spares a copy.
    return trsm(1.0, T.T, r, lower=0, trans_a=1, diag=1)


def sgd_epoch(rows, order, batch_size, lr, alpha, at, fit_intercept, average):
    """One pass of textbook steps over `rows` in the given order, one learning rate (n_batches,) per mini-batch."""
    # Ratios of powers of c = 1 - lr alpha stay representable over one block only while c is not small.
    together = batches_per_block(batch_size) if np.max(lr) * alpha <= 0.5 else 1
    block = together * batch_size
    fetch = max(1, FETCH_ROWS // block) * block
    same_lr = np.all(lr == lr[0])
    full_block = couplings(lr[:together], np.full(len(lr[:together]), batch_size), alpha)
    for start in range(0, len(order), fetch):
        Z, y, s = rows.take(order[start : start + fetch])
        for first in range(0, len(y), block):
            part = slice(first, min(first + block, len(y)))
            couple = full_block
            if not (same_lr and part.stop - part.start == block):
                sizes = batch_sizes(part.stop - part.start, batch_size)
                batch = (start + first) // batch_size
                couple = couplings(lr[batch : batch + len(sizes)], sizes, alpha)
            A = Z[part] if together == 1 else np.asarray(Z[part])
            at = sgd_steps(A, y[part], s[part], at, couple, fit_intercept, average)
    return at


def batch_sizes(n_rows, batch_size):
    """Sizes of the mini-batches that `n_rows` rows make; the last may be smaller."""
    return np.minimum(batch_size, n_rows - np.arange(0, n_rows, batch_size))


def svrg_epoch(Z, batch_size, g, alpha, solve, lr, rng):
    """v (d, t) after one pass of preconditioned variance-reduced steps from v = 0:

        v <- v - lr P^-1 (Z_B' Z_B v / |B| + alpha v + g)

    The rows stand as they are; the order of the mini-batches is random when `rng` is given.
    """
    n_rows = Z.shape[0]
    # alpha v is taken at the entry of a block of steps: harmless while their sum, lr k P^-1 alpha v, is below v.
    together = min(batches_per_block(batch_size), max(1, int(0.5 / lr)))
    starts = np.arange(0, n_rows, together * batch_size)
    if rng is not None:
        rng.shuffle(starts)
    step = svrg_step if together == 1 else svrg_block
    v = np.zeros(g.shape)
    for start in starts:
        v = step(Z[start : start + together * batch_size], batch_size, v, g, alpha, solve, lr)
    return v


def svrg_step(A, batch_size, v, g, alpha, solve, lr):
    """One mini-batch of `svrg_epoch`."""
    if not v.any():
        return -lr * solve(g)
    r = A @ v.astype(A.dtype, copy=False)
    return v - lr * solve(A.T @ r / len(r) + alpha * v + g)


def svrg_block(A, batch_size, v, g, alpha, solve, lr):
    """Several mini-batches of `svrg_epoch` at once. With h = lr P^-1 (alpha v + g) and eta_j = lr / |B_q(j)|:

    r_i = a_i.v - q(i) a_i.h - sum_(q(j) < q(i)) eta_j a_i.P^-1 a_j r_j,    v_k = v - k h - P^-1 A' (eta * r)
    """
    A = np.asarray(A, dtype=float)
    sizes = batch_sizes(len(A), batch_size)
    batch = np.repeat(np.arange(len(sizes)), sizes)[:, None]
    rate = (lr / sizes)[batch]
    h = lr * solve(alpha * v + g)
    directions = solve(A.T) * rate.T
    T = np.where(batch > batch.T, A @ directions, 0.0)
    r = solve_unit_lower(T, A @ v - batch * (A @ h))
    return v - len(sizes) * h - directions @ r
