"""Why a row failed, as a word that stays the same: what programs look at, where people read the reason. No Beam."""

from __future__ import annotations

import re
from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "unreadable": "the row cannot be read: it is damaged, or a value is not of its column's type",
    "unprepared": "a step before the model (`--prepare`) failed on the row",
    "null": "a value is null, and the model takes none; `--nulls` fills it",
    "misfit": "a value, or the number or shape of values, does not fit the model's input",
    "model_failed": "ONNX Runtime failed on the row alone",
    "timeout": "a run of the row alone took longer than `--run_timeout`",
    "unfinished": "a step behind the model failed on the row: one of `--finish`, or what makes the output's columns",
    "unwritten": "the output does not take the prediction, e.g. a topic's limit of a message's size",
    "gone": "messages were gone before they were read (retention, deleted records), or the topic was made anew",
    "failed": "none of these",
}
"""Code -> what it means. Codes are added, and never changed."""

_OF_STAGE = {
    "read": "unreadable",
    "prepare": "unprepared",
    "infer": "misfit",
    "finish": "unfinished",
    "write": "unwritten",
    "gap": "gone",
}

_OF_MODEL = (
    (re.compile(r"null\b.* in column "), "null"),
    (re.compile(r"the model failed: it did not return within "), "timeout"),
    (re.compile(r"the model failed: "), "model_failed"),
)
"""What the reasons of a model's step begin with."""


def code_of(stage: str, reason: str) -> str:
    """The code of a row that failed, one of `CODES`.

    Args:
        stage: as `RowError.stage`.
        reason: as `RowError.reason`.

    >>> code_of("infer: stage 2", "the model failed: indices element out of data bounds"), code_of("read", "no JSON")
    ('model_failed', 'unreadable')
    """
    known = stage.partition(":")[0]
    if known == "infer":
        return next((code for begin, code in _OF_MODEL if begin.match(reason)), "misfit")
    return _OF_STAGE.get(known, "failed")
