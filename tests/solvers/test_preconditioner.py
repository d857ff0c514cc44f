"""Preconditioners against the Hessian that they stand for."""

import numpy as np
import pytest

from sklearn_minibatch._solvers.preconditioner import nystrom


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("rank", [3, 8])
def test_nystrom_is_the_hessian_where_the_rows_have_no_more_directions(alpha, rank):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8))
    gram = Z.T @ Z / 50
    P = nystrom(lambda p: gram @ p, 8, rank, alpha, np.random.RandomState(0))
    g = rng.normal(size=(8, 2))
    # With rank 3 the flat rest is the least of the three eigenvalues, not alpha.
    in_span = gram @ g
    exact = np.linalg.solve(gram + alpha * np.eye(8), in_span)
    np.testing.assert_allclose(P.solve(in_span), exact, rtol=1e-6, atol=1e-8)
    if rank == 8:
        whole = np.linalg.solve(gram + alpha * np.eye(8), g)
        np.testing.assert_allclose(P.solve(g), whole, rtol=1e-6, atol=1e-8)
