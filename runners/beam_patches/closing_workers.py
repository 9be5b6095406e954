"""Hears of a failure for which the in-process runner ends its workers: it raises that only when all have ended.

A worker that does not end is waited for without limit, and the reason is told to nobody.

Beam: https://github.com/apache/beam/issues/18515 (workers cannot tell that they are at an end). To be reported:
`FnApiRunner.run_stages` closes all workers before it raises, and `WorkerHandlerManager.close_all` has no time limit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

_ENDED = re.compile(r"Worker subprocess exited with return code (-?\d+)")


def watch_closing(tell: Callable[[BaseException | None], None]) -> Callable[[], None]:
    """Call `tell` with the failure for which workers are about to be ended; gives what undoes that."""
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    managers: Any = worker_handlers.WorkerHandlerManager
    before = managers.close_all

    def close_all(manager: Any) -> None:
        tell(sys.exc_info()[1])
        before(manager)

    def undo() -> None:
        managers.close_all = before

    managers.close_all = close_all
    return undo


def exit_code_told(error: BaseException | None) -> int | None:
    """The exit code of a worker process that ended, of what Beam's thread that started it raises; else None.

    >>> exit_code_told(RuntimeError("Worker subprocess exited with return code -9")), exit_code_told(OSError("disk"))
    (-9, None)
    """
    ended = _ENDED.search(str(error))
    return None if ended is None else int(ended[1])
