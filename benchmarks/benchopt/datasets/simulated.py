"""Gaussian rows, with singular values that fall by the condition number."""

import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """A linear model with as much noise as signal, on an offset."""

    name = "Simulated"
    parameters = {
        "n_samples, n_features": [(100_000, 100), (10_000, 2_000)],
        "condition": [1e2],
        "random_state": [0],
    }

    def get_data(self):
        n, d = self.n_samples, self.n_features
        rng = np.random.default_rng(self.random_state)
        rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
        spectrum = np.geomspace(1, 1 / self.condition, d)
        X = rng.standard_normal((n, d)) @ (spectrum[:, None] * rotation)
        X /= X.std(axis=0)
        signal = X @ rng.standard_normal(d)
        return {"X": X, "y": 3.0 + signal + signal.std() * rng.standard_normal(n)}
