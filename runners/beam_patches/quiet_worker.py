"""Keeps the traceback of a bundle that failed for who asks for it (`--debug`): the command tells why in one line.

Beam: https://github.com/apache/beam/pull/5020 (the same traceback told twice; not taken). To be reported: what
`SdkHarness._execute` prints beside logging it, and messages of a job that go to the root logger.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

MESSAGES = "portable_runner"
"""Module of Beam that logs what a runner says of its job."""


def keep_tracebacks_quiet() -> None:
    """Let Beam show tracebacks of bundles only where its log is shown.

    A worker in this process prints it beside logging it and answering with it (`SdkHarness._execute` in Beam 2.77); the
    runner's message of it is logged by the root logger beside being raised (`PipelineResult.wait_until_finish`). Where
    the runner is ended, threads of the worker end with an exception of gRPC's.
    """
    from apache_beam.runners.worker import sdk_worker

    module: Any = sdk_worker
    module.print = _print
    logging.getLogger().addFilter(_is_shown)
    if not isinstance(threading.excepthook, _Hook):
        threading.excepthook = _Hook(threading.excepthook)


def keep_worker_quiet() -> None:
    """The same in a worker process of its own, whatever its log shows: the submitter has the traceback too."""
    from apache_beam.runners.worker import sdk_worker

    module: Any = sdk_worker
    module.print = lambda *_, **__: None


class _Hook:
    """Says nothing of threads that end since the runner at the other end of their wire has."""

    def __init__(self, before: Callable[[Any], object]):
        self._before = before

    def __call__(self, told: Any) -> None:
        if _shows() or not told.exc_type.__module__.startswith("grpc"):
            self._before(told)


def _shows() -> bool:
    return logging.getLogger("apache_beam").isEnabledFor(logging.ERROR)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.module != MESSAGES or _shows()


def _print(*values: object, **options: Any) -> None:
    if _shows():
        print(*values, **options)
