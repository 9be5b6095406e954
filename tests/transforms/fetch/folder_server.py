"""A web server of a folder, for tests: as it is, and in the words of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class FolderServer(ThreadingHTTPServer):
    """Files of a folder; `failing` many requests are answered with 503 or cut first."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.paths: list[str] = []
        self.commit = "a" * 40
        self.failing: list[str] = []
        self.leads_to: str | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """A server of the folder, while the block lasts."""
    server = FolderServer(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FolderServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.paths.append(path)
        fault = self.server.failing.pop() if self.server.failing else ""
        if fault == "503":
            self.answer(503, b"")
        elif self.server.leads_to:
            self.answer(302, b"", {"Location": self.server.leads_to})
        elif path.startswith("/api/models/"):
            repo = "/".join(path.split("/")[3:5])
            self.answer(200, json.dumps({"id": repo, "sha": self.server.commit, "siblings": []}).encode())
        else:
            self.file(path, cut=fault == "cut")

    do_HEAD = do_GET

    def file(self, path: str, cut: bool) -> None:
        """A file of the folder; of the hub behind ORG/REPO/resolve/REVISION/."""
        of_hub = path.split("/resolve/")
        inner = of_hub[-1].split("/", 1)[-1] if len(of_hub) > 1 else path.lstrip("/")
        try:
            content = (self.server.folder / inner).read_bytes()
        except OSError:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.server.commit, "X-Linked-Size": str(len(content))}
        self.answer(200, content, headers, cut)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        """Send it, or half of it."""
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        pass
