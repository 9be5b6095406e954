"""Encoded pictures, and the step that decodes them."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pyarrow as pa
from PIL import Image as Pil

from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.prepare import parse_prepare


def encoded(image: Pil.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def run(spec: str, rows: list[bytes | None]) -> tuple[np.ndarray, list]:
    step = parse_prepare(spec)
    block = with_origin(
        pa.record_batch({"path": [str(i) for i in range(len(rows))], "bytes": pa.array(rows, pa.binary())}), "f", 0
    )
    result = pickle.loads(pickle.dumps(step))(block)  # noqa: S301
    assert result.block.schema == step.output_schema(block.schema)
    assert result.block.schema.names == ["path", "image", "_origin_file", "_origin_row"]
    bad = {failure.row for failure in result.failures}
    assert result.block.column("path").to_pylist() == [str(i) for i in range(len(rows)) if i not in bad]
    return to_numpy(result.block.column("image")), result.failures
