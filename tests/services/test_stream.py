from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
import pytest

from tests.lineage_server import lineage_server
from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, running, wait_until

pytest.importorskip("confluent_kafka")


def test_each_message_goes_through_once_and_keeps_what_it_carried(stream: Stream):
    sent = stream.send(rows(2000), headers=[("trace", b"t1")], timestamp=1_700_000_000_000)
    code, out, err = stream.run("--until_end", "--group", "g1")
    assert code == 0, err
    assert "2,000 in, 2,000 scored, 0 failed" in out
    outputs = stream.read(stream.output)
    assert len(outputs) == len(set(origins(outputs))) == sent
    by_key = {message.key(): message for message in outputs}
    assert set(by_key) == {f"k{i}".encode() for i in range(sent)}
    one = by_key[b"k7"]
    assert one.timestamp()[1] == 1_700_000_000_000 and one.headers()[0] == ("trace", b"t1")
    assert origins([one])[0][0] == stream.input
    x = np.array([[7, 1, 2, 3]], np.float32)
    expected = ort.InferenceSession(str(stream.model)).run(None, {"x": x})[0][0]
    np.testing.assert_allclose(json.loads(one.value())["y"], expected, rtol=1e-5)
    assert stream.committed("g1") == sent


def test_a_second_run_goes_on_where_the_group_is(stream: Stream):
    for part in (0, 1):
        stream.send(rows(50, first=100 * part))
        code, _, err = stream.run("--until_end", "--quiet", "--start", "earliest")
        assert code == 0, err
    assert len(stream.read(stream.output)) == 100


def test_poison_goes_to_the_errors_topic_and_the_stream_goes_on(stream: Stream):
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    stream.send([*rows(20), b"oops", b'{"x": [1, 2]}', b"{}", *rows(20)])
    code, out, err = stream.run("--until_end", "--errors", stream.uri(errors))
    assert code == 0, err
    assert "43 in, 40 scored, 3 failed" in out
    assert len(stream.read(stream.output)) == 40
    told = [json.loads(message.value()) for message in stream.read(errors)]
    assert [one["topic"] for one in told] == [stream.input] * 3
    assert Counter(one["stage"] for one in told) == {"read": 1, "infer": 2}
    poison = {(m.partition(), m.offset()) for m in stream.read(stream.input) if m.key() in (b"k20", b"k21", b"k22")}
    assert {(one["partition"], one["offset"]) for one in told} == poison


def test_poison_without_errors_output_is_shown_and_counts_in_the_exit_code(stream: Stream, tmp_path: Path):
    stream.send([*rows(3), b"oops"])
    code, _, err = stream.run("--until_end", "--quiet")
    assert code == 3 and '"reason": "no such JSON object' in err
    stream.send([*rows(3), b"oops"])
    code, _, err = stream.run("--until_end", "--quiet", "--errors", str(tmp_path / "errors.jsonl"))
    assert code == 0, err
    assert json.loads((tmp_path / "errors.jsonl").read_text())["stage"] == "read"


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_failures_are_counted_by_reason_and_too_many_end_the_stream(stream: Stream, tmp_path: Path, delivery: str):
    poison = [b"oops", b'{"x": [1, 2]}', *[b"{}"] * 8]
    stream.send([*rows(90), *poison, *rows(90)])
    summary, errors = tmp_path / "summary.json", tmp_path / "errors.jsonl"
    options = ("--delivery", delivery, "--errors", str(errors), "--summary", str(summary))
    code, out, err = stream.run(*options, "--group", "g", "--max_failed", "4%")
    assert code == 1 and "error: the stream was ended: 10 of 190 rows (5.3%) failed, more than --max_failed 4%" in err
    told = json.loads(summary.read_text())
    assert told["failed_by_stage"] == {"infer": 9, "read": 1}
    assert told["failed_by_reason"][0]["rows"] == 8 and "failed   8 in infer: " in out
    assert len(errors.read_text().splitlines()) == 10 and stream.committed("g") == 190
    code, _, err = stream.run(*options, "--until_end", "--group", "g2", "--max_failed", "6%")
    assert code == 0, err


def test_a_stream_of_which_nothing_was_scored_says_so_last(stream: Stream, tmp_path: Path):
    stream.send([b"oops"] * 1200)
    code, _, err = stream.run("--until_end", "--quiet", "--errors", str(tmp_path / "errors.jsonl"))
    last = err.splitlines()[-1]
    assert code == 0 and last.startswith("NOTHING WAS SCORED: all 1,200 rows failed; most often, 1,200 in read")
    assert err.count("warning: the first 1,000 messages all failed, most often in read: no such JSON object") == 1
    code, _, err = stream.run("--errors", str(tmp_path / "errors.parquet"))
    assert code == 2 and "a stream adds JSON lines to it; end the name in .jsonl" in err


def test_tensor_bytes_in_and_out(stream: Stream):
    sent = stream.send(np.arange(4 * i, 4 * i + 4, dtype="<f4").tobytes() for i in range(100))
    code, _, err = stream.run("--until_end", "--format", "tensor", "--output_format", "tensor", "--batch_size", "16")
    assert code == 0, err
    outputs = stream.read(stream.output)
    assert len(outputs) == sent and {len(message.value()) for message in outputs} == {8}


def test_a_signal_drains_commits_and_prints_the_summary(stream: Stream, monkeypatch: pytest.MonkeyPatch):
    stream.send(rows(300))
    with lineage_server() as lineage:
        monkeypatch.setenv("OPENLINEAGE_URL", lineage.url)
        process = stream.start("--group", "g1")
        wait_until(lambda: len(stream.read(stream.output)) == 300)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    states = lineage.states()
    assert (states[0], states[-1], {*states[1:-1]} - {"RUNNING"}) == ("START", "COMPLETE", set()), err
    assert lineage.events[-1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 300
    assert "draining" in err and "300 in, 300 scored, 0 failed" in out
    begins = f"group g1 of {stream.uri(stream.input)} begins at partition 0 at offset 0 (earliest), 1 at 0 (earliest)"
    first = next(line for line in err.splitlines() if not line.startswith("note: "))
    assert first == f"stream: {begins}; job beamsplit-g1 on Prism; Ctrl-C drains, commits and ends it"
    assert stream.committed("g1") == 300


@pytest.mark.parametrize(
    ("delivery", "number"),
    [("at_least_once", signal.SIGHUP), ("exactly_once", signal.SIGINT), ("at_least_once", signal.SIGTERM)],
)
def test_a_second_signal_interrupts_in_one_line_and_leaves_nothing(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivery: str, number: signal.Signals
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("STUCK", str(tmp_path / "stuck"))
    step = ("--schema", "x:float32[4]", "--prepare", "tests.services.steps:stuck")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were started with nohup do not hear it either
    process = stream.start("--quiet", *step, "--delivery", delivery)
    signal.signal(signal.SIGHUP, before)
    stream.send(rows(10))
    wait_until(lambda: (tmp_path / "stuck").exists() or process.poll() is not None, "a block that takes for ever")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    wait_until(lambda: list(tmp_path.glob("tmp/*/stop")) or process.poll() is not None, "the first is heard")
    process.send_signal(number)
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number
    assert err == "interrupted: what its group committed is done, and the rest will be read again\n"
    assert list((tmp_path / "tmp").iterdir()) == []
    wait_until(lambda: not any(running(child.pid) for child in children), "the runner is gone")


def test_a_stream_that_hears_nothing_ends_when_it_is_told_to(stream: Stream):
    stream.send(rows(10))
    code, out, err = stream.run("--stop_after_idle", "2")
    assert code == 0, err
    assert "10 in, 10 scored" in out


@pytest.mark.parametrize("option", ["input", "output", "errors"])
def test_a_topic_that_does_not_exist(stream: Stream, option: str):
    code, out, err = stream.run(**{option: stream.uri("nowhere")})
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --{option} ") and "the cluster has no topic 'nowhere'; create it" in err
    assert "nowhere" not in stream.topics()


def test_a_broker_that_is_not_there(stream: Stream):
    code, _, err = stream.run(input="kafka://127.0.0.1:1/in", output="kafka://127.0.0.1:1/out")
    assert code == 2 and "does not answer" in err and "start it, or check the address" in err


def test_wrong_credentials_are_told_and_the_password_is_not(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "client.properties"
    sasl = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=alice\nsasl.password="
    there = {name: f"kafka://{stream.broker.sasl_address}/{getattr(stream, name)}" for name in ("input", "output")}
    config.write_text(sasl + "wr0ng-secret\n")
    code, out, err = stream.run("--kafka_config", str(config), **there)
    assert code == 2 and "uthentication" in err and f"check the user and password in {config}" in err
    assert "wr0ng-secret" not in out + err
    stream.send(rows(5))
    config.write_text(sasl + "${ALICES_PASSWORD}\n")
    monkeypatch.setenv("ALICES_PASSWORD", "right")
    code, out, err = stream.run("--kafka_config", str(config), "--until_end", **there)
    assert code == 0, err
    assert "5 in, 5 scored" in out


def test_a_broker_that_goes_away_in_mid_stream_and_comes_back(stream: Stream):
    stream.send(rows(100))
    process = stream.start("--group", "g1")
    wait_until(lambda: len(stream.read(stream.output)) == 100)
    stream.broker.kill()
    stream.broker.start()
    stream.send(rows(100, first=100))
    wait_until(lambda: len(set(origins(stream.read(stream.output)))) == 200)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert "0 failed" in out and stream.committed("g1") == 200


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_process_that_was_killed_loses_nothing(stream: Stream, tmp_path: Path, delivery: str):
    good = rows(20_000)
    good[::100] = [b"oops"] * 200
    sent = stream.send(good)
    errors = tmp_path / "errors.jsonl"
    options = ("--batch_size", "50", "--quiet", "--group", "g1", "--delivery", delivery, "--errors", str(errors))
    process = stream.start(*options)
    wait_until(lambda: len(stream.read(stream.output)) > 500)
    sent += stream.kill_before_the_end(process, sent, 5_000)
    assert stream.committed("g1") < sent
    code, _, err = stream.run("--until_end", *options)
    assert code == 0, err
    found = Counter(origins(stream.read(stream.output)))
    told = Counter((one["partition"], one["offset"]) for one in map(json.loads, errors.read_text().splitlines()))
    assert len(found) == sent - 200 and len(told) == 200
    if delivery == "exactly_once":
        assert set(found.values()) == set(told.values()) == {1} and not list(tmp_path.glob(".errors*"))
    assert stream.committed("g1") == sent


def test_exactly_once_reads_what_a_stream_wrote_exactly_once(stream: Stream):
    between = stream.broker.create_topic(f"between-{stream.input}", partitions=2)
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    stream.send([*rows(200), b"oops"])
    once = ("--until_end", "--quiet", "--delivery", "exactly_once", "--errors", stream.uri(errors))
    code, _, err = stream.run(*once, output=stream.uri(between))
    assert code == 0, err
    # The last offset of each partition is now the marker of a transaction: the end is found all the same.
    outputs = ("--schema", "y:float32[2]", "--prepare", "tests.services.steps:as_input", "--columns", "x=x")
    code, _, err = stream.run(*once, *outputs, input=stream.uri(between))
    assert code == 0, err
    found = origins(stream.read(stream.output))
    assert len(found) == len(set(found)) == 200 and {topic for topic, _, _ in found} == {between}
    assert len(stream.read(errors)) == 1


def test_a_stream_on_flink_ends_when_its_offsets_are_committed(stream: Stream):
    sent = stream.send([*rows(500), b"oops"])
    errors = str(stream.folder / "errors.jsonl")
    flink = ("--runner", "FlinkRunner", "--parallelism", "2")
    code, out, err = stream.run("--until_end", "--group", "g1", "--errors", errors, *flink)
    assert code == 0, err
    assert "501 in, 500 scored, 1 failed" in out
    assert len(stream.read(stream.output)) == 500
    assert stream.committed("g1") == sent


def test_partitions_that_are_added_are_read_from_their_first_message(stream: Stream, tmp_path: Path):
    from confluent_kafka.admin import AdminClient, NewPartitions

    config = tmp_path / "client.properties"
    config.write_text("metadata.max.age.ms=500\n")
    stream.send(rows(10))
    process = stream.start("--quiet", "--start", "earliest", "--kafka_config", str(config))
    wait_until(lambda: len(stream.read(stream.output)) == 10)
    admin = AdminClient({"bootstrap.servers": stream.broker.address})
    admin.create_partitions([NewPartitions(stream.input, 3)])[stream.input].result(120)
    stream.send(rows(10), partition=2)
    wait_until(lambda: len(stream.read(stream.output)) == 20)
    assert {origin[1:] for origin in origins(stream.read(stream.output)) if origin[1] == 2} == {
        (2, i) for i in range(10)
    }
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


@pytest.mark.parametrize("ways", [("--stages", "2"), ("--shards", "2"), ("--stages", "2", "--shards", "2")])
def test_a_model_in_parts_gives_what_the_whole_gives(stream: Stream, ways: tuple[str, ...]):
    sent = stream.send(rows(300))
    code, out, err = stream.run("--until_end", "--summary", str(stream.folder / "summary.json"), *ways)
    assert code == 0, err
    outputs = stream.read(stream.output)
    assert len(outputs) == len(set(origins(outputs))) == sent
    x = np.array([[i, 1, 2, 3] for i in range(sent)], np.float32)
    expected = ort.InferenceSession(str(stream.model)).run(None, {"x": x})[0]
    found = {message.key(): json.loads(message.value())["y"] for message in outputs}
    np.testing.assert_allclose([found[f"k{i}".encode()] for i in range(sent)], expected, rtol=1e-4, atol=1e-5)
    summary = json.loads((stream.folder / "summary.json").read_text())
    assert summary["split" if "--stages" in ways else "shards"]["lines"] and "busy" in out


ONCE = ("--delivery", "exactly_once")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--stages", "2"),
            "Prism would commit messages before the last of them has them: a crash would lose some; type",
        ),
        (("--shards", "2", *ONCE), "those of Prism are threads of one process, which would hold all weights; type"),
    ],
)
def test_parts_with_workers_of_their_own_need_what_is_not_there(stream: Stream, options: tuple[str, ...], said: str):
    code, _, err = stream.run(*options, "--placement", "distributed")
    assert code == 2 and said in err, err


def test_stages_with_workers_of_their_own_on_flink(stream: Stream):
    sent = stream.send(rows(200))
    code, _, err = stream.run(
        "--until_end", "--stages", "2", "--placement", "distributed",
        "--runner", "FlinkRunner", "--parallelism", "1", "--checkpoint", "1s",
    )  # fmt: skip
    assert code == 0, err
    outputs = stream.read(stream.output)
    assert len(set(origins(outputs))) == sent
