"""A table in each file format that is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from beamsplit.transforms.formats import FORMATS, Format
from beamsplit.transforms.write.temp_file import open_block_file

WRITTEN = [one for one in FORMATS.values() if one.written_extensions]


def write(format: Format, path: Path, *blocks: pa.RecordBatch) -> str:
    file = open_block_file(format.name, str(path), blocks[0].schema)
    for block in blocks:
        file.write(block)
    file.close()
    return str(path)
