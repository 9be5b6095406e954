"""What is read of some small files of text, in texts.txt: `python -m tests.transforms.read.recorded_texts` records it.

A case is a format with options, and the text, with `\\n` and the like, and `<` and `>` for braces:

```
csv delimiter=; header=no encoding=utf-16 a=float32 ask=a,b rows=1:3 pass=b | a;b\\n1;x\\n
```

`a=float32` declares a type, `ask` names the columns that are read, `rows` those that are wanted, `pass` those that
only pass through. Of it come the columns, the rows, and behind `!` the numbers of the rows that cannot be read, and
why. Each is read whole and in splits of a byte, which must give the same; how many those are stands behind `~`, with
how many rows the file is judged to have.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, read_all, slice_split
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.type_names import type_of
from beamsplit.transforms.split import Split
from tests.recorded import Recorded

NAMES = {"yes": True, "no": False}


def said(line: str) -> str:
    """What is read of a text."""
    head, _, text = line.partition(" | ")
    format, *words = head.split()
    options = dict(word.split("=", 1) for word in words)
    data = text.replace("<", "{").replace(">", "}").encode().decode("unicode_escape").encode("latin-1")
    encoding = options.pop("encoding", None)
    if encoding:
        data = data.decode("utf-8").encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"t.{format}")
        path.write_bytes(data)
        try:
            told = _read(path, format, options, encoding)
        except (UsageError, DamagedFile, ValueError, pa.ArrowException) as error:
            told = f"{type(error).__name__}: {error}"
        return " ".join(told.replace(str(path), "FILE").split())


def _read(path: Path, format: str, options: dict[str, str], encoding: str | None) -> str:
    (file,) = find_files([str(path)])
    own: dict[str, Any] = {"encoding": encoding} if encoding else {}
    if "header" in options:
        own["header"] = NAMES[options.pop("header")]
    if "delimiter" in options:
        own["delimiter"] = options.pop("delimiter").replace("\\t", "\t")
    file = replace(file, **own)
    asked = options.pop("ask", None)
    passing = tuple(options.pop("pass", "").split(",")) if "pass" in options else ()
    start, _, stop = options.pop("rows", "0:").partition(":")
    kinds = {name: type_of(kind) for name, kind in options.items()}
    found = infer_schema([file], format).declared(kinds, format)
    found.check([name for name in found.schema.names if not asked or name in asked.split(",")])
    schema, columns = found.schema, tuple(asked.split(",")) if asked else None
    wanted = ReadOptions(schema, columns, verbatim=passing, declared=tuple(kinds))
    reader: Any = FORMATS[format].reader
    told, counts = [], []
    for size in (10**9, 1):
        splits = reader.split(file, 0, size)
        if size > 1 and len(splits) == 1 and (start, stop) != ("0", ""):
            splits = [slice_split(splits[0], int(start), int(stop) if stop else reader.count(splits[0]))]
        told.append([_rows(one, wanted) for one in splits])
        counts.append((len(splits), sum(one.rows if one.rows is not None else reader.count(one) for one in splits)))
    if (start, stop) == ("0", ""):
        both = [[text.partition(" ")[2] for rows in each for text in rows] for each in told]
        assert both[0] == both[1], both
        assert counts[0][1] == counts[1][1], counts
    names = ", ".join(f"{one.name} {one.type}" for one in wanted.data_schema)
    about = reader.rows_about(file)
    judged = None if about is None else round(about, 2)
    return f"{names}: {' '.join(itertools.chain(*told[0]))} ~ {counts[1][0]} of {counts[1][1]}, {judged}"


def _rows(split: Split, options: ReadOptions) -> list[str]:
    """Its rows with their numbers, as they lie in the file: of JSON Lines counted from where the split begins."""
    rows: list[tuple[int, str]] = []
    for result in read_all([split], options):
        rows += [(one.row, f"!{one.row} {one.reason}") for one in result.failures]
        if result.block is not None:
            values = [result.block.column(name).to_pylist() for name in result.block.schema.names[:-2]]
            places = result.block.columns[-1].to_pylist()
            found = zip(*values, strict=True) if values else itertools.repeat((), len(places))
            rows += [(at, f"{at} {row}") for at, row in zip(places, found, strict=True)]
    return [text for _, text in sorted(rows)]


RECORDED = Recorded(Path(__file__).parent / "texts.txt", said)

if __name__ == "__main__":
    RECORDED.main()
