"""Paths as arguments of the public names. Imports nothing that takes time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from beamsplit.models.errors import UsageError


def path_given(name: str, value: Any, wanted: str = "the path of a file") -> str:
    """A path as text.

    >>> path_given("model", None)
    Traceback (most recent call last):
    beamsplit.models.errors.UsageError: model is None; give the path of a file, as a text or a Path

    Raises:
        UsageError: it is neither a text nor a path, or empty.
    """
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"{name} is {shown(value)}; give {wanted}, as a text or a Path")
    return path


def inputs_given(name: str, value: Any) -> list[str]:
    """Files, globs, folders or a topic, one or several.

    >>> inputs_given("input", ["a.csv", "b.csv"])
    ['a.csv', 'b.csv']

    Raises:
        UsageError: it is something else, as a table in memory; or none.
    """
    several = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    if not several or not all(isinstance(one, (str, os.PathLike)) and os.fspath(one) for one in several):
        raise UsageError(
            f"{name} is {shown(value)}; give the path of a file, a pattern such as 'in/*.csv', a folder, or a list of "
            "them; bs.Scorer scores tables in memory"
        )
    return [str(os.fspath(one)) for one in several]


def shown(value: Any) -> str:
    """A value in a few words of one line.

    >>> shown([1, 2]), shown(list(range(100)))
    ('[1, 2]', '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16...')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
