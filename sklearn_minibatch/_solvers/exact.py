"""The closed form of statistics, whatever their kind."""

from typing import Any

from .._statistics.scaling import Scaling
from .._statistics.second_moments import standardized
from .._statistics.triangular_factor import TriangularFactor, rotated_rows
from . import cholesky, qr
from .closed_form import ClosedForm


def closed_form_of(statistics: Any, scaling: Scaling, alpha: float) -> ClosedForm:
    """Return the closed form of second moments or of a triangular factor, in scaled units."""
    if isinstance(statistics, TriangularFactor):
        return qr.closed_form(rotated_rows(statistics, scaling), alpha)
    return cholesky.closed_form(standardized(statistics, scaling), alpha)
