"""The first line of a stream, and the name of a job."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.options.values import RunnerOptions
from beamsplit.pipelines.running.job_name import job_name
from beamsplit.pipelines.running.stream_start import TellStart, how_it_ends
from tests.waiting import wait_until

GIVEN = ["--model", "m.onnx"]
STREAM = ["--input", "kafka://h:1/in", "--output", "kafka://h:1/out"]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (STREAM, "beamsplit-in-out"),
        ([*STREAM, "--group", "beamsplit-mine"], "beamsplit-mine"),
        ([*STREAM, "--group", "My group: 1"], "beamsplit-my-group-1"),
        ([*STREAM, "--job_name", "Mine_1.a"], "Mine_1.a"),
        (["--input", "a.csv", "--output", "out/Preds 1.parquet"], "beamsplit-preds-1"),
        (["--input", "a.csv", "--output", "out/"], "beamsplit-out"),
        (["--input", "a.csv", "--output", "kafka://h:1/out"], "beamsplit-out"),
        (["--input", "kafka://h:1/in", "--until_end", "--output", "preds.csv"], "beamsplit-preds"),
    ],
)
def test_a_job_has_the_same_name_each_time(argv: list[str], name: str):
    options, _ = parse([*GIVEN, *argv])
    assert job_name(options) == job_name(options) == name


@pytest.mark.parametrize("name", ["", "my job", "a/b", "-a", "a-"])
def test_a_name_that_not_every_runner_takes_is_refused(name: str):
    with pytest.raises(
        UsageError, match=r"--job_name '.*' has other characters than|--job_name is given the empty text"
    ):
        job_name(parse([*GIVEN, *STREAM, f"--job_name={name}"])[0])


def source(**given: Any) -> Any:
    return SimpleNamespace(**{"until_end": False, "stop_after_idle": None, "stop_file": None} | given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "Ctrl-C cancels it, and what is not committed will be read again"),
        ({"stop_file": "f"}, "Ctrl-C drains, commits and ends it"),
        (
            {"stop_file": "f", "stop_after_idle": 2.5},
            "ends when nothing came for 2.5 s, Ctrl-C drains, commits and ends it",
        ),
        ({"stop_file": "f", "until_end": True}, "ends where the topic ended now, Ctrl-C drains, commits and ends it"),
    ],
)
def test_how_it_ends(given: dict[str, Any], told: str):
    assert how_it_ends(source(**given)) == told


class ClusterJob:
    """Its id is known when it is asked the third time."""

    page = "http://c:8081/#/job/running/1f"

    def __init__(self) -> None:
        self.asked = 0

    def find(self) -> str | None:
        self.asked += 1
        return "1f" if self.asked > 2 else None


@pytest.mark.parametrize(
    ("asked", "runner", "told"),
    [
        (RunnerOptions("PrismRunner", "mine"), None, "job mine on Prism"),
        (RunnerOptions("FlinkRunner", "mine"), None, "job mine on Flink on this machine, which has no page"),
        (
            RunnerOptions("FlinkRunner", "mine", "c:8081"),
            SimpleNamespace(cluster_job=ClusterJob()),
            "job mine (1f) on Flink, http://c:8081/#/job/running/1f",
        ),
    ],
)
def test_the_line_comes_once_the_job_is_known(asked: RunnerOptions, runner: Any, told: str):
    shown = io.StringIO()
    job = source(stop_file="f")
    with TellStart(job, "group g of t begins at partition 0 at offset 7", asked, runner, shown):
        wait_until(lambda: shown.getvalue() != "", "it is told")
    assert shown.getvalue() == (
        f"stream: group g of t begins at partition 0 at offset 7; {told}; Ctrl-C drains, commits and ends it\n"
    )


def test_a_job_that_ends_before_its_id_is_known_is_told_too():
    shown = io.StringIO()
    job = source()
    with TellStart(job, "b", RunnerOptions("FlinkRunner", "mine", "c:8081"), None, shown):
        pass
    assert shown.getvalue().startswith("stream: b; job mine on Flink, http://c:8081; Ctrl-C cancels it")


def test_quiet_is_quiet():
    shown = io.StringIO()
    with TellStart(source(), None, RunnerOptions("PrismRunner"), None, shown):  # type: ignore[arg-type]
        pass
    assert shown.getvalue() == ""
