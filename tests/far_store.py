"""A store of tests whose files lie on this machine: `far://tmp/x/a.csv` is `/tmp/x/a.csv`."""

from __future__ import annotations

from typing import Any

import pytest

from beamsplit.transforms.stores.schemes import SCHEMES, Scheme

OPENED: list[str] = []
"""What was opened since the store is known."""


def file_system() -> Any:
    """fsspec's, of the whole machine."""
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    class Far(DirFileSystem):
        def open(self, path: str, *args: Any, **kwargs: Any) -> Any:
            OPENED.append(path)
            return super().open(path, *args, **kwargs)

    return Far("/", LocalFileSystem(auto_mkdir=True))


def abort_uploads(fs: Any, key: str) -> None:
    """There are none."""


def add_far_store(patch: pytest.MonkeyPatch) -> None:
    """Let the store be known."""
    OPENED.clear()
    patch.setitem(SCHEMES, "far", Scheme("a far store", "far", __name__, "none are needed"))
