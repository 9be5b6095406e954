"""Why ONNX Runtime did not do something, without what says nothing to a user."""

from __future__ import annotations

import re

_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "  # What kind of error.
    r"|Load model from \S+ failed:\s*"
    r"|Non-zero status code returned while running (?=\S+ node)"
    r"|Name:'[^']*' Status Message: "
    r"|\S*onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])"  # Source file and C++ function.
    r"|Please fix either the inputs/outputs or the model\."
)


def one_line(error: BaseException) -> str:
    """ONNX Runtime's reason without its error code and its own source lines, at most 300 characters.

    E.g. `"Gather node. indices element out of data bounds, idx=12 must be within the inclusive range [-10,9]"`.
    """
    text = " ".join(str(error).split())
    text = " ".join(_NOISE.sub("", text).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
