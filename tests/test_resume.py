"""A stream saved between two chunks goes on elsewhere as if nothing had happened."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sklearn_minibatch import MiniBatchRidgeSGD

GO_ON = """
import pickle, sys
saved, chunks, result = sys.argv[1:]
with open(saved, "rb") as file:
    model = pickle.load(file)
with open(chunks, "rb") as file:
    for chunk in pickle.load(file):
        model.partial_fit(*chunk)
with open(result, "wb") as file:
    pickle.dump(model, file)
"""


def stream(n_chunks, kind, targets):
    rng = np.random.default_rng(0)
    for k in range(n_chunks):
        X = rng.normal(size=(300, 6)) * (1 + k) + k
        y = X @ rng.normal(size=(6, targets)) + rng.normal(size=(300, targets))
        yield kind(X), y if targets > 1 else y[:, 0], rng.uniform(size=300)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 7, "lr": 0.2},
        {"solver": "sgd", "lr": 0.01},
        {"solver": "sgd", "average": True},
        {"solver": "sgd", "lr": 0.05, "lr_schedule": "compound", "lr_decay": 1e-3, "batch_size": 1},
        {"random_state": None},
    ],
    ids=str,
)
def test_a_pickle_goes_on_bit_by_bit_in_another_process(tmp_path, kind, params):
    targets = 1 if "average" in params else 2
    chunks = list(stream(12, kind, targets))
    model = MiniBatchRidgeSGD(**{"random_state": 0, **params})
    for chunk in chunks[:5]:
        model.partial_fit(*chunk)
    saved, rest, result = tmp_path / "model", tmp_path / "chunks", tmp_path / "result"
    saved.write_bytes(pickle.dumps(model))
    rest.write_bytes(pickle.dumps(chunks[5:]))
    command = [sys.executable, "-W", "error", "-c", GO_ON, str(saved), str(rest), str(result)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    there = pickle.loads(result.read_bytes())
    for chunk in chunks[5:]:
        model.partial_fit(*chunk)
    np.testing.assert_array_equal(there.coef_, model.coef_)
    np.testing.assert_array_equal(there.intercept_, model.intercept_)
    np.testing.assert_array_equal(there.scaler_.var_, model.scaler_.var_)


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_memory_of_a_stream_does_not_grow(solver):
    model = MiniBatchRidgeSGD(solver=solver, random_state=0)
    rng = np.random.default_rng(0)
    sizes = []
    for k in range(1, 161):
        X = rng.normal(size=(500, 6))
        model.partial_fit(X, X @ np.arange(6) + rng.normal(size=500))
        if k in (40, 160):
            sizes.append(len(pickle.dumps(model)))
    # What waits to be sketched comes and goes.
    assert sizes[1] <= sizes[0] + 512 * 8 * 8
