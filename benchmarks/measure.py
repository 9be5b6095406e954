"""Runs a program as a whole process: its time, and in a run of its own its private memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent


class ProgramFailed(RuntimeError):
    """A program ended with an error; the message is the end of what it printed."""


def run_seconds(command: list[str]) -> float:
    """Wall seconds of the process from start to end."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise ProgramFailed((done.stderr or done.stdout).strip()[-800:])
    return seconds


def peak_private_bytes(command: list[str]) -> int:
    """Largest anonymous memory of the process and its children together: mapped pages of files do not count.

    Looked at from outside every 50 ms, which takes time from the process: never measured in the run that is timed.
    """
    peak = 0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            peak = max(peak, _tree_bytes(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        if process.returncode:
            errors.seek(0)
            raise ProgramFailed(errors.read().strip()[-800:])
    return peak


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an .npz of arrays by name, for a worker process to read."""
    np.savez(path, **tensors)  # type: ignore[arg-type]  # its own keywords come before the arrays' names


def _tree_bytes(pid: int) -> int:
    import psutil

    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += _anonymous_bytes(process.pid)
    return total


def _anonymous_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    for line in text.splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def _environment() -> dict[str, str]:
    # Where this is set, a source tree is compiled anew in every run, while installed programs have their bytecode.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "DAFT_ANALYTICS_ENABLED": "0"}
