"""A real Prometheus that reads what processes tell in a folder: Debian's, unpacked into the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.waiting import DEADLINE, wait_until

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: beamsplit
    file_sd_configs: [{{files: ['{targets}/*.json'], refresh_interval: 1s}}]
"""


def find_prometheus(cache: Path) -> Path | str:
    """The folder of prometheus and promtool; why there is none where it cannot be had.

    Args:
        cache: of the user: it is unpacked there once.
    """
    if shutil.which("prometheus") and shutil.which("promtool"):
        return Path(shutil.which("prometheus") or "").parent
    folder = cache / "prometheus"
    with FileLock(f"{folder}.lock"):
        if (folder / "usr/bin/promtool").exists():
            return folder / "usr/bin"
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            return "there is no prometheus in PATH, and no Debian to get it of; install Prometheus"
        with tempfile.TemporaryDirectory() as work:
            if os.getuid() == 0 and not any(Path("/var/lib/apt/lists").glob("*Packages*")):
                subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
            done = subprocess.run(["apt-get", "download", "prometheus"], cwd=work, capture_output=True, text=True)
            packages = list(Path(work).glob("prometheus_*.deb"))
            if not packages:
                return f"apt-get download prometheus gives nothing: {done.stderr.strip()[-300:]}"
            subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
    return folder / "usr/bin"


class Prometheus:
    """The server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """The data of an answer."""
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=DEADLINE) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Values by their labels, each `name=value`."""
        found = self.get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return {tuple(sorted(f"{k}={v}" for k, v in one["metric"].items())): float(one["value"][1]) for one in found}

    def up(self) -> bool:
        """Whether it answers."""
        try:
            self.get("status/buildinfo")
        except OSError:
            return False
        return True


@contextmanager
def prometheus_server(programs: Path, folder: Path, targets: Path, rules: Path) -> Iterator[Prometheus]:
    """Start one, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=rules, targets=targets))
    argv = [programs / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    server = Prometheus(port)
    try:
        wait_until(lambda: process.poll() is not None or server.up(), "Prometheus answers")
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
