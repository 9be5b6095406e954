"""Every case of the ONNX suites comes out as outcomes.json has it, and docs/models.md tells of that.

Where more comes out right, or less: `python -m tests.onnx_suites` writes both anew.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

from tests.onnx_suites import outcomes, table
from tests.onnx_suites.cases import SUITES, Case, cases
from tests.onnx_suites.outcomes import told_of
from tests.onnx_suites.ways import RIGHT

PARTS = 16
"""So that several workers share the cases."""


@functools.cache
def every() -> list[Case]:
    return [case for suite in SUITES for case in cases(suite)]


@pytest.mark.parametrize("part", range(PARTS))
def test_as_recorded(part: int, tmp_path: Path):
    known = outcomes.read()
    other = []
    for case in every()[part::PARTS]:
        told, recorded = told_of(case, tmp_path), known.get((case.suite, case.name))
        if told != recorded:
            other.append(f"{case.suite} {case.name}: {told.ways}, recorded {recorded and recorded.ways}")
    assert not other, "\n".join([*other[:20], "python -m tests.onnx_suites records what comes out now"])


def test_the_document_is_of_what_was_recorded():
    assert table.written() == table.render(outcomes.read().values())


def test_each_suite_is_recorded_whole():
    counts = Counter(suite for suite, _ in outcomes.read())
    assert set(counts) == set(SUITES) and counts["node"] > 1800


def test_most_cases_with_rows_are_right():
    rows = [told for told in outcomes.read().values() if len(told.ways) > 1]
    assert sum(told.ways[0] == RIGHT for told in rows) > 0.95 * len(rows)
