"""The closed form from second moments or from a triangular factor."""

from typing import Any

import numpy as np

from .._statistics.scaling import Scaling
from .._statistics.second_moments import standardized
from .._statistics.triangular_factor import TriangularFactor, rotated_rows
from . import cholesky, nonnegative, qr
from .closed_form import ClosedForm
from .penalty import Penalty


def closed_form_of(
    statistics: Any, scaling: Scaling, penalty: Penalty, positive: np.ndarray | None = None
) -> ClosedForm:
    """Return the closed form of second moments or of a triangular factor, in scaled units.

    Coefficients in the mask `positive` (d,) are at least 0.
    """
    if positive is not None:
        return nonnegative.closed_form(statistics, scaling, penalty, positive)
    if isinstance(statistics, TriangularFactor):
        return qr.closed_form(rotated_rows(statistics, scaling), penalty)
    return cholesky.closed_form(standardized(statistics, scaling), penalty)
