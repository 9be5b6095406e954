"""Commands as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.command import without_progress
from tests.waiting import DEADLINE

ROOT = Path(__file__).parents[2]


def start(*options: object, module: str = "pipelines.score") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    done.stderr = without_progress(done.stderr)
    return done
