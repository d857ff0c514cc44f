"""Digits of the certified coefficients of the NIST StRD linear regression sets.

    python -m tests.tools.nist

Data and certified values are the decimals published at
https://www.itl.nist.gov/div898/strd/lls/lls.shtml. The proof that none is mistyped is that their
exact least squares have the certified coefficients to all digits (`tests/tools/test_nist.py`).
"""

import warnings
from decimal import Decimal
from typing import NamedTuple

import mpmath
import numpy as np
from sklearn.linear_model import LinearRegression, Ridge

from sklearn_minibatch import MiniBatchRidgeSGD

from ..exact import DIGITS, minimiser, numbers

# Digits that are certified.
MOST = 15.0


class Dataset(NamedTuple):
    """A data set as published, in decimals.

    y (n,), x (n, d), the degree of the polynomial in x, the intercept and the coefficients.
    """

    y: list
    x: list
    degree: int
    certified: list
    fit_intercept: bool = True

    def rows(self, exact=False):
        """X (n, d) with a column for each power of x, and y (n,): in float64, or `exact`."""
        with mpmath.workdps(DIGITS):
            x, y = (
                numbers(np.array(values, dtype=str)) if exact else np.array(values, dtype=float)
                for values in (self.x, self.y)
            )
            return np.hstack([x**k for k in range(1, self.degree + 1)]), y

    def exact_coefficients(self, exact=True):
        """Coefficients of the least squares of the decimals.

        Or of the decimals and their powers as float64 has them.
        """
        found = minimiser(*self.rows(exact), fit_intercept=self.fit_intercept)
        return [*found.intercept[: self.fit_intercept], *found.coef[:, 0]]

    def digits(self, coefficients):
        """The least log relative error, -log10 |b - c| / |c|, at most `MOST`.

        The intercept comes first among the coefficients.
        """
        with mpmath.workdps(DIGITS):
            pairs = zip(map(mpmath.mpf, coefficients), map(mpmath.mpf, self.certified), strict=True)
            worst = max(abs((b - c) / c) for b, c in pairs)
            return min(MOST, float(-mpmath.log10(worst))) if worst else MOST

    def digits_of(self, model):
        """The digits of a model fitted to the columns in float64, without its warnings."""
        X, y = self.rows()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.set_params(fit_intercept=self.fit_intercept).fit(X, y)
        return self.digits([model.intercept_] * self.fit_intercept + list(model.coef_))


# y in the first column.
LONGLEY = """
    60323 83.0 234289 2356 1590 107608 1947
    61122 88.5 259426 2325 1456 108632 1948
    60171 88.2 258054 3682 1616 109773 1949
    61187 89.5 284599 3351 1650 110929 1950
    63221 96.2 328975 2099 3099 112075 1951
    63639 98.1 346999 1932 3594 113270 1952
    64989 99.0 365385 1870 3547 115094 1953
    63761 100.0 363112 3578 3350 116219 1954
    66019 101.2 397469 2904 3048 117388 1955
    67857 104.6 419180 2822 2857 118734 1956
    68169 108.4 442769 2936 2798 120445 1957
    66513 110.8 444546 4681 2637 121950 1958
    68655 112.6 482704 3813 2552 123366 1959
    69564 114.2 502601 3931 2514 125368 1960
    69331 115.7 518173 4806 2572 127852 1961
    70551 116.9 554894 4007 2827 130081 1962
"""

NORRIS = """
    0.1 0.2 338.8 337.4 118.1 118.2 888.0 884.6 9.2 10.1 228.1 226.5 668.5 666.3 998.5 996.3 449.1
    448.6 778.9 777.0 559.2 558.2 0.3 0.4 0.1 0.6 778.1 775.5 668.8 666.9 339.3 338.0 448.9 447.5
    10.8 11.6 557.7 556.0 228.3 228.1 998.0 995.8 888.8 887.6 119.6 120.2 0.3 0.3 0.6 0.3 557.6
    556.8 339.3 339.1 888.0 887.2 998.5 999.0 778.9 779.0 10.2 11.1 117.6 118.3 228.9 229.2 668.4
    669.1 449.2 448.9 0.2 0.5
"""

PONTIUS = """
    0.11019 0.21956 0.32949 0.43899 0.54803 0.65694 0.76562 0.87487 0.98292 1.09146 1.20001 1.30822
    1.41599 1.52399 1.63194 1.73947 1.84646 1.95392 2.06128 2.16844 0.11052 0.22018 0.32939 0.43886
    0.54798 0.65739 0.76596 0.87474 0.98300 1.09150 1.20004 1.30818 1.41613 1.52408 1.63159 1.73965
    1.84696 1.95445 2.06177 2.16829
"""

FILIP = """
    0.8116 -6.860120914 0.9072 -4.324130045 0.9052 -4.358625055 0.9039 -4.358426747 0.8053
    -6.955852379 0.8377 -6.661145254 0.8667 -6.355462942 0.8809 -6.118102026 0.7975 -7.115148017
    0.8162 -6.815308569 0.8515 -6.519993057 0.8766 -6.204119983 0.8885 -5.853871964 0.8859
    -6.109523091 0.8959 -5.79832982 0.8913 -5.482672118 0.8959 -5.171791386 0.8971 -4.851705903
    0.9021 -4.517126416 0.909 -4.143573228 0.9139 -3.709075441 0.9199 -3.499489089 0.8692
    -6.300769497 0.8872 -5.953504836 0.89 -5.642065153 0.891 -5.031376979 0.8977 -4.680685696 0.9035
    -4.329846955 0.9078 -3.928486195 0.7675 -8.56735134 0.7705 -8.363211311 0.7713 -8.107682739
    0.7736 -7.823908741 0.7775 -7.522878745 0.7841 -7.218819279 0.7971 -6.920818754 0.8329
    -6.628932138 0.8641 -6.323946875 0.8804 -5.991399828 0.7668 -8.781464495 0.7633 -8.663140179
    0.7678 -8.473531488 0.7697 -8.247337057 0.77 -7.971428747 0.7749 -7.676129393 0.7796
    -7.352812702 0.7897 -7.072065318 0.8131 -6.774174009 0.8498 -6.478861916 0.8741 -6.159517513
    0.8061 -6.835647144 0.846 -6.53165267 0.8751 -6.224098421 0.8856 -5.910094889 0.8919
    -5.598599459 0.8934 -5.290645224 0.894 -4.974284616 0.8957 -4.64454848 0.9047 -4.290560426
    0.9129 -3.885055584 0.9209 -3.408378962 0.9219 -3.13200249 0.7739 -8.726767166 0.7681
    -8.66695597 0.7665 -8.511026475 0.7703 -8.165388579 0.7702 -7.886056648 0.7761 -7.588043762
    0.7809 -7.283412422 0.7961 -6.995678626 0.8253 -6.691862621 0.8602 -6.392544977 0.8809
    -6.067374056 0.8301 -6.684029655 0.8664 -6.378719832 0.8834 -6.065855188 0.8898 -5.752272167
    0.8964 -5.132414673 0.8963 -4.811352704 0.9074 -4.098269308 0.9119 -3.66174277 0.9228 -3.2644011
"""

# What Wampler3 adds to the polynomial; Wampler4 adds a hundred and Wampler5 ten thousand times as
# much.
WAMPLER = """
    759 -2048 2048 -2048 2523 -2048 2048 -2048 1838 -2048 2048 -2048 1838 -2048 2048 -2048 2523
    -2048 2048 -2048 759
"""


def longley():
    rows = [line.split() for line in LONGLEY.strip().splitlines()]
    certified = """
        -3482258.63459582 15.0618722713733 -0.358191792925910E-01 -2.02022980381683
        -1.03322686717359 -0.511041056535807E-01 1829.15146461355
    """
    return Dataset([row[0] for row in rows], [row[1:] for row in rows], 1, certified.split())


def in_pairs(text, degree, certified):
    """A data set from a text of y, x, y, x, ..."""
    values = text.split()
    return Dataset(values[::2], [[x] for x in values[1::2]], degree, certified.split())


def pontius():
    x = [[str(150_000 * k)] for k in range(1, 21)] * 2
    return Dataset(
        PONTIUS.split(),
        x,
        2,
        ["0.673565789473684E-03", "0.732059160401003E-06", "-0.316081871345029E-14"],
    )


def wampler(times, base=1):
    """y = sum_k (x / base)^k + times * WAMPLER for x = 0, ..., 20."""
    added = map(Decimal, WAMPLER.split())
    y = [
        str(sum(Decimal(x**k) / base**k for k in range(6)) + times * more)
        for x, more in enumerate(added)
    ]
    certified = [f"{Decimal(1) / base**k:.15f}" for k in range(6)]
    return Dataset(y, [[str(x)] for x in range(21)], 5, certified)


def no_intercept(x, y, slope):
    return Dataset([str(v) for v in y], [[str(v)] for v in x], 1, [slope], fit_intercept=False)


FILIPS_COEFFICIENTS = """
    -1467.48961422980 -2772.17959193342 -2316.37108160893 -1127.97394098372 -354.478233703349
    -75.1242017393757 -10.8753180355343 -1.06221498588947 -0.670191154593408E-01
    -0.246781078275479E-02 -0.402962525080404E-04
"""

DATASETS = {
    "Norris": in_pairs(NORRIS, 1, "-0.262323073774029 1.00211681802045"),
    "Pontius": pontius(),
    "NoInt1": no_intercept(range(60, 71), range(130, 141), "2.07438016528926"),
    "NoInt2": no_intercept((4, 5, 6), (3, 4, 4), "0.727272727272727"),
    "Filip": in_pairs(FILIP, 10, FILIPS_COEFFICIENTS),
    "Longley": longley(),
    "Wampler1": wampler(0),
    "Wampler2": wampler(0, base=10),
    "Wampler3": wampler(1),
    "Wampler4": wampler(100),
    "Wampler5": wampler(10_000),
}


def by_lstsq(dataset):
    """Digits by numpy's least squares, on the columns as they are and one of ones."""
    X, y = dataset.rows()
    ones = np.ones((len(y), int(dataset.fit_intercept)))
    return dataset.digits(np.linalg.lstsq(np.hstack([ones, X]), y, rcond=None)[0])


def exact_linear_regression():
    """`LinearRegression` that drops no direction.

    In older versions it has no such parameter, and hardly drops any.
    """
    model = LinearRegression()
    return model.set_params(tol=1e-15) if "tol" in model.get_params() else model


PEERS = {
    "`numpy.linalg.lstsq`": by_lstsq,
    "`LinearRegression()`": lambda dataset: dataset.digits_of(LinearRegression()),
    "and `tol=1e-15`": lambda dataset: dataset.digits_of(exact_linear_regression()),
    '`Ridge(0, solver="svd")`': lambda dataset: dataset.digits_of(Ridge(0, solver="svd")),
    '`Ridge(0, solver="cholesky")`': lambda dataset: dataset.digits_of(Ridge(0, solver="cholesky")),
}


def row(name):
    """Digits and epochs of this package's, and the digits of others, for one data set."""
    dataset, cells = DATASETS[name], []
    for params in ({}, {"tol": 0.0}, {"solver": "qr"}):
        model = MiniBatchRidgeSGD(alpha=0.0, random_state=0, **params)
        cells.append(f"{dataset.digits_of(model):.1f} ({model.n_iter_})")
    cells += [f"{digits(dataset):.1f}" for digits in PEERS.values()]
    return [name, *cells, f"{dataset.digits(dataset.exact_coefficients(exact=False)):.1f}"]


def kernels():
    """The BLAS libraries in use and their kernels.

    The last digits depend on the order of their sums.
    """
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "BLAS: unknown, as threadpoolctl is not installed"
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    names = sorted({f"{library['internal_api']} {library['version']}" for library in found})
    kernels = sorted({str(library.get("architecture")) for library in found})
    return f"BLAS: {', '.join(names)}; kernel {', '.join(kernels)}"


def main():
    ours = ["defaults, `alpha=0` (epochs)", "and `tol=0` (epochs)", '`solver="qr"`']
    header = ["data set", *ours, *PEERS, "exact, of the columns in float64"]
    print("| " + " | ".join(header) + " |")
    print("|---" + "|--:" * (len(header) - 1) + "|")
    for name in DATASETS:
        print("| " + " | ".join(row(name)) + " |", flush=True)
    print(f"\n{kernels()}")


if __name__ == "__main__":
    main()
