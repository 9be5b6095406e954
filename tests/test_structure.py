"""What docs/architecture.md counts stays as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from beamsplit.pipelines.options import modes, score, values

ROOT = Path(__file__).parent.parent
LAYERS = ("beamsplit", "models", "transforms", "pipelines", "runners")

MOST_PARAMETERS = 6
"""Of a function in pipelines/."""

MORE_PARAMETERS = 3
"""Functions of the other layers that have more yet."""


def trees(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def long_functions(*folders: str) -> list[str]:
    """Those of more parameters than `MOST_PARAMETERS`, without self."""
    found = []
    for path, tree in trees(*folders):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if sum(one.arg not in ("self", "cls") for one in given) > MOST_PARAMETERS:
                    found.append(f"{path}: {node.name}")
    return found


def test_what_argparse_gives_stays_in_the_options():
    seen = set()
    for path, tree in trees("beamsplit", "models", "transforms", "pipelines"):
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        if any("argparse" in ast.unparse(node) for node in imported) and path.parts[:2] != ("pipelines", "options"):
            seen.add(str(path))
    assert not seen, "functions take the value that they need"


def test_functions_have_few_parameters():
    assert long_functions("pipelines", "beamsplit") == [], "what belongs together is one value"
    assert len(long_functions("models", "transforms", "runners")) <= MORE_PARAMETERS


def test_every_option_is_a_field_and_every_field_an_option():
    options = {action.dest for action in score.parser()._actions} - {"help"}
    fields = set(values._PLACES)
    # A cluster.json is typed as --workers, and a division that is there is found by what was typed.
    assert fields - options == {"cluster", "shard_source"}
    assert options - fields == set()


def test_the_table_of_what_goes_together_names_options():
    assert set(modes.GOES_WITH) <= set(values._PLACES)
    marks = {mark for row in modes.GOES_WITH.values() for mark in row.values()}
    assert marks <= {"yes", "-", "topic", "file", "table", "deep", "way"}


def test_no_test_imports_from_another():
    tests = [
        f"{path}: {node.module}"
        for path, tree in trees("tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and re.match(r"tests\..*\btest_\w+$", node.module or "")
    ]
    assert not tests, "what several tests need lies in a module of its own"
