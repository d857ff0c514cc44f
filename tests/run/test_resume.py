"""A stream saved between two chunks goes on elsewhere as if nothing had happened."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from sklearn_minibatch import MiniBatchRidgeSGD

from .. import ROOT

GO_ON = """
import pickle, sys

saved, result = sys.argv[1:]
with open(saved, "rb") as file:
    models, chunks = pickle.load(file)
for model in models:
    for chunk in chunks:
        model.partial_fit(*chunk)
with open(result, "wb") as file:
    pickle.dump(models, file)
"""

PARAMS = [
    {},
    {"batch_size": 7, "lr": 0.2},
    {"solver": "sgd", "lr": 0.01},
    {"solver": "sgd", "average": True},
    {"solver": "sgd", "lr": 0.05, "lr_schedule": "compound", "lr_decay": 1e-3, "batch_size": 1},
    {"random_state": None},
]


def stream(n_chunks, kind, targets):
    rng = np.random.default_rng(0)
    for k in range(n_chunks):
        X = rng.normal(size=(300, 6)) * (1 + k) + k
        y = X @ rng.normal(size=(6, targets)) + rng.normal(size=(300, targets))
        yield kind(X), y if targets > 1 else y[:, 0], rng.uniform(size=300)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "targets"), [(np.asarray, 1), (sparse.csr_array, 2)])
def test_a_pickle_goes_on_bit_by_bit_in_another_process(tmp_path, kind, targets):
    chunks = list(stream(12, kind, targets))
    models = [MiniBatchRidgeSGD(**{"random_state": 0, **params}) for params in PARAMS]
    for model in models:
        for chunk in chunks[:5]:
            model.partial_fit(*chunk)
    saved, result = tmp_path / "saved", tmp_path / "result"
    saved.write_bytes(pickle.dumps((models, chunks[5:])))
    command = [sys.executable, "-W", "error", "-c", GO_ON, str(saved), str(result)]
    subprocess.run(command, check=True, cwd=ROOT)
    for model, there in zip(models, pickle.loads(result.read_bytes()), strict=True):
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
