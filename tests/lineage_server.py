"""A lineage server that takes events, for tests."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class LineageServer:
    """Takes events."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    status: int = 201

    def states(self) -> list[str]:
        """Of the events, in the order in which they came."""
        return [event["eventType"] for event in self.events]


@contextlib.contextmanager
def lineage_server() -> Iterator[LineageServer]:
    """One on a free port of this machine."""
    taken = LineageServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if taken.status < 300:
                taken.events.append(json.loads(body))
                taken.keys.append(self.headers["Authorization"])
            self.send_response(taken.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *told: Any) -> None:
            """Nothing is logged."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    taken.url = f"http://127.0.0.1:{served.server_address[1]}"
    try:
        yield taken
    finally:
        served.shutdown()
        served.server_close()
        thread.join()
