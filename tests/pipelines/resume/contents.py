"""What is compared of outputs."""

from __future__ import annotations

from pathlib import Path

import fastavro


def content(folder: Path) -> dict[str, object]:
    """What the files below a folder hold: their bytes; of Avro, whose marks are drawn anew for each file, its rows."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): list(fastavro.reader(path.open("rb")))
        if path.suffix == ".avro"
        else path.read_bytes()
        for path in files
    }
