from __future__ import annotations

from pathlib import Path

from beamsplit.pipelines.report.summary import Progress, Summary
from beamsplit.transforms.kafka.backlog import backlog_of, gauge_name, read_backlog, write_backlog


def test_the_readers_numbers_are_added_up(tmp_path: Path):
    assert read_backlog(str(tmp_path)) is None
    write_backlog(str(tmp_path), None, 7)
    write_backlog(str(tmp_path), 1, 30)
    write_backlog(str(tmp_path), 0, 5)
    assert read_backlog(str(tmp_path)) == 35
    write_backlog(str(tmp_path / "on another machine"), 0, 1)
    assert backlog_of({gauge_name(None): 5, gauge_name(3): 2, "else": 9}) == 7
    assert backlog_of({}) is None


def test_progress_and_summary_show_it():
    assert Progress(lambda: (10, 1), None, backlog=lambda: 1500).line().endswith("1 failed, 1,500 behind")
    assert Progress(lambda: (10, 1), None).line().endswith("1 failed")
    assert "backlog  1,500 messages" in Summary(backlog=1500).lines()
    assert not any(line.startswith("backlog") for line in Summary().lines())
