"""Ridge regression in one read or by mini-batches, with the scaler inside."""

from ._data.source import ChunkSource
from ._displays.alpha_path import AlphaPathDisplay
from ._displays.coefficients import CoefficientDisplay
from ._displays.loss_history import LossHistoryDisplay
from ._estimator import MiniBatchRidgeSGD
from ._estimator_cv import MiniBatchRidgeSGDCV
from ._onnx import register_onnx_converter
from ._run.callbacks import EpochProgressBar
from ._version import __version__

__all__ = [
    "AlphaPathDisplay",
    "ChunkSource",
    "CoefficientDisplay",
    "EpochProgressBar",
    "LossHistoryDisplay",
    "MiniBatchRidgeSGD",
    "MiniBatchRidgeSGDCV",
    "__version__",
    "register_onnx_converter",
]
