"""The kernels of mini-batch steps are plain loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sklearn_minibatch._rows.kernels import svrg_epoch, textbook_steps
from sklearn_minibatch._rows.protocol import Steps

from ..examples import examples


@st.composite
def epochs(draw):
    """Arguments of one pass of textbook steps.

    Stacked rows [Z, s, -y], parameters [beta; b; I], their average, and the rates.
    """
    n, d, t = (
        draw(st.integers(1, 150)),
        draw(st.sampled_from([1, 2, 5, 80])),
        draw(st.integers(1, 3)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    s = np.sqrt(rng.exponential(size=(n, 1)))
    # Without an intercept the column s is 0.
    A = np.hstack(
        [s * rng.standard_normal((n, d)) / d, s * draw(st.booleans()), rng.standard_normal((n, t))]
    )
    batch_size = draw(st.integers(1, 40))
    lr = draw(st.floats(1e-4, 0.05)) * np.linspace(
        1, draw(st.sampled_from([1.0, 0.3])), -(-n // batch_size)
    )
    theta, mean = (np.vstack([rng.standard_normal((d + 1, t)), np.eye(t)]) for _ in range(2))
    return (
        A,
        theta,
        mean,
        batch_size,
        lr,
        draw(st.sampled_from([0.0, 1e-4, 1.0, 9.0])),
        draw(st.integers(0, 50)),
    )


@examples(200)
@given(epochs(), st.booleans())
def test_kernel_is_a_plain_loop(case, average):
    A, theta, mean, batch_size, lrs, alpha, n_steps = case
    t = A.shape[1] - theta.shape[0] + theta.shape[1]
    expected, expected_mean = theta.copy(), mean.copy()
    for q, lr in enumerate(lrs):
        batch = A[q * batch_size : (q + 1) * batch_size]
        gradient = batch.T @ (batch @ expected) / batch_size
        gradient[: -t - 1] += alpha * expected[: -t - 1]
        expected[:-t] -= lr * gradient[:-t]
        expected_mean += (expected - expected_mean) * 2 / (n_steps + q + 2)
    textbook_steps(A, theta, mean if average else theta, n_steps, lrs, batch_size, alpha)
    np.testing.assert_allclose(theta, expected, rtol=1e-10, atol=1e-12)
    if average:
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-10, atol=1e-12)


@examples(100)
@given(
    n=st.integers(1, 150),
    d=st.integers(1, 6),
    t=st.integers(1, 3),
    batch_size=st.integers(1, 40),
    lr=st.floats(1e-3, 0.5),
    alpha=st.sampled_from([0.0, 1.0]),
)
def test_variance_reduced_kernel_is_a_plain_loop(n, d, t, batch_size, lr, alpha):
    """Steps of the kernel are those of a plain loop.

    Small batches take the penalty at the start of a block of steps, so for them alpha must be 0.
    """
    alpha *= batch_size > 16
    rng = np.random.default_rng(n)
    Z, g, P = (
        rng.standard_normal((n, d)),
        rng.standard_normal((d, t)),
        np.cov(rng.standard_normal((d, 99))) + np.eye(d),
    )
    v = np.zeros((d, t))
    for start in range(0, n, batch_size):
        batch = Z[start : start + batch_size]
        v = v - lr * np.linalg.solve(P, batch.T @ (batch @ v) / len(batch) + alpha * v + g)
    steps = Steps(batch_size, g, alpha, lambda a: np.linalg.solve(P, a), lr)
    found = svrg_epoch(Z, steps, None)
    np.testing.assert_allclose(found, v, rtol=1e-9, atol=1e-9 * np.abs(v).max())
