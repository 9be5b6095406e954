"""Tables that jobs on a real Flink write: rows are there once, also where a worker is lost behind the commit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.command import ROWS, Command

FLINK = ("--runner", "FlinkRunner", "--parallelism", "2")
GIVEN = ("--keep", "id", "--quiet", "--append", "--commit_id", "nightly")

KILLED = """
import os
from pathlib import Path

if "WORKER_ID" in os.environ:
    from beamsplit.transforms.tables.delta_write import DeltaCommit

    add, marker = DeltaCommit._add, Path(__file__).with_name("killed")

    def killed(*given):
        add(*given)
        if not marker.exists():
            marker.touch()
            os._exit(9)

    DeltaCommit._add = killed
"""
"""What Python of a worker begins with: it ends, once, behind the commit."""


def test_a_worker_that_is_lost_behind_the_commit_adds_no_row_twice(
    services: None, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    command.overwrite = False
    path, broken = command.folder / "preds", tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(KILLED)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(broken), *sys.path])
        command.run(*GIVEN, *FLINK, output=f"delta:{path}")
    assert (broken / "killed").exists()
    code, _, err = command.run(*GIVEN, "--workers", 1, output=f"delta:{path}")
    assert code == 0, err
    assert sorted(DeltaTable(path).to_pyarrow_table()["id"].to_pylist()) == list(range(ROWS))
    assert DeltaTable(path).version() == 0
