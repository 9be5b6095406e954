"""A command that kills itself at a moment: `python -m tests.killed_at MODULE:NAME before|after TIMES OPTION ...`."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

MOMENT = tuple[str, str, int]
"""(`module:function` or `module:Class.method`, before or after it, at which of its calls)."""


def kill_at(moment: MOMENT, argv: Sequence[object]) -> None:
    """Run `score` until that moment, at which it gets SIGKILL.

    Raises:
        AssertionError: it ended before.
    """
    command = [sys.executable, "-m", __name__, *map(str, moment), *map(str, argv)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert ended.returncode == -signal.SIGKILL, (moment, ended.returncode, ended.stderr)


def _wrap(moment: MOMENT) -> None:
    where, when, times = moment
    module, _, name = where.partition(":")
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function, calls = getattr(owner, last), 0

    def wrapped(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == times and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*given, **named)
        if calls == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, last, wrapped)


def _main(argv: list[str]) -> int:
    from beamsplit.pipelines.score import main

    _wrap((argv[0], argv[1], int(argv[2])))
    run: Callable[[list[str]], int] = main
    return run(argv[3:])


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
