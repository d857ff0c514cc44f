"""Products with Z = S (X - mean) / scale for rows in memory that are fewer than their columns."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._statistics.arrays import as_float64, like, minus, pass_elements, times, to_numpy
from .._statistics.moments import Moments
from .._statistics.row_products import LEAST_COLUMNS
from .._statistics.scaling import Scaling
from .._statistics.second_moments import SecondMoments, second_moments
from .chunk import Chunk

# If the mean of a column is more than this many times its scale, columns are centred first.
FAR = 1e3


class KeptRows(NamedTuple):
    """The moments of x and y, and the rows, which take less memory than their second moments."""

    x: Moments
    y: Moments
    chunk: Chunk

    @property
    def is_finite(self) -> bool:
        """Whether all means and variances are finite."""
        return self.x.is_finite and self.y.is_finite

    @property
    def products(self) -> SecondMoments:
        """The second moments of the rows."""
        return second_moments(self.chunk.X, self.chunk.y, self.chunk.w)


class WideRows:
    """Samples in scaled units, each multiplied by sqrt(w / W), without a copy of X."""

    def __init__(self, X: Any, y: Any, x: Moments, root: np.ndarray, scaling: Scaling) -> None:
        self.X = X
        # Centred constant columns are exactly 0, but a difference of products would not be.
        self.never_vary = x.is_constant & (x.mean == scaling.x_mean)
        self.root = root[:, None]
        self.scaling = scaling
        self.is_centred = bool(scaling.x_mean.any())
        self.v = (to_numpy(as_float64(y)) - scaling.y_mean) / scaling.y_scale * self.root
        far = np.abs(scaling.x_mean) > FAR * scaling.x_scale
        self.is_far = bool(far.any()) and not sparse.issparse(X)

    def combined(self, a: np.ndarray) -> np.ndarray:
        """Return Z'a (d, t) for a (n, t)."""
        # Z's = 0 for centred columns. Once the part of `a` along s is removed, the means cancel.
        weights = self.root * (a - self.root * (self.root.T @ a) if self.is_centred else a)
        if self.is_far:
            parts = self._in_blocks(lambda T, columns: to_numpy(T.T @ like(weights, T)))
            product = np.concatenate(parts)
        elif sparse.issparse(self.X):
            product = self.X.T @ weights
        else:
            product = to_numpy(times(self.X.T, weights))
        product[self.never_vary] = 0.0
        product /= self.scaling.x_scale[:, None]
        return product

    def product(self, beta: np.ndarray) -> np.ndarray:
        """Return Z beta (n, t) for beta (d, t)."""
        u = beta / self.scaling.x_scale[:, None]
        if self.is_far:
            parts = self._in_blocks(lambda T, columns: to_numpy(T @ like(u[columns], T)))
            return self.root * sum(parts)
        return self.root * (to_numpy(times(self.X, u)) - self.scaling.x_mean @ u)

    def _in_blocks(self, function: Any) -> list[Any]:
        """Return `function(T, columns)` of blocks of centred columns T."""
        n_rows, d = self.X.shape
        width = max(LEAST_COLUMNS, pass_elements(self.X) // n_rows)
        slices = [slice(start, min(start + width, d)) for start in range(0, d, width)]
        mean = self.scaling.x_mean
        return [function(minus(self.X[:, each], mean[each]), each) for each in slices]
