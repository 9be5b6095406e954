"""What a topic no longer has: messages that retention took, a topic that was made anew, or deleted while it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.services.retention import commit, delete_below
from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_messages_that_retention_took_are_told_or_end_the_stream(stream: Stream, tmp_path: Path, delivery: str):
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    stream.send(rows(60), partition=0)
    stream.send(rows(5), partition=1)
    delete_below(stream, 0, 40)
    # Partition 0 has lost what is below 40; of partition 1 the group is beyond the end: it was made anew.
    commit(stream, "g", p0=30, p1=100)
    options = ("--until_end", "--delivery", delivery, "--group", "g", "--errors", stream.uri(errors))
    code, out, err = stream.run(*options, "--on_gap", "fail")
    assert code == 1 and err.count("\n") == 1 and "Traceback" not in err, err
    assert f"{stream.input}/0: offsets 30 to 39 are gone" in err and "type --on_gap continue" in err
    assert stream.positions("g") == {0: 30, 1: 100} and not stream.read(stream.output)

    summary = tmp_path / "summary.json"
    code, out, err = stream.run(*options, "--summary", str(summary))
    assert code == 0, err
    assert "25 in, 25 scored, 0 failed" in out and "lost     10 messages at most" in out
    assert err.count("warning: ") == 2
    assert json.loads(summary.read_text())["messages_lost"] == 10
    places = {(stream.input, 0, at) for at in range(40, 60)} | {(stream.input, 1, at) for at in range(5)}
    found = origins(stream.read(stream.output))
    assert len(found) == 25 and set(found) == places
    told = sorted((json.loads(message.value()) for message in stream.read(errors)), key=lambda one: one["partition"])
    assert [(one["stage"], one["partition"], one["offset"], one.get("last_offset")) for one in told] == [
        ("gap", 0, 30, 39),
        ("gap", 1, 100, None),
    ]
    assert stream.positions("g") == {0: 60, 1: 5}
    code, out, err = stream.run(*options)
    assert code == 0 and "0 in" in out and not stream.after_start(err), err

    if delivery == "at_least_once":
        commit(stream, "files", p0=30, p1=100)
        bounded = ("--until_end", "--group", "files", "--num_shards", "1", "--quiet")
        code, _, err = stream.run(*bounded, "--on_gap", "fail", output=str(tmp_path / "a.csv"))
        assert code == 1 and f"{stream.input}/0: offsets 30 to 39 are gone" in err and err.count("\n") == 1
        code, _, err = stream.run(*bounded, output=str(tmp_path / "a.csv"))
        assert code == 3 and err.count("warning: ") == 2, err
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 26
        assert stream.positions("files") == {0: 60, 1: 5}


@pytest.mark.parametrize(("delivery", "anew"), [("exactly_once", False), ("at_least_once", True)])
def test_a_topic_that_is_deleted_ends_the_stream(stream: Stream, delivery: str, anew: bool):
    from confluent_kafka.admin import AdminClient

    stream.send(rows(20), partition=0)
    options = ("--group", "g", "--delivery", delivery, "--stop_after_idle", "600", "--quiet")
    process = stream.start(*options)
    wait_until(lambda: stream.written() >= 20 or process.poll() is not None, "all is scored")
    wait_until(lambda: stream.positions("g")[0] == 20 or process.poll() is not None, "all is committed")
    admin = AdminClient({"bootstrap.servers": stream.broker.address})
    admin.delete_topics([stream.input])[stream.input].result(DEADLINE)
    if anew:
        stream.broker.create_topic(stream.input, partitions=2)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1 and "Traceback" not in err, err
    *warned, last = err.splitlines()
    assert last.startswith(f"error: the stream was ended: --input {stream.uri(stream.input)}: the topic was deleted")
    assert ("and made anew" in last) == anew
    # A reader may find the end of the new one before its id is seen.
    assert not warned or (anew and len(warned) == 1 and warned[0].startswith("warning: ") and "made anew" in warned[0])
    assert len(stream.read(stream.output)) == 20
