"""What every benchmark leaves: a table and its goals on the terminal, the same as JSON, and a chart."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def show(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print as a Markdown table, which reads well as text too."""
    widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
    for line in [header, ["-" * width for width in widths], *lines]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def leave(
    out: Path,
    name: str,
    results: Sequence[Any],
    goals: Sequence[str],
    draw: Callable[[Path, str], None],
    *,
    said: Sequence[str] = (),
    **more: object,
) -> None:
    """Print the goals, and write `NAME.json` and `NAME.png`.

    Args:
        out: folder for both.
        name: of the benchmark.
        results: dataclasses.
        goals: a line each, with what was reached.
        draw: writes the chart to a path; is told the machine.
        said: more lines to print below the goals.
        more: what else the JSON holds.
    """
    print("\n" + "\n".join([*goals, *said]))
    machine = (
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    report = {"machine": machine, "results": [asdict(result) for result in results], "goals": [*goals], **more}
    told, chart = out / f"{name}.json", out / f"{name}.png"
    told.write_text(json.dumps(report, indent=2) + "\n")
    draw(chart, machine)
    print(f"\n{told}, {chart}")
