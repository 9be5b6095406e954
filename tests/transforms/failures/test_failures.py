"""Rows that fail: counted by kind, limited, and written in other formats than JSON Lines."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.report.summary import Summary
from beamsplit.transforms.apply import FAILED, ApplyStep
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.failures.codes import code_of
from beamsplit.transforms.failures.errors import WriteErrors
from beamsplit.transforms.failures.formats import count_errors, errors_format
from beamsplit.transforms.failures.kinds import MOST_KINDS, FailureKind, FailureKinds, kind_of, read_tallies, tally
from beamsplit.transforms.failures.limit import FailureLimit, parse_limit
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.failures.summary import CheckFailures
from beamsplit.transforms.step import RowFailure, StepResult
from tests.transforms.failures.erring import error, pipeline


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("null in column 'x1'", "null in column 'x1'"),
        ("class 17 in column 'c' has no label in f", "class N in column 'c' has no label in f"),
        ("'abc' is no number in column \"a b\"", "'...' is no number in column \"a b\""),
        ("idx=12 must be within the inclusive range [-10,9]", "idx=N must be within the inclusive range [N]"),
        ("1e-05 and 3.5 and x2", "N and N and x2"),
        ("", ""),
    ],
)
def test_kinds_of_reasons(reason: str, kind: str):
    assert kind_of(reason) == kind


def test_counts_of_kinds_add_up():
    whole = FailureKinds()
    for stage, reasons in (("infer", ["idx=1", "idx=2", "idx=3"]), ("read", ["null", "null"])):
        part = FailureKinds()
        for reason in reasons:
            part.add(stage, reason)
        whole.merge(FailureKinds.of_list(part.to_list()))
    whole.add("read", "null")
    assert whole.listed() == [FailureKind("infer", "idx=N", 3), FailureKind("read", "null", 3)]
    assert whole.by_stage() == {"infer": 3, "read": 3} and whole.total == 6
    once = FailureKinds()
    once.add("infer", "idx=12")
    assert once.listed() == [FailureKind("infer", "idx=12", 1)]


def test_kinds_without_end_are_bounded():
    kinds = FailureKinds()
    for number in range(MOST_KINDS + 500):
        kinds.add("read", f"word{chr(0x4E00 + number)}")
    assert len(kinds.rows) == MOST_KINDS + 1 and kinds.total == MOST_KINDS + 500
    assert kinds.listed()[0] == FailureKind("read", "other reasons", 500)


def test_tallies_of_a_job(tmp_path: Path):
    folder = tmp_path / "job"
    folder.mkdir()
    tally(str(folder), [("infer", "a"), ("infer", "a")])
    tally(str(folder), [("read", "b")])
    assert read_tallies(str(folder)).by_stage() == {"infer": 2, "read": 1}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    tally(str(folder), [("read", "b")])  # after the job's end


@pytest.mark.parametrize(
    ("text", "failed", "total", "passed"),
    [
        ("5", 5, 10, False),
        ("5", 6, 1000, True),
        ("0", 0, 0, False),
        ("0", 1, 10, True),
        ("5%", 5, 100, False),
        ("5%", 6, 100, True),
        ("0%", 1, 1000, True),
        ("100%", 10, 10, False),
        ("0.5%", 1, 150, True),
    ],
)
def test_limits(text: str, failed: int, total: int, passed: bool):
    assert parse_limit(text).passed(failed, total) is passed


def test_a_share_of_a_stream_wants_some_messages():
    limit = parse_limit("5%")
    assert not limit.passed_so_far(99, 99) and limit.passed_so_far(6, 100)
    assert not limit.passed_so_far(6, 100, 1000) and limit.passed_so_far(51, 60, 1000)
    assert parse_limit("5").passed_so_far(6, 6)


@pytest.mark.parametrize("text", ["", "x", "-1", "5.5", "101%", "%", "1e3", "5 %", "nan%"])
def test_limits_that_are_none(text: str):
    with pytest.raises(ValueError, match="neither a number of rows"):
        parse_limit(text)


def block(rows: int) -> pa.RecordBatch:
    return with_origin(pa.record_batch({"x": list(range(rows))}), "f", 0)


@pytest.mark.parametrize("limit", ["2", "20%"])
def test_the_job_fails_with_too_many(limit: str):
    def run(failed: int) -> None:
        with pipeline() as root:
            blocks = root | "B" >> beam.Create([block(4), block(4)]).with_output_types(pa.RecordBatch)
            errors = root | "E" >> beam.Create(
                [error(row, reason=f"idx={row}") for row in range(failed)], reshuffle=False
            )
            (blocks, errors) | CheckFailures(parse_limit(limit))

    run(2)
    with pytest.raises(
        Exception, match=rf"3 of 11 rows \(27.3%\) failed, more than --max_failed {limit} .*3 in infer: idx=N"
    ):
        run(3)


class OddRows:
    """Fails every second row."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        rows = range(1, block.num_rows, 2)
        return StepResult(
            block.take(pa.array(range(0, block.num_rows, 2))), [RowFailure(row, f"row {row}") for row in rows]
        )


def test_a_step_counts_its_failures(tmp_path: Path):
    root = pipeline()
    made = (
        root | beam.Create([block(6)]).with_output_types(pa.RecordBatch) | ApplyStep(OddRows(), "finish", str(tmp_path))
    )
    assert made[FAILED] is not None
    result = root.run()
    counters = {c.key.metric.name: c.result for c in result.metrics().query()["counters"]}
    assert counters["rows_failed"] == counters["rows_failed_in:finish"] == 3
    assert read_tallies(str(tmp_path)).listed() == [FailureKind("finish", "row N", 3)]


HARD = [
    error(3, "b.parquet", "image", 'no "image",\n file: é 猫 \ud800'),
    error(1, "a.csv", "read", "plain"),
]


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("errors", [[], HARD])
def test_errors_as_csv_and_parquet(tmp_path: Path, format: str, errors: list[RowError]):
    path = tmp_path / f"errors.{format}"
    with pipeline() as root:
        root | beam.Create(errors, reshuffle=False).with_output_types(RowError) | WriteErrors(str(path))
    if format == "parquet":
        table = pq.read_table(path)
        assert [str(type) for type in table.schema.types] == ["string", "int64", "string", "string", "string"]
        rows = table.to_pylist()
    else:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row | {"row": int(row["row"])} for row in csv.DictReader(file)]
    expected = [
        one._asdict() | {"code": code_of(one.stage, one.reason), "reason": one.reason.replace("\ud800", "\\ud800")}
        for one in errors
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert count_errors(str(path), format) == len(errors)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["e.xlsx", "e.jsonl.gz", "e.arrow"])
def test_errors_of_no_format(name: str):
    with pytest.raises(UsageError, match=r"names no format for errors; end the name in .jsonl, .parquet"):
        errors_format(name)


def test_errors_that_grow():
    assert errors_format("e.jsonl", growing=True) == errors_format("errors", growing=True) == "jsonl"
    with pytest.raises(UsageError, match=r"--errors e.parquet: a stream adds JSON lines to it; end the name in .jsonl"):
        errors_format("e.parquet", growing=True)


def test_the_summary_tells_why():
    kinds = FailureKinds()
    for number in range(7):
        kinds.add("infer", f"reason {chr(97 + number)}", 7 - number)
    summary = Summary(rows_in=40, rows_scored=12, rows_failed=28)
    summary.tell_failures(kinds)
    assert [line for line in summary.lines() if line.startswith("failed")] == [
        "failed   7 in infer: reason a",
        "failed   6 in infer: reason b",
        "failed   5 in infer: reason c",
        "failed   4 in infer: reason d",
        "failed   3 in infer: reason e",
        "failed   3 for 2 other reasons",
    ]
    assert summary.last_line() is None
    nothing = Summary(rows_in=28, rows_failed=28)
    nothing.tell_failures(kinds)
    assert nothing.last_line() == "NOTHING WAS SCORED: all 28 rows failed; most often, 7 in infer: reason a"
    assert '"reason": "reason a"' in nothing.to_json()


def test_a_limit_is_a_value():
    assert FailureLimit("5", rows=5) == parse_limit("5")


def test_errors_of_messages_as_parquet(tmp_path: Path):
    from beamsplit.transforms.kafka.errors import error_line

    path = tmp_path / "errors.parquet"
    with pipeline() as root:
        found = root | beam.Create([error(17, "in/3", "read", "no JSON")]).with_output_types(RowError)
        found | WriteErrors(str(path), error_line)
    told = {
        "topic": "in", "partition": 3, "offset": 17, "stage": "read", "code": "unreadable", "reason": "no JSON",
    }  # fmt: skip
    assert pq.read_table(path).to_pylist() == [told]
    with pipeline() as root:
        root | beam.Create([], reshuffle=False).with_output_types(RowError) | WriteErrors(str(path), error_line)
    assert pq.read_table(path).schema.names == list(told)
