"""The module that reads a format, imported when a file of that format turns up: CSV and JSON take a while."""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "parquet": "transforms.read.parquet",
    "csv": "transforms.read.csv_rows",
    "jsonl": "transforms.read.json_rows",
    "arrow": "transforms.read.arrow_ipc",
    "files": "transforms.read.files",
}


def reader(format: str) -> Any:
    """The module with `schema`, `split`, `count` and `read` for the format."""
    return importlib.import_module(_MODULES[format])
