"""Arithmetic with twice the digits of float64, on every machine: numbers high + low.

The sums and products without an error are those of Dekker (1971), "A floating-point technique for
extending the available precision". An operation has a relative error of a few 2^-104, about 1e-31.
"""

import numpy as np

# The upper half of the 53 bits.
SPLITTER = 2.0**27 + 1


class DoubleDouble:
    """An array of unevaluated sums of two float64, the second of which is the rounding error."""

    # Operators of NumPy's arrays then leave the arithmetic to this class.
    __array_ufunc__ = None

    def __init__(self, high, low=None):
        self.high = np.asarray(high, dtype=float)
        self.low = np.zeros_like(self.high) if low is None else np.asarray(low, dtype=float)

    @property
    def shape(self):
        return self.high.shape

    @property
    def T(self):
        return DoubleDouble(self.high.T, self.low.T)

    def __len__(self):
        return len(self.high)

    def __getitem__(self, key):
        return DoubleDouble(self.high[key], self.low[key])

    def __setitem__(self, key, value):
        value = as_double_double(value)
        self.high[key], self.low[key] = value.high, value.low

    def __neg__(self):
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other):
        other = as_double_double(other)
        total, error = two_sum(self.high, other.high)
        rest, error_of_rest = two_sum(self.low, other.low)
        total, error = quick_two_sum(total, error + rest)
        return DoubleDouble(*quick_two_sum(total, error + error_of_rest))

    def __sub__(self, other):
        return self + -as_double_double(other)

    def __mul__(self, other):
        other = as_double_double(other)
        product, error = two_product(self.high, other.high)
        error = error + (self.high * other.low + self.low * other.high)
        return DoubleDouble(*quick_two_sum(product, error))

    def __truediv__(self, other):
        other = as_double_double(other)
        quotient = DoubleDouble(self.high / other.high)
        for _ in range(2):
            left = self - quotient * other
            quotient = quotient + DoubleDouble(left.high / other.high)
        return quotient

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return as_double_double(other) - self

    def __rtruediv__(self, other):
        return as_double_double(other) / self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.high + self.low, dtype=dtype)

    def sqrt(self):
        """The square roots, by one step of Newton's method from those in float64."""
        root = DoubleDouble(np.sqrt(self.high))
        positive = np.where(self.high > 0, root.high, 1.0)
        return root + DoubleDouble(np.array(self - root * root) / (2 * positive))

    def sum(self, axis=0):
        """The sum along the first axis, in pairs."""
        assert axis == 0
        total = self
        while len(total) > 1:
            half = len(total) // 2
            odd = total[2 * half :]
            total = total[:half] + total[half : 2 * half]
            if len(odd):
                total = DoubleDouble(
                    np.concatenate([total.high, odd.high]), np.concatenate([total.low, odd.low])
                )
        return total[0] if len(total) else zeros(self.shape[1:])


def as_double_double(values):
    """The same numbers."""
    return values if isinstance(values, DoubleDouble) else DoubleDouble(values)


def zeros(shape):
    """Zeros that may be overwritten."""
    return DoubleDouble(np.zeros(shape), np.zeros(shape))


def vstack(parts):
    """The parts on top of one another."""
    parts = [as_double_double(part) for part in parts]
    return DoubleDouble(
        np.vstack([part.high for part in parts]), np.vstack([part.low for part in parts])
    )


def hstack(parts):
    """The parts beside one another."""
    return vstack([as_double_double(part).T for part in parts]).T


def product(A, B):
    """A B for A (n, k) and B (k, m)."""
    A, B = as_double_double(A), as_double_double(B)
    total = zeros((A.shape[0], B.shape[1]))
    for k in range(A.shape[1]):
        total = total + A[:, k : k + 1] * B[k : k + 1]
    return total


def two_sum(a, b):
    """a + b in float64, and its error."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def quick_two_sum(a, b):
    """The same for |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def two_product(a, b):
    """a b in float64, and its error."""
    product = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def split(a):
    """Two numbers of 26 bits whose sum is a."""
    c = SPLITTER * a
    high = c - (c - a)
    return high, a - high
