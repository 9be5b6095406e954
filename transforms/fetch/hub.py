"""Models of the Hugging Face hub, `hf://ORG/REPO/path/m.onnx@REVISION`, by huggingface-hub, with its credentials."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from beamsplit.models.errors import UsageError

FIXED = True

_NAME = re.compile(r"hf://([^/@]+/[^/@]+)/([^@]+)(?:@([^@]+))?")
_COMMIT = re.compile("[0-9a-f]{40}")


def pin(name: str, digest: str) -> str:
    """With the commit that the revision is now: `@main` where none is named."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"--model {name} is no file of the hub: name hf://ORG/REPO/path/m.onnx@REVISION")
    revision = found[3] or "main"
    if not _COMMIT.fullmatch(revision):
        with _told(name):
            revision = str(HfApi().repo_info(found[1], revision=revision, timeout=30).sha)
    return f"hf://{found[1]}/{found[2]}@{revision}"


def place(name: str) -> tuple[str, str]:
    """The folder of a commit, and the name of the file."""
    path, _, revision = name.rpartition("@")
    folder, _, inner = path.rpartition("/")
    return f"{folder}@{revision}", inner


def state(folder: str, inner: str) -> list[Any] | None:
    """Not asked for: a commit stays as it is."""
    return None


def copy(folder: str, inner: str, target: str) -> None:
    """Download a file."""
    folder, _, revision = folder.rpartition("@")
    parts = f"{folder}/{inner}".removeprefix("hf://").split("/")
    with _told(f"{folder}/{inner}@{revision}"), tempfile.TemporaryDirectory() as at:
        found = hf_hub_download("/".join(parts[:2]), "/".join(parts[2:]), revision=revision, local_dir=at)
        shutil.move(os.path.realpath(found), target)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise UsageError(
            f"the model {name} cannot be had from the hub ({why}): check the name, and HF_TOKEN where it is not public"
        ) from None
