"""Models in a store: `s3://`, `gs://`."""

from __future__ import annotations

import shutil
from typing import Any

from beamsplit.transforms.stores.store import STREAM_BLOCK, open_read, stat

FIXED = False


def pin(name: str, digest: str) -> str:
    """It is looked at each time."""
    return name


def place(name: str) -> tuple[str, str]:
    """The folder, and the name of the file."""
    folder, _, inner = name.rpartition("/")
    return folder, inner


def state(folder: str, inner: str) -> list[Any] | None:
    """Size, time and version; None where there is no such file: reading it says so."""
    found = stat(f"{folder}/{inner}")
    return None if found is None else [found.size, found.changed, found.version]


def copy(folder: str, inner: str, target: str) -> None:
    """Copy a file."""
    with open_read(f"{folder}/{inner}") as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, STREAM_BLOCK)
