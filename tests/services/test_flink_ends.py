"""Jobs on a session cluster end with their command, and a start without slots does not wait for ever."""

from __future__ import annotations

import signal

import pytest

from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink_rest import OVER, wait_for_slots
from beamsplit.runners.local import FlinkCluster
from tests.services.streams import Stream, rows
from tests.waiting import DEADLINE, wait_until


def on(cluster: FlinkCluster, *options: str) -> list[str]:
    return ["--runner=FlinkRunner", f"--flink_master={cluster.address}", "--parallelism=2", *options]


def alive(cluster: FlinkCluster) -> dict[str, str]:
    return {job: state for job, state in cluster.jobs().items() if state not in OVER}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("how", ["idle", "interrupt", "terminate"])
def test_no_job_is_left_on_the_cluster(cluster: FlinkCluster, stream: Stream, how: str, delivery: str):
    assert not alive(cluster)
    stream.send(rows(40))
    options = on(cluster, "--checkpoint=1s", "--delivery", delivery, "--group", f"g-{how}")
    process = stream.start(*options, *(["--stop_after_idle", "3"] if how == "idle" else []))
    if how != "idle":
        wait_until(lambda: stream.written() >= 40 or process.poll() is not None, "all is scored")
        process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert not alive(cluster), err
    assert len(stream.read(stream.output)) == 40
    assert "Traceback" not in err
    assert f"; job beamsplit-g-{how} (" in err and f") on Flink, http://{cluster.address}/#/job/running/" in err


def test_a_second_stream_is_told_who_holds_the_slots(
    cluster: FlinkCluster, stream: Stream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    stream.send(rows(4))
    process = stream.start(*on(cluster, "--checkpoint=1s"))
    wait_until(lambda: stream.written() >= 4 or process.poll() is not None, "the first stream has its slots")
    (holder,) = alive(cluster)
    with pytest.raises(RunnerError, match=f"0 of the 2 slots .* held by beamsplit-.*{holder}.*running"):
        wait_for_slots(cluster.address, 1, seconds=1.0)
    assert "waiting for slots, 1 s at most: 0 of the 2 slots" in capsys.readouterr().err
    with pytest.raises(RunnerError, match=r"--parallelism 3 needs as many slots, .* has 2"):
        wait_for_slots(cluster.address, 3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    # They are free again, which a start waits for.
    wait_for_slots(cluster.address, 2)
