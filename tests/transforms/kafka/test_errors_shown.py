"""Errors of a stream that go to a file of this machine, or to nobody: then the first are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.errors import SHOWN, AppendErrors, _Show
from beamsplit.transforms.kafka.gaps import STAGE


def error(offset: int, stage: str = "read") -> RowError:
    return RowError("in/3", offset, stage, f"no number at {offset}")


def test_a_bundle_adds_its_lines_when_it_ends(tmp_path: Path):
    path = tmp_path / "errors" / "e.jsonl"
    made = AppendErrors(str(path))._dofn
    made.start_bundle()
    made.finish_bundle()
    assert not path.exists(), "nothing failed"
    made.start_bundle()
    made.process(error(4))
    made.process(error(7))
    assert not path.exists(), "the bundle may fail still"
    made.finish_bundle()
    made.start_bundle()
    made.process(error(9))
    made.start_bundle()  # it failed, and its messages come once more
    made.process(error(9))
    made.finish_bundle()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["topic"], one["partition"], one["offset"]) for one in told] == [("in", 3, at) for at in (4, 7, 9)]
    assert told[0]["reason"] == "no number at 4"


def test_the_first_are_shown_and_then_that_more_are_counted(capsys: pytest.CaptureFixture[str]):
    made = _Show()
    made.process(error(100, STAGE))
    for offset in range(SHOWN - 1):
        made.process(error(offset))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == SHOWN - 1
    assert all(line.startswith("failed: ") for line in lines)
    assert [json.loads(line.removeprefix("failed: "))["offset"] for line in lines] == list(range(SHOWN - 1))
    made.process(error(SHOWN))
    made.process(error(SHOWN + 1))
    last, more = capsys.readouterr().err.splitlines()
    assert json.loads(last.removeprefix("failed: "))["offset"] == SHOWN
    assert more == "more that fail are counted; --errors kafka://... or FILE.jsonl keeps all"
