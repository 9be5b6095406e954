"""The user's cache for tests: measured times and models of their own, and the programs that take long to fetch."""

from __future__ import annotations

import contextlib
from pathlib import Path


def link_programs(real: Path, cache: Path) -> None:
    """Let `cache` have the jars and the Prism of the user's cache `real`, also those that are still to be fetched."""
    with contextlib.suppress(OSError):  # without a home all is fetched anew
        (real / "jars").mkdir(parents=True, exist_ok=True)
        for program in [real / "jars", *real.glob("prism-*")]:
            link = cache / program.name
            if program.is_dir() and not link.exists():
                link.symlink_to(program, target_is_directory=True)
