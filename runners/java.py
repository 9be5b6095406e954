"""Java on this machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from beamsplit.runners.errors import RunnerError

OLDEST = 11
"""Major version that Flink 1.19 needs at least."""

OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.util", "java.net", "java.io", "java.nio", "java.util.concurrent")
)
"""What Flink's serializers look into, which Java 17 closes."""

QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For what lives for a minute: half the processor time of a short Flink job, since little is compiled twice."""


@functools.cache
def find_java(oldest: int = OLDEST) -> str:
    """The `java` of `$JAVA_HOME`, else of `$PATH`.

    Raises:
        RunnerError: there is none, or it is older than `oldest`.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    fix = f"install Java {max(oldest, 17)} (e.g. apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
    if java is None:
        where = f"JAVA_HOME={home}" if home else "PATH"
        raise RunnerError(f"this needs Java {oldest} or newer, and there is no java in {where}; {fix}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', told)
    if version is None or int(version[1]) < oldest:
        there = version[1] if version else " ".join(told.split())[:200]
        raise RunnerError(f"this needs Java {oldest} or newer, and {java} is Java {there}; {fix}")
    return java


def classpath(folder: Path) -> str:
    """All jars of a folder, one by one: a tool may look for its own jars by their names on the class path."""
    return os.pathsep.join(sorted(str(jar) for jar in folder.glob("*.jar")))


def temporary_files(folder: Path) -> str:
    """An option with which a JVM makes its temporary files in a folder that somebody removes.

    In the system's those of a JVM that was killed would stay: native libraries, Flink's web folder, job graphs.
    """
    return f"-Djava.io.tmpdir={folder}"
