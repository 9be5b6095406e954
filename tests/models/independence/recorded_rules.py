"""What each rule says of some 2,400 nodes, in rules.txt.

`python -m tests.models.independence.recorded_rules` records it. A case is a node with its inputs (notation.py); of it
comes how its outputs lie, or `!` and why the proof ends (`!!` where a size depends on the rows' values).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from beamsplit.models.independence.lies import Ends
from beamsplit.models.independence.rules import RULES
from tests.models.independence.notation import parts_of, told
from tests.recorded import Recorded, expanded


def said(line: str) -> str:
    """What the rule of a node says of its outputs."""
    node, given = parts_of(line)
    try:
        return "; ".join(map(told, RULES[node.domain, node.op](node, given)))
    except Ends as end:
        return f"{'!!' if end.counts else '!'} {end}"


RECORDED = Recorded(Path(__file__).parent / "rules.txt", said)


def accepted() -> Iterator[tuple[str, list[str]]]:
    """The lines whose outputs are known, and how they lie."""
    for pattern in RECORDED.patterns():
        for line in expanded(pattern):
            if not (words := said(line)).startswith("!"):
                yield line, words.split("; ")


if __name__ == "__main__":
    RECORDED.main()
