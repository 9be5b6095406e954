"""Which tests execute which lines: recorded once by folder of tests, found again in sources that have changed since."""

from __future__ import annotations

import ast
import difflib
import functools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import coverage

LEFT_OUT = ("services", "mutants", "onnx_suites")
"""Tests of these are not run: they start servers, try the tool itself, or run a thousand models."""
SLOW = ("test_real_models.py", "test_benchmarks")


def parts(root: Path) -> list[str]:
    """Folders with tests of their own, e.g. "tests/models/split"."""
    found = {path.parent.relative_to(root) for path in (root / "tests").rglob("test_*.py")}
    return sorted(str(one) for one in found if not set(LEFT_OUT) & set(one.parts))


def record(copy: Path, part: str, folder: Path) -> None:
    """Run the tests of a folder of a copy of the repository, and keep which lines each of them executes.

    Args:
        copy: of the repository; nothing in it changes.
        part: the folder, e.g. "tests/models/split", or one file of tests.
        folder: for all that is kept; what was kept of this part is replaced.
    """
    kept = folder / part.replace("/", ".")
    kept.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        path.unlink()
    files = [copy / part] if part.endswith(".py") else sorted((copy / part).glob("test_*.py"))
    tests = [path for path in files if not path.name.startswith(SLOW)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.recorder"]
    env = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "BEAMSPLIT_LINES": str(kept)}
    command += ["--basetemp", str(copy.parent / "pytest"), *(str(path.relative_to(copy)) for path in tests)]
    subprocess.run(command, cwd=copy, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    keep(copy, kept)


def keep(copy: Path, kept: Path) -> None:
    """Make one of what the processes of a part left."""
    both = coverage.Coverage(data_file=str(kept / "lines"), config_file=False)
    both.combine([str(path) for path in kept.glob("data.*")], strict=False)
    both.save()
    with zipfile.ZipFile(kept / "sources.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in both.get_data().measured_files():
            if Path(path).is_relative_to(copy):
                file.write(path, Path(path).relative_to(copy))


class Lines:
    """What was recorded.

    Args:
        folder: that `record` was given.
    """

    def __init__(self, folder: Path):
        self._parts = [_Part(path.parent) for path in sorted(folder.glob("*/sources.zip"))]
        self.seconds: dict[str, float] = {}
        for part in self._parts:
            self.seconds |= part.seconds()

    def tests(self, path: str, source: str, first: int, last: int) -> set[str]:
        """Tests that passed and execute a line of these, as they are counted in the source of now."""
        found = {test for part in self._parts for test in part.tests(path, source, first, last)}
        return found & set(self.seconds)

    def executed(self, path: str, source: str) -> set[int]:
        """Lines that any test executes, as the source is now."""
        return {line for part in self._parts for line in part.executed(path, source)}


class Given:
    """Tests that are to be tried whatever was recorded, in place of `Lines`.

    Args:
        tests: e.g. "tests/models/split/test_chain.py::test_one".
    """

    def __init__(self, tests: Sequence[str]):
        self.seconds = dict.fromkeys(tests, 0.0)

    def tests(self, path: str, source: str, first: int, last: int) -> set[str]:
        """All of them."""
        return set(self.seconds)


class _Part:
    def __init__(self, folder: Path):
        self._folder = folder
        self._data = coverage.CoverageData(str(folder / "lines"))
        self._data.read()
        self._files = list(self._data.measured_files())

    def seconds(self) -> dict[str, float]:
        """How long each test took that passed: what failed before any fault notices none."""
        took: dict[str, float] = {}
        failed = set()
        for line in (self._folder / "times.jsonl").read_text().splitlines():
            test, seconds, outcome = json.loads(line)
            took[test] = took.get(test, 0.0) + seconds
            failed |= {test} if outcome != "passed" else set()
        return {test: seconds for test, seconds in took.items() if test not in failed}

    def tests(self, path: str, source: str, first: int, last: int) -> Iterator[str]:
        lines = self._contexts(path)
        for now, then in self._then(path, source).items():
            if first <= now <= last:
                yield from filter(None, lines.get(then, []))

    def executed(self, path: str, source: str) -> Iterator[int]:
        lines = self._contexts(path)
        return (now for now, then in self._then(path, source).items() if any(lines.get(then, [])))

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def _contexts(self, path: str) -> dict[int, list[str]]:
        measured = next((one for one in self._files if one.endswith(f"/{path}")), None)
        return {} if measured is None else self._data.contexts_by_lineno(measured)

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def _then(self, path: str, source: str) -> dict[int, int]:
        """Line of now -> line of the source as it was recorded, for those that did not change."""
        with zipfile.ZipFile(self._folder / "sources.zip") as file:
            try:
                was = file.read(path).decode().splitlines()
            except KeyError:
                return {}
        same = difflib.SequenceMatcher(None, source.splitlines(), was, autojunk=False).get_matching_blocks()
        return {block.a + at + 1: block.b + at + 1 for block in same for at in range(block.size)}


def span(source: str, line: int) -> tuple[int, int]:
    """First and last line whose tests concern a fault in a line.

    That is its statement; of one that is executed when the module is imported, all functions' statements of the module.
    """
    around = [one for one in _functions(source) if one.lineno <= line <= _end(one)]
    if not around:
        return 1, len(source.splitlines())
    function = max(around, key=lambda one: one.lineno)
    if line < function.body[0].lineno:
        return function.body[0].lineno, _end(function)
    statements: Sequence[ast.AST] = [one for one in ast.walk(function) if isinstance(one, (ast.stmt, ast.match_case))]
    spans = [(_begin(one), _header_end(one)) for one in statements if one is not function]
    return max((one for one in spans if one[0] <= line <= one[1]), default=(line, line))


@functools.lru_cache(maxsize=8)
def _functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(source)
    return [one for one in ast.walk(tree) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _begin(node: ast.AST) -> int:
    return node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno  # type: ignore[attr-defined]


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _header_end(node: ast.AST) -> int:
    """Where a statement ends, or the head of one that has others inside."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not isinstance(body, list):
        return node.end_lineno  # type: ignore[attr-defined, no-any-return]
    return max(_begin(node), _begin(body[0]) - 1)
