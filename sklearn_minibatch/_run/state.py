"""Conversion of the attributes of a model to plain types, for saving.

A file then refers to no class of this package except the estimator. As a result, skops asks to
trust one type only, and internal classes can be moved without breaking pickles. The state also
has the version that wrote it, so that another version can explain why it cannot load it.
"""

import warnings
from collections.abc import Iterable
from typing import Any

from .._solvers.curvature import Curvature
from .._solvers.preconditioner import Diagonal, Identity, Nystrom, Spectral
from .._statistics.factor import Factored
from .._statistics.moments import Moments
from .._statistics.second_moments import SecondMoments
from .._statistics.sketch import Sketch
from .._version import __version__

_KINDS = (
    Curvature,
    Diagonal,
    Factored,
    Identity,
    Moments,
    Nystrom,
    SecondMoments,
    Sketch,
    Spectral,
)
KINDS: dict[str, Any] = {kind.__name__: kind for kind in _KINDS}


# Fields that models of version 0.1.0 do not have, and their values for such models.
SINCE_0_1: dict[str, dict[str, Any]] = {
    "Moments": {"rest": 0.0},
    "Curvature": {"blocks": (), "n_added": 0},
}


def packed(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `attributes` in which objects of the `KINDS` are replaced by dicts.

    Such a dict has the fields of the object and its "kind".
    """
    return {name: _packed(value) for name, value in attributes.items()}


def unpacked(attributes: dict[str, Any]) -> dict[str, Any]:
    """Invert `packed`; raise ValueError for a kind or fields that this version does not know."""
    return {name: _unpacked(value) for name, value in attributes.items()}


def to_state(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the state to save for the attributes of a model."""
    return {**packed(attributes), "_version": __version__}


def from_state(state: dict[str, Any], needed: Iterable[str]) -> dict[str, Any]:
    """Return the attributes in a state made by `to_state`.

    Raise ValueError if attributes are missing or unknown; warn if another version wrote them.
    """
    state = dict(state)
    version = state.pop("_version", "before 0.1.0")
    versions = f"This model was written by sklearn_minibatch {version}, this is {__version__}"
    try:
        attributes = with_second_moments(unpacked(state))
        if missing := [name for name in needed if name not in attributes]:
            raise ValueError(f"{', '.join(missing)} missing")
    except ValueError as error:
        raise ValueError(
            f"{versions}, which cannot read it ({error}): refit, or load it with {version}."
        ) from error
    if version != __version__:
        warnings.warn(
            f"{versions}: it may learn on differently. Refit, or load it with {version}.",
            stacklevel=3,
        )
    return attributes


def with_second_moments(attributes: dict[str, Any]) -> dict[str, Any]:
    """Convert attributes of version 0.1.0, which stored the moments of x and y separately."""
    if not {"_moments", "_y_moments", "solver"} <= set(attributes):
        return attributes
    moments = SecondMoments(attributes["_moments"], attributes.pop("_y_moments"))
    return {**attributes, "_moments": moments, "solver_": attributes["solver"]}


def with_sketch(origin: Any, sketch: Any, **others: Any) -> dict[str, Any]:
    """Convert the fields of a `Curvature` of version 0.1.0, which had the parts of its sketch."""
    return {"sketch": None if sketch is None else Sketch(origin, None, sketch), **others}


def _packed(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_packed(each) for each in value]
    if kind not in KINDS.values():
        return value
    # `__match_args__` has the fields of named tuples and of dataclasses.
    return {
        "kind": kind.__name__,
        **packed({name: getattr(value, name) for name in kind.__match_args__}),
    }


def _unpacked(value: Any) -> Any:
    if type(value) is list:
        return [_unpacked(each) for each in value]
    if not (isinstance(value, dict) and "kind" in value):
        return value
    fields = unpacked(value)
    name = fields.pop("kind")
    kind = KINDS.get(name)
    fields = {**SINCE_0_1.get(name, {}), **fields}
    if name == "Curvature" and "origin" in fields:
        fields = with_sketch(**fields)
    if kind is None or set(fields) != set(kind.__match_args__):
        raise ValueError(f"a {value['kind']} of {', '.join(fields) or 'nothing'}")
    return kind(**fields)
