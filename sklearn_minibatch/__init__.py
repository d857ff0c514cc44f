"""Ridge regression trained by mini-batches that lands on the closed form."""

from ._callbacks import EpochProgressBar
from ._display import LossHistoryDisplay
from ._estimator import MiniBatchRidgeSGD
from ._onnx import register_onnx_converter
from ._source import ChunkSource
from ._version import __version__

__all__ = [
    "ChunkSource",
    "EpochProgressBar",
    "LossHistoryDisplay",
    "MiniBatchRidgeSGD",
    "__version__",
    "register_onnx_converter",
]
