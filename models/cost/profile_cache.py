"""Measured profiles, kept as JSON files in the user's cache folder."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from typing import Any, TypeVar

import onnxruntime as ort

from beamsplit.models.running.session import SessionOptions
from beamsplit.models.user_cache import cache_folder
from beamsplit.models.values.tensors import Array

VERSION = 3
"""Of what is measured and how; another one makes old files count for nothing."""

T = TypeVar("T")


def default_folder() -> str:
    """`profiles` in the user's cache folder."""
    return cache_folder("profiles")


def key(source: bytes, feeds: Mapping[str, Array], options: SessionOptions, rows: int) -> str:
    """A file name that is another one for another model, sample shape, provider, number of threads or machine.

    Args:
        source: the serialised graph; where it came from does not count, only what is in it.
        feeds: of the micro-batch: names, types and shapes count.
        options: how it runs.
        rows: in the micro-batch.
    """
    digest = hashlib.sha256(source)
    parts = {
        "version": VERSION,
        "feeds": [[name, str(value.dtype), list(value.shape)] for name, value in sorted(feeds.items())],
        "rows": rows,
        "providers": list(options.providers),
        "threads": options.threads,
        "device": options.device,
        "onnxruntime": ort.__version__,
        "machine": machine(),
    }
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()


@functools.cache
def machine() -> str:
    """This machine's processor and cores, e.g. `"x86_64 Intel(R) Xeon(R) CPU @ 2.20GHz x2"`."""
    model = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    return f"{platform.machine()} {model} x{os.cpu_count()}"


def read(folder: str, name: str, kind: type[T]) -> T | None:
    """The dataclass of type `kind` that was kept under that name, or None where there is none that can be read."""
    path = os.path.join(folder, f"{name}.json")
    # A pipe in its place would be waited for.
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        if not isinstance(values, dict) or values.pop("sha256", None) != _digest(values):
            return None
    except (OSError, ValueError, RecursionError):
        # Nothing was kept, or what was kept is damaged: it is measured again and written over.
        return None
    if set(values) != {field.name for field in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        return None
    values = {field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}
    return kind(**values)


def _digest(values: Mapping[str, Any]) -> str:
    """Tells whether a file holds what was written to it: a number that was changed looks as good as any."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write(folder: str, name: str, values: Mapping[str, Any]) -> None:
    """Keep it; a folder that cannot be written keeps nothing, and measuring goes on without."""
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        handle, hidden = tempfile.mkstemp(prefix=".profile-", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({**values, "sha256": _digest(values)}, file)
            os.replace(hidden, os.path.join(folder, f"{name}.json"))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
