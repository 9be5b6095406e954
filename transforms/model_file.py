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
    folder = Path(tempfile.gettempdir()) / f"beamsplit-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{path.rsplit('/', 1)[-1]}"
    _copy(path, target)
    return str(target)


def _copy(path: str, target: Path) -> None:
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(path) as source, tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except (OSError, ValueError) as error:
        raise UsageError(f"the model {path} cannot be read: {error}; check the path and the extra for it") from error
    os.replace(copy.name, target)


def localize_stage(path: str) -> str:
    """A local path for the model of a stage, with the file of its weights beside it where it has one.

    Raises:
        UsageError: there is no such file, or its file system needs an extra that is not installed.
    """
    if "://" not in path:
        return path
    from apache_beam.io.filesystems import FileSystems

    folder = Path(tempfile.gettempdir()) / f"beamsplit-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder = folder / hashlib.sha256(path.rsplit("/", 1)[0].encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, exist_ok=True, parents=True)
    name = path.rsplit("/", 1)[-1]
    if FileSystems.exists(f"{path}.data"):
        _copy(f"{path}.data", folder / f"{name}.data")
    _copy(path, folder / name)
    return str(folder / name)
