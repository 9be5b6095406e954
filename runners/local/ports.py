"""The ports of services of this machine, which they keep for as long as their folder is there."""

from __future__ import annotations

import json
from pathlib import Path

FILE = "ports.json"


def kept_ports(folder: Path, count: int) -> list[int] | None:
    """The ports that a service which was set up here has, which its clients know; None where it is yet to get some."""
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: it is written anew
        return None
    known = isinstance(kept, list) and len(kept) == count
    return kept if known and all(isinstance(port, int) and 0 < port < 65536 for port in kept) else None


def keep_ports(folder: Path, ports: list[int]) -> None:
    """Write them down."""
    (folder / FILE).write_text(json.dumps(ports), encoding="utf-8")
