"""Small files that steps need: read from here or from a cloud's storage."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.models.small_file import small_bytes


def read_file(path: str) -> bytes:
    """The content of a local file, or of `gs://`, `s3://` and what else Beam's file systems know.

    Raises:
        UsageError: it cannot be read, or is too large to be such a file.
    """
    try:
        if "://" in path:
            from apache_beam.io.filesystems import FileSystems

            with FileSystems.open(path) as file:
                return small_bytes(file)
        with open(path, "rb") as local:
            return small_bytes(local)
    except (OSError, ValueError) as error:  # Beam's own errors derive from these or wrap them
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot read {path!r} ({reason}); give the path of an existing file") from error
