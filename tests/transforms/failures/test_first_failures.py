from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest

from beamsplit.pipelines.running.stream_first import TellFirstFailures
from beamsplit.transforms.apply import CountedStep
from beamsplit.transforms.failures.first_failures import all_failed
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.step import RowFailure, StepResult
from tests.transforms.kafka.fake_message import FakeMessage
from tests.waiting import wait_until

SCHEMA = pa.schema([("x", pa.float32())])


class FailAll:
    """A later step that takes no row."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        return StepResult(block.slice(0, 0), [RowFailure(row, "no such class") for row in range(block.num_rows)])


class PassAll(FailAll):
    def __call__(self, block: pa.RecordBatch) -> StepResult:
        return StepResult(block)


def run(job_dir: Path, blocks: list[str], later: FailAll) -> None:
    """Blocks of messages, each `.` good or `x` bad, through two steps."""
    steps = [
        CountedStep(ParseMessages("json", SCHEMA), "read", str(job_dir)),
        CountedStep(later, "infer", str(job_dir), count_done=True),
    ]
    offset = 0
    for letters in blocks:
        texts = [b'{"x": 1}' if letter == "." else b'{"x": "a"}' for letter in letters]
        block = block_of([FakeMessage(text, 0, offset + at) for at, text in enumerate(texts)], "in")
        offset += len(letters)
        for step in steps:
            if block.num_rows:
                block, _ = step(block)


@pytest.mark.parametrize(
    ("blocks", "later", "told"),
    [
        (["x" * 1000], PassAll(), True),
        (["x" * 400, "x" * 600], PassAll(), True),
        (["x" * 1000 + "." * 10], PassAll(), True),
        (["x" * 400, "x" * 600 + "."], PassAll(), True),
        (["." * 1000], FailAll(), True),
        ([".x" * 500], FailAll(), True),
        (["x" * 999], PassAll(), False),
        ([".x" * 2000], PassAll(), False),
        (["x" * 999 + "." + "x" * 999], PassAll(), False),
        ([".", "x" * 2000], PassAll(), False),
    ],
)
def test_the_first_messages_all_failed(tmp_path: Path, blocks: list[str], later: FailAll, told: bool):
    run(tmp_path, blocks, later)
    assert all_failed(str(tmp_path)) == told
    said = io.StringIO()
    with TellFirstFailures(str(tmp_path), "kafka://h:1/errors", said):
        pass
    if not told:
        assert said.getvalue() == ""
        return
    line = said.getvalue()
    assert line.startswith("warning: the first 1,000 messages all failed, most often in ") and line.count("\n") == 1
    assert ("no such class" if blocks == ["." * 1000] else "field 'x' holds a value of kind string") in line
    assert line.endswith("; all are in kafka://h:1/errors\n")


def test_it_is_said_at_once_and_once(tmp_path: Path):
    said = io.StringIO()
    with TellFirstFailures(str(tmp_path), None, said):
        run(tmp_path, ["x" * 1500, "x" * 1500], PassAll())
        wait_until(lambda: said.getvalue().endswith("\n"))
        assert "in read: no such JSON object: field 'x' holds a value of kind string" in said.getvalue()
    assert said.getvalue().count("\n") == 1


def test_workers_elsewhere_are_not_looked_at():
    with TellFirstFailures(None, None):
        pass
