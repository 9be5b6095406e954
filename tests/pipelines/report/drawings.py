"""The drawings of a report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree


def drawings(page: str) -> list[ElementTree.Element]:
    """The SVGs of a page; each must be well-formed XML."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
