"""Brings a model that lies on another file system to this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from models.errors import UsageError


def localize(path: str) -> str:
    """A local path for the model: itself, or a copy of a remote one made once a machine.

    Raises:
        UsageError: there is no such file, or its file system needs an extra that is not installed.
    """
    if "://" not in path:
        return path
    from apache_beam.io.filesystems import FileSystems

    folder = Path(tempfile.gettempdir()) / f"beamsplit-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{path.rsplit('/', 1)[-1]}"
    try:
        with FileSystems.open(path) as source, tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except (OSError, ValueError) as error:
        raise UsageError(f"the model {path} cannot be read: {error}; check the path and the extra for it") from error
    os.replace(copy.name, target)
    return str(target)
