"""How a stream on this machine is asked to end: a file, and beside it why, where that is no wish of the user's."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import NamedTuple


class Ending(NamedTuple):
    """Why a stream ends."""

    reason: str
    """One line."""

    commit: bool = True
    """Whether what was read is still committed; not where the topic is another one by now."""


def end_stream(stop_file: str, ending: Ending) -> None:
    """Ask the readers to end; the first reason stays."""
    written = Path(f"{stop_file}-{uuid.uuid4().hex}")
    try:
        written.write_text(json.dumps(ending), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(written, f"{stop_file}-reason")
        written.unlink()
        Path(stop_file).touch()
    except FileNotFoundError:
        return  # the job is over, and its folder is gone


def why_ended(stop_file: str | None) -> Ending | None:
    """What `end_stream` told; None where nothing did."""
    try:
        return None if stop_file is None else Ending(*json.loads(Path(f"{stop_file}-reason").read_text("utf-8")))
    except FileNotFoundError:
        return None
