"""Inputs and outputs as OpenLineage names data: a namespace (who holds it) and a name within it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple


class Named(NamedTuple):
    """A dataset."""

    namespace: str
    name: str
    version: str | None = None
    """The snapshot or version that is read, where one is named."""


def named(path: str) -> Named:
    """What an input, an output or a model is called; no user or password, which a name may hold, is in it.

    >>> named("s3://bucket/a/b.parquet")
    Named(namespace='s3://bucket', name='a/b.parquet', version=None)
    >>> named("iceberg://prod/shop.sales@7")
    Named(namespace='iceberg://prod', name='shop.sales', version='7')
    >>> named("kafka://user:secret@host:9092/in").namespace, named("/data/2026/*.parquet").name
    ('kafka://host:9092', '/data/2026')
    """
    scheme, found, behind = path.partition(":")
    if found and behind.startswith("//"):
        holder, _, name = re.sub(r"^//[^/@]*@", "//", behind)[2:].partition("/")
        name, version = name.partition("?")[0].partition("#")[0], None
        if scheme == "iceberg":
            name, _, version = name.partition("@")
        return Named(f"{scheme}://{holder}", _folder(name) or "/", version or None)
    if found and scheme in ("delta", "lance"):
        where, at, version = behind.rpartition("@")
        where, version = (where, version) if at and "/" not in version else (behind, "")
        return named(where)._replace(version=version or None)
    if found and len(scheme) > 1 and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) and not os.path.exists(path):
        return Named(scheme, behind.lstrip("/") or "/")
    return Named("file", _folder(os.path.abspath(path)))


def _folder(name: str) -> str:
    """The folder above the first part of a name that stands for several."""
    parts = name.split("/")
    several = next((at for at, part in enumerate(parts) if set(part) & set("*?[")), None)
    return name if several is None else "/".join(parts[:several]) or "/"
