"""Which test files concern a source file: those from which imports lead to it, the nearest first."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Mapping
from pathlib import Path

LAYERS = ("models", "transforms", "pipelines", "runners")
FOLDERS = (*LAYERS, "benchmarks", "tests")


def modules(root: Path) -> dict[str, Path]:
    """Name -> file of each module below these folders."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = (("beamsplit",) if folder in LAYERS else ()) + path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, known: Mapping[str, object]) -> set[str]:
    """Modules among the known that a source imports, in functions too, or names in a string."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(".") in range(1, 6):
            found |= {node.value, f"beamsplit.{node.value}"}  # `python -m` in a test, imports that are put off
    return found & set(known)


def concerned(root: Path) -> dict[str, list[tuple[int, Path]]]:
    """Module -> (imports between, test file), the nearest first; none of tests/services."""
    files = modules(root)
    names = {name: imports(path.read_text(encoding="utf-8"), files) for name, path in files.items()}
    reached: dict[str, list[tuple[int, Path]]] = {name: [] for name in files}
    for name, path in files.items():
        if not path.name.startswith("test_") or "services" in path.parts:
            continue
        steps, waiting = {name: 0}, deque([name])
        while waiting:
            one = waiting.popleft()
            for other in names[one] - set(steps):
                steps[other] = steps[one] + 1
                waiting.append(other)
        for other, count in steps.items():
            reached[other].append((count, path))
    return {name: sorted(tests) for name, tests in reached.items()}
