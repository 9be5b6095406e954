"""Converts a model, and compares what comes out with the original before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from beamsplit.models.convert.compare import Comparison, compare
from beamsplit.models.convert.original import MATRIX, Feeds, Original
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session

MADE_UP_ROWS = 512


@dataclass(frozen=True)
class Converted:
    """An ONNX model that was compared with its original."""

    model: Any
    """onnx.ModelProto."""

    comparisons: tuple[Comparison, ...]
    uncompared: tuple[str, ...]
    """Outputs that the original does not have."""

    @property
    def wrong(self) -> int:
        """Rows of the output that differs most."""
        return max((one.wrong for one in self.comparisons), default=0)


def made_up(original: Original, seed: int = 0) -> Feeds:
    """Rows drawn at random, of several sizes; a twentieth of the values is missing where the model knows that."""
    rng = np.random.default_rng(seed)
    if original.inputs is not None:
        return {name: _alike(one.example, one.rows or MADE_UP_ROWS, rng) for name, one in original.inputs.items()}
    sizes = 10.0 ** rng.integers(-1, 3, (MADE_UP_ROWS, 1))
    rows = (rng.standard_normal((MADE_UP_ROWS, original.width)) * sizes).astype(np.float32)
    if original.missing:
        rows[rng.random(rows.shape) < 0.05] = np.nan
    return {MATRIX: rows}


def _alike(example: np.ndarray[Any, Any], rows: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Rows in the shape of the example's: floats of its spread, others drawn from its own, which are surely allowed."""
    shape = (rows, *example.shape[1:])
    if example.dtype.kind != "f":
        return rng.choice(example.reshape(-1), shape) if example.size else np.zeros(shape, example.dtype)
    spread = float(example.std()) or 1.0
    return (rng.standard_normal(shape) * spread + float(example.mean())).astype(example.dtype)


def convert(original: Original, feeds: Feeds, path: str, tolerance: float) -> Converted:
    """Convert a model.

    Args:
        original: it.
        feeds: rows to compare it on.
        path: a file of this machine to save it to.
        tolerance: as for `compare`.

    Raises:
        UsageError: it cannot be converted, or ONNX Runtime does not run what comes out.
    """
    import onnx

    try:
        model = original.export(feeds)
    except UsageError:
        raise
    except Exception as error:  # converters raise what they find
        raise UsageError(f"it cannot be converted ({' '.join(str(error).split())[:300]})") from None
    onnx.save(model, path)
    given = dict(zip([output.name for output in model.graph.output], _run(path, feeds), strict=True))
    several = [name for name, one in given.items() if not isinstance(one, np.ndarray)]
    if several:
        raise UsageError(f"its output {several[0]} is a list, as of several models in one: convert each by itself")
    if original.inputs is None:
        for value in (*model.graph.input, *model.graph.output):
            _set_rows(value, (given[value.name] if value.name in given else feeds[value.name]).shape)
        onnx.save(model, path)
    theirs = original.predict(feeds)
    compared = compare(given, theirs, tolerance)
    if not compared:
        raise UsageError(
            f"none of the outputs ({', '.join(given)}) is one that the original has: it cannot be compared"
        )
    return Converted(model, tuple(compared), tuple(name for name in given if name not in theirs))


def _run(path: str, feeds: Feeds) -> list[Any]:
    return get_session(ModelFile(path), SessionOptions(threads=1)).run(dict(feeds))


def _set_rows(value: Any, shape: tuple[int, ...]) -> None:
    """Say that the first axis is the rows: some converters say that it is 1."""
    tensor = value.type.tensor_type
    del tensor.shape.dim[:]
    tensor.shape.dim.add().dim_param = "rows"
    for size in shape[1:]:
        tensor.shape.dim.add().dim_value = size
