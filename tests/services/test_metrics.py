"""Streams with `--metrics`, read by a real Prometheus, which evaluates the alerts and the dashboard of the docs too."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.prometheus import Prometheus, find_prometheus, prometheus_server
from tests.services.streams import Stream
from tests.waiting import wait_until

OPERATIONS = Path(__file__).parents[2] / "docs/operations"


@pytest.fixture(scope="module")
def programs(users_cache: Path) -> Path:
    found = find_prometheus(users_cache)
    if isinstance(found, str):
        if os.environ.get("CI") == "true":
            pytest.fail(found)
        pytest.skip(found)
    return found


@pytest.fixture
def prometheus(programs: Path, tmp_path: Path) -> Iterator[Prometheus]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with prometheus_server(programs, folder, tmp_path / "targets", OPERATIONS / "alerts.yml") as server:
        yield server


def messages(count: int) -> list[bytes]:
    good = [json.dumps({"x": [float(at), 0.0, 1.0, 2.0]}).encode() for at in range(count - 1)]
    return [*good, b"no JSON"]


def dashboard() -> list[str]:
    """The expressions of all panels, with what Grafana puts in the place of its variables."""
    panels = json.loads((OPERATIONS / "grafana.json").read_text())["panels"]
    given = {"$job": ".*", "$__rate_interval": "1m", "$__range": "1h"}
    texts = [target["expr"] for panel in panels for target in panel["targets"]]
    return [re.sub(r"\$\w+", lambda found: given[found[0]], text) for text in texts]


def test_alerts_are_raised_where_they_should_be(programs: Path):
    done = subprocess.run(
        [programs / "promtool", "test", "rules", "alerts_test.yml"], cwd=OPERATIONS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"- alert: (\w+)", (OPERATIONS / "alerts.yml").read_text()))
    tested = set(re.findall(r"- alertname: (\w+)", (OPERATIONS / "alerts_test.yml").read_text()))
    assert alerts == tested


RUNNERS = {
    "prism": (),
    "prism, exactly once": ("--delivery", "exactly_once"),
    "flink": ("--runner", "FlinkRunner", "--parallelism", "1", "--checkpoint", "1s"),
}


@pytest.mark.parametrize("options", RUNNERS.values(), ids=RUNNERS)
def test_a_stream_is_seen(stream: Stream, prometheus: Prometheus, tmp_path: Path, options: tuple[str, ...]):
    rows = 501
    stream.send(messages(rows))
    errors = str(tmp_path / "errors.jsonl")
    given = ("--metrics", "0", "--metrics_targets", str(tmp_path / "targets"), "--job_name", "beamsplit-seen")
    process = stream.start(*given, "--errors", errors, "--group", "seen", *options)

    def read() -> bool:
        assert process.poll() is None, process.communicate()
        return sum(prometheus.query("sum(beamsplit_rows_delivered_total)").values()) >= rows - 1

    wait_until(read, "Prometheus has seen all outputs")
    query = prometheus.query
    job = ("job_name=beamsplit-seen",)
    assert query("sum by (job_name) (beamsplit_rows_read_total)") == {job: rows}
    assert query("sum by (job_name) (beamsplit_delivery_seconds_count)") == {job: rows - 1}
    assert query('sum by (job_name) (beamsplit_rows_total{stage="infer"})') == {job: rows - 1}
    assert query("sum by (stage) (beamsplit_errors_total)") == {("stage=read",): 1}
    lag = query("sum by (topic, partition) (beamsplit_lag_messages)")
    assert lag == {(f"partition={part}", f"topic={stream.input}"): 0 for part in (0, 1)}
    assert len(query("count by (model_version) (beamsplit_model_loads_total)")) == 1
    # Each expression is one that Prometheus takes, and what it is about is there once there are two samples of it.
    shown = [text for text in dashboard() if "beamsplit_stage" not in text]
    wait_until(lambda: all(map(query, shown)), "every panel has something to show")
    assert not any(query(text) for text in dashboard() if "beamsplit_stage" in text)  # the model is whole
    states = prometheus.get("rules?type=alert")["groups"][0]["rules"]
    assert {rule["name"]: rule["health"] for rule in states} == {rule["name"]: "ok" for rule in states}
    assert prometheus.get("alerts")["alerts"] == []
    process.terminate()
    assert process.wait(300) == 0
    assert list((tmp_path / "targets").iterdir()) == []
