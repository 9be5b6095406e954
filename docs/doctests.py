"""Examples in docstrings, which are run as doctests, shown as code: else the site takes `>>>` for a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> (?:.*\n)+?(?=\s*\n|\Z)", re.MULTILINE)


def fenced(text: str) -> str:
    """The text with its examples in fences."""

    def fence(found: re.Match[str]) -> str:
        indent = found[1]
        return f"{indent}```pycon\n{found[0].rstrip()}\n{indent}```\n"

    return EXAMPLE.sub(fence, text + "\n")[:-1] if ">>> " in text else text


class Doctests(griffe.Extension):
    """Fences the examples of every docstring that is shown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of what was read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
