"""What a job is: which options, files and versions make it another."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from beamsplit.pipelines.options import score
from beamsplit.pipelines.resume.facts import Facts, _contents, _said, _state, changes, told_changes
from beamsplit.transforms.read.inputs import InputFile

BASE = "--model m.onnx --input a.csv --output o.csv "


def said(options: str, workers: int = 2) -> dict[str, str]:
    return _said(score.parse(shlex.split(BASE + options))[0], workers)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ("", {}),
        ("--workers 3 --threads 2 --errors e.jsonl --max_failed 5 --resume --overwrite", {}),
        ("--keep id,name", {"keep": "id name"}),
        ("--set a=1 --set b=2", {"set": "a=1 b=2"}),
        ("--set b=2 --set a=1", {"set": "a=1 b=2"}),
        ("--columns x=a,b --columns y=c", {"columns": "x=a b y=c"}),
        # Rows that are dealt at random lie otherwise for each number of workers and each seed.
        ("--partition random --seed 7", {"partition": "random", "seed": "7", "workers": "2"}),
        ("--partition random --workers 3", {"partition": "random", "workers": "2"}),
        ("--partition contiguous --seed 7", {}),
        ("--partition contiguous --limit 9", {"limit": "9"}),
    ],
)
def test_options_that_change_a_result(options: str, facts: dict[str, str]):
    assert said(options) == facts


def test_files_that_options_name_are_part_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("m.onnx", "labels.txt", "start.npy", "other.txt"):
        Path(name).write_text(name)
    options = "--finish scores --finish labels:file=labels.txt,top=1 --set h=start.npy --set other=1"
    parsed = score.parse(shlex.split(BASE + options))[0]
    names = ["the model m.onnx", "the file labels.txt", "the file start.npy"]
    before = _contents(parsed)
    assert sorted(before) == sorted(names)
    for name in names:
        path = Path(name.split()[-1])
        path.write_text("another")
        now = _contents(parsed)
        assert [one for one in names if now[one] != before[one]] == [name]
        path.write_text(path.name)
    Path("other.txt").write_text("another")
    assert _contents(parsed) == before


def test_files_are_told_apart_by_size_time_and_place():
    here = InputFile("a.csv", 10, stamp=(5, 7))
    assert _state(here) == [7, 5] and _state(InputFile("gs://b/a.csv", 10, version="v1")) == ["v1"]


def test_each_change_is_told():
    before = Facts(
        {"keep": "id", "limit": "5"},
        {"a": "1", "b": "1", "c": "1"},
        [["x", 1], ["y", 1], ["z", 1]],
        {"v": "1", "w": "2"},
    )
    now = Facts(
        {"keep": "id", "seed": "7", "limit": "6"},
        {"a": "1", "b": "2", "d": "1"},
        [["x", 1], ["y", 2], ["q", 1]],
        {"v": "2"},
    )
    assert changes(before, before) == []
    assert changes(before, now) == [
        *("--limit was 5, now 6", "--seed was not given, now 7"),
        *("b is another", "c is no more part of it", "d is new"),
        *("q is new", "y changed", "z is gone"),
        *("v was 1, now 2", "w was 2, now not there"),
    ]
    assert [told_changes(list("abcde")[:count]) for count in (1, 3, 4)] == ["a", "a; b; c", "a; b; c; and 1 more"]
