"""Writes blocks to Parquet, CSV or JSON Lines; nothing has its final name until every row is written."""

from typing import TYPE_CHECKING, Any

from beamsplit.transforms.write.finalize import remove_temp
from beamsplit.transforms.write.names import check_distinct, check_output, check_replaceable

if TYPE_CHECKING:
    from beamsplit.transforms.write.blocks import WriteBlocks

__all__ = ["WriteBlocks", "check_distinct", "check_output", "check_replaceable", "remove_temp"]


def __getattr__(name: str) -> Any:
    """The transform, imported when it is asked for: outputs are checked before Beam is imported."""
    if name != "WriteBlocks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from beamsplit.transforms.write import blocks

    return blocks.WriteBlocks
