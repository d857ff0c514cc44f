"""Rows are dealt to folds at random, and the same however they are cut into chunks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sklearn_minibatch._statistics.fold_moments import dealt

from ..examples import examples


@examples(30)
@given(
    st.integers(0, 500),
    st.lists(st.integers(0, 40), max_size=8),
    st.integers(2, 9),
    st.integers(0, 2**31 - 1),
)
def test_dealing_does_not_see_chunks(first, sizes, n_folds, seed):
    whole = dealt(first, sum(sizes), n_folds, seed)
    starts = first + np.cumsum([0, *sizes])
    parts = [dealt(start, size, n_folds, seed) for start, size in zip(starts, sizes, strict=False)]
    np.testing.assert_array_equal(np.concatenate([[], *parts]), whole)
    full = dealt(0, first + sum(sizes), n_folds, seed)
    np.testing.assert_array_equal(full[first:], whole)
    assert np.ptp(np.bincount(full, minlength=n_folds)) <= 1


def test_dealing_is_random():
    n_folds = 5
    folds = dealt(0, 100_000, n_folds, seed=3)
    # In each place of a hand every fold is as likely, and says nothing of the next hand's.
    hands = folds.reshape(-1, n_folds)
    counts = np.array([np.bincount(place, minlength=n_folds) for place in hands.T])
    assert np.abs(counts - 20_000 / n_folds * 1).max() < 5 * np.sqrt(20_000 * 0.2 * 0.8)
    pairs = np.bincount(n_folds * hands[:-1, 0] + hands[1:, 0], minlength=25)
    assert np.abs(pairs - 20_000 / 25).max() < 5 * np.sqrt(20_000 / 25)
    for other in (dealt(0, 1000, n_folds, seed=4), dealt(0, 1000, n_folds, seed=3, deck=1)):
        assert 0.1 < np.mean(other == folds[:1000]) < 0.3
