"""How data may fill inputs, and how many rows are run at once, in ways.txt.

`python -m tests.models.fitting.recorded_ways` records it. Inputs are written as `x[4,n]`; `?` is a size without a name.
A case is what is asked of them:

    fixed x[4,3] y[4]               the ways in which each input has rows on a fixed axis; `without y` leaves out y
    whole x[4,3] y[n] | y=0         those in which rows are all of some inputs, where y's axis may be 0
    set x[n,4] h[2,n] | x=0 | h=0   the axes of the rows, where x has them on 0 and h is set to 0
    batch 1000 + 10 * n | cap=9     the size chosen where a run of n rows takes so many microseconds, and what was run
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

from beamsplit.models.fitting.batch_size import find_batch_size
from beamsplit.models.fitting.constant_axes import with_constants
from beamsplit.models.fitting.fixed_batch_ways import Way, fixed_ways, whole_ways
from beamsplit.models.fitting.named_sizes import without_names
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.running.session import ModelRunError
from tests.recorded import Recorded

_INPUT = re.compile(r"(\w+)(?:\[([^\]]*)\]|\(\))")


def signature(text: str) -> Signature:
    """Inputs; `x()` has no known shape."""
    specs = []
    for name, dims in _INPUT.findall(text):
        parts = [part.strip() for part in dims.split(",") if part.strip()]
        shape = tuple(int(part) if part.isdigit() else None if part == "?" else part for part in parts)
        specs.append(TensorSpec(name, "float32", None if f"{name}()" in text else shape))
    return Signature(tuple(specs), ())


def pairs(text: str) -> dict[str, str]:
    """`x=0 y=-` as a mapping."""
    return dict(part.split("=", 1) for part in text.split())


def said(line: str) -> str:
    """What comes of a case."""
    what, rest = line.split(" ", 1)
    head, *more = (part.strip() for part in rest.split("|"))
    if what == "batch":
        return _batch(head, pairs(more[0]) if more else {})
    given, _, left_out = head.partition(" without ")
    inputs = signature(given)
    if what == "fixed":
        return _told(inputs, list(fixed_ways(inputs, left_out.split())))
    if what == "whole":
        guesses = [{name: None if at == "-" else int(at) for name, at in pairs(one).items()} for one in more]
        return _told(inputs, list(whole_ways(inputs, left_out.split(), guesses)))
    if what == "unnamed":
        return " ".join(f"{one.name}{one.shape}" for one in without_names(inputs, left_out.split()).inputs)
    axes = {name: None if at == "-" else int(at) for name, at in pairs(more[0]).items()}
    full = with_constants(axes, inputs, pairs(more[1]))
    return " ".join(f"{name}={'-' if at is None else at}" for name, at in full.items())


def _told(inputs: Signature, ways: list[Way]) -> str:
    told = []
    for way in ways:
        axes = ",".join(f"{name}@{at}" for name, at in way.axes.items())
        sizes = ",".join("?" if size is None else str(size) for size in way.sizes(inputs).values())
        shapes = ",".join(str(list(one.shape or ())) for one in way.signature(inputs).inputs if one.name in way.whole)
        told.append(f"{axes} of {sizes}" + (f" whole {shapes}" if way.whole else "") + " bold" * way.exact)
    return " + ".join(told) or "none"


def _batch(formula: str, given: dict[str, str]) -> str:
    a, b = map(float, re.fullmatch(r"(\S+) \+ (\S+) \* n", formula).groups())  # type: ignore[union-attr]
    clock = SimpleNamespace(now=0.0)
    runs: list[int] = []
    most, first = int(given.get("most", 1 << 20)), float(given.get("first", 0.0))

    def run(rows: int) -> None:
        if rows > most:
            raise ModelRunError("too many")
        runs.append(rows)
        clock.now += (a + b * rows) / 1e6 + (first if len(runs) == 1 else 0.0)

    choice = find_batch_size(
        run,
        bytes_per_row=int(given.get("bytes", 1)),
        memory_cap=int(given.get("cap", 1 << 28)),
        budget_seconds=float(given.get("budget", 0.25)),
        clock=lambda: clock.now,
    )
    counts = " ".join(f"{rows}x{runs.count(rows)}" for rows in dict.fromkeys(runs))
    return f"{choice.batch_size} at {choice.rows_per_second:.6g}/s; {counts}"


RECORDED = Recorded(Path(__file__).parent / "ways.txt", said)

if __name__ == "__main__":
    RECORDED.main()
