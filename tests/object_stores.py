"""Real servers of S3's and Google's protocols for tests, on this machine, behind a proxy that can let requests fail."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.fault_proxy import FaultProxy

BUCKET = "bucket"


@dataclass(frozen=True)
class ObjectStore:
    """A store with one bucket."""

    scheme: str
    proxy: FaultProxy
    environment: dict[str, str]
    """By which commands find it."""

    @property
    def root(self) -> str:
        """`s3://bucket` or `gs://bucket`."""
        return f"{self.scheme}://{BUCKET}"

    @property
    def fs(self) -> Any:
        """fsspec's file system."""
        from beamsplit.transforms.stores.schemes import SCHEMES

        return SCHEMES[self.scheme].file_system()

    def put(self, name: str, content: bytes) -> str:
        """Make a file; its whole name."""
        self.fs.pipe_file(f"{BUCKET}/{name}", content)
        return f"{self.root}/{name}"

    def get(self, name: str) -> bytes:
        """What a file holds."""
        return self.fs.cat_file(f"{BUCKET}/{name}")

    def names(self, folder: str = "") -> list[str]:
        """All files below a folder, without the bucket."""
        found = self.fs.find(f"{BUCKET}/{folder}".rstrip("/"))
        return sorted(name.removeprefix(f"{BUCKET}/") for name in found)

    def clear(self) -> None:
        """Delete all files, and forget requests."""
        self.proxy.reset()
        for name in self.names():
            self.fs.rm_file(f"{BUCKET}/{name}")
        self.proxy.reset()


@contextmanager
def s3_store() -> Iterator[ObjectStore]:
    """Moto's S3."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = FaultProxy(*server.get_host_and_port())
    environment = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "very-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        with _named(environment):
            yield _with_bucket(ObjectStore("s3", proxy, environment))
    finally:
        proxy.close()
        server.stop()


@contextmanager
def gs_store() -> Iterator[ObjectStore]:
    """The emulator of Google's storage."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    proxy = FaultProxy("127.0.0.1", server._api._httpd.server_address[1])
    environment = {"STORAGE_EMULATOR_HOST": proxy.url}
    try:
        with _named(environment):
            yield _with_bucket(ObjectStore("gs", proxy, environment))
    finally:
        proxy.close()
        server.stop()


def _with_bucket(store: ObjectStore) -> ObjectStore:
    store.fs.mkdir(BUCKET)
    return store


@contextmanager
def _named(environment: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
