"""The module that reads a format, imported when a file of that format turns up: CSV and JSON take a while."""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "parquet": "beamsplit.transforms.read.parquet",
    "csv": "beamsplit.transforms.read.csv_rows",
    "jsonl": "beamsplit.transforms.read.json_rows",
    "arrow": "beamsplit.transforms.read.arrow_ipc",
    "files": "beamsplit.transforms.read.files",
}


def reader(format: str) -> Any:
    """The module with `schema`, `split`, `count` and `read` for the format."""
    return importlib.import_module(_MODULES[format])
