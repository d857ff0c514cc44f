"""What a model holds, in plain types: files then name no class of this package but the estimator.

skops asks to trust one type only, and a pickle does not tie the rooms to where they are today. The
version that wrote it is in it too, so that another one can say why it does not load.
"""

import warnings

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
KINDS = {kind.__name__: kind for kind in _KINDS}


# Fields that models of version 0.1.0 have not, and what stands for them.
SINCE_0_1 = {"Moments": {"rest": 0.0}}


def packed(attributes):
    """A copy of the dict `attributes` in which each of `KINDS` is a dict of its fields and its "kind"."""
    return {name: _packed(value) for name, value in attributes.items()}


def unpacked(attributes):
    """The inverse of `packed`; raises ValueError for anything that this version does not know."""
    return {name: _unpacked(value) for name, value in attributes.items()}


def to_state(attributes):
    """The state to save for the dict `attributes`."""
    return {**packed(attributes), "_version": __version__}


def from_state(state, needed):
    """The attributes in a state that was `to_state`.

    Raises ValueError where this version needs others; warns if another version wrote them.
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


def with_second_moments(attributes):
    """The attributes of a model that knew the moments of x and of y apart, as they are called today."""
    if not {"_moments", "_y_moments", "solver"} <= set(attributes):
        return attributes
    moments = SecondMoments(attributes["_moments"], attributes.pop("_y_moments"))
    return {**attributes, "_moments": moments, "solver_": attributes["solver"]}


def _packed(value):
    kind = type(value)
    if kind is list:
        return [_packed(each) for each in value]
    if kind not in KINDS.values():
        return value
    # Named tuples and dataclasses both list their fields there.
    return {
        "kind": kind.__name__,
        **packed({name: getattr(value, name) for name in kind.__match_args__}),
    }


def _unpacked(value):
    if type(value) is list:
        return [_unpacked(each) for each in value]
    if not (isinstance(value, dict) and "kind" in value):
        return value
    fields = unpacked(value)
    name = fields.pop("kind")
    kind = KINDS.get(name)
    fields = {**SINCE_0_1.get(name, {}), **fields}
    if kind is None or set(fields) != set(kind.__match_args__):
        raise ValueError(f"a {value['kind']} of {', '.join(fields) or 'nothing'}")
    return kind(**fields)
