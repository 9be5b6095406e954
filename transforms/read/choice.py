"""Which files a pattern means: bookkeeping that tools leave beside data is left out, as Spark and pyarrow do, and said.

pattern      data/        data/*.csv        data/_old/*.csv   data/_*.csv
read         a.csv        a.csv             _old/b.csv        _c.csv
left out     _SUCCESS     _c.csv
             _temporary/
             .a.csv.crc
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_HIDDEN = (".", "_")

_MAGIC = re.compile(r"[*?[]")

_TABLES = {"_delta_log": "Delta", ".hoodie": "Hudi"}
"""What the log of a table is called, whose files are not all data that is still in it."""

SHOWN = 3
"""How many of those left out a note names."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out: `.x` and `_x`, but not the partition `_x=1`."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def hidden_part(path: str, pattern: str) -> str | None:
    """The path up to its first hidden part that the pattern does not itself name; None where it names all of them.

    Args:
        path: that the glob `pattern` matches, or one below the folder `pattern`.
        pattern: as given.

    >>> hidden_part("d/_temporary/0/b.csv", "d/**/*.csv")
    'd/_temporary/'
    >>> hidden_part("d/_a.csv", "d/_*.csv")
    """
    wanted = pattern.rstrip("/").split("/")
    plain = next((at for at, part in enumerate(wanted) if _MAGIC.search(part)), len(wanted))
    named = [part for part in wanted[plain:] if part.startswith(_HIDDEN)]
    parts = path.split("/")
    for at, part in enumerate(parts[plain:], plain):
        if is_hidden(part) and not any(fnmatchcase(part, one) for one in named):
            return "/".join(parts[: at + 1]) + ("/" if at + 1 < len(parts) else "")
    return None


def left_out_notes(left_out: Sequence[str]) -> tuple[str, ...]:
    """What to tell of files and folders (these end in `/`) that were left out."""
    if not left_out:
        return ()
    names = sorted(set(left_out))
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    notes = [f"not read, since a name that begins with _ or . is no data: {shown} (give the path itself to read it)"]
    for name in names:
        kind = _TABLES.get(os.path.basename(name.rstrip("/")))
        if kind is not None:
            folder = os.path.dirname(name.rstrip("/"))
            notes.append(
                f"{folder} is a {kind} table: all of its files are read, rows that were deleted or replaced since too"
            )
    return tuple(notes)
