"""A proxy in front of an HTTP server of a test, which counts requests and lets some of them fail."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = str
"""`500`, `503` (S3's SlowDown), `cut` (no answer), `lost` (done, no answer) or `half` (of the answer)."""


@dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    number: int
    """From 0."""


class FaultProxy:
    """Passes requests on, each on a connection of its own: some servers serve one connection at a time.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self.requests: list[Request] = []
        self.sent = 0
        """Bytes of all answers."""

        self.fault: Callable[[Request], Fault | None] = lambda request: None
        """Which request fails, and how."""

        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = _body(self)
                with lock:
                    request = Request(self.command, self.path, len(proxy.requests))
                    proxy.requests.append(request)
                    fault = proxy.fault(request)
                if fault in ("500", "503"):
                    _answer(self, int(fault), _FAILED[fault])
                elif fault == "cut":
                    _cut(self)
                else:
                    _pass_on(self, host, port, body, fault)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_: Any) -> None:  # a client that went away
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.proxy = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, name="fault-proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reset(self) -> None:
        """Forget what came, and let nothing fail."""
        self.requests.clear()
        self.sent = 0
        self.fault = lambda request: None

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


_FAILED = {
    "500": b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
    "503": b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
}


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" in handler.headers.get("Transfer-Encoding", ""):
        parts = []
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            parts.append(handler.rfile.read(size))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(parts)
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def _pass_on(handler: BaseHTTPRequestHandler, host: str, port: int, body: bytes, fault: Fault | None) -> None:
    inner = http.client.HTTPConnection(host, port, timeout=60)
    try:
        inner.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "expect"):
                inner.putheader(name, value)
        inner.putheader("Connection", "close")
        inner.putheader("Content-Length", str(len(body)))
        inner.endheaders(body)
        answer = inner.getresponse()
        content = answer.read()
        handler.server.proxy.sent += len(content)  # type: ignore[attr-defined]
    finally:
        inner.close()
    if fault == "lost":
        _cut(handler)
        return
    length = answer.headers.get("Content-Length") if handler.command == "HEAD" else None
    dropped = ("connection", "transfer-encoding", "content-length", "keep-alive")
    headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in dropped]
    _answer(handler, answer.status, content, headers, length, half=fault == "half")


def _answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes,
    headers: list[tuple[str, str]] | None = None,
    length: str | None = None,
    half: bool = False,
) -> None:
    handler.send_response_only(status)
    for name, value in headers or []:
        handler.send_header(name, value)
    handler.send_header("Content-Length", length or str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content[: len(content) // 2] if half else content)
    if half:
        _cut(handler)


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
