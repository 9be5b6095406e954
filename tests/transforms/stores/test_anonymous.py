"""Public buckets: requests that nobody has signed."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

s3fs = pytest.importorskip("s3fs")


@pytest.fixture(autouse=True)
def none_kept():
    """A client is kept for all that is asked for alike."""
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(("said", "signed"), [("YES", False), ("true", False), ("no", True), ("", True)])
def test_requests_are_signed_unless_that_is_said(said: str, signed: bool, monkeypatch: pytest.MonkeyPatch):
    from beamsplit.transforms.stores.s3 import file_system

    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
            self.end_headers()

        def log_message(self, *told: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", said)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

        fs = file_system()
        assert fs.info("bucket/a.csv")["size"] == 3
        server.shutdown()
    assert seen and all((key is not None) == signed for key in seen)
