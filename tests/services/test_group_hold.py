"""One job a group on a real broker: the second is refused, one that was killed is let go of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka")


def test_the_second_job_of_a_group_is_refused_and_one_that_was_killed_is_waited_for(stream: Stream, tmp_path: Path):
    config = tmp_path / "client.properties"
    config.write_text("session.timeout.ms=6000\n")  # the least that brokers take unless told otherwise
    options = ("--quiet", "--group", "g", "--kafka_config", str(config))
    stream.send(rows(40))
    first = stream.start(*options)
    wait_until(lambda: stream.written() == 40 or first.poll() is not None, "the first does its work")
    others = [
        stream.start(*options, "--until_end"),
        stream.start(*options, "--until_end", "--delivery", "exactly_once"),
        stream.start(*options, "--until_end", output=str(tmp_path / "a.csv")),
    ]
    for other in others:
        out, err = other.communicate(timeout=DEADLINE)
        assert (other.returncode, out) == (2, ""), err
        waiting, refused = err.splitlines()
        assert waiting.startswith("waiting for --group g, 11 s at most: it is held by client beamsplit-least-")
        assert refused.startswith("error: --group g is held by another job, client beamsplit-least-")
        assert "at 127.0.0.1" in refused and refused.endswith("give another --group, or stop the other")
    assert not list(tmp_path.glob("a*"))
    # Another group reads beside it.
    code, _, err = stream.run("--until_end", "--quiet", "--group", "g2")
    assert (code, err) == (0, "")

    sent = 40 + stream.kill_before_the_end(first, 40, 20)
    code, _, err = stream.run(*options, "--until_end")
    # How much of the 6 s is left when it looks is the machine's.
    assert code == 0 and (not err or (err.startswith("waiting for --group g, ") and err.count("\n") == 1)), err
    # After one that ended by itself nobody waits.
    code, _, err = stream.run(*options, "--until_end")
    assert (code, err) == (0, "")
    found = Counter(origins(stream.read(stream.output)))
    assert len(found) == sent and stream.committed("g") == sent
