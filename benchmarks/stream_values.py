"""What the values of messages are written as: the bytes of float32, or JSON objects of a number each."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

TENSOR, JSON = "tensor", "json"


def name_of(at: int) -> str:
    """The key of a number in a JSON object.

    >>> name_of(7)
    'f07'
    """
    return f"f{at:02d}"


def encode(format: str, rows: np.ndarray) -> list[bytes]:
    """Rows of inputs, [rows, ...] float32, as values of messages; numbers of JSON have 6 digits behind the point.

    >>> encode("json", np.array([[1.5, -2.0]], np.float32))
    [b'{"f00": 1.5, "f01": -2.0}']
    """
    if format == TENSOR:
        return [row.tobytes() for row in rows]
    return [
        json.dumps({name_of(at): round(number, 6) for at, number in enumerate(row)}).encode() for row in rows.tolist()
    ]


def decode(format: str, values: Sequence[bytes]) -> np.ndarray:
    """Values of outputs as predictions, [values, numbers] float32; of JSON those of `y`.

    >>> decode("json", [b'{"y": [1.5, 2]}']).tolist()
    [[1.5, 2.0]]
    """
    if format == TENSOR:
        return np.frombuffer(b"".join(values), "<f4").reshape(len(values), -1)
    return np.array([json.loads(value)["y"] for value in values], np.float32)
