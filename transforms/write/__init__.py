"""Writes blocks to Parquet, CSV or JSON Lines; nothing has its final name until every row is written."""

from transforms.write.blocks import WriteBlocks
from transforms.write.finalize import remove_temp
from transforms.write.names import check_apart, check_output

__all__ = ["WriteBlocks", "check_apart", "check_output", "remove_temp"]
