"""Labels of curves: the parameters in which fitted models differ."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

LABEL_WIDTH = 40  # characters in a line of the legend


def labels(models: Sequence[Any]) -> list[str]:
    """Return labels with the parameters that differ between the models, or the class if none do."""
    params = [model.get_params() for model in models]
    parts = []
    for name in dict.fromkeys(name for each in params for name in each):
        values = [each.get(name) for each in params]
        if n_distinct(values) > 1:
            parts.append(assignments(models, name, values))
    joined = [in_lines(each) for each in zip(*parts, strict=True)]
    return numbered(joined or [type(model).__name__ for model in models])


def in_lines(parts: Sequence[str]) -> str:
    """Join the parts by commas, and break the text into lines of about LABEL_WIDTH characters."""
    found = parts[0]
    for part in parts[1:]:
        in_line = len(found) - found.rfind("\n") + len(part) < LABEL_WIDTH
        found += (", " if in_line else ",\n") + part
    return found


def assignments(models: Sequence[Any], name: str, values: Sequence[Any]) -> list[str]:
    """Return name=value for each model.

    Values have as few digits as are needed to distinguish them. The value that "auto" was resolved
    to is added.
    """
    enough = (d for d in (4, 8) if n_distinct(values, d) == n_distinct(values))
    digits = next(enough, 17)
    found = []
    for model, value in zip(models, values, strict=True):
        written = f"{name}={text(value, digits)}"
        if isinstance(value, str) and value == "auto" and hasattr(model, f"{name}_"):
            written += f" ({text(getattr(model, f'{name}_'), 4)})"
        found.append(written)
    return found


def n_distinct(values: Sequence[Any], digits: int = 17) -> int:
    """Return the number of distinct values when they are written with `digits` digits."""
    return len({text(value, digits) for value in values})


def text(value: Any, digits: int) -> str:
    """Return a parameter as text, which is the same for 1, 1.0 and numbers of NumPy."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.{digits}g}"
    return repr(value) if isinstance(value, str) else str(value)


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names, and add the number of the curve to names that occur several times."""
    alike = {name for name in names if names.count(name) > 1}
    return [f"{name} ({i})" if name in alike else name for i, name in enumerate(names, start=1)]
