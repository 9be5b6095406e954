"""A schema registry with Confluent's API on the loopback interface: Apicurio, with its schemas in memory."""

from __future__ import annotations

import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from beamsplit.runners.cache import made_once
from beamsplit.runners.java import QUICK, find_java, temporary_files
from beamsplit.runners.listeners import check_free
from beamsplit.runners.local.ports import keep_ports, kept_ports
from beamsplit.runners.maven import PLUGIN, run_maven
from beamsplit.runners.process import Process, free_ports, listens

VERSION = "2.6.13.Final"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
JAR = f"apicurio-registry-app-{VERSION}-runner.jar"

JAVA = 11
"""Java that it needs at least."""

PATH = "/apis/ccompat/v7"
"""Where Confluent's API is."""

READY_SECONDS = 180.0


class SchemaRegistry:
    """A registry that forgets its schemas when it ends.

        with SchemaRegistry(tmp_path / "registry") as registry:
            ...                      # --schema_registry {registry.url}

    Args:
        folder: log, pid and port; made if it is not there.
        port: 0 is a free one.
        memory: of the Java heap.
    """

    def __init__(self, folder: str | os.PathLike[str], port: int = 0, memory: str = "256m"):
        self.folder = Path(folder).absolute()
        self._memory = memory
        self.port = port or (kept_ports(self.folder, 1) or free_ports(1))[0]
        self.process = Process("registry", self.folder)

    @property
    def url(self) -> str:
        """For `--schema_registry`."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def start(self) -> SchemaRegistry:
        """Start it and wait until it answers; nothing happens if it runs.

        Raises:
            RunnerError: no Java, no Maven, or it does not come up; with the end of its log.
        """
        if self.process.pid is not None:
            return self
        check_free(self.port, "--registry_port")
        java, jar = find_java(JAVA), made_once(f"jars/apicurio-registry-{VERSION}", _fetch) / JAR
        self.folder.mkdir(parents=True, exist_ok=True)
        keep_ports(self.folder, [self.port])
        options = [f"-Xmx{self._memory}", *QUICK, temporary_files(self.folder)]
        options += [f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1"]
        self.process.command = [java, *options, "-jar", str(jar)]
        self.process.start()
        try:
            self.process.wait_until(self._answers, READY_SECONDS)
        except BaseException:
            self.process.kill()
            raise
        return self

    def _answers(self) -> bool:
        if not listens(self.port):
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Shut it down; its schemas are gone."""
        self.process.stop()

    def __enter__(self) -> SchemaRegistry:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _fetch(folder: Path) -> None:
    run_maven(ARTIFACT, f"{PLUGIN}:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
