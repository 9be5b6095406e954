"""A Flink session cluster on the loopback interface: a JobManager and TaskManagers, each a process."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beamsplit.runners.cache import made_once
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.flink_job_server import ARTIFACTS, LIBRARIES, cluster_jars
from beamsplit.runners.java import OPENED, QUICK, classpath, find_java, temporary_files
from beamsplit.runners.listeners import check_free
from beamsplit.runners.local.ports import keep_ports, kept_ports
from beamsplit.runners.maven import cached_jars
from beamsplit.runners.process import Process, free_ports

VERSION = "1.19.3"
"""The newest Flink 1.19: what Beam's job server from Maven speaks with."""

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
READY_SECONDS = 180.0
REGISTERED = "Successful registration at resource manager"
"""What a TaskManager logs when it has told the JobManager of its slots."""

LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c{1})%n%ex
"""


def flink_jars() -> Path:
    """A folder with the jars of Flink's distribution, from PyPI's apache-flink-libraries; fetched once.

    Raises:
        RunnerError: pip cannot get it.
    """
    return made_once(f"jars/flink-{VERSION}", _fetch)


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="beamsplit-flink-") as download:
        wanted = f"apache-flink-libraries=={VERSION}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", download]
        done = subprocess.run([*command, wanted], capture_output=True, text=True)
        archives = list(Path(download).glob("*.tar.gz"))
        if done.returncode or not archives:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise RunnerError(
                f"pip could not download {wanted}: {lines[-1] if lines else done.returncode}; "
                "check the network, and that python -m pip works"
            )
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                path = Path(member.name)
                # The runtime only: Flink's SQL is no part of what Beam needs.
                if path.parts[1:3] == ("deps", "lib") and path.suffix == ".jar" and "-table-" not in path.name:
                    source = archive.extractfile(member)
                    if source is not None:
                        (folder / path.name).write_bytes(source.read())


class FlinkCluster:
    """A session cluster with its state in a folder; each process can be killed and started again by itself.

        with FlinkCluster(tmp_path / "flink", task_managers=2) as cluster:
            ...                                # --flink_master with cluster.address
            cluster.task_managers[0].kill()    # SIGKILL
            cluster.start()                    # starts what does not run, and waits until all slots are there

    A JobManager that was killed comes back with no jobs; start them again from `cluster.checkpoints`, where
    checkpoints stay after a crash.

    Args:
        folder: configuration, checkpoints, logs and pids; made if it is not there.
        task_managers: processes that run tasks.
        slots: tasks that each runs side by side.
        port: of the JobManager's REST service; 0 is a free one.
        settings: more of Flink's configuration, which wins over ours.
        heap: of the Java heap for tasks, of each TaskManager.
        java_options: of each process; the default starts soon, `()` runs faster for long.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        task_managers: int = 1,
        slots: int = 2,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        heap: str = "384m",
        java_options: Sequence[str] = QUICK,
    ):
        self.folder = Path(folder).absolute()
        self.slots = slots
        self._settings, self._heap, self._java_options = dict(settings or {}), heap, java_options
        ports = kept_ports(self.folder, 3) or free_ports(3)
        self.port, self._rpc_port, self._blob_port = port or ports[0], *ports[1:]
        self.job_manager = Process("jobmanager", self.folder)
        self.task_managers = [Process(f"taskmanager-{k}", self.folder) for k in range(task_managers)]

    @property
    def address(self) -> str:
        """`host:port` for `--flink_master`."""
        return f"127.0.0.1:{self.port}"

    @property
    def checkpoints(self) -> Path:
        """Where jobs keep checkpoints."""
        return self.folder / "checkpoints"

    def start(self) -> FlinkCluster:
        """Start every process that does not run, and wait until all slots are there.

        Raises:
            RunnerError: no Java, or the cluster does not come up; with the end of the log.
        """
        java, jars = find_java(), classpath(flink_jars())
        # Beam's libraries are loaded once for all jobs, and need not be sent with each.
        beam = cached_jars(*ARTIFACTS)
        config = self._configure({} if beam is None else {LIBRARIES: beam.name})
        if beam is not None:
            jars = os.pathsep.join([jars, *cluster_jars(beam)])
        logging = f"-Dlog4j.configurationFile={config / 'log4j.properties'}"
        common = [temporary_files(self.folder / "tmp"), *self._java_options, *OPENED, logging, "-cp", jars]
        options = ["--configDir", str(config)]
        if self.job_manager.pid is None:
            check_free(self.port, "--flink_port")
        self.job_manager.command = [java, "-Xmx512m", *common, JOB_MANAGER, *options]
        for each in self.task_managers:
            name = f"-Dtaskmanager.resource-id={each.name}"
            each.command = [java, f"-Xmx{self._heap_of_process()}m", *common, TASK_MANAGER, *options, name]
        try:
            for process in (self.job_manager, *self.task_managers):
                process.start()
            self.job_manager.wait_until(lambda: self._get("/overview") is not None, READY_SECONDS)
            for process in self.task_managers:
                process.wait_until(functools.partial(self._is_registered, process), READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all processes in order; jobs that run are lost."""
        for process in (*self.task_managers, self.job_manager):
            process.stop()

    def __enter__(self) -> FlinkCluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def jobs(self) -> dict[str, str]:
        """Job id -> Flink's status of it, e.g. `RUNNING`."""
        return {job["id"]: job["status"] for job in (self._get("/jobs") or {"jobs": []})["jobs"]}

    def get(self, path: str) -> Any:
        """What the REST service answers, e.g. for `/jobs/ID/checkpoints`.

        Raises:
            RunnerError: no answer.
        """
        answer = self._get(path)
        if answer is None:
            raise RunnerError(f"Flink's REST service at {self.address} has no answer for {path}; is the cluster up?")
        return answer

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def _is_registered(self, task_manager: Process) -> bool:
        # A JobManager lists a TaskManager that was killed until its heartbeat fails, and one that was started again
        # knows none: both sides must say so.
        there = (self._get("/taskmanagers") or {"taskmanagers": []})["taskmanagers"]
        return REGISTERED in task_manager.logged() and task_manager.name in [each["id"] for each in there]

    def _heap_of_process(self) -> int:
        return int(self._heap.removesuffix("m")) + 128  # Flink's own share, as configured below

    def _configure(self, more: Mapping[str, str]) -> Path:
        config = self.folder / "conf"
        config.mkdir(parents=True, exist_ok=True)
        self.checkpoints.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        keep_ports(self.folder, [self.port, self._rpc_port, self._blob_port])
        (config / "log4j.properties").write_text(LOGGING)
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc_port,
            "jobmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self.port,
            "blob.server.port": self._blob_port,
            "jobmanager.memory.process.size": "1g",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": self.slots,
            # Outside its scripts a TaskManager wants each part of its memory told.
            "taskmanager.cpu.cores": self.slots,
            "taskmanager.memory.task.heap.size": self._heap,
            "taskmanager.memory.task.off-heap.size": "0m",
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.network.min": "256m",
            "taskmanager.memory.network.max": "256m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            "io.tmp.dirs": self.folder / "tmp",
            "state.checkpoints.dir": self.checkpoints.as_uri(),
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            # A TaskManager that was killed is noticed soon.
            "heartbeat.interval": "2000",
            "heartbeat.timeout": "10000",
            # A busy machine answers late.
            "pekko.ask.timeout": "60 s",
        }
        lines = [f"{name}: {value}\n" for name, value in (settings | dict(more) | self._settings).items()]
        (config / "flink-conf.yaml").write_text("".join(lines), encoding="utf-8")
        return config
