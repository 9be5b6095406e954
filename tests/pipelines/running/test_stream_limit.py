from __future__ import annotations

from pathlib import Path

import pytest

from beamsplit.pipelines.report.summary import Summary
from beamsplit.pipelines.running.stream_limit import StreamLimit
from beamsplit.transforms.failures.kinds import tally
from beamsplit.transforms.failures.limit import parse_limit
from beamsplit.transforms.worker import WorkerFile
from tests.waiting import wait_until


@pytest.mark.parametrize(("limit", "failed"), [("5%", 6), ("10", 11)])
def test_a_stream_drains_once_too_many_failed(tmp_path: Path, limit: str, failed: int):
    stop = tmp_path / "stop"
    worker = WorkerFile(str(tmp_path))
    watch = StreamLimit(parse_limit(limit), str(tmp_path), str(stop))
    with watch:
        worker.add(100 - failed, 0)
        tally(str(tmp_path), [("infer", f"idx={row}") for row in range(failed)])
        worker.add(0, failed)
        wait_until(stop.exists)
    told = watch.passed(Summary(rows_scored=100 - failed, rows_failed=failed))
    assert f"{failed} of 100 rows ({failed}.0%) failed, more than --max_failed {limit} allows; most often, " in str(
        told
    )
    assert f"{failed} in infer: idx=N" in str(told)


def test_a_stream_with_few_failures_is_let_alone(tmp_path: Path):
    watch = StreamLimit(parse_limit("5%"), str(tmp_path), str(tmp_path / "stop"))
    with watch:
        WorkerFile(str(tmp_path)).add(95, 5)
    assert not (tmp_path / "stop").exists()
    assert watch.passed(Summary(rows_scored=95, rows_failed=5)) is None
    # At its end a share counts however few messages there were.
    assert watch.passed(Summary(rows_scored=1, rows_failed=1)) is not None


def test_no_limit(tmp_path: Path):
    with StreamLimit(None, str(tmp_path), None) as watch:
        assert watch.passed(Summary(rows_failed=10)) is None
