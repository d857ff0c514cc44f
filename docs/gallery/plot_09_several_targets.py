"""
Several targets: the lower half of a digit from the upper
=========================================================

32 pixels predict 32 others. All targets share one read of the rows; each has its own closed form.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

pixels = load_digits().data
X, X_test, Y, Y_test = train_test_split(pixels[:, :32], pixels[:, 32:], random_state=0)

model = MiniBatchRidgeSGD(alpha=0.01).fit(X, Y)
ridge = make_pipeline(StandardScaler(), Ridge(alpha=0.01 * len(X))).fit(X, Y)
print(f"coef_ {model.coef_.shape}, intercept_ {model.intercept_.shape}, by {model.solver_}")
print(f"test R2 {model.score(X_test, Y_test):.4f}, Ridge {ridge.score(X_test, Y_test):.4f}")
print(
    "largest difference of a predicted pixel: "
    f"{np.abs(model.predict(X_test) - ridge.predict(X_test)).max():.1e} of 16"
)

# %%
# Above: the true digits. Below: the given upper half with the predicted lower half.

shown = 10
figure, axes = plt.subplots(2, shown, figsize=(8, 2))
for column in range(shown):
    for row, lower in enumerate([Y_test[column], model.predict(X_test[[column]])[0]]):
        ax = axes[row, column]
        ax.imshow(
            np.concatenate([X_test[column], lower]).reshape(8, 8), cmap="gray_r", vmin=0, vmax=16
        )
        ax.set_axis_off()
        if row:
            ax.axhline(3.5, color="#D55E00", linewidth=1)
plt.show()
