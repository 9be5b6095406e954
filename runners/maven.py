"""Java libraries with everything that they need, fetched once through Maven and kept in the user's cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from beamsplit.runners.cache import cache_folder, made_once, one_at_a_time
from beamsplit.runners.errors import RunnerError

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
SECONDS = 600
"""Longest that fetching may take."""

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>beamsplit</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""


def maven_jars(*artifacts: str) -> Path:
    """A folder with the jars of these artifacts and of their runtime dependencies.

    Args:
        artifacts: `group:name:version` each, or `group:name:version:classifier`.

    Raises:
        RunnerError: there is no `mvn`, or it cannot get them.
    """
    return made_once(_folder_name(artifacts), lambda folder: _fetch(artifacts, folder))


def cached_jars(*artifacts: str) -> Path | None:
    """The folder of `maven_jars` if it is there already."""
    folder = cache_folder() / _folder_name(artifacts)
    return folder if folder.is_dir() else None


def _folder_name(artifacts: tuple[str, ...]) -> str:
    _, name, version = artifacts[0].split(":")[:3]
    which = hashlib.sha256(" ".join(artifacts).encode()).hexdigest()[:8]
    return f"jars/{name}-{version}-{which}"


def run_maven(what: str, *arguments: str) -> None:
    """Run Maven, one at a time on this machine.

    Args:
        what: is fetched, for errors.
        arguments: of the command.

    Raises:
        RunnerError: there is no `mvn`, or it cannot get it.
    """
    mvn = shutil.which("mvn")
    if mvn is None:
        raise RunnerError(
            f"{what} is fetched by Maven, and there is no mvn in PATH; install it (e.g. apt-get install maven)"
        )
    try:
        with one_at_a_time("maven"):
            done = subprocess.run([mvn, "-B", "-q", *arguments], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RunnerError(f"mvn did not fetch {what} within {SECONDS} s; check the network") from error
    if done.returncode:
        reasons = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        reason = reasons[0].replace("[ERROR]", "").strip() if reasons else f"exit code {done.returncode}"
        raise RunnerError(f"mvn could not fetch {what}: {reason}; check the network and Maven's settings.xml")


def _fetch(artifacts: tuple[str, ...], folder: Path) -> None:
    keys = ("groupId", "artifactId", "version", "classifier")
    tags = ("".join(f"<{key}>{part}</{key}>" for key, part in zip(keys, a.split(":"), strict=False)) for a in artifacts)
    dependencies = "".join(f"<dependency>{one}</dependency>" for one in tags)
    pom = folder / "pom.xml"
    pom.write_text(POM.format(dependencies=dependencies), encoding="utf-8")
    copy = (f"{PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")
    run_maven(artifacts[0], "-f", str(pom), *copy)
    pom.unlink()
