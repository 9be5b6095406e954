"""The source files by the names that they are imported by."""

from __future__ import annotations

from pathlib import Path

LAYERS = ("models", "transforms", "pipelines", "runners")


def modules(root: Path) -> dict[str, Path]:
    """Name -> file of each module of the layers."""
    found = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            parts = ("beamsplit", *path.relative_to(root).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found
