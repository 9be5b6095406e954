"""Events of OpenLineage, taken by a real HTTP server and validated against its schemas (tests/lineage_spec)."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.running import lineage
from beamsplit.pipelines.running.interrupt import Interruptible
from beamsplit.pipelines.running.lineage_names import Named, named
from tests.command import Command
from tests.lineage_server import LineageServer, lineage_server
from tests.waiting import wait_until

pytest.importorskip("openlineage.client")
jsonschema_rs = pytest.importorskip("jsonschema_rs")

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "tests/lineage_spec"
FLINK = "org.apache.flink.runtime.client"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LineageServer]:
    with lineage_server() as taken:
        monkeypatch.setenv("OPENLINEAGE_URL", taken.url)
        monkeypatch.setattr(lineage, "LAST_SECONDS", 120.0)
        yield taken


def check(event: dict[str, Any]) -> None:
    """Raise where an event, or a facet of it, is not as the published schemas have it."""
    schemas = {json.loads(path.read_text())["$id"]: json.loads(path.read_text()) for path in SPEC.glob("*.json")}
    registry = jsonschema_rs.Registry(list(schemas.items()))
    base = schemas[next(name for name in schemas if name.endswith("/OpenLineage.json"))]

    def valid(schema: Any, value: Any) -> None:
        jsonschema_rs.validator_for(schema, registry=registry, validate_formats=True).validate(value)

    valid(base, event)
    things = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for thing in things:
        for kind in ("facets", "inputFacets", "outputFacets"):
            for name, facet in (thing.get(kind) or {}).items():
                file = facet["_schemaURL"].partition("#")[0].rpartition("/")[2]
                valid(json.loads((SPEC / file).read_text()), {name: facet})


def test_the_start_and_the_end_of_a_job(command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "s3cret")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "team")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "dags/nightly.score/0198b4a6-0000-7000-8000-000000000001")
    errors = command.folder / "errors.jsonl"
    code, _, err = command.run("--quiet", "--keep", "id", "--errors", errors, "--job_name", "churn")
    assert (code, err) == (0, "")
    assert server.states() == ["START", "COMPLETE"] and set(server.keys) == {"Bearer s3cret"}
    for event in server.events:
        check(event)
    start, complete = server.events
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert (start["job"]["namespace"], start["job"]["name"]) == ("team", "churn")
    assert start["run"]["facets"]["parent"]["job"]["name"] == "nightly.score"
    data, model = start["inputs"]
    assert (data["namespace"], data["name"]) == ("file", str(command.data))
    assert ("a", "float") in [(one["name"], one["type"]) for one in data["facets"]["schema"]["fields"]]
    assert model["name"] == str(command.model) and model["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert model["facets"]["version"]["datasetVersion"] == model_version(str(command.model))
    predictions, failed = complete["outputs"]
    assert (predictions["name"], failed["name"]) == (str(command.output), str(errors))
    assert [one["name"] for one in predictions["facets"]["schema"]["fields"]] == ["id", "y"]
    assert predictions["outputFacets"]["outputStatistics"]["rowCount"] == 600
    assert failed["outputFacets"]["outputStatistics"]["rowCount"] == 0 and "outputStatistics" not in str(start)


def test_of_a_job_that_does_not_begin_nobody_is_told(command: Command, server: LineageServer):
    command.data.write_bytes(b"no Parquet")
    assert command.run("--quiet")[0] == 2 and server.states() == []


@pytest.mark.parametrize(
    ("why", "state"),
    [
        ("the disk is full", "FAIL"),
        ("Pipeline b-7 failed in state CANCELLED: by somebody", "ABORT"),
        (f"Pipeline b failed in state FAILED: {FLINK}.JobCancellationException: Job was cancelled.", "ABORT"),
    ],
)
def test_a_job_that_fails_as_it_runs(
    command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch, why: str, state: str
):
    from beamsplit.pipelines.running import launch

    def fails(*given: Any) -> Any:
        raise RuntimeError(why)

    monkeypatch.setattr(launch, "run_bounded", fails)
    assert command.run("--quiet")[0] == 1
    assert server.states() == ["START", state]
    check(server.events[1])
    assert server.events[1]["run"]["facets"]["errorMessage"]["message"] == why


def test_a_job_that_takes_a_while_is_told_of_meanwhile(
    command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch
):
    from beamsplit.pipelines.running import launch

    run = launch.run_bounded

    def lasts(*given: Any) -> Any:
        done = run(*given)
        count = len(server.events)
        wait_until(lambda: len(server.events) > count + 1, "it is told of once more, after its rows are counted")
        return done

    monkeypatch.setattr(launch, "run_bounded", lasts)
    monkeypatch.setattr(lineage, "RUNNING_SECONDS", 0.05)
    assert command.run("--quiet", "--workers", "1")[0] == 0
    states = server.states()
    assert states[0] == "START" and states[-1] == "COMPLETE" and set(states[1:-1]) == {"RUNNING"}
    check(server.events[-2])
    assert server.events[-2]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 600


@pytest.mark.parametrize(("interrupted", "state"), [(True, "ABORT"), (False, "FAIL")])
def test_a_process_that_is_ended_from_within_tells_its_end(
    command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch, interrupted: bool, state: str
):
    from beamsplit.pipelines.running import interrupt, launch

    def stuck(settled: Any, job: Any, job_dir: Any, started: float, signals: Interruptible) -> Any:
        signals.planning, signals._came = False, int(signal.SIGTERM) if interrupted else None
        signals.end("the model does not return")
        raise AssertionError("it was ended")

    def ended(code: int) -> None:
        assert server.states() == ["START", state]
        raise SystemExit(code)

    monkeypatch.setattr(launch, "run_bounded", stuck)
    monkeypatch.setattr(interrupt.os, "_exit", ended)
    monkeypatch.setattr(interrupt, "disown_all", lambda: None)
    with pytest.raises(SystemExit):
        command.run("--quiet")
    assert server.events[1]["run"]["facets"]["errorMessage"]["message"] == "the model does not return"


def test_a_job_that_is_interrupted(command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch):
    from beamsplit.pipelines.running import launch
    from beamsplit.pipelines.running.interrupt import Interrupted

    def ends(*given: Any) -> Any:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(launch, "run_bounded", ends)
    assert command.run("--quiet")[0] == 143
    assert server.states() == ["START", "ABORT"]
    check(server.events[1])


def test_a_server_that_refuses_changes_nothing(command: Command, server: LineageServer):
    server.status = 403
    code, _, err = command.run("--quiet")
    assert code == 0 and len(err.splitlines()) == 1
    assert f"the lineage server {server.url.removeprefix('http://')} was not told of all: START: HTTPError" in err


def test_a_server_that_does_not_answer_holds_nothing(command: Command, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://user:s3cret@127.0.0.1:{port}")
        monkeypatch.setattr(lineage, "LAST_SECONDS", 0.2)
        code, _, err = command.run("--quiet")
    assert code == 0 and command.output.exists()
    assert err == f"warning: the lineage server 127.0.0.1:{port} was not told of all: no answer within 0.2 s\n"


def test_nobody_is_told_where_that_is_switched_off_or_the_client_is_missing(
    command: Command, server: LineageServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert command.run("--quiet")[::2] == (0, "")
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    monkeypatch.delitem(sys.modules, "beamsplit.pipelines.running.lineage_events", raising=False)
    code, _, err = command.run("--quiet")
    assert code == 0 and "so nobody is told of the job: pip install 'beamsplit[openlineage]'" in err
    assert server.events == []
    assert command.run("--dry_run_plan")[0] == 0 and server.events == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gs://b/c/*/d.csv", Named("gs://b", "c")),
        ("s3://b", Named("s3://b", "/")),
        ("delta:/t/sales@3", Named("file", "/t/sales", "3")),
        ("delta:s3://b/t", Named("s3://b", "t")),
        ("lance:/e", Named("file", "/e")),
        ("iceberg://c/d.t@main", Named("iceberg://c", "d.t", "main")),
        ("kafka://h:1,g:2/topic?x=1", Named("kafka://h:1,g:2", "topic")),
        ("https://user:pw@h/m.onnx#sha256=00", Named("https://h", "m.onnx")),
        ("hf://org/repo/m.onnx@rev", Named("hf://org", "repo/m.onnx@rev")),
        ("runs:/0a/model", Named("runs", "0a/model")),
        ("/a/b*/c", Named("file", "/a")),
    ],
)
def test_names(path: str, expected: Named):
    assert named(path) == expected
