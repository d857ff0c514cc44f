"""The NIST StRD linear regression sets.

They are typed right, and their certified coefficients are met to so many digits.
"""

from decimal import Decimal

import mpmath
import numpy as np
import pytest

from sklearn_minibatch import MiniBatchRidgeSGD

from ..exact import DIGITS
from . import nist
from .nist import DATASETS

# About a digit less than were met when this was written: the last ones depend on the order of sums.
LEAST_DIGITS = {
    "Norris": 11.0,
    "Pontius": 11.0,
    "NoInt1": 13.5,
    "NoInt2": 13.5,
    "Filip": 6.0,
    "Longley": 12.5,
    "Wampler1": 8.5,
    "Wampler2": 12.0,
    "Wampler3": 8.5,
    "Wampler4": 7.0,
    "Wampler5": 5.0,
}


@pytest.mark.parametrize("name", DATASETS)
def test_the_decimals_have_the_certified_coefficients(name):
    """To the last digit published, by exact arithmetic: a mistyped number would show."""
    dataset = DATASETS[name]
    with mpmath.workdps(DIGITS):
        for exact, certified in zip(dataset.exact_coefficients(), dataset.certified, strict=True):
            last_digit = mpmath.mpf(10) ** Decimal(certified).as_tuple().exponent
            assert abs(exact - mpmath.mpf(certified)) <= 0.50001 * last_digit


@pytest.mark.parametrize("tol", [1e-6, 0.0])
@pytest.mark.parametrize("name", DATASETS)
def test_digits(name, tol):
    """Without a penalty.

    The default tol is on predictions; still the last step makes the coefficients as exact as tol=0.
    """
    dataset = DATASETS[name]
    model = MiniBatchRidgeSGD(alpha=0.0, tol=tol, random_state=0)
    assert dataset.digits_of(model) >= LEAST_DIGITS[name]
    assert model.converged_
    assert model.n_iter_ <= 30


@pytest.mark.parametrize("name", DATASETS)
def test_digits_with_a_vanishing_penalty(name):
    dataset = DATASETS[name]
    assert dataset.digits_of(MiniBatchRidgeSGD(alpha=1e-30, random_state=0)) >= LEAST_DIGITS[name]


@pytest.mark.parametrize("name", DATASETS)
def test_digits_of_rows_in_chunks(name):
    dataset = DATASETS[name]
    X, y = dataset.rows()
    model = MiniBatchRidgeSGD(alpha=0.0, fit_intercept=dataset.fit_intercept, random_state=0)
    model.fit([(X[k : k + 5], y[k : k + 5]) for k in range(0, len(y), 5)])
    found = [model.intercept_] * dataset.fit_intercept + list(model.coef_)
    assert dataset.digits(found) >= LEAST_DIGITS[name] - 1


def test_digits_count_as_they_should():
    dataset = DATASETS["Norris"]
    certified = np.array(dataset.certified, dtype=float)
    assert dataset.digits(dataset.certified) == nist.MOST
    assert dataset.digits(certified * [1, 1 + 1e-5]) == pytest.approx(5, abs=1e-6)
    assert dataset.digits(certified * [1.1, 1 + 1e-5]) == pytest.approx(1, abs=1e-6)


def test_the_table_has_a_row_for_every_set(capsys):
    nist.main()
    header, rule, *rows, empty, kernels = capsys.readouterr().out.splitlines()
    assert (empty, kernels.split()[0]) == ("", "BLAS:")
    assert [row.split("|")[1].strip() for row in rows] == list(DATASETS)
    assert {line.count("|") for line in (header, rule, *rows)} == {header.count("|")}
