"""Amazon S3 and what speaks its protocol, by s3fs. Credentials, region and endpoint (`AWS_ENDPOINT_URL`) come from the
environment, as with all of Amazon's tools."""

from __future__ import annotations

import logging
import os
from typing import Any

import s3fs
from fsspec.asyn import sync

from beamsplit.transforms.stores.store_errors import NoCredentials

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""Longest wait for a connection, and for the next bytes; then it is tried again."""

TRIES = 6
"""Of a request that fails at the server or on its way; the last is about 20 s behind the first."""


def file_system() -> Any:
    """The file system; the same one each time in a process.

    Raises:
        NoCredentials: where they should come from gives none.
    """
    config: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
        config["retries"] = {"mode": "standard", "max_attempts": TRIES}
    # Amazon's tools have no variable for `--no-sign-request`; this is GDAL's, and what others took over.
    anonymous = os.environ.get("AWS_NO_SIGN_REQUEST", "").strip().lower() in ("1", "true", "yes", "on")
    # What another process writes is seen at once: no listing is kept.
    fs = s3fs.S3FileSystem(anon=anonymous, config_kwargs=config, use_listings_cache=False)
    if not anonymous and not hasattr(fs, _KNOWN):
        _look_for_credentials(fs)
    return fs


_KNOWN = "_beamsplit_credentials"
"""Of a file system: there are credentials, or none anywhere, as the first request tells."""


def _look_for_credentials(fs: Any) -> None:
    """Ask for them before anything else: a file of theirs that is not there would pass for one of the store."""
    for name in ("botocore.credentials", "aiobotocore.credentials"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # What goes wrong is told, and not with its traceback.
    sync(fs.loop, _credentials, fs)
    setattr(fs, _KNOWN, True)


_CONFIGURED = (
    *("ConfigNotFound", "ConfigParseError", "InfiniteLoopConfigError", "InvalidConfigError", "JSONDecodeError"),
    *("ProfileNotFound", "UnknownCredentialError", "MetadataRetrievalError", "CredentialRetrievalError"),
)


async def _credentials(fs: Any) -> None:
    """Raises NoCredentials; what else is wrong with the client, as it comes."""
    try:
        await fs.set_session()
    except Exception as error:
        if type(error).__name__ in _CONFIGURED or (isinstance(error, OSError) and error.filename is not None):
            raise NoCredentials(_line(error)) from error
        raise
    try:
        found = await fs.session.get_credentials()
        if found is not None:
            await found.get_frozen_credentials()
    except Exception as error:  # of whichever kind: a file, a command, a server
        raise NoCredentials(_line(error)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def abort_uploads(fs: Any, key: str) -> None:
    """End uploads to names that begin with `bucket/key` and were never completed: nobody sees them, and they cost."""
    bucket, _, prefix = key.partition("/")
    found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix)
    for upload in found.get("Uploads", []):
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
