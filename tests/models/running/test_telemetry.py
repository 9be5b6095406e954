"""ONNX Runtime writes nothing of its own into the home folder, unless the user wants that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def printed(code: str, home: Path, **env: str) -> str:
    """What Python prints, in a home that is empty."""
    inherited = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name and "XDG" not in name}
    own = {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | own | env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "imported", ["beamsplit.models.running.session", "beamsplit.models.graph.light", "beamsplit.transforms.infer.step"]
)
def test_nothing_is_written_at_home(tmp_path: Path, imported: str):
    printed(f"import {imported}, onnxruntime; onnxruntime.get_available_providers()", tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_who_wants_telemetry_has_it(tmp_path: Path):
    said = "import models, os; print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    assert printed(said, tmp_path, BEAMSPLIT_ORT_TELEMETRY="1") == "None"
    assert printed(said, tmp_path) == "1"
