"""Progress in a notebook, where standard error is no terminal: one line with a bar, drawn again in its place."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from typing import Any

DRAW_SECONDS = 0.5
"""Between two drawings."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython is not imported to find that out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def as_html(line: str, share: float | None) -> str:
    """The line with a bar.

    >>> as_html("5 of 10 rows", 0.5)
    '<progress max="1" value="0.500"></progress> 5 of 10 rows'
    """
    bar = "" if share is None else f'<progress max="1" value="{min(1.0, share):.3f}"></progress> '
    return bar + html.escape(line)


def draw_in_notebook(line: Callable[[], str], share: Callable[[], float | None], wait: Callable[[float], bool]) -> None:
    """Draw until there is nothing more to wait for, and once more then.

    Args:
        line: what to say.
        share: what is done of all, from 0 to 1; None where that is not known.
        wait: waits for so many seconds; true when it is over.
    """
    from IPython.display import HTML, display

    handle: Any = display(HTML(as_html(line(), share())), display_id=True)
    while not wait(DRAW_SECONDS):
        handle.update(HTML(as_html(line(), share())))
    handle.update(HTML(as_html(line(), share())))
