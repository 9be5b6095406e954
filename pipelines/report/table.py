"""A table with facts below it, for the terminal or as aligned text that other programs can read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TextIO

from beamsplit.pipelines.report.summary import say


@dataclass(frozen=True)
class Table:
    """What is shown."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    facts: Sequence[tuple[str, str]]
    """(name, text); a name may be empty where a line goes on."""

    left: Collection[int] = (0,)
    """Columns that begin at the left; the others end at the right."""

    def plain_lines(self) -> list[str]:
        """As aligned text."""
        rows = [self.header, *self.rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.header))]
        lines = ["  ".join(self._aligned(row, widths)).rstrip() for row in rows]
        width = max(len(name) for name, _ in self.facts)
        return [*lines, "", *(f"{name:<{width}}  {text}" for name, text in self.facts)]

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        pairs = enumerate(zip(row, widths, strict=True))
        return [cell.ljust(width) if k in self.left else cell.rjust(width) for k, (cell, width) in pairs]

    def show(self, stream: TextIO | None = None, strong: str = "") -> None:
        """Print it: drawn where the stream is a terminal, plain text elsewhere.

        Args:
            stream: by default stdout.
            strong: name of the fact that stands out.
        """
        stream = stream if stream is not None else sys.stdout
        if not stream.isatty():
            say(self.plain_lines())
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        console = Console(file=stream, highlight=False)
        table = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, name in enumerate(self.header):
            table.add_column(name, justify="left" if column in self.left else "right")
        for row in self.rows:
            # Text, so that a name is never taken for markup.
            table.add_row(*map(Text, row))
        console.print(table)
        grid = Drawn.grid(padding=(0, 2))
        for name, text in self.facts:
            grid.add_row(Text(name, style="bold"), Text(text, style="bold" if name == strong else ""))
        console.print(grid)
