"""What a model holds, in plain types: files then name no class of this package but the estimator.

skops asks to trust one type only, and a pickle does not tie the rooms to where they are today.
"""

from ._preconditioner import Diagonal, Factored, Identity, Nystrom, Spectral
from ._scaler import Moments
from ._stream import Curvature

KINDS = {kind.__name__: kind for kind in (Curvature, Diagonal, Factored, Identity, Moments, Nystrom, Spectral)}


def packed(attributes):
    """A copy of the dict `attributes` in which each of `KINDS` is a dict of its fields and its "kind"."""
    return {name: _packed(value) for name, value in attributes.items()}


def unpacked(attributes):
    """The inverse of `packed`."""
    return {name: _unpacked(value) for name, value in attributes.items()}


def _packed(value):
    kind = type(value)
    if kind not in KINDS.values():
        return value
    # Named tuples and dataclasses both list their fields there.
    return {"kind": kind.__name__, **packed({name: getattr(value, name) for name in kind.__match_args__})}


def _unpacked(value):
    if not (isinstance(value, dict) and value.get("kind") in KINDS):
        return value
    fields = unpacked(value)
    return KINDS[fields.pop("kind")](**fields)
