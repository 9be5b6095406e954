"""Models that draw random numbers: which do, and the same model with what it draws fixed, to check it by.

Two runs of such a model differ, so nothing can be told from comparing them. Its still twin (`models.graph.still`)
gives the middle of what would be drawn, of the same inputs and in the same shapes: rows, stages and shards are compared
on the twins, and what scores is the model itself.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace

from beamsplit.models.graph.model_file import STILL, ModelFile, parse_file
from beamsplit.models.graph.operators import DRAWING
from beamsplit.models.graph.skeleton import holds
from beamsplit.models.graph.still import drawing


def drawn_by(path: str) -> tuple[str, ...]:
    """The operators of a model that draw random numbers, each once, in their order; mostly none."""
    if not any(holds(path, name) for name in (*DRAWING, "Dropout")):
        return ()
    stat = os.stat(path)
    return _drawn_by(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=32)
def _drawn_by(path: str, mtime: int, size: int) -> tuple[str, ...]:
    return drawing(parse_file(path))


def still_file(model: ModelFile) -> ModelFile:
    """The file of a model's still twin; itself where the model draws nothing."""
    if STILL in model.rewrites or not drawn_by(model.path):
        return model
    return replace(model, rewrites=(*model.rewrites, STILL))
