"""A real MLflow server on a free port of the loopback interface, with users, tokens and its artifacts behind it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

from beamsplit.runners.cache import made_once
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.process import Process, free_ports

USER, PASSWORD, TOKEN = "admin", "a-long-password-1", "the-token-of-a-test"

READY_SECONDS = 240.0

AUTH = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/users.db
admin_username = {user}
admin_password = {password}
authorization_function = tokens:authenticate
grant_default_workspace_access = true
"""

TOKENS = """\
from flask import request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization


def authenticate():
    if request.headers.get("Authorization") == "Bearer {token}":
        return Authorization("basic", {{"username": "{user}", "password": ""}})
    return authenticate_request_basic_auth()
"""
"""MLflow knows no tokens by itself: whoever runs a server with them gives it a function such as this."""


class MlflowServer:
    """The server; each test makes models of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"
        python = made_once(f"jars/mlflow-{version('mlflow-skinny')}", _installed) / "bin" / "python"
        command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", self.port, "--workers", 1]
        command += ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--serve-artifacts"]
        command += ["--artifacts-destination", folder / "artifacts", "--app-name", "basic-auth"]
        environment = {
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test",
            # Eight processes more.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONPATH": str(folder),
        }
        self.process = Process("mlflow", folder, [str(part) for part in command], environment, tied=True)

    @property
    def environment(self) -> dict[str, str]:
        """By which clients find it, with a token."""
        return {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_TRACKING_TOKEN": TOKEN}

    def start(self) -> None:
        """Start it and wait until it answers; nothing happens if it runs."""
        if self.process.pid is None:
            self.process.start()
            self.process.wait_until(self._answers, READY_SECONDS)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Start one, and end it.

    Raises:
        RunnerError: it cannot be installed, or does not start.
    """
    (folder / "auth.ini").write_text(AUTH.format(folder=folder, user=USER, password=PASSWORD))
    (folder / "tokens.py").write_text(TOKENS.format(token=TOKEN, user=USER))
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.process.stop()


def _installed(folder: Path) -> None:
    """The server of the client's version, in an environment of its own: it asks for more than the client."""
    uv = find_uv_bin()
    quiet = {"capture_output": True, "text": True, "timeout": 600, "env": os.environ | {"VIRTUAL_ENV": ""}}
    asked = f"mlflow[auth]=={version('mlflow-skinny')}"
    for command in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python"), asked],
    ):
        done = subprocess.run([uv, *command], check=False, **quiet)  # type: ignore[call-overload]
        if done.returncode:
            raise RunnerError(f"uv could not install {asked}: {done.stderr[-500:]}")
