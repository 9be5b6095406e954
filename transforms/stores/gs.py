"""Google Cloud Storage, by gcsfs. Credentials come from the environment, as with all of Google's tools, and
`STORAGE_EMULATOR_HOST` names an emulator, which is asked without any."""

from __future__ import annotations

import functools
import os
from typing import Any

# Else each bucket's kind is asked for by gRPC first, with another way to log in and another endpoint.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
# Where there are no credentials, a server of machines at Google is asked for them: for seconds, where there is none.
os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")

import gcsfs  # reads the variables

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


def file_system() -> Any:
    """The file system; the same one each time in a process.

    Raises:
        google.auth.exceptions.DefaultCredentialsError: there are no credentials.
    """
    token = "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else _credentials()
    # What another process writes is seen at once: no listing is kept.
    return gcsfs.GCSFileSystem(token=token, use_listings_cache=False)


@functools.cache
def _credentials() -> Any:
    import google.auth

    return google.auth.default(scopes=[SCOPE])[0]


def abort_uploads(fs: Any, key: str) -> None:
    """Nothing: what was never completed is removed by Google after a week, and costs nothing."""
