"""Imports go downwards only: runners <- pipelines -> transforms -> models."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("models", "transforms", "pipelines", "runners")
MAY_IMPORT = {
    "models": set(),
    "transforms": {"models"},
    "runners": set(),
    "pipelines": {"models", "transforms", "runners"},
}
BEAM_ALLOWED = {"transforms", "pipelines", "runners"}


def imports(path: Path) -> set[str]:
    """What a file imports, in functions too: a layer as its own name, all else as the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {".".join(name.split(".")[: 2 if name.startswith("beamsplit.") else 1]) for name in names}
    return found


def sources() -> list[Path]:
    return sorted(path for layer in OURS for path in (ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path):
    layer = path.relative_to(ROOT).parts[0]
    found = imports(path)
    allowed = {f"beamsplit.{name}" for name in MAY_IMPORT[layer] | {layer}}
    above = {name for name in found if name.startswith("beamsplit")} - allowed
    assert not above, f"{layer}/ must not import {above}"
    assert not found & set(OURS), "the layers are imported by the name that they have where they are installed"
    if layer not in BEAM_ALLOWED:
        assert "apache_beam" not in found, "models/ knows no Beam"


def test_no_dofn_lives_in_pipelines():
    # `python -m pipelines.score` runs as __main__, so a DoFn defined there would not unpickle on a worker.
    for path in (ROOT / "pipelines").rglob("*.py"):
        assert "DoFn)" not in path.read_text(encoding="utf-8"), path
