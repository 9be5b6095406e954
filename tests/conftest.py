from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Command


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with a small model and a small table in a folder of its own."""
    return Command(tmp_path, capsys)
