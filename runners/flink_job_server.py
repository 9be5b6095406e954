"""Beam's Flink job server: which jar, and the process for the time of a job."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

from beamsplit.runners.cache import one_at_a_time
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.java import OPENED, QUICK, classpath, find_java, temporary_files
from beamsplit.runners.maven import cached_jars, maven_jars
from beamsplit.runners.process import Process, free_ports, listens
from beamsplit.runners.unsent_jars import without_sending

FLINK_VERSION = "1.19"
"""The Flink that both jars speak."""

ARTIFACTS = ("org.apache.beam:beam-runners-flink-1.19:2.62.0", "org.slf4j:slf4j-simple:1.7.36")
"""The job server as a library, where Beam's jar cannot be had, and what writes its log."""

NOT_STAGED = (
    *("flink-", "chill-", "kryo-", "slf4j-", "beam-sdks-java-extensions-google", "beam-sdks-java-transform-service"),
    *("google-", "gapic-", "gax-", "grpc-", "gcsio-", "proto-", "opencensus-", "opentelemetry-", "conscrypt-"),
)
"""How the names of the libraries begin that a session cluster does without."""

DRIVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
EMBEDDED = "[local]"
"""The master that is Flink inside the job server."""

READY_SECONDS = 180.0

ENDED_SECONDS = 2.0

LOCAL_SETTINGS = {
    "rest.bind-address": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "pekko.ask.timeout": "60 s",
}
"""Flink's configuration inside the job server's own process."""

STREAM_SETTINGS = {
    "taskmanager.network.memory.max-buffers-per-channel": 256,
    "taskmanager.network.memory.floating-buffers-per-gate": 256,
}
"""The same for streams: how much may lie between two steps, in network buffers of 32 kB (Flink: 10, and 8).

A block of tensors is larger than Flink's own. The step in front then stands still until the one behind has taken a
block, which has one block a bundle to do, with all that a bundle costs. What is more than Flink needs is shared by
those who have use for it, so many steps need no more memory than before.
"""


def job_server_command(jar: str | None, version: str = FLINK_VERSION, quick: bool = True) -> list[str]:
    """How to start the job server, without its options.

    Args:
        jar: a path or URL of a job server jar; None takes Beam's own where it can be downloaded, else one put together
            from Maven's libraries, which is there for Flink 1.19.
        version: of Flink, e.g. `1.19`.
        quick: start soon rather than run fast for long.

    Raises:
        RunnerError: no Java, or no jar.
    """
    java = [find_java(), *(QUICK if quick else ()), *OPENED, "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    if jar:
        if "://" not in jar and not Path(jar).exists():
            raise RunnerError(f"--flink_job_server_jar {jar} is not there; give the path of a jar, or leave it out")
        return [*java, "-jar", _download(jar)]
    own = _beams_own_url(version)
    libraries = cached_jars(*ARTIFACTS) if version == FLINK_VERSION else None
    if libraries is None or _is_downloaded(own):
        try:
            return [*java, "-jar", _download(own)]
        except RunnerError:
            if version != FLINK_VERSION:
                raise
        libraries = maven_jars(*ARTIFACTS)
    return [*java, "-cp", classpath(libraries), DRIVER]


LIBRARIES = "beamsplit.beam-libraries"
"""Key in a cluster's configuration: which of Beam's libraries are on its own class path, and so need not be sent."""


def cluster_jars(folder: Path) -> list[str]:
    """What a session cluster must have of the libraries that a job server is put together from.

    All of them take 20 seconds to send: the cluster has Flink itself, and Google's clients are for staging alone.
    """
    return _for_clusters(classpath(folder))


def for_cluster(command: Sequence[str], libraries: str | None = None) -> list[str]:
    """How to start a job server that is put together from libraries, and sends a session cluster what it lacks.

    Args:
        command: from `job_server_command`; Beam's own jar stays as it is.
        libraries: the folder of those that the cluster has, as its configuration tells (`LIBRARIES`).
    """
    if DRIVER not in command:
        return list(command)
    at = command.index("-cp") + 1
    jars = command[at].split(os.pathsep)
    sent = set() if libraries == Path(jars[0]).parent.name else set(_for_clusters(command[at]))
    unsent = without_sending([jar for jar in jars if jar not in sent])
    return [*command[:at], os.pathsep.join(unsent.get(jar, jar) for jar in jars), *command[at + 1 :]]


def _for_clusters(jars: str) -> list[str]:
    return [jar for jar in jars.split(os.pathsep) if not os.path.basename(jar).startswith(NOT_STAGED)]


def _beams_own_url(version: str) -> str:
    from apache_beam.utils.subprocess_server import JavaJarServer

    return str(JavaJarServer.path_to_beam_jar(f":runners:flink:{version}:job-server:shadowJar"))


def _is_downloaded(url: str) -> bool:
    from apache_beam.utils.subprocess_server import JavaJarServer

    return (Path(JavaJarServer.JAR_CACHE) / os.path.basename(url)).exists()


def _download(url: str) -> str:
    from apache_beam.utils.subprocess_server import JavaJarServer

    there = "://" not in url or _is_downloaded(url)
    try:
        with contextlib.nullcontext() if there else one_at_a_time("beam-download"):
            return str(JavaJarServer.local_jar(url))
    except (RuntimeError, URLError, OSError) as error:
        raise RunnerError(f"the Flink job server {url} cannot be downloaded: {error}") from error


class FlinkJobServer:
    """The job server for the time of a `with`; with the master `[local]` Flink runs inside it.

    Args:
        command: from `job_server_command`.
        master: `[local]`, or `host:port` of a session cluster.
        folder: for its log and what is staged.
        slots: of the Flink inside it.
        streaming: whether it runs a stream.
    """

    def __init__(self, command: Sequence[str], master: str, folder: Path, slots: int, streaming: bool = False):
        self._port = free_ports(1)[0]
        settings: dict[str, object] = {"io.tmp.dirs": folder}
        if master == EMBEDDED:
            settings |= LOCAL_SETTINGS
            settings |= {"taskmanager.numberOfTaskSlots": slots}
            settings |= STREAM_SETTINGS if streaming else {}
            settings |= {"state.checkpoints.dir": (folder / "checkpoints").as_uri()}
        self._settings = "".join(f"{name}: {value}\n" for name, value in settings.items())
        options = {
            "--flink-master": master,
            "--flink-conf-dir": folder,
            "--artifacts-dir": folder / "staged",
            "--job-host": "127.0.0.1",
            "--job-port": self._port,
            "--artifact-port": 0,
            "--expansion-port": 0,
        }
        flat = [f"{name}={value}" for name, value in options.items()]
        own = [command[0], temporary_files(folder), *command[1:]]
        self.process = Process("job-server", folder, [*own, *flat], tied=True)

    @property
    def endpoint(self) -> str:
        """`host:port`, for `--job_endpoint`."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> FlinkJobServer:
        (self.process.folder / "flink-conf.yaml").write_text(self._settings, encoding="utf-8")
        self.process.start()
        try:
            self.process.wait_until(lambda: listens(self._port), READY_SECONDS)
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop(10)

    def why_it_ended(self, seconds: float = ENDED_SECONDS) -> str | None:
        """What ended it in the midst of a job, in one line, and behind that the end of its log; None where it runs.

        Args:
            seconds: to wait at most: its connections end a moment before it does.
        """
        deadline = time.monotonic() + seconds
        while (code := self.process.code) is None:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        if code == -signal.SIGKILL:
            return "Flink's job server was killed (SIGKILL), perhaps because memory was short"
        if code < 0:
            return f"Flink's job server was ended by {signal.Signals(-code).name}"
        return f"Flink's job server ended by itself, with exit code {code}: {self.process.tail()}"
