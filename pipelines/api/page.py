"""What a notebook shows of a plan."""

from __future__ import annotations

import html

REPORT_HEIGHT = 640
"""Pixels of a report."""


def framed(page: str) -> str:
    """A page in a frame, which keeps its style to itself."""
    source = html.escape(page, quote=True)
    return f'<iframe srcdoc="{source}" width="100%" height="{REPORT_HEIGHT}" style="border: 0"></iframe>'


def preformatted(text: str) -> str:
    """Text as it stands."""
    return f"<pre>{html.escape(text)}</pre>"
