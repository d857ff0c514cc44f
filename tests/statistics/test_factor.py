"""Factoring a matrix ends, whatever is in it."""

import numpy as np
import pytest
from scipy.linalg import lapack

from sklearn_minibatch._statistics.factor import factored


@pytest.fixture
def reference_lapack(monkeypatch):
    """Unlike OpenBLAS it refuses to factor what is no number."""
    original, calls = lapack.dpotrf, []

    def dpotrf(matrix, **options):
        calls.append(1)
        assert len(calls) < 1000
        L, failed = original(matrix, **options)
        return L, failed or int(not np.isfinite(np.tril(L)).all())

    monkeypatch.setattr(lapack, "dpotrf", dpotrf)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (1, 2), ...])
def test_factoring_what_is_no_number_ends(value, where, reference_lapack):
    gram = np.eye(3)
    gram[where] = value
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="overflow"):
        factored(gram, 0.1)


@pytest.mark.parametrize(
    "gram",
    [
        np.zeros((3, 3)),
        np.ones((3, 3)),
        -np.eye(3),
        np.full((3, 3), 5e-324),
        np.full((3, 3), 1e300),
    ],
)
def test_factoring_what_is_hardly_definite_ends(gram, reference_lapack):
    assert np.isfinite(np.tril(factored(gram, 0.0).L)).all()
