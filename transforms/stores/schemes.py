"""Which stores there are, by the scheme of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from beamsplit.models.errors import UsageError
from beamsplit.transforms.stores.store_errors import StoreError

_SCHEME = re.compile(r"([a-zA-Z][-a-zA-Z0-9+.]*)://")


@dataclass(frozen=True)
class Scheme:
    """A store."""

    title: str
    extra: str
    """What is installed for it: `beamsplit[EXTRA]`."""

    module: str
    """With `file_system()`, fsspec's, and `abort_uploads(fs, key)`; imported where a name has the scheme."""

    log_in: str
    """How this machine gets credentials."""

    def file_system(self) -> Any:
        """fsspec's file system; one a process.

        Raises:
            StoreError: its library is not installed, or there are no credentials.
        """
        try:
            module = import_module(self.module)
        except ImportError as error:
            raise StoreError(
                f"{self.title} needs a library that is not installed ({error}): pip install 'beamsplit[{self.extra}]'"
            ) from None
        return module.file_system()


SCHEMES: dict[str, Scheme] = {
    "s3": Scheme(
        "Amazon S3",
        "aws",
        "beamsplit.transforms.stores.s3",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role",
    ),
    "gs": Scheme(
        "Google Cloud Storage",
        "gcp",
        "beamsplit.transforms.stores.gs",
        "run gcloud auth application-default login, set GOOGLE_APPLICATION_CREDENTIALS, or give the machine an account",
    ),
}
"""Store by scheme."""


def is_remote(path: str) -> bool:
    """Whether a name has a scheme, and that is not `file://`.

    >>> is_remote("s3://bucket/a.csv"), is_remote("a.csv"), is_remote("file:///a.csv")
    (True, False, False)
    """
    found = _SCHEME.match(path)
    return found is not None and found[1] != "file"


def store_of(path: str) -> tuple[Scheme, str]:
    """The store that a name is in, and the name without the scheme: `bucket/key`.

    Raises:
        StoreError: there is no such store, the name has no bucket, or it has a password in it.
    """
    check_names([("the name", path)])
    name, _, key = path.partition("://")
    scheme = SCHEMES.get(name)
    if scheme is None:
        known = " and ".join(f"{one}://" for one in SCHEMES)
        raise StoreError(f"{path}: no files are read or written at {name}://; use a path of this machine, {known}")
    if not key.split("/")[0]:
        raise StoreError(f"{path} names no bucket; write {name}://BUCKET/path")
    return scheme, key


def check_names(names: Iterable[tuple[str, str | None]]) -> None:
    """Refuse names with a user or password in them, which logs and summaries would show.

    Args:
        names: (what it was given by, the name).

    Raises:
        UsageError: one has; the error does not show it.
    """
    for option, name in names:
        found = _SCHEME.match(name or "")
        if found and found[1] in SCHEMES and "@" in urlsplit(str(name)).netloc:
            raise UsageError(
                f"{option} has a user or password in front of the bucket: leave them out; credentials come from the "
                f"environment ({SCHEMES[found[1]].log_in})"
            )
