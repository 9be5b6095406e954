"""Beam's Prism: one process of Go that runs a stream on this machine, with its workers in this process.

The in-process runner polls an unbounded source without pause and runs nothing after it, so streams need Prism.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamsplit.runners.beam_patches.bundle_ends import hasten_bundle_ends
from beamsplit.runners.beam_patches.prism_download import download_prism
from beamsplit.runners.beam_patches.quiet_worker import keep_tracebacks_quiet
from beamsplit.runners.cache import cache_folder, made_once, one_at_a_time
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.process import Process, free_ports, listens

PACKAGE = "github.com/apache/beam/sdks/v2/go/cmd/prism"
READY_SECONDS = 120.0

_DIE_WITH_PARENT = "import ctypes,os,sys; ctypes.CDLL(None).prctl(1,15); os.execv(sys.argv[1],sys.argv[1:])"
_WITH_US = [sys.executable, "-S", "-c", _DIE_WITH_PARENT] if sys.platform == "linux" else []
"""Before a command: it gets SIGTERM when this process ends, killed or not (PR_SET_PDEATHSIG)."""


def is_prism(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return runner in ("PrismRunner", "prism")


def find_prism(location: str | None, version: str) -> str:
    """The Prism program: the one named, one in a cache, one that Beam downloads, or one built with Go.

    Args:
        location: `--prism_location`, or None.
        version: of the installed Beam, e.g. `"2.77.0"`.

    Raises:
        RunnerError: it cannot be had; the line says how to get it.
    """
    if location is not None and "://" not in location:
        if not os.access(location, os.X_OK) or os.path.isdir(location):
            raise RunnerError(f"--prism_location {location} is no program; {_how(version)}")
        return os.path.abspath(location)
    built = cache_folder() / f"prism-{version}" / "prism"
    if built.exists():
        return str(built)
    reasons = []
    for way in (_download, _build):
        try:
            return way(location, version)
        except RunnerError as error:
            reasons.append(str(error))
    why = "; ".join(reasons)
    raise RunnerError(f"a stream on this machine runs on Prism, which is not here: {why}; {_how(version)}")


def _how(version: str) -> str:
    return f"build it with GOBIN=DIR go install {PACKAGE}@v{version} and give --prism_location DIR/prism"


def _download(location: str | None, version: str) -> str:
    try:
        with one_at_a_time("beam-download"):
            return download_prism(location)
    except Exception as error:  # whatever the network and Beam's own checks raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunnerError(f"Beam cannot download it ({reason})") from error


def _build(location: str | None, version: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise RunnerError("there is no go in PATH to build it with")

    def build(folder: Path) -> None:
        command = [go, "install", f"{PACKAGE}@v{version}"]
        done = subprocess.run(command, env=os.environ | {"GOBIN": str(folder)}, capture_output=True, text=True)
        if done.returncode:
            raise RunnerError(f"go cannot build it ({' '.join(done.stderr.split())[-200:]})")

    return str(made_once(f"prism-{version}", build) / "prism")


@contextlib.contextmanager
def prism(program: str) -> Iterator[list[str]]:
    """A running Prism; gives the Beam options of a job on it. It ends with the block of code inside."""
    # Its workers are in this process.
    hasten_bundle_ends()
    keep_tracebacks_quiet()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="beamsplit-prism-") as folder:
        command = [program, f"--job_port={port}", "--serve_http=false", "--log_level=warn"]
        process = Process("prism", Path(folder), [*_WITH_US, *command])
        process.start()
        try:
            process.wait_until(lambda: listens(port), READY_SECONDS)
            yield [f"--job_endpoint=127.0.0.1:{port}", "--environment_type=LOOPBACK"]
        finally:
            process.stop(5)


def prism_runner() -> Any:
    """The runner itself."""
    from apache_beam.runners.portability.portable_runner import PortableRunner

    return PortableRunner()
