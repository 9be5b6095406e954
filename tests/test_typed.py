"""Commands are named in help and errors as they are typed where they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import beamsplit
from beamsplit.pipelines.typed import as_typed, typed

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("program", "folders", "expected"),
    [
        ("/home/me/beamsplit/pipelines/score.py", 2, "python -m pipelines.score"),
        ("/env/bin/beamsplit", 2, "beamsplit score"),
        ("C:/env/Scripts/beamsplit.exe", 1, "beamsplit score"),
        ("/env/site-packages/beamsplit/__main__.py", 1, "python -m beamsplit score"),
        ("/home/me/beamsplit/beamsplit/__main__.py", 2, "python -m beamsplit score"),
        ("/env/bin/pytest", 2, "python -m pipelines.score"),
        ("/home/me/notebook.py", 1, "beamsplit score"),
        ("", 1, "beamsplit score"),
    ],
)
def test_names(program: str, folders: int, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(beamsplit, "__path__", [f"/{number}" for number in range(folders)])
    assert typed("score") == expected
    line = "make it again with python -m pipelines.plan --shards 2"
    assert as_typed(line) == f"make it again with {typed('plan')} --shards 2"


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (["pipelines.plan"], "usage: python -m pipelines.plan --model M.onnx [--sample PATTERN] [options]\n"),
        (["beamsplit", "plan"], "usage: python -m beamsplit plan --model M.onnx [--sample PATTERN] [options]\n"),
    ],
)
def test_help_begins_with_what_to_type(module: list[str], says: str):
    command = [sys.executable, "-m", *module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.startswith(says)
    assert f"{says.split(' --model')[0].removeprefix('usage: ')} --model m.onnx --strategy auto" in done.stdout
