"""Predictions of a divided model beside those of the whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def close(found: pa.Table, expected: pa.Table, output: str) -> None:
    assert found.schema == expected.schema and found["id"].equals(expected["id"])
    a, b = (np.array(table[output].to_pylist(), np.float64) for table in (found, expected))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
