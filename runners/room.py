"""Whether there is room for worker processes: a thread that cannot start may leave the runner waiting for ever."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from beamsplit.runners.errors import RunnerError

BESIDE, A_CORE, A_WORKER = 832 << 20, 64 << 20, 96 << 20
"""Address space that Beam and gRPC take in this process, for each core and each worker: arenas and stacks of threads.

Measured: 1,114 MB for 2 workers on 2 cores, 1,636 MB for 8. Little of it is memory.
"""


def room_left() -> int | None:
    """Bytes of address space that this process may still have (`ulimit -v`); None for any number."""
    if sys.platform != "linux":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return int(limit - pages * os.sysconf("SC_PAGE_SIZE"))


def needed(workers: int) -> int:
    """Bytes of address space that so many workers take in this process."""
    return BESIDE + A_CORE * (os.cpu_count() or 1) + workers * A_WORKER


def check_room(workers: int) -> None:
    """Raise where worker processes cannot be reached for want of address space.

    Raises:
        RunnerError: so it is.
    """
    room, need = room_left(), needed(workers)
    if room is not None and room < need:
        raise RunnerError(
            f"{workers} worker processes need about {need >> 20} MB more address space in the command alone, and "
            f"ulimit -v leaves {max(0, room) >> 20} MB: raise it, or give fewer --workers or --worker_type thread"
        )
