"""What became of each case, as data that a test holds against what runs: written by `python -m tests.onnx_suites`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.onnx_suites.cases import Case
from tests.onnx_suites.rows import NotRows, find_rows
from tests.onnx_suites.ways import RIGHT, Outcome, folder_of, run_case

FILE = Path(__file__).parent / "outcomes.json"

WAYS = ("whole", "cut in two", "two shards")


@dataclass(frozen=True)
class Told:
    """Of one case."""

    suite: str
    name: str
    ways: tuple[str, ...]
    """Of each of `WAYS`; one category for all where the case has no independent rows."""


def told_of(case: Case, root: Path) -> Told:
    """Run one case."""
    try:
        rows = find_rows(case)
    except NotRows as why:
        return Told(case.suite, case.name, (str(why),))
    outcome: Outcome = run_case(case, rows, folder_of(root, case))
    return Told(case.suite, case.name, outcome.all)


def read() -> dict[tuple[str, str], Told]:
    """All cases, by suite and name."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return {(told.suite, told.name): told for told in _stored(stored)}


def _stored(stored: dict[str, dict[str, list[str]]]) -> Iterator[Told]:
    for suite, by_outcome in stored.items():
        for outcome, names in by_outcome.items():
            ways = tuple(outcome.split(" | "))
            for name in names:
                yield Told(suite, name, ways * 3 if ways == (RIGHT,) else ways)


def write(all_told: list[Told]) -> None:
    """Write all cases, by suite and outcome."""
    stored: dict[str, dict[str, list[str]]] = {}
    for told in sorted(all_told, key=lambda told: (told.suite, told.ways, told.name)):
        outcome = RIGHT if set(told.ways) == {RIGHT} else " | ".join(told.ways)
        stored.setdefault(told.suite, {}).setdefault(outcome, []).append(told.name)
    FILE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
