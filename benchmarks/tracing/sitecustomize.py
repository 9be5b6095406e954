"""Notes what a stream's workers do, and when: every Python process imports it whose path begins with this folder.

Beside that `BEAMSPLIT_TRACE` names a folder, which gets a file of each process. A line is: begin and end, seconds since
1970; the thread; what was done; more of it. `stream_trace` reads them.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KAFKA = "beamsplit.transforms.kafka"


def _part(reader: Any, *_: Any) -> object:
    return reader._source.part or 0


def _offsets(reader: Any, *_: Any) -> object:
    read = ",".join(f"{partition}:{offset}" for partition, offset in sorted(reader.offsets.items()))
    return f"{reader._source.part or 0} {read}"


def _nothing(*_: Any) -> object:
    return ""


PLACES: dict[str, list[tuple[str, str, str, Callable[..., object]]]] = {
    f"{KAFKA}.reader": [
        ("KafkaReader", "_take", "wait for messages", _part),
        ("KafkaReader", "_note", "taken", _offsets),
        ("KafkaReader", "_open", "open", _part),
    ],
    f"{KAFKA}.sink": [
        ("SendDoFn", "deliver", "flush", _nothing),
        ("SendBlocksDoFn", "messages_of", "encode", _nothing),
    ],
    f"{KAFKA}.deliveries": [("Deliveries", "send", "send", _nothing)],
    f"{KAFKA}.offsets": [("Committer", "commit", "commit", _nothing)],
    f"{KAFKA}.transactions": [("Transactions", "commit", "transaction", _nothing)],
    f"{KAFKA}.transact": [("TransactDoFn", "_settle", "wait for transactions", _nothing)],
    "beamsplit.transforms.apply": [("CountedStep", "__call__", "step", _nothing)],
    "apache_beam.runners.worker.sdk_worker": [
        ("SdkWorker", "process_bundle", "bundle", _nothing),
        ("SdkWorker", "finalize_bundle", "finalize", _nothing),
    ],
}
"""Module -> class, method, what it does, and what more to note, of what it is called with."""


class _Watch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Wraps methods when their module has been imported."""

    def __init__(self, folder: str):
        self._file = Path(folder, f"{os.getpid()}.trace").open("a", buffering=1)  # noqa: SIM115 until the process ends
        self._loaders: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in PLACES or name in self._loaders:
            return None
        self._loaders[name] = None
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self._loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        self._loaders[module.__name__].exec_module(module)
        for kind, method, what, more in PLACES[module.__name__]:
            owner = getattr(module, kind)
            setattr(owner, method, self._noted(getattr(owner, method), what, more))

    def _noted(self, call: Callable[..., Any], what: str, more: Callable[..., object]) -> Callable[..., Any]:
        @functools.wraps(call)
        def noted(*args: Any, **named: Any) -> Any:
            began = time.time()
            try:
                return call(*args, **named)
            finally:
                self._file.write(f"{began:.6f}\t{time.time():.6f}\t{threading.get_ident()}\t{what}\t{more(*args)}\n")

        return noted


if folder := os.environ.get("BEAMSPLIT_TRACE"):
    sys.meta_path.insert(0, _Watch(folder))
