from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from beamsplit.transforms.telemetry.exposition import registry_of
from beamsplit.transforms.telemetry.measures import COUNTER, MEASURES
from beamsplit.transforms.telemetry.recorder import MOST_SERIES, OTHER, Recorder

DOCS = Path(__file__).parents[3] / "docs/operations"


def shown(recorder: Recorder) -> dict[str, float]:
    """Each sample with its labels, as Prometheus would read it."""
    from prometheus_client.exposition import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    text = generate_latest(registry_of(recorder)).decode()
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return {" ".join([one.name, *(f"{k}={v}" for k, v in sorted(one.labels.items()))]): one.value for one in samples}


def test_values_on_an_edge_belong_to_the_bucket_below():
    recorder = Recorder()
    recorder.observe("beamsplit_run_seconds", np.array([0.001, 0.0011, 7.0, 1e9]), "infer")
    found = shown(recorder)
    of_runs = {name: value for name, value in found.items() if name.startswith("beamsplit_run_seconds_bucket")}
    buckets = {name.split("le=")[1].split()[0]: value for name, value in of_runs.items()}
    assert [buckets[end] for end in ("0.001", "0.0025", "5.0", "10.0", "300.0", "+Inf")] == [1, 2, 2, 3, 3, 4]
    assert found["beamsplit_run_seconds_count stage=infer"] == 4
    assert found["beamsplit_run_seconds_sum stage=infer"] == pytest.approx(1e9 + 7.0021)


def test_labels_that_users_write_are_bounded():
    recorder = Recorder()
    for number in range(MOST_SERIES + 10):
        recorder.count("beamsplit_errors", 1, "read", f"reason {number}")
    recorder.count("beamsplit_errors", 1, "read", "reason 0")
    found = dict(recorder.values("beamsplit_errors"))
    assert len(found) == MOST_SERIES + 1
    assert found["read", "reason 0"] == 2
    assert found[OTHER, OTHER] == 10


def test_the_age_of_outputs_counts_where_their_messages_have_a_time():
    recorder = Recorder()
    now = round(time.time() * 1000)
    recorder.delivered(np.array([now - 3_600_000, -1, now + 60_000]))
    found = shown(recorder)
    assert found["beamsplit_rows_delivered_total"] == 3
    assert found["beamsplit_delivery_seconds_count"] == 2
    assert 3_599 < found["beamsplit_delivery_seconds_sum"] < 3_700  # a clock that is ahead counts as none


def test_a_gauge_of_what_another_process_has_now_is_forgotten():
    recorder = Recorder()
    recorder.set("beamsplit_lag_messages", 5, "t", "0")
    recorder.set("beamsplit_lag_messages", 6, "t", "1")
    recorder.forget("beamsplit_lag_messages", "t", "0")
    recorder.forget("beamsplit_lag_messages", "t", "7")
    assert list(recorder.values("beamsplit_lag_messages")) == [(("t", "1"), 6)]


def test_counters_without_labels_are_there_before_they_count():
    found = shown(Recorder())
    assert found["beamsplit_rows_read_total"] == found["beamsplit_model_refusals_total"] == 0
    assert not any(name.startswith("beamsplit_lag") for name in found)


def test_what_parts_did_by_stage_and_shard():
    recorder = Recorder()
    recorder.add_parts({"stages_active_usec": 4_000_000, "stage_1_busy_usec": 500_000, "stage_1_queue_usec": 2_000_000})
    recorder.add_parts({"shard_0_busy_usec": 250_000, "shard_joins": 3, "stage_1_runs": 9})
    found = shown(recorder)
    assert found["beamsplit_stages_active_seconds_total"] == 4
    assert found["beamsplit_stage_busy_seconds_total stage=stage 1"] == 0.5
    assert found["beamsplit_stage_queue_seconds_total stage=stage 1"] == 2
    assert found["beamsplit_stage_busy_seconds_total stage=shard 0"] == 0.25


def test_every_metric_stands_in_the_docs_with_its_labels():
    rows = re.findall(r"^\| `(beamsplit_\w+)` \| ([^|]*)\|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    told = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    made = {f"{name}{'_total' if one.kind == COUNTER else ''}": one.labels for name, one in MEASURES.items()}
    assert told == made
