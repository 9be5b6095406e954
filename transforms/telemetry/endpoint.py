"""A process's metrics over HTTP: one server a process, started by the first step that is to be seen. No Beam.

    GET /metrics   what Prometheus reads
    GET /live      200: the process answers
    GET /ready     200 once its models are loaded, else 503

Where many processes are, each takes a port of its own and says which in a file of a folder (Prometheus' file_sd):

    targets/*.json   [{"targets": ["127.0.0.1:9400"], "labels": {"job_name": "beamsplit-preds"}}]
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import logging
import os
import platform
import socket
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.transforms.telemetry.recorder import Recorder, begin_recording

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, nothing is found dead
    fcntl = None  # type: ignore[assignment]

_LOG = logging.getLogger(__name__)

PORTS = 100
"""How many ports from the one that was named are tried: each process of a machine takes the next."""


@dataclass(frozen=True)
class MetricsEndpoint:
    """Where the processes of a job show their metrics. Travels to each of them.

    >>> MetricsEndpoint(9400, targets="targets").host
    '127.0.0.1'
    """

    port: int
    """The first one; 0 for any that is free."""

    host: str = "127.0.0.1"
    """The address of the interface to listen on."""

    targets: str | None = None
    """Folder in which each process leaves a file that tells its address; None for none."""

    job_name: str = ""
    model_version: str = ""
    """Of the model that the job begins with."""


def require_prometheus() -> None:
    """Raise where prometheus-client is not installed.

    Raises:
        UsageError: it is not; says how to get it.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise UsageError("--metrics needs prometheus-client; install beamsplit[metrics]") from None


class _Handler(BaseHTTPRequestHandler):
    server_version = "beamsplit"
    sys_version = ""
    recorder: Recorder
    registry: Any

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            from prometheus_client.exposition import choose_encoder

            encode, kind = choose_encoder(self.headers.get("Accept") or "")
            self._answer(200, encode(self.registry), kind)
        elif path == "/live":
            self._answer(200, b"live\n")
        elif path == "/ready":
            ready = self.recorder.ready
            self._answer(200 if ready else 503, b"ready\n" if ready else b"the model is not loaded yet\n")
        else:
            self._answer(404, b"there are /metrics, /live and /ready\n")

    do_HEAD = do_GET

    def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Elsewhere a second process would share the port, and each scrape see one of the two.
    allow_reuse_address = os.name == "posix"
    told: int | None = None
    """The file that tells of it, open and locked."""

    def __init__(self, host: str, port: int, handler: type[_Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Without asking the network for the machine's full name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks may leave before the answer."""
        _LOG.debug("a reader of metrics left", exc_info=True)


_SERVERS: dict[MetricsEndpoint, _Server] = {}
_LOCK = threading.Lock()


def serve(endpoint: MetricsEndpoint) -> str:
    """Show this process's metrics, if it does not yet; gives the address, `HOST:PORT`.

    Raises:
        OSError: no port is free, or the interface is not there.
    """
    with _LOCK:
        server = _SERVERS.get(endpoint)
        if server is None:
            server = _SERVERS[endpoint] = _begin(endpoint)
        return _address(endpoint, server)


def stop_serving(endpoint: MetricsEndpoint) -> None:
    """Let go of the port, and remove the file that tells of it; the numbers stay."""
    with _LOCK:
        server = _SERVERS.pop(endpoint, None)
    if server is None:
        return
    server.shutdown()
    server.server_close()
    if endpoint.targets is not None and server.told is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_target_file(endpoint.targets, server.server_port))
        os.close(server.told)


def remove_dead_targets(folder: str) -> None:
    """Remove the files of this machine's processes that have ended without: nobody locks them."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(f"beamsplit-{platform.node()}-") and name.endswith(".json"):
                _remove_if_dead(os.path.join(folder, name))


def _remove_if_dead(file: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(file)
        finally:
            os.close(handle)


def _begin(endpoint: MetricsEndpoint) -> _Server:
    from beamsplit.transforms.telemetry.exposition import registry_of

    recorder = begin_recording()
    recorder.model_version = endpoint.model_version
    handler = type("Handler", (_Handler,), {"recorder": recorder, "registry": registry_of(recorder)})
    server = _listening(endpoint, handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    if endpoint.targets is not None:
        told = [{"targets": [_address(endpoint, server)], "labels": {"job_name": endpoint.job_name}}]
        remove_dead_targets(endpoint.targets)
        server.told = _tell(_target_file(endpoint.targets, server.server_port), json.dumps(told))
    atexit.register(stop_serving, endpoint)
    _LOG.info("metrics at http://%s/metrics", _address(endpoint, server))
    return server


def _listening(endpoint: MetricsEndpoint, handler: type[_Handler]) -> _Server:
    last = endpoint.port if endpoint.port == 0 else min(65535, endpoint.port + PORTS - 1)
    for port in range(endpoint.port, last + 1):
        try:
            return _Server(endpoint.host, port, handler)
        except OSError as error:
            if port == last or not _is_taken(error):
                raise OSError(
                    error.errno,
                    f"--metrics {endpoint.port} has no port free on {endpoint.host}: {error.strerror or error}",
                ) from error
    raise AssertionError


def _is_taken(error: OSError) -> bool:
    return error.errno in (errno.EADDRINUSE, errno.EACCES)


def _address(endpoint: MetricsEndpoint, server: _Server) -> str:
    """As others reach it: a process that listens on all interfaces is known by its machine's name."""
    host = platform.node() if endpoint.host in ("0.0.0.0", "::", "") else endpoint.host
    return f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"


def _target_file(folder: str, port: int) -> str:
    return os.path.join(folder, f"beamsplit-{platform.node()}-{port}.json")


def _tell(file: str, text: str) -> int:
    """Write a file, open and locked; Prometheus reads it as soon as it has its name: it is whole by then."""
    folder = os.path.dirname(file)
    os.makedirs(folder, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".beamsplit-", dir=folder)
    os.write(handle, text.encode())
    os.fchmod(handle, 0o644)
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
    os.replace(partial, file)
    return handle
