"""Any sequence of calls, beside a plain list of the rows that were accepted.

Three estimators get the same calls: the model, one whose columns are multiplied by powers of 2, and
one whose columns are multiplied and shifted. Numbers are small multiples of 1/8, so that no digit
is lost on the way into other units.
"""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_minibatch import MiniBatchRidgeSGD

from ..oracles import columns, dense
from ..tables import FAULTS, INVALID, UNLIKE_BEFORE, state

EPS = np.finfo(float).eps
SCALE = np.array([2.0**-20, 2.0**7, 2.0**33])
SHIFT = np.array([-1000.0, 3.0, 0.5])
NAMES = ["a", "b", "c"]

VALID = {
    "solver": ["svrg", "sgd"],
    "alpha": [1e-3, 0.1, 10],
    "batch_size": ["auto", 1, 3, 1000],
    "lr": ["auto", 1e-3, 0.1, 1e4],
    "lr_schedule": ["constant", "inverse_time", "compound"],
    "lr_decay": [0.0, 0.01],
    "preconditioner": ["auto", None, 1],
    "average": [False, True],
    "fit_intercept": [True, True, False],
    "standardize": [True, True, False],
    "shuffle": [True, False],
    "max_iter": [1, 20],
    "tol": [None, 1e-6],
    "warm_start": [False, True],
}


@st.composite
def chunks(draw, sizes=(1, 1, 2, 3, 8, 40)):
    """X (n, 3), y (n, 2) and weights, all multiples of 1/8.

    Columns may be constant or collinear.
    """
    n = draw(st.sampled_from(sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(-40, 41, (n, 3)) / 8 + rng.integers(-3, 4, 3)
    kind = draw(
        st.sampled_from(["full rank", "full rank", "constant column", "collinear", "far away"])
    )
    if kind == "constant column":
        X[:, 1] = 2.0
    elif kind == "collinear":
        X[:, 2] = X[:, 0] - 1
    elif kind == "far away":
        X += 10_000
    y = X[:, :2] @ np.array([[1.0, -0.5], [0.25, 1.0]]) + rng.integers(-20, 21, (n, 2)) / 8
    w = draw(st.sampled_from([None, "some are 0", "any"]))
    if w is not None:
        w = rng.integers(w == "any", 17, n) / 8
        w[rng.integers(n)] = 1.0
    return X, y, w


CONTAINERS = st.sampled_from([np.asarray, np.asarray, np.asfortranarray, sparse.csr_array])
METHODS = st.sampled_from(["fit", "partial_fit"])


class Training(RuleBasedStateMachine):
    """What may be done to an estimator, and what must then be so."""

    @initialize(
        solver=st.sampled_from(VALID["solver"]),
        single=st.booleans(),
        named=st.booleans(),
        small_batches=st.booleans(),
    )
    def start(self, solver, single, named, small_batches):
        self.single, self.named = single, named
        self.model = MiniBatchRidgeSGD(
            solver=solver, batch_size=1 if small_batches else "auto", max_iter=20, random_state=0
        )
        self.scaled, self.shifted = clone(self.model), clone(self.model)
        self.forget()

    def forget(self):
        self.rows = []
        # Whether all calls since have left columns in other units to the same predictor.
        self.any_scale = self.any_shift = True

    @property
    def fitted(self):
        return hasattr(self.model, "coef_")

    def all_models(self):
        return self.model, self.scaled, self.shifted

    def in_units(self, X):
        """The rows in the units of each of the models."""
        return X, X * SCALE, X * SCALE + SHIFT * SCALE

    def framed(self, X, names=NAMES):
        """A table, if the columns of this training have names."""
        return pd.DataFrame(dense(X), columns=names) if self.named else X

    def as_target(self, y):
        return y[:, 0] if self.single else y

    @rule(method=METHODS, chunk=chunks(), container=CONTAINERS)
    def learn(self, method, chunk, container):
        X, y, w = chunk
        refused = []
        for model, x in zip(self.all_models(), self.in_units(X), strict=True):
            before = state(model)
            error = call(model, method, self.framed(container(x)), self.as_target(y), w)
            assert error is None or state(model) == before
            assert error is None or (method == "partial_fit" and "diverged" in str(error))
            refused.append(error is not None)
        if not refused[0]:
            self.accepted(method, X, y, w)
        assert refused == refused[:1] * 3 or not (
            self.any_scale and self.model.fit_intercept and self.model.standardize
        )
        self.any_scale &= refused[1] == refused[0]
        self.any_shift &= refused[2] == refused[0]

    def accepted(self, method, X, y, w):
        if method == "fit" and not self.model.warm_start:
            self.forget()
        if method == "fit":
            self.rows = []
        # A constant column keeps its units, which matter only where nothing is centred or its
        # coefficient is not 0.
        without_constants = self.model.fit_intercept and not (
            method == "fit" and self.model.warm_start
        )
        keeps_units = self.model.standardize and (
            without_constants or self.model.scaler_.var_.all()
        )
        self.any_scale &= keeps_units
        self.any_shift &= keeps_units and self.model.fit_intercept
        w = np.ones(len(y)) if w is None else w
        self.rows += [(x, weight) for x, weight in zip(X, w, strict=True) if weight > 0]

    @rule(method=METHODS, chunk=chunks((2, 8)), fault=st.sampled_from(list(FAULTS)))
    def refuse(self, method, chunk, fault):
        spoil, _ = FAULTS[fault]
        self.refuses(method, *spoil(chunk[0], self.as_target(chunk[1]), chunk[2]))

    @precondition(lambda self: self.fitted)
    @rule(chunk=chunks((2, 8)), bad=st.sampled_from(list(UNLIKE_BEFORE)))
    def refuse_what_is_unlike_before(self, chunk, bad):
        self.refuses(
            "partial_fit", *UNLIKE_BEFORE[bad](chunk[0], self.as_target(chunk[1]), chunk[2])
        )

    @precondition(lambda self: self.fitted and self.named)
    @rule(chunk=chunks((2, 8)), names=st.sampled_from([["a", "c", "b"], ["a", "b", "z"]]))
    def refuse_other_names(self, chunk, names):
        self.refuses(
            "partial_fit", self.framed(chunk[0], names), self.as_target(chunk[1]), chunk[2]
        )

    @rule(data=st.data(), method=METHODS, chunk=chunks((2, 8)), name=st.sampled_from(list(INVALID)))
    def refuse_a_parameter(self, data, method, chunk, name):
        good = self.model.get_params()[name]
        self.model.set_params(**{name: data.draw(st.sampled_from(INVALID[name]))})
        error = self.refuses(method, self.framed(chunk[0]), self.as_target(chunk[1]), chunk[2])
        assert isinstance(error, ValueError)
        assert name in str(error)
        self.model.set_params(**{name: good})

    @precondition(lambda self: self.fitted)
    @rule(chunk=chunks((2, 8)))
    def refuse_a_warm_start_of_another_shape(self, chunk):
        warm_start = self.model.warm_start
        self.model.set_params(warm_start=True)
        self.refuses("fit", chunk[0][:, :2], self.as_target(chunk[1]), chunk[2])
        self.model.set_params(warm_start=warm_start)

    def refuses(self, method, X, y, w):
        """A call that raises, and changes no byte."""
        before = state(self.model)
        error = call(self.model, method, X, y, w)
        assert error is not None
        assert len(str(error)) > 15
        assert state(self.model) == before
        return error

    @rule(data=st.data(), name=st.sampled_from(list(VALID)))
    def set_parameter(self, data, name):
        value = data.draw(st.sampled_from(VALID[name]))
        for model in self.all_models():
            model.set_params(**{name: value})

    @precondition(lambda self: self.fitted)
    @rule()
    def go_on_from_a_pickle(self):
        # A pickle has no rows: those that wait are added, which the last bit of later sums shows.
        self.model, self.scaled, self.shifted = [
            pickle.loads(pickle.dumps(model)) for model in self.all_models()
        ]

    @precondition(lambda self: self.fitted)
    @rule()
    def go_on_with_a_clone(self):
        fresh = clone(self.model)
        assert vars(fresh) == fresh.get_params() == self.model.get_params()
        self.model, self.scaled, self.shifted = [clone(model) for model in self.all_models()]
        self.forget()

    @precondition(lambda self: self.fitted)
    @rule(chunk=chunks(), container=CONTAINERS)
    def predict(self, chunk, container):
        X, before = chunk[0], state(self.model)
        found = columns(self.model.predict(self.framed(container(X))))
        assert state(self.model) == before
        coef, intercept = np.atleast_2d(self.model.coef_), np.ravel(self.model.intercept_)
        for k, beta in enumerate(coef):
            for x, prediction in zip(X, found[:, k], strict=True):
                terms = [*(x * beta), intercept[k]]
                assert abs(prediction - math.fsum(terms)) <= 8 * EPS * math.fsum(np.abs(terms))

    @precondition(lambda self: self.fitted)
    @invariant()
    def is_finite(self):
        assert np.isfinite(self.model.coef_).all()
        assert np.isfinite(self.model.intercept_).all()

    @precondition(lambda self: self.fitted)
    @invariant()
    def moments_are_those_of_the_accepted_rows(self):
        scaler, weights = self.model.scaler_, [w for _, w in self.rows]
        total = math.fsum(weights)
        assert scaler.n_samples_seen_ == total
        for j in range(3):
            x = [row[j] for row, _ in self.rows]
            mean = math.fsum(w * v for v, w in zip(x, weights, strict=True)) / total
            var = math.fsum(w * (v - mean) ** 2 for v, w in zip(x, weights, strict=True)) / total
            rounding = 16 * EPS * max(map(abs, x))
            deviation = rounding + 1e-13 * math.sqrt(var)
            assert abs(scaler.mean_[j] - mean) <= rounding
            assert abs(scaler.var_[j] - var) <= deviation * (2 * math.sqrt(var) + deviation)

    @precondition(lambda self: self.fitted and self.any_scale)
    @invariant()
    def powers_of_2_change_no_digit(self):
        assert np.array_equal(self.scaled.coef_ * SCALE, self.model.coef_)
        assert np.array_equal(self.scaled.intercept_, self.model.intercept_)

    @precondition(lambda self: self.fitted and self.any_shift)
    @invariant()
    def other_units_change_rounding_errors_only(self):
        sigma = np.sqrt(self.model.scaler_.var_)
        coef, other = self.model.coef_ * sigma, self.shifted.coef_ * SCALE * sigma
        np.testing.assert_allclose(other, coef, rtol=0, atol=1e-4)
        X, _, X_shifted = self.in_units(np.array([row for row, _ in self.rows]))
        here, there = (
            self.model.predict(self.framed(X)),
            self.shifted.predict(self.framed(X_shifted)),
        )
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


def call(model, method, X, y, w):
    """What the call raised, or None.

    That it did not converge, or has no use for some parameter, goes without saying here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for said in ("X does not have valid feature names", ".* has no effect", ".* does not use"):
            warnings.filterwarnings("ignore", said, UserWarning)
        try:
            getattr(model, method)(X, y, sample_weight=w)
        except ValueError as error:
            return error
    return None


TestTraining = pytest.mark.slow(Training.TestCase)
# No shrinking: of so many steps it takes longer than reading them.
TestTraining.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
