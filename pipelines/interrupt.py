"""Ctrl-C and SIGTERM end a job of files in order: nothing half-written, nothing left behind, no worker goes on."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The job was ended by a signal."""

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number
        """Exit code, as shells have it: 130 for Ctrl-C."""


class Interruptible:
    """What a signal does meanwhile: nothing more until `ready` says so, once the job runs."""

    def __init__(self) -> None:
        self.give_up: Callable[[], bool] = lambda: True
        """Stops the job's workers; False where it is too late, since the files get their names already."""

        self._number: int | None = None

    @property
    def number(self) -> int | None:
        """The signal that came; None if none did, or too late."""
        return self._number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler.

        Raises:
            Interrupted: in the main thread, wherever it is.
        """
        if self._number is not None:
            os._exit(128 + number)  # the second one: at once
        if self.give_up():
            self._number = number
            raise Interrupted(number)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruptible]:
    """Handle signals while it lasts.

    Raises:
        Interrupted: one came; also where a library took it for a failure of its own.
    """
    handler = Interruptible()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield handler
    except Interrupted:
        raise
    except BaseException as error:
        if handler.number is not None:
            raise Interrupted(handler.number) from error
        raise
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def leave(code: int) -> NoReturn:
    """End the process. If the job did not come to its end, its threads are not waited for.

    They may be in ONNX Runtime or Arrow, which abort the process when Python ends beneath them.
    """
    if threading.active_count() > 1 and code not in (0, 2, 3):
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    # Nothing is left to do, and taking Beam's objects apart one by one takes a while.
    gc.freeze()
    sys.exit(code)
