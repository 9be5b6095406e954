"""The worked examples of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Worked examples")[1]
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", TEXT, re.DOTALL | re.MULTILINE))
COPIED = ("beamsplit", "models", "transforms", "pipelines", "runners", "tests")


@pytest.mark.parametrize("name", SECTIONS)
def test_worked_example(name: str, tmp_path: Path):
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    blocks = re.findall(r"```sh\n(.*?)```", SECTIONS[name], re.DOTALL)
    assert blocks
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }
    script = "".join(blocks)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = re.findall(r"^cat > (\S+\.py) ", script, re.MULTILINE)
    ours = [path for path in made if not path.startswith("tests/")]
    lint = [sys.executable, "-m", "ruff", "check", *ours]
    linted = subprocess.run(lint, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert linted.returncode == 0, linted.stdout
