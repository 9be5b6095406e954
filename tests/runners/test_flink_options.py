"""Options of the Flink runner, and the worker pool, without Flink."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
from apache_beam.portability.api import beam_fn_api_pb2

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import _held, disown, own
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.running.job_folder import CLUSTER_JOB, PREFIX, job_folder
from beamsplit.pipelines.running.runner import settle_runner, started_runner
from beamsplit.runners import flink, flink_rest, worker_pool
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink import FlinkOptions, flink_runner, pool_of_this_machine
from beamsplit.runners.flink_job_server import DRIVER, cluster_jars, for_cluster, job_server_command
from beamsplit.runners.worker_pool import WorkerPool, python_environment
from tests.command import Command
from tests.waiting import wait_until

GIVEN = ["--model", "m.onnx", "--input", "a.csv", "--output", "o.csv"]


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("off", None), (None, 10_000)]
)
def test_checkpoint_times(text: str | None, milliseconds: int | None):
    given = [] if text is None else ["--checkpoint", text]
    assert parse([*GIVEN, *given])[0].runner.checkpoint == milliseconds


@pytest.mark.parametrize("text", ["10", "0s", "-1s", "fast", "1h"])
def test_a_wrong_checkpoint_time(text: str):
    with pytest.raises(UsageError, match="is neither 'off' nor a time such as 500ms, 10s or 2m"):
        parse([*GIVEN, f"--checkpoint={text}"])


@pytest.mark.parametrize("option", ["--flink_master", "--parallelism", "--flink_job_server_jar"])
def test_options_of_flink_are_for_flink(option: str):
    with pytest.raises(UsageError, match=f"{option} is for --runner FlinkRunner, and --runner is DirectRunner"):
        parse([*GIVEN, option, "1"])


def test_threads_are_not_for_flink(command: Command):
    assert "Flink has processes" in command.error("--runner", "FlinkRunner", "--worker_type", "thread")


def test_a_jar_that_is_not_there(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.runners.flink_job_server.find_java", lambda: "java")
    err = command.error("--runner", "FlinkRunner", "--flink_job_server_jar", "none.jar", "--parallelism", "1")
    assert err == "--flink_job_server_jar none.jar is not there; give the path of a jar, or leave it out"


def test_a_given_jar_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.runners.flink_job_server.find_java", lambda: "java")
    jar = tmp_path / "server.jar"
    jar.touch()
    assert job_server_command(str(jar))[-2:] == ["-jar", str(jar)]
    assert for_cluster(job_server_command(str(jar))) == job_server_command(str(jar))


@pytest.mark.parametrize("libraries", [None, "other-libraries"])
def test_a_cluster_is_sent_beam_and_not_flink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: str | None):
    beam, *others = jars_in(tmp_path, monkeypatch)
    command = for_cluster(["java", "-cp", os.pathsep.join([beam, *others]), DRIVER, "--more"], libraries)
    first, *unsent = command[2].split(os.pathsep)
    assert first == beam and cluster_jars(Path(beam).parent) == [beam]
    assert [os.path.basename(jar) for jar in unsent] == [os.path.basename(jar) for jar in others]
    for jar, other in zip(unsent, others, strict=True):
        assert "/gradle/wrapper/" in jar and Path(jar).read_text() == Path(other).read_text()
    assert [*command[:2], *command[3:]] == ["java", "-cp", DRIVER, "--more"]


def test_a_cluster_that_has_beams_libraries_is_sent_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jars = jars_in(tmp_path, monkeypatch)
    command = for_cluster(["java", "-cp", os.pathsep.join(jars), DRIVER], "libraries")
    assert all("/gradle/wrapper/" in jar for jar in command[2].split(os.pathsep))
    assert for_cluster(["java", "-jar", "own.jar"], "libraries") == ["java", "-jar", "own.jar"]


def jars_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One for clusters, and two that they have or need not have."""
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "libraries").mkdir()
    jars = [
        tmp_path / "libraries" / f"{name}.jar" for name in ("beam-runners-flink", "flink-core-1.19.0", "google-api-2")
    ]
    for jar in jars:
        jar.write_text(jar.name)
    return list(map(str, jars))


def test_workers_of_another_machine_need_a_pool_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flink, "overview", lambda master: {"slots-total": 2, "taskmanagers": 1})
    options = FlinkOptions(master="flink.example.org:8081")
    with pytest.raises(RunnerError, match="--environment_config localhost:50000"), flink_runner(options):
        pass
    assert not pool_of_this_machine(["--environment_type=EXTERNAL"]) and pool_of_this_machine(["--job_name=x"])


def start_request(worker: str = "1-1"):
    return beam_fn_api_pb2.StartWorkerRequest(worker_id=worker)


def test_a_worker_that_ends_at_its_start_is_told_with_its_log(tmp_path: Path):
    command = [sys.executable, "-c", "raise SystemExit('no module named beam')", str(tmp_path)]
    with WorkerPool(tmp_path, command=command) as pool:
        answer = pool.StartWorker(start_request(), None)
        assert "worker-1-1 ended at its start: no module named beam" in answer.error
        assert pool.failed.is_set() and pool.failure == answer.error


def test_a_worker_that_never_connects_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_pool, "START_SECONDS", 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(tmp_path)]
    with WorkerPool(tmp_path, command=command) as pool:
        answer = pool.StartWorker(start_request(), None)
        assert "worker-1-1 was not ready within 0 s" in answer.error
        assert pool.pids() == []


def test_a_pool_takes_its_workers_with_it(tmp_path: Path):
    code = "import os, pathlib, time; pathlib.Path(os.environ['BEAMSPLIT_READY']).touch(); time.sleep(600)"
    with WorkerPool(tmp_path, command=[sys.executable, "-c", code, str(tmp_path)]) as pool:
        answers = [pool.StartWorker(start_request(name), None).error for name in ("1-1", "1-2")]
        assert answers == ["", ""] and len(pool.pids()) == 2
        stopped = beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1")
        pool.StopWorker(stopped, None)
        assert len(pool.pids()) == 1
        left = [worker for alike in pool._workers.values() for worker in alike]
        assert pool.failure is None
    assert [worker.pid for worker in left] == [None]


def test_workers_of_two_task_managers_may_have_one_name(tmp_path: Path):
    code = "import os, pathlib, time; pathlib.Path(os.environ['BEAMSPLIT_READY']).touch(); time.sleep(600)"
    with WorkerPool(tmp_path, command=[sys.executable, "-c", code, str(tmp_path)]) as pool:
        assert [pool.StartWorker(start_request(), None).error for _ in range(2)] == ["", ""]
        both = pool.pids()
        # Whose it is, the request does not say.
        pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), None)
        assert pool.pids() == both and len(both) == 2
        os.kill(both[0], signal.SIGKILL)
        wait_until(lambda: pool.pids() == both[1:])
        assert pool.StartWorker(start_request(), None).error == ""
        assert len(pool.pids()) == 2 and both[1] in pool.pids()
    logs = sorted(log.name for log in tmp_path.glob("*.log"))
    assert logs == ["worker-1-1.2.log", "worker-1-1.3.log", "worker-1-1.log"]


def test_later_failures_are_forgiven_a_few_times(tmp_path: Path):
    code = "import os, pathlib, sys, time; pathlib.Path(os.environ['BEAMSPLIT_READY']).touch(); time.sleep(600)"
    with WorkerPool(tmp_path, command=[sys.executable, "-c", code, str(tmp_path)]) as pool:
        pool.StartWorker(start_request("1-1"), None)
        pool._command = [sys.executable, "-c", "raise SystemExit(1)", str(tmp_path)]
        for number in range(worker_pool.MOST_FAILURES):
            assert pool.failure is None
            assert pool.StartWorker(start_request(f"2-{number}"), None).error
        assert pool.failure is not None


def test_workers_find_this_python_and_what_it_can_import():
    environment = python_environment()
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert str(Path(__file__).parents[2]) in environment["PYTHONPATH"].split(":")


def test_as_many_tasks_as_workers_are_described(tmp_path: Path):
    cluster = tmp_path / "cluster.json"
    cluster.write_text('[{"count": 3}, {"name": "big", "speed": 2}]')
    given = [*GIVEN, "--runner", "FlinkRunner", "--strategy", "auto", "--workers", str(cluster)]
    assert settle_runner(*parse(given)).options.runner.parallelism == 4
    assert settle_runner(*parse([*given, "--parallelism", "2"])).options.runner.parallelism == 2


@pytest.mark.parametrize(("message", "shown"), [("it runs on", ""), ("no workers\nlog 1\nlog 2", "log 1\nlog 2\n")])
def test_what_a_failure_on_flink_shows_beside_its_line(
    message: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    @contextlib.contextmanager
    def failing(_: FlinkOptions) -> Iterator[tuple[None, list[str]]]:
        yield None, []
        raise flink.FlinkFailed(message)

    monkeypatch.setattr(flink, "flink_runner", failing)
    options = parse([*GIVEN, "--runner", "FlinkRunner", "--parallelism", "1"])[0]
    with pytest.raises(flink.FlinkFailed), started_runner(options.runner, [], None):
        pass
    assert capsys.readouterr().err == shown


class Cluster:
    """A cluster's REST service, in place of `ask`, which cancels a job when it is asked the second time."""

    def __init__(self, **jobs: str):
        self.jobs = {f"{name}-1": (name, state) for name, state in jobs.items()}
        self.cancelled: list[str] = []
        self.obeys = True
        self.failures: list[dict[str, object]] = []

    def __call__(self, master: str, path: str, method: str = "GET") -> dict[str, object]:
        if method == "PATCH":
            job = path.split("/")[2].split("?")[0]
            self.cancelled.append(job)
            if self.obeys:
                self.jobs[job] = self.jobs[job][0], "CANCELED"
        if path.endswith("/exceptions"):
            return {"exceptionHistory": {"entries": self.failures}}
        if method == "GET" and path.startswith("/jobs/") and path != "/jobs/overview":
            return {"state": self.jobs[path.split("/")[2]][1]}
        return {
            "jobs": [
                {"jid": job, "name": name, "state": state, "start-time": at}
                for at, (job, (name, state)) in enumerate(self.jobs.items())
            ]
        }


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(ours="RUNNING", theirs="RUNNING")
    monkeypatch.setattr(flink_rest, "ask", made)
    monkeypatch.setattr(flink_rest, "time", Clock())
    return made


def test_the_job_of_a_command_that_was_killed_is_cancelled(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = [tmp_path / f"{PREFIX}{name}" for name in ("killed", "over", "none", "alive")]
    for folder, left in zip(folders, ["ours-1", "gone-1", None, "theirs-1"], strict=True):
        own(str(folder))
        if left is not None:
            (folder / CLUSTER_JOB).write_text(json.dumps({"master": "c:8081", "job": left}))
        if folder != folders[3]:
            os.close(_held.pop(str(folder)))  # as when its owner was killed
    cluster.jobs["gone-1"] = "gone", "FAILED"
    with job_folder():
        assert cluster.cancelled == ["ours-1"]
        assert [folder.exists() for folder in folders] == [False, False, False, True]
    disown(str(folders[3]))
    told = capsys.readouterr().err
    assert told == (
        "note: the command of job ours-1 on the Flink cluster at c:8081 was killed, so it had no workers: it is "
        "cancelled\n"
    )


def test_a_job_that_a_cluster_runs_on_is_told_with_its_id(cluster: Cluster):
    job = flink_rest.ClusterJob("c:8081", "ours")
    cluster.jobs["1f"] = "ours", "RUNNING"
    cluster.obeys = False
    with pytest.raises(flink.FlinkFailed, match=r"the job 1f \(ours\) may still run on .* c:8081: for 0 s it was told"):
        job.cancel(seconds=0.0)


@pytest.mark.parametrize("found", [False, True])
def test_jobs_of_the_same_name_are_left_alone(cluster: Cluster, found: bool):
    job = flink_rest.ClusterJob("c:8081", "ours")
    assert job.find() is None and job.page == "http://c:8081"
    cluster.jobs["1f"] = "ours", "RUNNING"
    if found:
        assert job.find() == "1f" and job.page == "http://c:8081/#/job/running/1f"
        # It is known by its id from then on: one that came later is another's.
        cluster.jobs["2e"] = "ours", "RUNNING"
    job.cancel()
    assert cluster.cancelled == ["1f"]
    job.cancel()
    assert cluster.cancelled == ["1f"]


def test_what_a_job_failed_of_is_told_that_of_its_other_tasks_too(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    job = flink_rest.ClusterJob("c:8081", "ours")
    assert job.failures() == ""
    cluster.jobs["1f"] = "ours", "RESTARTING"
    assert job.failures() == ""
    cluster.failures = [{"stacktrace": "b", "concurrentExceptions": [{"stacktrace": "c"}]}, {"stacktrace": "a"}]
    assert job.failures() == "b\nc\na"
    monkeypatch.setattr(flink_rest, "ask", lambda *_: {"errors": ["no such job"]})
    assert job.failures() == ""


def test_a_cluster_that_does_not_answer_is_told_with_the_fix(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError("refused")

    monkeypatch.setattr(flink_rest, "ask", refuse)
    with pytest.raises(
        RunnerError, match=r"--flink_master c:8081 does not answer .*\(refused\); start a cluster there"
    ):
        flink_rest.ClusterJob("c:8081", "ours")


class Clock:
    """In place of `time`: goes on when it is slept."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many of 4 slots are free, each time that is asked; the last from then on."""
    free: list[int] = []
    monkeypatch.setattr(flink_rest, "time", Clock())
    monkeypatch.setattr(
        flink_rest,
        "overview",
        lambda _: {"slots-total": 4, "slots-available": free.pop(0) if len(free) > 1 else free[0]},
    )
    jobs = [{"jid": "1f", "name": "theirs", "state": "RUNNING"}, {"jid": "2e", "name": "old", "state": "FINISHED"}]
    monkeypatch.setattr(flink_rest, "ask", lambda *_: {"jobs": jobs})
    return free


@pytest.mark.parametrize(("free", "waited"), [([2], False), ([4], False), ([0, 1, 1, 3], True)])
def test_a_start_waits_for_slots_and_says_so_once(
    slots: list[int], free: list[int], waited: bool, capsys: pytest.CaptureFixture[str]
):
    slots += free
    flink_rest.wait_for_slots("c:8081", 2)
    said = (
        "waiting for slots, 60 s at most: 0 of the 4 slots of the Flink cluster at c:8081 are free, and the job needs "
        "2; the others are held by theirs (1f, running)\n"
    )
    assert capsys.readouterr().err == said * waited


def test_a_start_waits_no_longer_than_it_says(slots: list[int]):
    slots += [1]
    with pytest.raises(RunnerError, match=r"^after 9 s 1 of the 4 slots .* needs 2; .* theirs \(1f, running\); cancel"):
        flink_rest.wait_for_slots("c:8081", 2, seconds=9.0)
    assert 9.0 <= flink_rest.time.monotonic() < 10.0


def test_more_slots_than_there_are_are_not_waited_for(slots: list[int]):
    slots += [0]
    with pytest.raises(RunnerError, match=r"--parallelism 5 needs as many slots, .* has 4; start more TaskManagers"):
        flink_rest.wait_for_slots("c:8081", 5)
    assert flink_rest.time.monotonic() == 0.0


class Pool:
    """A worker pool whose workers could not start."""

    address, failure = "localhost:1", "no module named beam"

    def __init__(self, _: Path):
        self.failed = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Server(contextlib.nullcontext):
    """A job server that is not started."""

    endpoint = "localhost:2"

    def __init__(self, *_: object):
        super().__init__()


@pytest.mark.parametrize(
    ("own_workers", "error", "raised"),
    [
        (
            False,
            ValueError("the job failed"),
            flink.FlinkFailed("the job's workers cannot start: no module named beam"),
        ),
        (False, KeyboardInterrupt(), KeyboardInterrupt()),
        (True, ValueError("failed"), ValueError("failed")),
    ],
)
def test_a_job_that_failed_since_no_worker_could_start_says_that(
    own_workers: bool, error: BaseException, raised: BaseException, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_pool, "WorkerPool", Pool)
    monkeypatch.setattr(flink, "FlinkJobServer", Server)
    monkeypatch.setattr(flink, "job_server_command", lambda *_, **__: ["java"])
    with pytest.raises(type(raised)) as told, flink_runner(FlinkOptions(own_workers=own_workers)) as (_, flags):
        assert ("--environment_config=localhost:1" in flags) != own_workers
        raise error
    assert str(told.value) == str(raised)


@pytest.mark.parametrize(("asked", "megabytes"), [([], flink.STATE_CACHE_MB), (["--max_cache_memory_usage_mb=0"], 0)])
def test_workers_of_a_stream_remember_their_state(asked: list[str], megabytes: int):
    flags = flink._flags(FlinkOptions(streaming=True), "localhost:1", None, 1)
    options = PipelineOptions([*flags, *asked]).view_as(WorkerOptions)
    assert options.max_cache_memory_usage_mb == megabytes


def test_a_batch_job_keeps_no_state():
    flags = flink._flags(FlinkOptions(streaming=False), "localhost:1", None, 1)
    assert PipelineOptions(flags).view_as(WorkerOptions).max_cache_memory_usage_mb == 0
