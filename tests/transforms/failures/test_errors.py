from __future__ import annotations

import json
import os

import apache_beam as beam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.transforms.failures import error_file
from beamsplit.transforms.failures import errors as module
from beamsplit.transforms.failures.error_file import absolute_origin
from beamsplit.transforms.failures.errors import WriteErrors
from beamsplit.transforms.failures.reasons import FailureSummary, read_first_errors
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.failures.summary import FirstErrors
from beamsplit.transforms.read import splits
from beamsplit.transforms.write import remove_temp
from tests.transforms.failures.erring import error, pipeline


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write(path, errors: list[RowError], workers: int = 1, spread: bool = False) -> None:
    with pipeline(workers) as root:
        root | beam.Create(errors, reshuffle=spread).with_output_types(RowError) | WriteErrors(str(path))


def test_one_json_line_an_error(tmp_path):
    path = tmp_path / "out" / "errors.jsonl"
    write(path, [error(3, "b.parquet", "image", 'no "image"\n file: é 猫 \ud800'), error(1)])
    assert read_lines(path) == [
        {"file": "b.parquet", "row": 3, "stage": "image", "code": "failed", "reason": 'no "image"\n file: é 猫 \ud800'},
        {"file": "a.parquet", "row": 1, "stage": "infer", "code": "misfit", "reason": "is null"},
    ]
    assert os.listdir(tmp_path / "out") == ["errors.jsonl"]


def test_no_errors_make_an_empty_file(tmp_path):
    write(tmp_path / "errors.jsonl", [])
    assert (tmp_path / "errors.jsonl").read_bytes() == b""
    assert os.listdir(tmp_path) == ["errors.jsonl"]


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_many_bundles_reach_one_file(tmp_path, workers):
    path = tmp_path / "errors.jsonl"
    write(path, [error(row, f"{row % 7}.parquet") for row in range(9000)], workers, spread=True)
    assert sorted(line["row"] for line in read_lines(path)) == list(range(9000))
    assert os.listdir(tmp_path) == ["errors.jsonl"]


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv", "data"])
def test_rows_counted_from_a_byte_are_numbered_in_the_whole_file(tmp_path, name: str):
    path = tmp_path / name
    path.write_bytes(b'{"a": "\\""}\n\n{"a": 2}\n{"a": 3}\n')
    at = path.read_bytes().index(b'{"a": 2')
    write(
        tmp_path / "errors.jsonl", [error(1, f"{path}#byte={at}"), error(0, str(path)), error(0, f"{path}#byte={at}")]
    )
    found = [(os.path.basename(line["file"]), line["row"]) for line in read_lines(tmp_path / "errors.jsonl")]
    assert found == [(name, 2), (name, 0), (name, 1)]


def test_absolute_origin(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"{}\n{}\n{}\n")
    assert absolute_origin("gs://nowhere/a.parquet", 5) == ("gs://nowhere/a.parquet", 5)
    assert absolute_origin(f"{path}#byte=3", 1) == (str(path), 2)
    assert absolute_origin(f"{path}#byte=0", 0) == (str(path), 0)


def test_each_byte_of_a_file_is_counted_once(tmp_path, monkeypatch):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"{}\n" * 50 + b" \n" + b"{}\n" * 50)
    counted = []
    count = splits.count_rows
    monkeypatch.setattr(splits, "count_rows", lambda split: counted.append((split.start, split.stop)) or count(split))
    found = error_file.row_bases((str(path), byte) for byte in [242, 0, 30, 150])
    assert list(found.values()) == [0, 10, 50, 80]
    assert counted == [(0, 30), (30, 150), (150, 242)]


def test_a_failed_job_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "errors.jsonl"
    path.write_bytes(b"earlier\n")
    transform = WriteErrors(str(path))

    def break_at_two(found: RowError) -> RowError:
        if found.row == 2:
            raise RuntimeError("the model broke")
        return found

    with pytest.raises(RuntimeError, match="the model broke"), pipeline() as root:
        root | beam.Create([error(row) for row in range(4)], reshuffle=False) | beam.Map(break_at_two) | transform
    remove_temp(str(path), transform.job_id)
    assert path.read_bytes() == b"earlier\n"
    assert os.listdir(tmp_path) == ["errors.jsonl"]


@pytest.mark.parametrize("broken", ["replace", "remove_folder"])
def test_the_last_step_may_stop_anywhere_and_run_again(tmp_path, monkeypatch, broken):
    path, folder = tmp_path / "errors.jsonl", str(tmp_path / ".errors.jsonl-job")
    path.write_bytes(b"earlier\n")
    writer = module._WriteBundle(folder, "job")
    writer.start_bundle()
    for row in range(3):
        writer.process(error(row))
    failures = [found.value for found in writer.finish_bundle()]
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(module, broken, lambda *_: (_ for _ in ()).throw(ConnectionError("the worker is gone")))
        module._finish(b"", failures, module._Result(str(path), folder, "job"))
    for _ in range(2):
        module._finish(b"", failures, module._Result(str(path), folder, "job"))
        assert [line["row"] for line in read_lines(path)] == [0, 1, 2]
        assert os.listdir(tmp_path) == ["errors.jsonl"]
    path.write_bytes(b"another job\n")
    with pytest.raises(FileNotFoundError, match="has 1 errors, not 3: something else writes to it"):
        module._finish(b"", failures, module._Result(str(path), folder, "job"))


def test_a_folder_is_no_errors_file(tmp_path):
    with pytest.raises(UsageError, match=r"--errors .* is a folder; give the name of a file in it"):
        WriteErrors(str(tmp_path))


@pytest.mark.parametrize("workers", [1, 2])
def test_first_errors(tmp_path, workers):
    lines = tmp_path / "b.jsonl"
    lines.write_bytes(b"1\n2\n3\n4\n")
    errors = [error(row) for row in range(5, 60)] + [
        error(1, f"{lines}#byte=2", "image"),
        error(2, str(lines), "image"),
    ]
    path = str(tmp_path / "first.json")
    with pipeline(workers) as root:
        root | beam.Create(errors[::-1]) | FirstErrors(2, path)
    found = read_first_errors(path)
    expected = [error(2, str(lines), "image")] * 2
    assert (found.total, found.stages, found.first) == (57, {"infer": 55, "image": 2}, expected)


def test_first_errors_without_any(tmp_path):
    path = str(tmp_path / "first.json")
    with pipeline() as root:
        root | beam.Create([], reshuffle=False) | FirstErrors(3, path)
    assert read_first_errors(path)[:3] == (0, {}, [])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(["a", "b#byte=10", "b", "b#byte=9"]), st.integers(0, 20)))),
    st.integers(0, 5),
)
def test_summaries_merge_to_the_first_in_input_order(bundles, limit):
    whole = FailureSummary(limit)
    for bundle in bundles:
        part = FailureSummary(limit)
        for file, row in bundle:
            part.add(error(row, file))
        whole.merge(part)
    place = {"a": ("a", 0), "b": ("b", 0), "b#byte=9": ("b", 9), "b#byte=10": ("b", 10)}
    keys = sorted((*place[file], row) for bundle in bundles for file, row in bundle)
    assert [(*place[found.file], found.row) for found in whole.first()] == keys[:limit]
    assert whole.kinds.total == len(keys)


@pytest.mark.parametrize("ends", ["teardown", "start_bundle"])
def test_a_bundle_that_is_given_up_leaves_no_file(tmp_path, ends):
    writer = module._WriteBundle(str(tmp_path), "job")
    writer.start_bundle()
    writer.process(error(1))
    assert len(os.listdir(tmp_path)) == 1
    getattr(writer, ends)()
    assert os.listdir(tmp_path) == []


def test_a_bundle_is_written_as_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(error_file, "FLUSH_ROWS", 3)
    writer = module._WriteBundle(str(tmp_path), "job", lambda one: b"%d;" % one.row)
    writer.start_bundle()
    seen = []
    for row in range(7):
        writer.process(error(row, f"a.parquet#{row}" if row == 6 else "a.parquet"))
        seen.append(len(writer._lines._waiting))
    assert seen == [1, 2, 0, 1, 2, 0, 1]
    (found,) = writer.finish_bundle()
    file = found.value.file
    assert (file.rows, file.path[: len(str(tmp_path))]) == (7, str(tmp_path))
    with open(file.path, "rb") as stream:
        written = stream.read()
    assert (written, file.bytes) == (b"0;1;2;3;4;5;6;", len(written))
    assert list(writer.finish_bundle()) == []
