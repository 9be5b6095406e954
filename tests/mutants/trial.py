"""A plugin of pytest: tries faults in processes that have all tests collected already: a fault costs its tests only.

`pytest -p tests.mutants.trial TESTS...` in a copy of the repository, with a file of faults, BEAMSPLIT_FAULTS. Each
is put into functions as they are in memory, and into the file for the processes that tests start. What is executed
when a module is imported can only be tried by a pytest of its own.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mutants.code import changed, functions, place, real

FAULTS = Path(os.environ["BEAMSPLIT_FAULTS"])
FAILING = FAULTS.parent / "failing"
ALONE = "alone"
"""What is said of a fault that has to be tried by a pytest of its own."""


class Trials:
    """Instead of a run of all tests, one of each fault's."""

    def __init__(self) -> None:
        self._in_child = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        at = {item.nodeid: item for item in session.items}
        made = functions()
        gc.freeze()
        for fault in map(json.loads, FAULTS.read_text().splitlines()):
            tests = [at[test] for test in fault["tests"] if test in at]
            self._say(fault, self._tried(session, fault, tests, made))
        return True

    def _say(self, fault: dict, said: str) -> None:
        with (FAULTS.parent / "said.jsonl").open("a") as file:
            file.write(json.dumps([fault["number"], said]) + "\n")

    def _tried(self, session: pytest.Session, fault: dict, tests: Sequence[pytest.Item], made: dict) -> str:
        path = Path(fault["path"]).resolve()
        source = path.read_bytes()
        after = source[: fault["begin"]] + fault["after"].encode() + source[fault["end"] :]
        swaps = []
        if any(real(getattr(one, "__file__", None) or "") == str(path) for one in list(sys.modules.values())):
            try:
                codes = list(changed(compile(source, path, "exec"), compile(after, path, "exec")))
            except ValueError:
                return ALONE
            swaps = [(one, new) for old, new in codes for one in made.get(place(old), [])]
        while tests:
            _write(path, after)
            try:
                failed = self._forked(session, tests, swaps, fault["seconds"])
            finally:
                _write(path, source)
            alone = [one for one in tests if one.nodeid == failed]
            if not failed or not alone or not self._forked(session, alone, [], fault["seconds"]):
                return failed
            tests = [one for one in tests if one.nodeid != failed]  # fails without the fault too
        return ""

    def _forked(self, session: pytest.Session, tests: Sequence[pytest.Item], swaps: list, seconds: float) -> str:
        """The test that fails, or what else happens; "" if all pass."""
        FAILING.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            code = 70
            try:
                self._become(session, seconds)
                for function, new in swaps:
                    function.__code__ = new
                code = self._run(session, tests)
            finally:
                os._exit(code)
        until = time.monotonic() + 60 + 20 * seconds
        try:
            while not (done := os.waitpid(child, os.WNOHANG))[0]:
                if time.monotonic() > until:
                    os.killpg(child, signal.SIGKILL)
                time.sleep(0.01)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
        shutil.rmtree(FAULTS.parent / "tmp", ignore_errors=True)
        code = os.waitstatus_to_exitcode(done[1])
        return "" if code == 0 else FAILING.read_text() if FAILING.exists() else f"ended with {code}"

    def _become(self, session: pytest.Session, seconds: float) -> None:
        self._in_child = True
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(10 + 3 * seconds), int(20 + 3 * seconds)))
        session.config.get_terminal_writer()._file = open(os.devnull, "w")  # noqa: SIM115
        folder = FAULTS.parent / "tmp"
        for name in ("pytest", "temporary"):
            (folder / name).mkdir(parents=True)
        session.config._tmp_path_factory._basetemp = folder / "pytest"  # type: ignore[attr-defined]
        # What no fixture removes, as the first test that fails ends the process, goes with the folder.
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "temporary")

    def _run(self, session: pytest.Session, tests: Sequence[pytest.Item]) -> int:
        session.items = list(tests)
        for item, after in itertools.zip_longest(tests, tests[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if FAILING.exists():
                return 1
        return 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._in_child and report.failed and not FAILING.exists():
            FAILING.write_text(report.nodeid)


def _write(path: Path, source: bytes) -> None:
    """Put a source there; bytecode of the one before is not taken for it."""
    path.write_bytes(source)
    for stale in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        stale.unlink()


def pytest_configure(config: pytest.Config) -> None:
    """Take the place of the run."""
    config.pluginmanager.register(Trials(), "beamsplit-trials")
