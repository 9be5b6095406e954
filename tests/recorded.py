"""Tables of cases in a text file, each with what came out when it was recorded.

A line is a case, with choices in braces: `{a; b} {c,d}` is four cases (of commas only where there is no semicolon).
Below it stands what came of each in turn, between ` / `; `x 3` where three in turn are alike. `python -m` of a module
that calls `main` writes anew what comes out now: look at the difference before it is committed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path


def expanded(line: str) -> Iterator[str]:
    """All cases of a line, but of more than two choices only those with at most two that are not the first."""
    parts = re.split(r"\{([^{}]*)\}", line)
    choices = [re.split(";" if ";" in inside else r",(?![^\[]*\])", inside) for inside in parts[1::2]]
    for taken in itertools.product(*(range(len(each)) for each in choices)):
        if sum(map(bool, taken)) <= 2:
            chosen = [each[at].strip() for each, at in zip(choices, taken, strict=True)]
            yield "".join(itertools.chain(*itertools.zip_longest(parts[::2], chosen, fillvalue="")))


class Recorded:
    """A file of cases.

    Args:
        path: of the file.
        said: what comes of a case, in a line.
    """

    def __init__(self, path: Path, said: Callable[[str], str]):
        self.path, self._said = path, said

    def patterns(self) -> list[str]:
        """Its lines of cases; one that begins with `#` is none."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith((" ", "#"))]

    def outcome(self, pattern: str) -> str:
        """What comes of a line now."""
        groups = [(one, len(list(same))) for one, same in itertools.groupby(map(self._said, expanded(pattern)))]
        return " / ".join(f"{one} x {count}" if count > 1 else one for one, count in groups)

    def changed(self) -> list[str]:
        """Lines of which something else comes than was recorded, with both."""
        return [
            f"{pattern}\n  recorded {told.strip()}\n  now      {now}"
            for pattern, told in self._below()
            if (now := self.outcome(pattern)) != told.strip()
        ]

    def _below(self) -> Iterator[tuple[str, str]]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        for line, below in itertools.zip_longest(lines, lines[1:], fillvalue=""):
            if line and not line.startswith((" ", "#")):
                yield line, below if below.startswith(" ") else ""

    def main(self) -> None:
        """Record what comes out now."""
        written: list[str] = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            written.append(line)
            if line and not line.startswith("#"):
                written.append(f"    {self.outcome(line)}")
        self.path.write_text("\n".join(written) + "\n", encoding="utf-8")
