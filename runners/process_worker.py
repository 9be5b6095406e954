"""A worker process of the in-process runner: Beam's SDK worker, which says nothing and ends with the job.

What matters of its log reaches the submitter as the job's error; with `--debug` it speaks.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.beam_patches.quiet_worker import keep_worker_quiet
from beamsplit.runners.without_pandas import leave_pandas_out

FOLDER, LOUD = "BEAMSPLIT_WORKERS", "BEAMSPLIT_LOUD"
"""Variables: the folder in which a worker leaves a file named by its process id; whether it speaks."""

MOST_SAID = 300
"""Characters of the reason that a worker which fails leaves in its file."""

_PR_SET_PDEATHSIG = 1


def _tie(folder: str | None) -> None:
    """Be out of reach of the terminal's Ctrl-C, be known to the submitter, and end with it even if it is killed."""
    parent = os.getppid()
    with contextlib.suppress(PermissionError):  # a leader of a group stays where it is
        os.setsid()
    if folder is not None:
        try:
            Path(folder, str(os.getpid())).touch()
        except FileNotFoundError:  # the job was over before this worker had begun
            os._exit(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run until the runner has no more work."""
    _tie(os.environ.get(FOLDER))
    loud = LOUD in os.environ
    if not loud:
        logging.disable(logging.ERROR)
    leave_pandas_out()
    import_beam()
    from apache_beam.runners.worker import sdk_worker_main

    if not loud:
        keep_worker_quiet()
    sdk_worker_main.main(sys.argv)


def run() -> None:
    """`main`, whose failure is left in the worker's file; threads that may wait for ever are not waited for."""
    try:
        main()
    except BaseException as error:
        if LOUD in os.environ:
            traceback.print_exc()
        with contextlib.suppress(OSError, KeyError):
            details = getattr(error, "details", None)  # of gRPC's errors
            reason = " ".join(str(details() if callable(details) else error).split())[:MOST_SAID]
            Path(os.environ[FOLDER], str(os.getpid())).write_text(reason or type(error).__name__, encoding="utf-8")
        os._exit(1)


if __name__ == "__main__":
    run()
