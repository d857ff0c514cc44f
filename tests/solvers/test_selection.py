"""Parameters that have no effect are named, once; and by whom they would be used."""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sklearn_minibatch import MiniBatchRidgeSGD

from ..oracles import regression
from ..tables import METHODS

X, Y = regression(60, 3)

# Parameters, and what is said of them; None where all have an effect.
CASES = [
    ({}, None),
    ({"batch_size": 8, "lr": 0.1, "preconditioner": 2}, None),
    ({"solver": "svrg", "batch_size": 8, "lr": 0.1, "preconditioner": 2}, None),
    ({"solver": "sgd", "batch_size": 8, "lr": 0.1, "average": True}, None),
    ({"solver": "sgd", "lr_schedule": "inverse_time", "lr_decay": 0.1}, None),
    ({"solver": "sgd", "preconditioner": None}, None),
    ({"solver": "cholesky", "early_stopping": True}, None),
    (
        {"solver": "svrg", "lr_schedule": "compound"},
        "solver='svrg' does not use lr_schedule; solver='sgd' would",
    ),
    (
        {"solver": "svrg", "lr_decay": 0.1, "average": True},
        "does not use lr_decay, average; solver='sgd' would",
    ),
    (
        {"batch_size": 8, "average": True},
        "solver='svrg' (which solver='auto' has taken) does not use average",
    ),
    (
        {"lr_schedule": "compound", "lr_decay": 0.1},
        "solver='cholesky' (which solver='auto' has taken) does not use lr_sched",
    ),
    (
        {"solver": "cholesky", "batch_size": 8},
        "solver='cholesky' does not use batch_size; solver='svrg' and 'sgd' would",
    ),
    (
        {"solver": "cholesky", "preconditioner": 2},
        "does not use preconditioner; solver='svrg' would",
    ),
    (
        {"solver": "sgd", "preconditioner": 2},
        "solver='sgd' does not use preconditioner; solver='svrg' would",
    ),
    ({"solver": "sgd", "lr_decay": 0.1}, "lr_decay has no effect with lr_schedule='constant'"),
    (
        {"solver": "sgd", "lr_schedule": "inverse_time"},
        "lr_schedule='inverse_time' has no effect with lr_decay=0",
    ),
]


def said(call):
    """What a call warns of, but for the end of its epochs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [
        str(each.message) for each in caught if not issubclass(each.category, ConvergenceWarning)
    ]


@pytest.mark.parametrize(("params", "expected"), CASES, ids=str)
@METHODS
def test_settings_without_effect_are_named(params, expected, method):
    model = MiniBatchRidgeSGD(random_state=0, max_iter=3, **params)
    messages = said(lambda: getattr(model, method)(X, Y))
    assert len(messages) == (expected is not None)
    if expected is not None:
        assert re.search(re.escape(expected), messages[0])


@pytest.mark.parametrize("params", [params for params, message in CASES if message], ids=str)
def test_they_have_no_effect(params):
    plain = {name: value for name, value in params.items() if name in ("solver", "batch_size")}
    if plain.get("solver") == "cholesky":
        plain.pop("batch_size", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coefs = [
            MiniBatchRidgeSGD(random_state=0, max_iter=3, **each).fit(X, Y).coef_
            for each in (params, plain)
        ]
    np.testing.assert_array_equal(*coefs)


def test_a_stream_says_it_once_and_again_for_new_settings():
    model = MiniBatchRidgeSGD(solver="svrg", average=True, random_state=0)
    assert len(said(lambda: model.partial_fit(X, Y))) == 1
    assert said(lambda: model.partial_fit(X, Y)) == []
    assert len(said(lambda: model.set_params(lr_decay=0.1).partial_fit(X, Y))) == 1


def test_a_search_over_grids_of_two_solvers_is_quiet():
    grids = [
        {"solver": ["svrg"], "batch_size": [8, 16]},
        {
            "solver": ["sgd"],
            "batch_size": [8, 16],
            "lr_schedule": ["inverse_time"],
            "lr_decay": [0.1, 0.2],
        },
        {"solver": ["cholesky"]},
    ]
    assert (
        said(
            lambda: GridSearchCV(MiniBatchRidgeSGD(random_state=0, max_iter=3), grids, cv=2).fit(
                X, Y
            )
        )
        == []
    )
