"""docs/models.md: what of the ONNX suites is scored, and what is not and why, from the outcomes of the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.onnx_suites.cases import SUITES
from tests.onnx_suites.outcomes import WAYS, Told
from tests.onnx_suites.rows import DIFFERS, MIXED, NO_COLUMN, NO_ROWS, NO_TENSOR, RUNTIME
from tests.onnx_suites.ways import NOTHING_TO_CUT, NOTHING_TO_DIVIDE, RIGHT

FILE = Path(__file__).parent.parent.parent / "docs" / "models.md"

BEGIN, END = "<!-- written by python -m tests.onnx_suites -->\n", "<!-- to here -->\n"

WHY = {
    RUNTIME: "ONNX Runtime refuses the model or has no kernel for it on CPU; of opsets before 7, for most operators.",
    DIFFERS: "its numbers are those of another version of the operator; there is nothing to compare with.",
    NO_TENSOR: "blocks have columns; a row that is a sequence, an optional or a map has none.",
    NO_COLUMN: "bfloat16, float8, int4, uint4, int2 and the like at an input or output, and complex numbers.",
    NO_ROWS: "one number, a table without inputs, another number of rows out than in: there is no row to give back.",
    MIXED: "the operator works along the rows (a sum, a sort, a softmax over axis 0) or counts them.",
}
"""Of each category without independent rows, why nothing is scored."""


def render(told: Iterable[Told]) -> str:
    """The part of docs/models.md that is written."""
    told = list(told)
    lines = ["| | " + " | ".join(SUITES) + " |", "|---|" + "---|" * len(SUITES)]

    def row(label: str, chosen: Iterable[Told]) -> None:
        counts = Counter(one.suite for one in chosen)
        lines.append(f"| {label} | " + " | ".join(f"{counts[suite]:,}" for suite in SUITES) + " |")

    row("cases", told)
    rows = [one for one in told if len(one.ways) == len(WAYS)]
    row("**with independent rows**", rows)
    for at, way in enumerate(WAYS):
        row(f"{way}: right", [one for one in rows if one.ways[at] == RIGHT])
        for why in (NOTHING_TO_CUT, NOTHING_TO_DIVIDE):
            if any(one.ways[at] == why for one in rows):
                row(f"{way}: {why}", [one for one in rows if one.ways[at] == why])
        if any(_lacking(one.ways[at]) for one in rows):
            row(f"{way}: **lacking**, below", [one for one in rows if _lacking(one.ways[at])])
    row("**without independent rows**", [one for one in told if len(one.ways) == 1])
    for why in WHY:
        row(why, [one for one in told if one.ways == (why,)])
    lines += ["", *(f"- *{why}*: {reason}" for why, reason in WHY.items())]
    lacking: dict[str, list[str]] = {}
    for one in rows:
        for way, outcome in zip(WAYS, one.ways, strict=True):
            if _lacking(outcome):
                lacking.setdefault(outcome, []).append(f"`{one.name}` ({way})")
    lines += ["", "Lacking, though rows are independent:" if lacking else "Nothing is lacking.", ""]
    lines += [f"- {outcome}: {', '.join(names)}" for outcome, names in sorted(lacking.items())]
    return "\n".join(lines).rstrip() + "\n"


def _lacking(outcome: str) -> bool:
    return outcome not in (RIGHT, NOTHING_TO_CUT, NOTHING_TO_DIVIDE)


def _parts() -> tuple[str, str, str]:
    """What the document has before the table, the table, and what is behind it."""
    text = FILE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, behind = rest.partition(END)
    return before, table, behind


def written() -> str:
    """The table that the document has now."""
    return _parts()[1]


def write(told: Iterable[Told]) -> None:
    """Put the table into the document."""
    before, _, behind = _parts()
    FILE.write_text(f"{before}{BEGIN}{render(told)}{END}{behind}", encoding="utf-8")
