"""
Start here: fit, compare, draw
==============================

Ten lines fit a model by the default solver, which reads the rows once, and two models by
mini-batches, and draw how far their losses are above the optimum after every epoch.
"""

from sklearn.datasets import load_diabetes

from sklearn_minibatch import LossHistoryDisplay, MiniBatchRidgeSGD

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
model = MiniBatchRidgeSGD().fit(X, y)
svrg = MiniBatchRidgeSGD(solver="svrg", batch_size=32, random_state=0).fit(X, y)
textbook = MiniBatchRidgeSGD(
    solver="sgd", batch_size=32, max_iter=30, tol=None, random_state=0
).fit(X, y)
print(f"R2 {model.score(X, y):.4f} by {model.solver_}, in {model.n_iter_} epoch")
names = ["svrg", "textbook: sgd"]
display = LossHistoryDisplay.from_estimator([svrg, textbook], names=names, optimum=model)

# %%
# The default computes the optimum directly, so it has no curve. ``solver="svrg"`` reduces
# the noise of its steps and converges to the optimum, up to rounding. The textbook algorithm
# approaches it until the noise of its mini-batches dominates.
#
# The coefficients are per unit of the original columns: years of age, points of blood pressure, and
# so on.

for name, coef in zip(model.feature_names_in_, model.coef_, strict=True):
    print(f"{name:>4} {coef:10.4f}")
