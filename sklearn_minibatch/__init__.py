"""Ridge regression trained by mini-batches that lands on the closed form."""

from ._display import LossHistoryDisplay
from ._estimator import MiniBatchRidgeSGD
from ._source import ChunkSource
from ._version import __version__

__all__ = ["ChunkSource", "LossHistoryDisplay", "MiniBatchRidgeSGD", "__version__"]
