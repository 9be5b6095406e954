"""Amazon S3 and what speaks its protocol, by s3fs. Credentials, region and endpoint (`AWS_ENDPOINT_URL`) come from the
environment, as with all of Amazon's tools."""

from __future__ import annotations

import os
from typing import Any

import s3fs

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""Longest wait for a connection, and for the next bytes; then it is tried again."""

TRIES = 6
"""Of a request that fails at the server or on its way; the last is about 20 s behind the first."""


def file_system() -> Any:
    """The file system; the same one each time in a process."""
    config: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        config["retries"] = {"mode": "standard", "max_attempts": TRIES}
    # Amazon's tools have no variable for `--no-sign-request`; this is GDAL's, and what others took over.
    anonymous = os.environ.get("AWS_NO_SIGN_REQUEST", "").strip().lower() in ("1", "true", "yes", "on")
    # What another process writes is seen at once: no listing is kept.
    return s3fs.S3FileSystem(anon=anonymous, config_kwargs=config, use_listings_cache=False)


def abort_uploads(fs: Any, key: str) -> None:
    """End uploads to names that begin with `bucket/key` and were never completed: nobody sees them, and they cost."""
    bucket, _, prefix = key.partition("/")
    found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
    for upload in found.get("Uploads", []):
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
