"""Tracebacks of Beam's workers are shown where Beam's log is, and nowhere else."""

from __future__ import annotations

import builtins
import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from apache_beam.runners.worker import sdk_worker

from beamsplit.runners.beam_patches import quiet_worker
from beamsplit.runners.beam_patches.quiet_worker import keep_tracebacks_quiet


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What threads that end with an exception are told of, by a hook of the test's; all that is changed is put back."""
    told: list[Any] = []
    monkeypatch.setattr(sdk_worker, "print", builtins.print, raising=False)
    yield told
    logging.getLogger().removeFilter(quiet_worker._is_shown)


@pytest.mark.parametrize(("level", "shown"), [(logging.CRITICAL, False), (logging.INFO, True)])
def test_tracebacks_are_shown_where_the_log_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: list[Any], level: int, shown: bool
):
    # Not in the fixture: older pytest puts a hook of its own in place once the test begins.
    monkeypatch.setattr(threading, "excepthook", told.append)
    log = logging.getLogger("apache_beam")
    monkeypatch.setattr(log, "level", level)
    log.manager._clear_cache()  # type: ignore[attr-defined]
    keep_tracebacks_quiet()
    keep_tracebacks_quiet()
    sdk_worker.print("Traceback")
    assert capsys.readouterr().out == ("Traceback\n" if shown else "")
    root = logging.getLogger()
    record = root.makeRecord("root", logging.ERROR, "beam/portable_runner.py", 1, "Traceback", (), None)
    assert bool(root.filter(record)) == shown
    assert root.filter(root.makeRecord("root", logging.ERROR, "my_steps.py", 1, "mine", (), None))
    gone = SimpleNamespace(exc_type=grpc.RpcError)
    threading.excepthook(gone)  # type: ignore[arg-type]
    assert told == ([gone] if shown else [])
    mine = SimpleNamespace(exc_type=ValueError)
    threading.excepthook(mine)  # type: ignore[arg-type]
    assert told[-1] is mine
    log.manager._clear_cache()  # type: ignore[attr-defined]
