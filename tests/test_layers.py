"""Imports go downwards only: runners <- pipelines -> transforms -> models."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
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

ROOMS = (
    "",  # the files of models/ itself
    "values",
    "batch",
    "graph",
    "running",
    "cost",
    "independence",
    "binding",
    "scoring",
    "fitting",
    "shard",
    "split",
    "strategy",
    "convert",
)
"""The folders of models/, lowest first: each may import of itself and of those before it."""


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
    # What reaches into Beam lies below all that knows Beam.
    found -= {"beamsplit.runners"} if layer == "transforms" and not _beside_patches(path) else set()
    above = {name for name in found if name.startswith("beamsplit")} - allowed
    assert not above, f"{layer}/ must not import {above}"
    assert not found & set(OURS), "the layers are imported by the name that they have where they are installed"
    if layer not in BEAM_ALLOWED:
        assert "apache_beam" not in found, "models/ knows no Beam"


PATCHES = "beamsplit.runners.beam_patches"


def _beside_patches(path: Path) -> set[str]:
    """What a file imports of runners/ that is no patch of Beam."""
    found = _imported(path, modules())
    return {name for name in found if name.startswith("beamsplit.runners") and not name.startswith(PATCHES)}


def test_patches_of_beam_import_nothing_else():
    inside = {name: imported for name, imported in edges().items() if name.startswith(PATCHES)}
    assert inside
    assert not {(name, one) for name, imported in inside.items() for one in imported if not one.startswith(PATCHES)}


OF_OTHERS = {
    "_asdict", "_replace",  # of named tuples
    "_exit",  # of os
    "_option_string_actions",  # of argparse
    "_PARTITION_EOF", "_AUTO_OFFSET_RESET", "_TRANSPORT", "_RESOLVE",  # of Kafka's client
    "_hook",  # of WorkerProcesses
}  # fmt: skip
"""Names that begin with _ and are not Beam's, in files that import Beam."""


def test_only_patches_touch_what_is_beams_own():
    touched = {
        str(path.relative_to(ROOT)): names
        for path in sources()
        if PATCHES.split(".", 1)[1].replace(".", "/") not in str(path)
        if (names := _private_of_beam(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert not touched, "it lies in runners/beam_patches, with Beam's issue and a test that says whether it is needed"


def _private_of_beam(tree: ast.AST) -> set[str]:
    """Private names of Beam that a file uses, and what it sets in Beam's modules and classes."""
    beams = set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "apache_beam":
            beams |= {alias.asname or alias.name for alias in node.names}
            within = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found |= {name for name in within if name.startswith("_") and not name.startswith("__")}
        elif isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] == "apache_beam"]
            beams |= {alias.asname or "apache_beam" for alias in ours}
    if not beams:
        return found
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        root = node.value
        own = isinstance(root, ast.Name) and root.id in ("self", "cls")
        if node.attr.startswith("_") and not node.attr.startswith("__") and not own and node.attr not in OF_OTHERS:
            found.add(ast.unparse(node))
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(node.ctx, ast.Store | ast.Del) and isinstance(root, ast.Name) and root.id in beams:
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from apache_beam.io.x import _A", {"_A"}),
        ("import apache_beam as beam\nbeam.a._b()", {"beam.a._b"}),
        ("from apache_beam import io\nio.Read.expand = 1", {"io.Read.expand"}),
        ("from apache_beam import DoFn\ndef f(timer):\n    timer._x = 1", {"timer._x"}),
        ("from apache_beam import DoFn\nclass A(DoFn):\n    def f(self):\n        self._x = DoFn.__name__", set()),
        ("import os\nos._exit(_x._y)", set()),
    ],
)
def test_private_names_are_found(text: str, found: set[str]):
    assert _private_of_beam(ast.parse(text)) == found


def test_no_dofn_lives_in_pipelines():
    # `python -m pipelines.score` runs as __main__, so a DoFn defined there would not unpickle on a worker.
    for path in (ROOT / "pipelines").rglob("*.py"):
        assert "DoFn)" not in path.read_text(encoding="utf-8"), path


@cache
def modules() -> dict[str, Path]:
    """All files of the package by the names with which they are imported."""
    found = {}
    for path in [*(ROOT / "beamsplit").glob("*.py"), *sources()]:
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        parts = parts if parts[0] == "beamsplit" else ["beamsplit", *parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def edges() -> Mapping[str, frozenset[str]]:
    """Which files of ours a file imports, when it is loaded or in its functions; not what it only names in types."""
    known = modules()
    return {name: frozenset(_imported(path, known) - {name}) for name, path in known.items()}


def _imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in _run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [one if one in known else node.module for one in inner]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] == "beamsplit"}
    return found


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All that is run of a file: `if TYPE_CHECKING` is not."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _run(child)


def test_what_is_imported_of_ours_is_there():
    known = modules()
    absent = {(name, one) for name, imported in edges().items() for one in imported if one not in known}
    assert not absent


def circles(graph: Mapping[str, frozenset[str]]) -> list[set[str]]:
    """Sets of files that import one another, directly or not."""
    left = {name: set(graph[name]) for name in graph}
    while free := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in free}
    found: list[set[str]] = []
    reached = {name: _reached(name, left) for name in left}
    for name in left:
        circle = {other for other in reached[name] if name in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def _reached(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        for one in graph.get(ahead.pop(), set()) & graph.keys() - found:
            found.add(one)
            ahead.append(one)
    return found


def test_circles_are_found():
    graph = {"a": "b", "b": "cd", "c": "a", "d": "", "e": "af", "f": "e"}
    assert sorted(map(sorted, circles({name: frozenset(to) for name, to in graph.items()}))) == [
        ["a", "b", "c"],
        ["e", "f"],
    ]


def test_no_files_import_one_another():
    assert circles(edges()) == []


def test_the_folders_of_models_have_an_order():
    def room(name: str) -> str:
        parts = modules()[name].relative_to(ROOT).parts
        return parts[1] if len(parts) > 2 else ""

    ours = {name: imported for name, imported in edges().items() if name.startswith("beamsplit.models.")}
    between = {(room(name), room(one)) for name, imported in ours.items() for one in imported if one in modules()}
    above = {(one, other) for one, other in between if ROOMS.index(other) > ROOMS.index(one)}
    assert not above


def _names(path: Path) -> set[str]:
    """What a file has at its top, in branches too."""
    found: set[str] = set()
    ahead: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For):
            for part in ("body", "orelse", "finalbody"):
                ahead += getattr(node, part, [])
            ahead += [one for handler in getattr(node, "handlers", []) for one in handler.body]
    return found


def test_what_tests_and_benchmarks_import_of_ours_is_there():
    """Of tests that need services too, which are not run at each change."""
    known = modules()
    names = {name: _names(path) for name, path in known.items()}
    absent = []
    for path in (*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("beamsplit."):
                continue
            assert node.module is not None
            here = names.get(node.module, set())
            absent += [
                f"{path.relative_to(ROOT)}: {node.module}.{alias.name}"
                for alias in node.names
                if alias.name not in here and f"{node.module}.{alias.name}" not in known
            ]
    assert not absent
