from __future__ import annotations

import re
from pathlib import Path

import pytest

from beamsplit.transforms.failures.codes import CODES, code_of
from beamsplit.transforms.kafka.gap_errors import gap_error
from beamsplit.transforms.kafka.gaps import Gap

DOCS = Path(__file__).parents[3] / "docs" / "operations" / "errors.md"


@pytest.mark.parametrize(
    ("stage", "reason", "code"),
    [
        ("read", "null in column 'x'", "unreadable"),
        ("prepare", "cannot identify image file", "unprepared"),
        ("infer", "null in column 'i'; --nulls i=VALUE would fill it", "null"),
        ("infer", "null inside a list in column 'x'; --nulls x=VALUE would fill it", "null"),
        ("infer", "column 'x' holds a list of 3 where the model wants 4", "misfit"),
        ("infer", "value 3 in column 'null in column ' does not fit int8", "misfit"),
        ("infer: stage 2", "the model failed: indices element out of data bounds", "model_failed"),
        ("infer", "the model failed: it did not return within 1 s (--run_timeout)", "timeout"),
        ("finish", "the model failed: nan in column 'y'", "unfinished"),
        ("write", "the message has 2,000,000 bytes", "unwritten"),
        ("my own", "x", "failed"),
    ],
)
def test_a_code_by_stage_and_reason(stage: str, reason: str, code: str):
    assert code_of(stage, reason) == code


def test_a_gap_is_gone():
    error = gap_error(Gap("in", 0, 3, 5, 9))
    assert code_of(error.stage, error.reason) == "gone"


def test_the_documentation_lists_every_code_as_it_is():
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {code: text for code, text in rows if code in CODES} == CODES
