"""By how much outputs may differ, as it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Amount:
    """How much: of floats a difference, or a share of the largest value; of other outputs a share of the rows."""

    number: float
    share: bool = False
    """Whether `number` is a share, from 0 to 1."""

    def __str__(self) -> str:
        return f"{self.number * 100:g}%" if self.share else f"{self.number:g}"


SAME = Amount(0.0, share=True)


@dataclass(frozen=True)
class Tolerance:
    """What each output may differ by."""

    floats: Amount
    """Of outputs of floats that are not named."""

    outputs: tuple[tuple[str, Amount], ...] = ()
    """(output, how much)."""

    def of(self, output: pa.Field) -> Amount:
        """What an output's column may differ by; labels that are not named are to be the same."""
        named = dict(self.outputs)
        return named.get(output.name, self.floats if is_of_floats(output.type) else SAME)


def is_of_floats(kind: pa.DataType) -> bool:
    """Whether a column holds floats, or tensors or lists of them."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    while pa.types.is_nested(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind))
