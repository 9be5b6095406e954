"""Jobs on a session cluster end with their command, and a start without slots does not wait for ever."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

pytest.importorskip("confluent_kafka")

from confluent_kafka.admin import AdminClient

from beamsplit.pipelines.running.job_folder import CLUSTER_JOB
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink_rest import OVER, wait_for_slots
from beamsplit.runners.local import FlinkCluster
from beamsplit.runners.worker_pool import WorkerPool
from tests.lineage_server import lineage_server
from tests.services.retention import commit, delete_below
from tests.services.streams import Stream, is_worker, origins, rows
from tests.waiting import DEADLINE, running, wait_until


def on(cluster: FlinkCluster, *options: str) -> list[str]:
    return ["--runner=FlinkRunner", f"--flink_master={cluster.address}", "--parallelism=2", *options]


def alive(cluster: FlinkCluster) -> dict[str, str]:
    return {job: state for job, state in cluster.jobs().items() if state not in OVER}


SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "hang up": signal.SIGHUP}


def started(stream: Stream, *options: str) -> subprocess.Popen[str]:
    """A process of the command that hears SIGHUP, also where the tests were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = stream.start(*options)
    signal.signal(signal.SIGHUP, before)
    return process


@pytest.mark.parametrize(
    ("how", "delivery"),
    [
        ("idle", "exactly_once"),
        ("interrupt", "at_least_once"),
        ("terminate", "exactly_once"),
        ("hang up", "at_least_once"),
    ],
)
def test_no_job_is_left_on_the_cluster(cluster: FlinkCluster, stream: Stream, how: str, delivery: str):
    assert not alive(cluster)
    stream.send(rows(40))
    group = f"g-{how.replace(' ', '-')}"
    options = on(cluster, "--checkpoint=1s", "--delivery", delivery, "--group", group)
    process = started(stream, *options, *(["--stop_after_idle", "3"] if how == "idle" else []))
    if how != "idle":
        wait_until(lambda: stream.written() >= 40 or process.poll() is not None, "all is scored")
        process.send_signal(SIGNALS[how])
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert not alive(cluster), err
    assert len(stream.read(stream.output)) == 40
    assert "Traceback" not in err
    assert f"; job beamsplit-{group} (" in err and f") on Flink, http://{cluster.address}/#/job/running/" in err


@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
def test_a_second_signal_cancels_the_job_and_tells_one_line(
    cluster: FlinkCluster, stream: Stream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    stream.send(rows(40))
    with lineage_server() as lineage:
        monkeypatch.setenv("OPENLINEAGE_URL", lineage.url)
        # What is drained is committed with a checkpoint, which takes its time.
        process = started(stream, *on(cluster, "--checkpoint=120s", "--quiet"))
        wait_until(lambda: stream.written() >= 40 or process.poll() is not None, "all is scored")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        wait_until(lambda: list(tmp_path.glob("tmp/*/stop")) or process.poll() is not None, "the first is heard")
        process.send_signal(number)
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number, err
    assert (lineage.states()[0], lineage.states()[-1]) == ("START", "ABORT")
    assert err == "interrupted: what its group committed is done, and the rest will be read again\n"
    wait_until(lambda: not any(running(child.pid) for child in children), "what it started ends with it")
    assert not alive(cluster) and list((tmp_path / "tmp").iterdir()) == []
    wait_for_slots(cluster.address, 2)


def test_a_command_that_was_killed_leaves_no_job_once_another_starts(
    cluster: FlinkCluster, stream: Stream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    stream.send(rows(40))
    options = on(cluster, "--checkpoint=1s", "--quiet")
    process = stream.start(*options)
    wait_until(lambda: list(tmp_path.glob(f"tmp/*/{CLUSTER_JOB}")) or process.poll() is not None, "the job is known")
    (left,) = alive(cluster)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(running(child.pid) for child in children), "what it started ends with it")
    assert alive(cluster)
    code, _, err = stream.run(*options, "--stop_after_idle", "3")
    assert code == 0, err
    note, *waiting = err.splitlines()
    assert note.startswith(f"note: the command of job {left} on the Flink cluster at {cluster.address} was killed")
    assert all(line.startswith("waiting for ") for line in waiting)
    assert not alive(cluster) and len(set(origins(stream.read(stream.output)))) == 40
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("where", ["embedded", "session"])
def test_a_job_server_that_is_killed_ends_the_job_in_one_line(
    where: str, stream: Stream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    stream.send(rows(20))
    options = ["--runner=FlinkRunner", "--parallelism=1"]
    if where == "session":
        cluster: FlinkCluster = request.getfixturevalue("cluster")
        options.append(f"--flink_master={cluster.address}")
    process = stream.start(*options, "--checkpoint=1s", "--quiet")
    wait_until(lambda: stream.written() >= 20 or process.poll() is not None, "all is scored")
    children = psutil.Process(process.pid).children(recursive=True)
    (server,) = (child for child in children if child.name() == "java")
    server.kill()
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (1, "")
    left = "what its group committed is done, and the rest will be read again"
    told = "Flink's job server was killed (SIGKILL), perhaps because memory was short"
    assert err == f"error: the job failed, {left}: {told} (--debug shows all)\n"
    wait_until(lambda: not any(running(child.pid) for child in children), "workers end with it")
    assert list((tmp_path / "tmp").iterdir()) == []
    if where == "session":
        assert not alive(cluster)
        wait_for_slots(cluster.address, 2)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_gap_that_is_not_to_be_passed_ends_the_job(cluster: FlinkCluster, stream: Stream, delivery: str):
    """Retention takes messages while it runs; it says so in one line, and goes on behind them when told to."""
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    stream.send(rows(60), partition=0)
    delete_below(stream, 0, 40)
    commit(stream, "g", p0=30)
    options = on(cluster, "--checkpoint=1s", "--delivery", delivery, "--group", "g", "--quiet")
    options += ["--errors", stream.uri(errors)]
    code, out, err = stream.run(*options, "--on_gap", "fail")
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert f"{stream.input}/0: offsets 30 to 39 are gone" in err and "type --on_gap continue" in err
    assert not alive(cluster) and stream.positions("g") == {0: 30, 1: 0}
    sent = 60
    if delivery == "exactly_once":
        # Told once, also where a worker is killed, and where it is started again.
        process = stream.start(*options)
        wait_until(lambda: stream.positions("g")[0] >= 60 or process.poll() is not None, "what is behind the gap")
        for child in filter(is_worker, psutil.Process(process.pid).children(recursive=True)):
            child.kill()
        sent += stream.send(rows(10, first=60), partition=0)
        wait_until(lambda: stream.positions("g")[0] >= 70 or process.poll() is not None, "it goes on")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0 and err.count("are gone") == 1, err
    code, _, err = stream.run(*options, "--stop_after_idle", "3")
    assert code == 0, err
    assert len(stream.read(stream.output)) == sent - 40 and stream.positions("g") == {0: sent, 1: 0}
    (told,) = (json.loads(message.value()) for message in stream.read(errors))
    assert (told["stage"], told["offset"], told["last_offset"]) == ("gap", 30, 39)


GONE = {
    "input": "the topic was deleted while it was read",
    # By the watch for the topic, or by a reader, whichever looks first.
    "input made anew": "made anew",
    "output": "the topic was deleted while the job ran",
}


@pytest.mark.parametrize(
    ("delivery", "what", "elsewhere"),
    [
        ("at_least_once", "input", False),
        ("exactly_once", "input made anew", False),
        ("exactly_once", "output", True),
    ],
)
def test_a_topic_that_is_gone_ends_the_job(
    cluster: FlinkCluster, stream: Stream, tmp_path: Path, delivery: str, what: str, elsewhere: bool
):
    """Also where its workers are elsewhere, which Flink would start again for ever."""
    stream.send(rows(20), partition=0)
    options = on(cluster, "--checkpoint=1s", "--delivery", delivery, "--group", "g", "--quiet")
    with contextlib.ExitStack() as stack:
        if elsewhere:
            pool = stack.enter_context(WorkerPool(tmp_path / "pool"))
            options += ["--environment_type=EXTERNAL", f"--environment_config={pool.address}"]
        process = stream.start(*options)
        wait_until(lambda: stream.positions("g")[0] == 20 or process.poll() is not None, "all is committed")
        topic = getattr(stream, what.split()[0])
        admin = AdminClient({"bootstrap.servers": stream.broker.address})
        admin.delete_topics([topic])[topic].result(DEADLINE)
        if what == "output":
            stream.send(rows(20), partition=0)
        if what == "input made anew":
            stream.broker.create_topic(topic, partitions=2)
        out, err = process.communicate(timeout=DEADLINE)
    (line,) = err.splitlines()
    assert (process.returncode, out) == (1, "")
    assert line.startswith("error: the stream was ended: ") and topic in line and GONE[what] in line
    assert not alive(cluster)
    wait_for_slots(cluster.address, 2)


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
