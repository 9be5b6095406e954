"""Commands that are started in a folder of their own, to be stopped while they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(folder: Path, module: str, *options: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(folder)])
    env = os.environ | {"PYTHONPATH": path, "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", module, *options]
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
