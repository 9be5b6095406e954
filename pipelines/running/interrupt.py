"""Ctrl-C, SIGTERM and SIGHUP end a command in order: nothing half-written, nothing left behind, no worker goes on.

The main thread takes a signal as soon as it runs Python. Where it does not come out of a library, a run of a model that
never returns say, another thread removes what there is and ends the process:

    signal -> C's handler -> a byte in a pipe -> thread: waits UNHEEDED_SECONDS -> removes the folders, exits
                          -> main thread, when it runs Python -> Interrupted -> as ever
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from beamsplit.models.owned_folder import disown_all
from beamsplit.pipelines.options.schemes import is_topic

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions

NOTHING = "nothing was written"

UNHEEDED_SECONDS = 2.0
"""How long the main thread may take to hear of a signal, and to undo what there is, while nothing runs yet."""


_own_process = False


def own_process() -> None:
    """This process is the command's alone: once its job was interrupted it hears no other signal before it ends."""
    global _own_process
    _own_process = True


def is_own_process() -> bool:
    """Whether this process is the command's alone, and not one that called it as a function."""
    return _own_process


def signals() -> tuple[signal.Signals, ...]:
    """Those that end a command; not the end of a terminal where that is to go unheard (`nohup`)."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hangup)


class Interrupted(KeyboardInterrupt):
    """The job was ended by a signal."""

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number
        """Exit code, as shells have it: 130 for Ctrl-C."""


class Interruptible:
    """What a signal does meanwhile: nothing more until `give_up` says so, once the job runs."""

    def __init__(self) -> None:
        self.give_up: Callable[[], bool] = lambda: True
        """Stops the job's workers; False where it is too late, since the files get their names already."""

        self.planning = True
        """Whether nothing runs yet: then the process is ended even if the main thread does not come to it."""

        self.left = NOTHING
        """What a job that does not come to its end leaves behind, in words."""

        self.last_words: Callable[[bool, str], None] | None = None
        """Told where the process is ended from within: whether by a signal, and why."""

        self._number: int | None = None
        self._came: int | None = None
        self._over = threading.Event()
        self._ending = threading.Lock()

    @property
    def number(self) -> int | None:
        """The signal that came; None if none did, or too late."""
        return self._number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler. Once a signal came others change nothing: half a clean-up would leave things behind.

        Raises:
            Interrupted: in the main thread, wherever it is.
        """
        if self._number is not None:
            return  # what ends the job is at work, and takes no longer than it must
        if self.give_up():
            self._number = number
            raise Interrupted(number)

    def end(self, line: str) -> None:
        """End the process, whatever the main thread does, for what nothing can be done about. From another thread.

        Args:
            line: why.
        """
        with self._ending:
            if self._over.is_set() or not self.give_up():
                return
            left = NOTHING if self.planning else self.left
            what = "error: the job failed, " if self._came is None else "interrupted: "
            with contextlib.suppress(OSError):
                os.write(2, f"{what}{left}: {line}\n".encode())
            if self.last_words is not None:
                with contextlib.suppress(Exception):  # of whatever kind: it ends
                    self.last_words(self._came is not None, line)
            disown_all()
            os._exit(1 if self._came is None else 128 + self._came)

    @contextlib.contextmanager
    def watched(self, numbers: Collection[int]) -> Iterator[None]:
        """End the process for one of the signals that does not end the block inside."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._watch, args=(read, numbers), name="signals", daemon=True)
        watch.start()
        try:
            yield
        finally:
            with self._ending:
                self._over.set()
            signal.set_wakeup_fd(before)
            os.close(write)
            watch.join()
            os.close(read)

    def _watch(self, pipe: int, numbers: Collection[int]) -> None:
        while told := os.read(pipe, 1):
            if told[0] in numbers:
                self._came = told[0]
            if told[0] not in numbers or not self.planning or self._over.wait(UNHEEDED_SECONDS):
                continue
            with self._ending:
                if self._over.is_set() or not self.planning:
                    continue
                with contextlib.suppress(OSError):
                    os.write(2, f"interrupted: {NOTHING}\n".encode())
                disown_all()
                os._exit(128 + told[0])


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
    before = {number: signal.signal(number, handler) for number in signals()}
    with handler.watched(before):
        try:
            yield handler
        except Interrupted:
            raise
        except BaseException as error:
            if handler.number is not None:
                raise Interrupted(handler.number) from error
            raise
        finally:
            # A process that only has to tell that it was interrupted is not interrupted in that.
            if handler.number is None or not _own_process:
                for number, old in before.items():
                    signal.signal(number, old)


def what_is_left(options: ScoreOptions) -> str:
    """What a job that did not come to its end leaves behind, in words."""
    if options.sink.resume:
        return "what is finished is kept, and the same command goes on there"
    if not is_topic(options.sink.output):
        return NOTHING
    if any(map(is_topic, options.source.input)):
        return "what its group committed is done, and the rest will be read again"
    return f"what was sent to {options.sink.output} stays there, and running it again sends that again"


def exit_now(code: int) -> NoReturn:
    """End the process. If the job did not come to its end, its threads are not waited for.

    They may be in ONNX Runtime or Arrow, which abort the process when Python ends beneath them.
    """
    unfinished = threading.active_count() > 1 and code not in (0, 2, 3)
    # PyTorch's bindings complain of each of their objects that is there as Python ends.
    if unfinished or "torch" in sys.modules:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    # Nothing is left to do, and taking Beam's objects apart one by one takes a while.
    gc.freeze()
    sys.exit(code)
