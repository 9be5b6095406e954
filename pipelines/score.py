"""Score files with an ONNX model: `python -m pipelines.score --help`."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.running.interrupt import exit_now, is_own_process, own_process, what_is_left
from beamsplit.pipelines.running.log_lines import log_lines, name_job
from beamsplit.pipelines.typed import show_error
from beamsplit.pipelines.utf8 import speak_utf8
from beamsplit.runners.without_pandas import leave_pandas_out

if TYPE_CHECKING:
    from beamsplit.pipelines.report.summary import Summary

OK, FAILED, WRONG_USE, ROWS_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


def run(argv: Sequence[str], started: float | None = None) -> tuple[int, Summary | None]:
    """Run the command; (exit code, summary of a job that ran).

    Raises:
        UsageError: nothing was started, for the reason in the message.
        Exception: the job failed; nothing is left of what it wrote.
    """
    started = time.perf_counter() if started is None else started
    options, beam_args = parse(argv)
    name_job(options)
    quiet_logs(options.watching.debug)
    if is_own_process():
        leave_pandas_out()
    # Importing makes millions of objects that stay: looking for garbage among them costs a tenth of the start-up.
    gc.disable()
    try:
        from beamsplit.pipelines.running.launch import launch

        return launch(options, beam_args, started)
    finally:
        gc.enable()


def quiet_logs(debug: bool) -> None:
    """Keep Beam's log for --debug: what matters of it reaches the user as one clear line."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)
    if not debug:
        for name in ("apache_beam", "grpc"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints one clear line for whatever went wrong, and gives the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    with log_lines(argv):
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    started = time.perf_counter()
    try:
        return run(argv, started)[0]
    except UsageError as error:
        show_error(f"error: {error}", "--debug" in argv)
        return WRONG_USE
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {_left(argv)}", file=sys.stderr)
        return getattr(interrupt, "code", INTERRUPTED)
    except Exception as error:  # libraries and the user's own steps may raise anything
        from beamsplit.pipelines.report.summary import root_cause

        done = _left(argv)
        show_error(f"error: the job failed, {done}: {root_cause(error)} (--debug shows all)", "--debug" in argv)
        return FAILED


def _left(argv: Sequence[str]) -> str:
    return what_is_left(parse(argv)[0])


if __name__ == "__main__":
    speak_utf8()
    own_process()
    exit_now(main())
