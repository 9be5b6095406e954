"""Small files that steps need: read from here or from a cloud's storage."""

from __future__ import annotations

from beamsplit.models.errors import UsageError
from beamsplit.models.small_file import small_bytes


def read_file(path: str) -> bytes:
    """The content of a local file, or of or one of `s3://` or `gs://`.

    Raises:
        UsageError: it cannot be read, or is too large to be such a file.
    """
    try:
        if "://" in path:
            from beamsplit.transforms.stores.store import open_read

            with open_read(path) as file:
                return small_bytes(file)
        with open(path, "rb") as local:
            return small_bytes(local)
    except UsageError:
        raise  # of a store, which says it all
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot read {path!r} ({reason}); give the path of an existing file") from error
