"""Ending the process from another thread, whatever the main thread does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
import os, signal, sys, threading
from beamsplit.models.owned_folder import own
from beamsplit.pipelines.running.interrupt import interruptible
with interruptible() as ending:
    own(sys.argv[1])
    ending.planning, ending.left = False, "what was sent stays"
    signal.signal(signal.SIGTERM, lambda *_: None)  # a stream's own handler
    if sys.argv[2] == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        while ending._came is None:
            pass
    if sys.argv[2] == "late":
        ending.give_up = lambda: False
    thread = threading.Thread(target=ending.end, args=("the model does not return",))
    thread.start()
    thread.join()
print("went on")
"""


@pytest.mark.parametrize(
    ("how", "code", "err"),
    [
        ("", 1, "error: the job failed, what was sent stays: the model does not return\n"),
        ("signal", 143, "interrupted: what was sent stays: the model does not return\n"),
        ("late", 0, ""),
    ],
)
def test_the_end_names_what_is_left_and_why(tmp_path: Path, how: str, code: int, err: str):
    command = [sys.executable, "-c", CODE, str(tmp_path / "folder"), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (code, err)
    assert done.stdout == ("went on\n" if how == "late" else "")
    assert (tmp_path / "folder").exists() == (how == "late")
