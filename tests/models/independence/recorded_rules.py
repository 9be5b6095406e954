"""What each rule says of some 2,400 nodes, in rules.txt.

`python -m tests.models.independence.recorded_rules` writes the file anew: a line is a node with its inputs
(notation.py), with choices in braces. Below it stands what its rule says of each choice in turn, between ` / `: how the
outputs lie, or `!` and why the proof ends (`!!` where a size depends on the rows' values); `x 3` where three in turn
are alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from beamsplit.models.independence.lies import Ends
from beamsplit.models.independence.rules import RULES
from tests.models.independence.notation import expanded, parts_of, told

FILE = Path(__file__).parent / "rules.txt"


def said(line: str) -> str:
    """What the rule of a node says of its outputs."""
    node, given = parts_of(line)
    try:
        return "; ".join(map(told, RULES[node.domain, node.op](node, given)))
    except Ends as end:
        return f"{'!!' if end.counts else '!'} {end}"


def recorded() -> Iterator[tuple[str, str | None]]:
    """(pattern, what stands below it) of the file; a line that begins with `#` is the second of nothing."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for line, below in itertools.zip_longest(lines, lines[1:]):
        if line and not line.startswith((" ", "#")):
            yield line, below.strip() if below and below.startswith(" ") else None


def outcome(pattern: str) -> str:
    """What is to stand below a pattern."""
    groups = [(one, len(list(same))) for one, same in itertools.groupby(map(said, expanded(pattern)))]
    return " / ".join(f"{one} x {count}" if count > 1 else one for one, count in groups)


def accepted() -> Iterator[tuple[str, list[str]]]:
    """The lines whose outputs are known, and how they lie."""
    for pattern, _ in recorded():
        for line in expanded(pattern):
            if not (words := said(line)).startswith("!"):
                yield line, words.split("; ")


def main() -> None:
    """Record what comes out now."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    written: list[str] = []
    for line in lines:
        if line.startswith(" "):
            continue
        written.append(line)
        if line and not line.startswith("#"):
            written.append(f"    {outcome(line)}")
    FILE.write_text("\n".join(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
