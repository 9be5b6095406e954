"""One process of a service: its log, its pid file, waiting until it is ready, ending it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from beamsplit.runners.errors import RunnerError

POLL_SECONDS = 0.05
TIE = 'exec 3<&0; (cat <&3 >/dev/null; kill -9 -$$) & exec "$@" 3<&- </dev/null'
"""A shell script that becomes the command beside a process that waits for our end of a pipe to close."""

LOG_LINES = 15
"""Last lines of the log that an error shows."""


class Process:
    """A process with `NAME.log` and `NAME.pid` in a folder, which another command may find and end.

    Args:
        name: names the files.
        folder: holds them; a process in `NAME.pid` counts as this one if its command line names the folder.
        command: what to run.
        env: variables beside those of this process.
        tied: it ends with us, even if we are killed.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        tied: bool = False,
    ):
        self.name, self.folder, self.command = name, folder, list(command)
        self._tied = tied
        self.log, self._pid_file = folder / f"{name}.log", folder / f"{name}.pid"
        self._env = dict(env or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Its number while it runs."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        try:
            pid = int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if str(self.folder) in command_line(pid) else None

    @property
    def code(self) -> int | None:
        """How it ended, if it was started here and has: its exit code, or the number of a signal, below 0."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Start it; what it prints is added to the log. Nothing happens if it runs."""
        if self.pid is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C ends it in order, through us, not all at once.
            self._child = subprocess.Popen(
                ["sh", "-c", TIE, "tied", *self.command] if self._tied else self.command,
                stdin=subprocess.PIPE if self._tied else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self._env,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._child.pid))

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition.

        Raises:
            RunnerError: the process ended, or `seconds` are over; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid is None:
                raise RunnerError(f"{self.name} ended at its start: {self.tail()}")
            if time.monotonic() > deadline:
                raise RunnerError(f"{self.name} was not ready within {seconds:.0f} s: {self.tail()}")
            time.sleep(POLL_SECONDS)

    def logged(self) -> str:
        """What it has printed since it was started."""
        if not self.log.exists():
            return ""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self) -> str:
        """Its last line, and behind that the end of the log."""
        lines = [line for line in self.logged().splitlines() if line.strip()][-LOG_LINES:]
        return "\n".join([f"{lines[-1].strip() if lines else 'it logged nothing'}; from {self.log}:", *lines])

    def stop(self, seconds: float = 20) -> None:
        """Ask it to end, and kill it after `seconds`."""
        self._signal(signal.SIGTERM)
        if not self._gone(seconds):
            self.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._gone(20)
        self._forget()

    def _signal(self, number: int) -> None:
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)  # it leads its own session

    def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _forget(self) -> None:
        if self.pid is None:
            if self._child is not None and self._child.stdin is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)  # what waits for the pipe, if the command ended itself
                self._child.stdin.close()
            self._child = None
            self._pid_file.unlink(missing_ok=True)


def command_line(pid: int) -> str:
    """The command of a running process; empty if there is none."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True).stdout


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on, all different, kept for a minute for who names them.

    A connection that the listening side has closed first leaves its port in TIME_WAIT. Until that is over the system
    gives the port to nobody who asks for any, and to who asks for this one with SO_REUSEADDR, as Java and Go do.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        for each in sockets:
            each.listen(1)
            with socket.create_connection(each.getsockname()):
                each.accept()[0].close()
        return [each.getsockname()[1] for each in sockets]


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
