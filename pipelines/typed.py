"""What the commands are called where this one runs: an installed beamsplit has no `python -m pipelines.score`."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

IN_CHECKOUT = re.compile(r"python -m pipelines\.(score|replay|plan|convert)\b")


def typed(command: str) -> str:
    """What a user types for `score` or `plan`, as this process was started.

    >>> typed("score") in ("python -m pipelines.score", "python -m beamsplit score", "beamsplit score")
    True
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py" and program.parent.name == "beamsplit":
        return f"python -m beamsplit {command}"
    # A checkout's layers lie beside the package, so it has two folders (beamsplit/__init__.py).
    if program.stem == "beamsplit" or len(list(sys.modules["beamsplit"].__path__)) == 1:
        return f"beamsplit {command}"
    return f"python -m pipelines.{command}"


def as_typed(text: str) -> str:
    """A line for the user with the commands in it as they are typed here."""
    return IN_CHECKOUT.sub(lambda found: typed(found[1]), text)


def show_error(line: str, debug: bool) -> None:
    """Print a line on what went wrong, with the traceback of it before where that is wanted."""
    if debug:
        traceback.print_exc()
    print(as_typed(line), file=sys.stderr)
