"""What command lines are taken for, in options.txt: `python -m tests.pipelines.options.recorded_options` records it.

A case is a command and its options; `FILES`, `RANGE`, `STREAM` and `TOPIC` (files to a topic) stand for an input and an
output. Of it come the values that are not what they are without these options, or the error.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options import plan, score
from beamsplit.pipelines.options.modes import check_mode, check_parallelism
from beamsplit.pipelines.options.schemes import is_topic
from tests.recorded import Recorded

SHORT = {
    "FILES": "--model m.onnx --input a.csv --output o.csv",
    "TOPIC": "--model m.onnx --input a.csv --output kafka://h:1/u",
    "RANGE": "--model m.onnx --input kafka://h:1/t --output o.csv --until_end",
    "STREAM": "--model m.onnx --input kafka://h:1/t --output kafka://h:1/u",
    "PLAN": "--model m.onnx --sample a.csv --stages 2 --output o.json",
}


def said(line: str) -> str:
    """What a command line is taken for."""
    command, *words = line.split(" ", 2)
    given = " ".join(SHORT.get(word, word) for word in words)
    base = SHORT[words[0]] if words and words[0] in SHORT else SHORT["PLAN" if command == "plan" else "FILES"]
    try:
        if command == "plan":
            return "; ".join(_changes("", plan.parse(shlex.split(base)), plan.parse(shlex.split(given))))
        options, beam = score.parse(shlex.split(given))
        told = [*_changes("", score.parse(shlex.split(base))[0], options), *([f"for Beam: {beam}"] if beam else [])]
        told.append(check_mode(options).value)
        check_parallelism(options.parallelism, is_topic(options.source.input[0]))
        return "; ".join(told)
    except UsageError as error:
        # Python's own words for a choice differ from one version to the next.
        return re.sub(r"\(choose from .*?\)", "(choose ...)", f"! {error}")


def _changes(name: str, one: Any, other: Any) -> Iterator[str]:
    if one == other:
        return
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        for field in dataclasses.fields(one):
            yield from _changes(field.name, getattr(one, field.name), getattr(other, field.name))
        return
    yield f"{name}={other}"


RECORDED = Recorded(Path(__file__).parent / "options.txt", said)

if __name__ == "__main__":
    RECORDED.main()
