"""What a model takes and gives: names, element types and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Dim: TypeAlias = int | str | None
"""One dimension: a size, a symbol shared by all tensors that use it, or None where nothing is known."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    """As the graph calls it, e.g. `"input_ids"`."""

    dtype: str
    """A numpy type name (`"float32"`, `"int64"`, `"bool"`, `"float16"`), `"bfloat16"`, or `"string"`."""

    shape: tuple[Dim, ...] | None
    """E.g. `("batch", 3, 224, 224)`; `()` is a scalar; None where even the rank is unknown."""

    def __str__(self) -> str:
        """E.g. `x: float32[batch, 3, 224, 224]`."""
        if self.shape is None:
            return f"{self.name}: {self.dtype}[...]"
        return f"{self.name}: {self.dtype}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """All inputs (initializers with a default left out) and all outputs, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
