"""What the ONNX Runtime of this Python can do."""

from __future__ import annotations

import onnxruntime
import pytest

VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])

needs_new_runtime = pytest.mark.skipif(
    VERSION < (1, 29),
    reason=f"ONNX Runtime {onnxruntime.__version__} lacks the operator, or computes it otherwise in slices than whole",
)
"""For what the last ONNX Runtime for Python 3.10 (1.23) does not do, or not as the newer ones do."""
