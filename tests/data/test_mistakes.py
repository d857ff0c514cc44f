"""The mistakes that users are most likely to make, and the sentence that tells what to do."""

import traceback

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_minibatch import ChunkSource, MiniBatchRidgeSGD, MiniBatchRidgeSGDCV

from ..oracles import regression

X, Y = regression(60, 3)
FRAME = pd.DataFrame(X, columns=list("abc"))
GAPS = X.copy()
GAPS[3, 1] = np.nan
TWO = np.column_stack([Y, Y])
LONGEST = 160


def source(*chunks):
    return ChunkSource(lambda: iter(chunks))


def svrg():
    return MiniBatchRidgeSGD(solver="svrg", random_state=0).fit(X, Y)


def sgd():
    return MiniBatchRidgeSGD(solver="sgd").partial_fit(X, Y).set_params(solver="cholesky")


# What is called on a fitted model, and what to do instead.
MISTAKES = {
    "one dimension": (lambda model: model.fit(X[:, 0], Y), r"X\.reshape\(-1, 1\)"),
    "one sample": (lambda model: model.predict(X[0]), r"X\.reshape\(1, -1\)"),
    "X and y swapped": (lambda model: model.fit(Y, X), r"X\.reshape\(-1, 1\)"),
    "fewer targets": (lambda model: model.fit(X, Y[:-1]), "from the same samples"),
    "NaN": (lambda model: model.fit(GAPS, Y), r"NaN in column 1\. Fill it, .*SimpleImputer"),
    "NaN in a frame": (
        lambda model: model.fit(FRAME.where(FRAME.abs() < 1), Y),
        r"NaN in column 'a', 'b', 'c'\. Fill it",
    ),
    "NaN in a stream": (lambda model: model.partial_fit(GAPS, Y), r"NaN in column 1\. Fill it"),
    "NaN in a chunk": (
        lambda model: model.fit(source((X, Y), (GAPS, Y))),
        r"Chunk 2 of pass 1: Input X contains NaN in column 1\. Fill it",
    ),
    "NaN in y": (lambda model: model.fit(X, np.where(Y > 1, np.nan, Y)), "Drop the samples"),
    "text": (
        lambda model: model.fit(FRAME.assign(tree="oak"), Y),
        "(?s)Column 'tree' of X: .*drop the column",
    ),
    "other columns": (lambda model: model.predict(X[:, :2]), "Give the features that fit"),
    "columns in another order": (
        lambda model: model.fit(FRAME, Y).predict(FRAME[["b", "a", "c"]]),
        r"(?s)same order.*Select the features of fit: X\[list\(model\.feature_names_in_\)\]",
    ),
    "a column is missing": (
        lambda model: model.fit(FRAME, Y).predict(FRAME[["b", "a"]]),
        r"(?s)- c.*Select the features of fit: X\[list\(model\.feature_names_in_\)\]",
    ),
    "a solver that has no statistics": (lambda model: svrg().merge(svrg()), "solver='cholesky'"),
    "a solver after another": (lambda model: sgd().partial_fit(X, Y), "Fit anew, or go on with"),
    "a solver without signs": (
        lambda model: model.set_params(solver="svrg", positive=True).fit(X, Y),
        "solver='cholesky' or 'qr'",
    ),
    "a solver that takes steps": (
        lambda model: model.set_params(solver="svrg").fit_moments(60, np.zeros(4), np.eye(4)),
        "Set solver='cholesky'",
    ),
    "alpha": (lambda model: model.set_params(alpha=-1).fit(X, Y), r"in the range \[0\.0, inf\)"),
    "alpha of other targets": (
        lambda model: model.set_params(alpha=[1.0, 2.0, 3.0]).fit(X, TWO),
        "one for each of the 2",
    ),
    "two targets": (
        lambda model: model.partial_fit(X, TWO),
        r"y has the shape \(n, 2\), and before it had \(n,\)\. Give targets like .* or call fit",
    ),
    "two targets in a chunk": (
        lambda model: model.fit(source((X, Y), (X, TWO))),
        "Chunk 2 of pass 1: .* Give all chunks the same targets",
    ),
    "an empty chunk": (lambda model: model.partial_fit(X[:0], Y[:0]), "Leave empty chunks out"),
    "an empty source": (lambda model: model.fit(source()), r"must yield chunks \(X, y\)"),
    "a generator": (lambda model: model.fit(chunk for chunk in [(X, Y)]), "fit.ChunkSource"),
    "a half-life of steps": (
        lambda model: model.set_params(half_life=10.0, solver="sgd").fit(source((X, Y))),
        "Set solver='cholesky' or 'qr', or half_life=None",
    ),
    "merge into a model that is not fitted": (
        lambda model: MiniBatchRidgeSGD().merge(model),
        r"Fit both first, or begin with a fitted one: reduce\(MiniBatchRidgeSGD\.merge, models\)",
    ),
    "merge of a model that is not fitted": (
        lambda model: model.merge(MiniBatchRidgeSGD()),
        "Fit both first",
    ),
    "merge of the other estimator": (
        lambda model: model.merge(MiniBatchRidgeSGDCV().fit(X, Y)),
        "needs another MiniBatchRidgeSGD",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_sentence_names_the_cure(mistake):
    call, cure = MISTAKES[mistake]
    model = MiniBatchRidgeSGD(random_state=0).fit(X, Y)
    with pytest.raises((ValueError, NotFittedError), match=cure) as caught:
        call(model)
    last = traceback.format_exception(caught.value)[-1].rstrip("\n").split("\n")[-1]
    assert len(last) <= LONGEST + len("ValueError: ")


def test_the_lines_in_between_are_ours():
    """Where a sentence takes the place of scikit-learn's, its traceback is not shown as well."""
    with pytest.raises(ValueError, match="Fill it") as caught:
        MiniBatchRidgeSGD().fit(GAPS, Y)
    shown = "".join(traceback.format_exception(caught.value))
    assert "direct cause" not in shown
    assert "HistGradientBoosting" not in shown


def test_half_life_of_a_source_follows_the_order_of_its_chunks():
    """A source that is not sorted by time cannot be recognised: only its order counts."""
    chunks = [(X[:30], Y[:30]), (X[30:], -Y[30:])]
    sorted_one = MiniBatchRidgeSGD(half_life=5.0).fit(source(*chunks))
    reversed_one = MiniBatchRidgeSGD(half_life=5.0).fit(source(*chunks[::-1]))
    weights = 0.5 ** (np.arange(59, -1, -1) / 5)
    for model, order in ((sorted_one, chunks), (reversed_one, chunks[::-1])):
        rows, y = (np.concatenate(parts) for parts in zip(*order, strict=True))
        weighted = MiniBatchRidgeSGD().fit(rows, y, sample_weight=weights)
        np.testing.assert_allclose(model.coef_, weighted.coef_, rtol=1e-9)
