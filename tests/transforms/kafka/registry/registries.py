"""Registries for tests: one in memory, and a server that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from beamsplit.transforms.kafka.registry.client import Registry


class Registered:
    """A registry in memory, of this process."""

    def __init__(self) -> None:
        self.url = f"mock://{uuid.uuid4().hex}"
        self.registry = Registry(self.url)

    def add(self, subject: str, schema: Any, kind: str = "AVRO", references: Any = ()) -> int:
        """The id of a schema; `references` are (name, subject, version)."""
        from confluent_kafka.schema_registry import Schema, SchemaReference

        text = schema if isinstance(schema, str) else json.dumps(schema)
        theirs = Schema(text, kind, [SchemaReference(*one) for one in references])
        return int(self.registry.client().register_schema(subject, theirs))

    def subjects(self) -> list[str]:
        return list(self.registry.client().get_subjects())

    def latest(self, subject: str) -> Any:
        return self.registry.client().get_latest_version(subject)


class Answers(BaseHTTPRequestHandler):
    """Gives the first of `said`, again and again the last."""

    said: list[tuple[int, Any]]
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        status, body = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def answering(*said: tuple[int, Any], context: Any = None) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that says these (status, body) one after the other: (its address, what it was asked)."""
    asked: list[tuple[str, str | None]] = []
    handler = type("Handler", (Answers,), {"said": list(said), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
