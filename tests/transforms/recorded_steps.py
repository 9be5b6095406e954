"""What steps of --prepare and --finish make of a table, in steps.txt: `python -m tests.transforms.recorded_steps`.

A case is `prepare` or `finish`, the step, and columns of `TABLE` below: `finish top_k:2 | scores label`. Of it come the
columns and the rows that the step makes, `!` and the rows that it cannot, or why it cannot take the columns.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type, to_arrow
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.finish import parse_finish
from beamsplit.transforms.prepare import parse_prepare
from tests.recorded import Recorded

NAN, INF = float("nan"), float("inf")
ROWS = 4


def tensor(values: Any, dtype: str) -> pa.Array:
    array = np.array(values, dtype)
    return to_arrow(array, pa.field("x", pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), array.shape[1:])))


def pictures() -> pa.Array:
    """PNG: 5 x 3 of RGB, 4 x 4 of gray, none that is whole, none at all."""
    from PIL import Image

    def encoded(shape: tuple[int, ...]) -> bytes:
        out = io.BytesIO()
        Image.fromarray((np.arange(np.prod(shape)).reshape(shape) * 5 % 256).astype(np.uint8)).save(out, "PNG")
        return out.getvalue()

    return pa.array([encoded((3, 5, 3)), encoded((4, 4)), encoded((3, 5, 3))[:-20], None])


TABLE: dict[str, Any] = {
    "i": pa.array([1, -2, None, 300], pa.int64()),
    "u": pa.array([1, 2, 3, 2**64 - 1], pa.uint64()),
    "f": pa.array([0.25, -1.5, None, NAN], pa.float32()),
    "d": pa.array([0.25, 1e300, 0, -INF], pa.float64()),
    "s": pa.array(["red", "blue", None, "x"], pa.string()),
    "c": pa.array(["red", "blue", None, "red"]).dictionary_encode(),
    "t": pa.array([True, False, None, True]),
    "bytes": pa.array([b"  ab", b"", None, bytes(range(250, 256)) + b"abcdefgh "], pa.binary()),
    "list": pa.array([[1.0, 2.0], [3.0], None, [4.0, None]], pa.list_(pa.float32())),
    "pair": tensor([[1, 2], [3, 4], [0, 0], [-1, 5]], "float32"),
    "grid": tensor(np.arange(24).reshape(4, 2, 3), "float32"),
    "column": tensor([[[2.0]], [[0.5]], [[-1.0]], [[NAN]]], "float32"),
    "scores": tensor([[0.1, 0.7, 0.2], [0.3, 0.3, 0.3], [NAN, 1, 2], [-1000, 1000, INF]], "float32"),
    "half": tensor([[0.1, 0.7, 0.2], [1, 2, 3], [0, 0, 0], [-6e4, 6e4, 1]], "float16"),
    "whole": tensor([[1, 7, 2], [3, 3, 3], [-9, 0, 1], [0, 2, 0]], "int64"),
    "label": pa.array([0, 2, None, 7], pa.int64()),
    "risk": pa.array([0.5, 0.49, None, NAN], pa.float32()),
    "maps": tensor(np.arange(96).reshape(4, 3, 2, 4) % 7, "float32"),
    "image": tensor(np.arange(192).reshape(4, 3, 4, 4), "float32"),
    "shown": tensor(np.arange(192).reshape(4, 4, 4, 3), "uint8"),
}

LABELS = {
    "three": "cat\ndog\n\nbird\n",
    "two": "cat\ndog",
    "json": '["cat", "dog", "bird"]',
    "map": '{"0": "cat", "2": "bird"}',
}


def said(line: str) -> str:
    """What comes of a step."""
    head, _, names = line.partition(" | ")
    kind, _, spec = head.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in LABELS.items():
            Path(folder, name).write_text(text)
        columns = {name: pictures() if name == "pictures" else TABLE[name] for name in names.split()}
        block = with_origin(pa.record_batch(columns), "f", 0)
        try:
            step = (parse_prepare if kind == "prepare" else parse_finish)(spec.replace("LABELS", folder))
            schema = step.output_schema(block.schema)
            result = step(block)
        except (UsageError, ValueError) as error:
            return " ".join(f"{type(error).__name__}: {error}".replace(folder, "LABELS").split())
    assert result.block.schema == schema
    failed = [f"!{failure.row} {failure.reason.replace(folder, 'LABELS')}" for failure in sorted(result.failures)]
    made = result.block.drop_columns(result.block.schema.names[-2:])
    return " ".join([f"{', '.join(map(_column, made.columns, made.schema))};", *failed])


def _column(column: pa.Array, field: pa.Field) -> str:
    kind = column_type(field.type)
    values = column.storage.to_pylist() if isinstance(column, pa.ExtensionArray) else column.to_pylist()
    shape = f"{kind.dtype}{list(kind.shape)}" if kind is not None else str(field.type)
    return f"{field.name} {shape} {_short(values)}"


def _short(value: Any) -> Any:
    """Without digits in which runs on other machines may differ."""
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(str(_short(one)) for one in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else f"{value.hex()}" if isinstance(value, bytes) else value


RECORDED = Recorded(Path(__file__).parent / "steps.txt", said)

if __name__ == "__main__":
    RECORDED.main()
