"""Memory that this process may still take: what the machine has free, and what a container leaves of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from beamsplit.models.errors import UsageError

_NO_LIMIT = 1 << 60
"""Bytes from which a limit of a control group is none."""


def free_memory(root: str = "/") -> float:
    """Bytes that this process may still take without paging; infinite where the system does not tell.

    Pages of files, which the system takes back, count as free.

    Args:
        root: folder with `proc` and `sys`.
    """
    return min(_of_machine(Path(root)), _of_groups(Path(root)))


ALWAYS_ROOM = 1 << 30
"""Bytes that are taken without asking."""


def check_room(nbytes: float, what: str, fix: str) -> None:
    """Raise where something would take more than there is: asked for, it would be given, and the process be killed.

    Args:
        nbytes: that it takes.
        what: it is, in words.
        fix: what to do about it.

    Raises:
        UsageError: there is not so much.
    """
    free = free_memory() if nbytes > ALWAYS_ROOM else math.inf
    if nbytes > free:
        raise UsageError(f"{what} would take {nbytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: {fix}")


def _of_machine(root: Path) -> float:
    found = _numbers(root / "proc/meminfo").get("MemAvailable:")
    return math.inf if found is None else found * 1024


def _of_groups(root: Path) -> float:
    """What the control groups (Linux, versions 1 and 2) that this process is in leave."""
    left = math.inf
    for folder, version in _groups(root):
        names = ("memory.max", "memory.current", "") if version == 2 else _FIRST
        limit, used = (_number(folder / name) for name in names[:2])
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        stat = _numbers(folder / "memory.stat")
        files = sum(stat.get(f"{names[2]}{kind}", 0.0) for kind in ("inactive_file", "active_file"))
        left = min(left, max(limit - used + files, 0.0))
    return left


_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def _groups(root: Path) -> Iterator[tuple[Path, int]]:
    """The folders of the process's group and of those around it; a container may see its own as the topmost."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        number, names, path = line.split(":", 2)
        if number == "0" or "memory" in names.split(","):
            top = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
            inner = top / path.lstrip("/")
            for folder in [inner, *inner.parents]:
                if folder.is_relative_to(top):
                    yield folder, 2 if number == "0" else 1


def _number(path: Path) -> float | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return float(text) if text.isdigit() else None


def _numbers(path: Path) -> dict[str, float]:
    """The number behind each name of a file of lines; none where it is not there."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}
