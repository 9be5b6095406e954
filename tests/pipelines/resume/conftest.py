"""What the tests of jobs that resume share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.resumable import Resumable


@pytest.fixture
def job(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Resumable:
    """A job, in the folder of which the test runs."""
    monkeypatch.chdir(tmp_path)
    return Resumable(tmp_path, capsys, monkeypatch)
