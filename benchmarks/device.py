"""Fits of torch tensors, on a GPU if there is one, against NumPy and other solvers."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn

from sklearn_minibatch import MiniBatchRidgeSGD
from sklearn_minibatch._statistics.second_moments import second_moments

from .rows import Row, Size, times_faster, times_its_time
from .timing import interleaved

ALPHA = 1e-4
# Rows and columns on a GPU; a CPU gets a hundredth of the rows.
FITS = [(10_000_000, 100), (1_000_000, 1000)]
PASSES = [(20_000_000, 50), (1_000_000, 1000)]


def device() -> str:
    """The GPU, or the CPU if there is none."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def rows_of(n_rows: int, d: int, dtype: str) -> tuple[Any, Any]:
    """Random rows and targets on the device."""
    import torch

    generator = torch.Generator(device()).manual_seed(0)
    options = {"generator": generator, "device": device(), "dtype": getattr(torch, dtype)}
    X = torch.randn((n_rows, d), **options)
    y = X[:, : d // 10 + 1].sum(dim=1) + torch.randn(n_rows, **options)
    return X, y


def shrunk(size: Size, n_rows: int, d: int) -> tuple[int, int]:
    """The rows and columns to measure, fewer in a smoke run and on a CPU."""
    less = size.shrink * (1 if device() == "cuda" else 100)
    return max(2000, n_rows // less), d if size.shrink == 1 else max(3, d // 30)


def waited(run):
    """Wrap a call so that it returns when the device has finished."""
    import torch

    def call():
        result = run()
        if device() == "cuda":
            torch.cuda.synchronize()
        return result

    return call


def fits(size: Size) -> Iterator[Row]:
    """A fit on the device, against NumPy, least squares by torch, and cuML."""
    os.environ["SCIPY_ARRAY_API"] = "1"  # required by scikit-learn's dispatch
    import torch

    for dtype in ("float32", "float64"):
        for n_rows, d in (shrunk(size, *shape) for shape in FITS):
            X, y = rows_of(n_rows, d, dtype)
            name = f"fit on {device()}, {n_rows:,} x {d}, {dtype}"
            here = X.cpu().numpy(), y.cpu().numpy().astype(float)

            def ours(X=X, y=y):
                with sklearn.config_context(array_api_dispatch=True):
                    return MiniBatchRidgeSGD(ALPHA).fit(X, y)

            runs = [waited(ours)]
            runs.append(lambda here=here: MiniBatchRidgeSGD(ALPHA).fit(*here))
            runs.append(waited(lambda X=X, y=y: torch.linalg.lstsq(X, y[:, None]).solution))
            names = ["NumPy on the processor", "torch.linalg.lstsq on the raw rows"]
            if (cuml := ridge_of_cuml(n_rows)) is not None:
                runs.append(waited(lambda X=X, y=y: cuml.fit(X, y)))
                names.append("cuML Ridge on the raw rows")
            seconds = interleaved(runs, size.repeats)
            model, same = ours(), MiniBatchRidgeSGD(ALPHA).fit(*here)
            gap = np.max(np.abs(model.coef_.cpu().numpy() - same.coef_)) / np.std(here[1])
            yield Row(f"{name}, coefficients against NumPy's", "-", f"{gap:.0e}", None)
            for k, other in enumerate(names, 1):
                yield times_faster(f"{name}, {other}", 1.0, seconds[:, [0, k]])


def ridge_of_cuml(n_rows: int) -> Any:
    """An estimator of cuML with the same penalty on raw rows, if it is installed."""
    try:
        from cuml.linear_model import Ridge
    except ImportError:
        return None
    return Ridge(alpha=ALPHA * n_rows, solver="eig")


def passes(size: Size) -> Iterator[Row]:
    """The pass for second moments, against a copy of the rows and a single product."""
    for dtype in ("float32", "float64"):
        for n_rows, d in (shrunk(size, *shape) for shape in PASSES):
            X, y = rows_of(n_rows, d, dtype)
            targets = y[:, None]
            runs = [
                waited(lambda X=X, targets=targets: second_moments(X, targets, None)),
                waited(X.clone),
                waited(lambda X=X: X.T @ X),
            ]
            seconds = interleaved(runs, size.repeats)
            name = f"second moments on {device()}, {n_rows:,} x {d}, {dtype}"
            yield times_its_time(f"{name}, a copy of the rows", 2.0, seconds[:, [0, 1]])
            yield times_its_time(f"{name}, X.T @ X in {dtype}", 2.0, seconds[:, [0, 2]])


TARGETS = [fits, passes]
