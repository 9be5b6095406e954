from __future__ import annotations

import io
import json
import logging
import sys
import threading

import pytest

import beamsplit as bs
from beamsplit.pipelines.running.log_lines import JsonLines, log_lines, told
from tests.command import Command

FIELDS = ["time", "level", "job", "event", "message"]


def said(err: str) -> list[dict]:
    made = [json.loads(line) for line in err.splitlines()]
    assert all(list(one)[:5] == FIELDS for one in made)
    return made


@pytest.mark.parametrize(
    ("line", "event", "level", "message"),
    [
        ("error: --model x", "error", "error", "--model x"),
        ("warning: gone", "warning", "warning", "gone"),
        ("note: a: b", "note", "info", "a: b"),
        ("WARNING:a.b:lost: 3", "log", "warning", "a.b: lost: 3"),
        ("600 of 1,000 rows, 50 rows/s, 0 failed", "progress", "info", "600 of 1,000 rows, 50 rows/s, 0 failed"),
        ("step 1 of 2: 600 rows, 50 rows/s", "progress", "info", "step 1 of 2: 600 rows, 50 rows/s"),
        ('  é "quoted" \ud800', "message", "info", '  é "quoted" \ud800'),
        ("NOTHING WAS SCORED: all", "nothing_scored", "error", "all"),
    ],
)
def test_a_line_is_known_by_how_it_begins(line: str, event: str, level: str, message: str):
    found = told(line, "j")
    assert (found["event"], found["level"], found["message"], found["job"]) == (event, level, message, "j")
    assert json.loads(json.dumps(found)) == found


def test_lines_are_whole_whoever_writes_them():
    out = io.StringIO()
    lines = JsonLines(out, "j")

    def write(name: str) -> None:
        for at in range(200):
            print("note:", name, at, file=lines)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print("\n\r  \r10 rows, 5 rows/s\rbegun", end="", file=lines)
    lines.end()
    *found, last = [one["message"] for one in said(out.getvalue())]
    assert sorted(found) == sorted(f"{name} {at}" for name in "abc" for at in range(200)) and last == "begun"
    assert not lines.isatty()


def test_a_job_says_all_in_json(command: Command):
    code, out, err = command.run("--log_format", "json", "--job_name", "nightly", "--prepare", "scale:columns=a")
    found = said(err)
    assert code == 2 and [one["event"] for one in found] == ["error"] and not out
    before = sys.stderr
    command.model = "missing.onnx"
    code, out, err = command.run("--log_format=json", "--job_name", "nightly")
    assert code == 2 and [(one["job"], one["event"]) for one in said(err)] == [("nightly", "error")]
    assert sys.stderr is before


def test_the_summary_is_an_event(command: Command):
    code, out, err = command.run("--log_format", "json", "--workers", "1")
    *_, last = said(err)
    assert (code, out, last["event"], last["message"]) == (0, "", "summary", "600 in, 600 scored, 0 failed")
    assert last["job"] == "beamsplit-preds" and last["summary"]["rows_scored"] == 600


def test_wrong_use_before_the_options_are_read(command: Command):
    code, _, err = command.run("--log_format", "json", "--workers", "none")
    (found,) = said(err)
    assert (code, found["event"], found["job"]) == (2, "error", "") and "--workers" in found["message"]
    assert command.run("--log_format", "xml")[2].startswith("error: argument --log_format: invalid choice: 'xml'")


def test_logging_is_in_it(capsys: pytest.CaptureFixture[str]):
    with log_lines(["--log_format", "json"]):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
        log = logging.Logger("a.b")
        log.addHandler(handler)
        log.warning("lost %d", 3)
    (found,) = said(capsys.readouterr().err)
    assert (found["event"], found["level"], found["message"]) == ("log", "warning", "a.b: lost 3")


def test_from_python(command: Command, capsys: pytest.CaptureFixture[str]):
    columns = {"x": list("abcd")}
    bs.score(str(command.data), command.model, columns=columns, workers=1, progress=True, log_format="json")
    assert said(capsys.readouterr().err)[-1]["event"] == "summary"
