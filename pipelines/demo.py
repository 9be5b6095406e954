"""The demo: which types are the files of this Python installation? Scored by Magika's trained model.

`make demo` runs it. It prints the command that it runs, so that you can run it on files of your own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from beamsplit.models.errors import UsageError

MODEL = Path("models", "standard_v3_3")
SKIPPED = ("site-packages", "dist-packages")
"""Folders of the standard library's folder that hold other people's packages."""


TOO_SMALL = "too small to tell"

MORE_EXTENSIONS = {
    "coff": ("o",),
    "elf": ("ko", "o", "so"),
    "ini": ("cfg", "conf"),
    "macho": ("dylib", "o", "so"),
    "pebin": ("pyd", "sys"),
    "python": ("pyw",),
    "shell": ("bash", "zsh"),
}
"""What files of a type are called too; Magika's table has, say, `.so` under a type that its model never answers."""

MOST_SHOWN = 15
"""Types with a row of their own in the table."""

ANY_TEXT = "txt"
"""An extension, and a type, that say only that a file is text: all text agrees with them."""


@dataclass(frozen=True)
class Magika:
    """The parts of the package `magika` that are used: its files; none of its code runs."""

    model: Path
    labels: list[str]
    """The type that each output of the model stands for."""

    extensions: dict[str, frozenset[str]]
    """Type that the model may answer -> the extensions that its files have."""

    texts: frozenset[str]
    """Types that are text."""

    first: int
    last: int
    padding: int
    block: int
    """First and last bytes that the model sees, what short files are filled with, where white space is stripped."""

    least: int
    """Bytes that a file must have for the model to tell its type."""


def find_magika() -> Magika:
    """Read the model's description.

    Raises:
        UsageError: the package is not installed.
    """
    spec = importlib.util.find_spec("magika")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the demo's model is in the package magika; type make demo, or pip install --no-deps magika")
    root = Path(spec.submodule_search_locations[0])
    config = json.loads((root / MODEL / "config.min.json").read_text(encoding="utf-8"))
    types = json.loads((root / "config" / "content_types_kb.min.json").read_text(encoding="utf-8"))
    return Magika(
        model=root / MODEL / "model.onnx",
        labels=config["target_labels_space"],
        extensions={
            name: frozenset((*types[name]["extensions"], *MORE_EXTENSIONS.get(name, ())))
            for name in config["target_labels_space"]
        },
        texts=frozenset(name for name, about in types.items() if about["is_text"]),
        first=config["beg_size"],
        last=config["end_size"],
        padding=config["padding_token"],
        block=config["block_size"],
        least=config["min_file_size_for_dl"],
    )


def main() -> int:
    """Score the files and print what was found; the exit code of `score`."""
    folder = Path("out/demo")
    try:
        magika = find_magika()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.txt"
    labels.write_text("\n".join(magika.labels) + "\n", encoding="utf-8")
    output = folder / "file_types.parquet"
    library = Path(sysconfig.get_paths()["stdlib"])
    inputs = sorted(str(path) for path in library.iterdir() if path.name not in SKIPPED)
    features = f"bytes:begin={magika.first},end={magika.last},pad={magika.padding},strip=true,block_size={magika.block}"
    command = [
        *("--model", str(magika.model)),
        *("--input_format", "files"),
        *("--prepare", features),
        *("--finish", "argmax", "--finish", f"labels:{labels}"),
        *("--keep", "path", "--overwrite"),
        *("--errors", str(folder / "errors.jsonl")),
        *("--output", str(output)),
    ]
    shown = shlex.join(["python", "-m", "pipelines.score", *command, "--input", f"{library}/*"])
    print(f"{shown}   (without {' and '.join(SKIPPED)})\n")
    from beamsplit.pipelines.score import main as score

    code = score([*command, "--input", *inputs])
    if code == 0:
        report(output, magika)
    return code


def agrees(extension: str, kind: str, magika: Magika) -> bool | None:
    """Whether files of a type have an extension (without its dot); None where no type is known to have it."""
    if extension == ANY_TEXT:
        return kind in magika.texts
    having = {name for name, extensions in magika.extensions.items() if extension in extensions}
    if kind in having or (kind == ANY_TEXT and having & magika.texts):
        return True
    return False if having else None


def report(output: Path, magika: Magika) -> None:
    """Print a table of the types found, and how often they agree with the files' extensions."""
    from rich.console import Console
    from rich.table import Table

    table = pq.read_table(output)
    paths, types = table.column("path").to_pylist(), table.column(table.num_columns - 1).to_pylist()
    answers: dict[str, Counter[bool | None]] = {}
    for path, answer in zip(paths, types, strict=True):
        kind = answer if os.path.getsize(path) >= magika.least else TOO_SMALL
        extension = Path(path).suffix.lstrip(".").lower()
        agreeing = None if kind == TOO_SMALL else agrees(extension, kind, magika)
        answers.setdefault(kind, Counter())[agreeing] += 1
    found = sorted(answers, key=lambda kind: -answers[kind].total())
    shown = Table("type", "files", "share", "agrees with the extension", title="Types of the files of this Python")
    for kind in found[:MOST_SHOWN]:
        right, wrong, unknown = (answers[kind][answer] for answer in (True, False, None))
        said = f"{right / (right + wrong):.1%} of {right + wrong:,}" if right + wrong else ""
        said += f"{', ' if said else ''}{unknown:,} say nothing" if unknown else ""
        total = answers[kind].total()
        shown.add_row(kind, f"{total:,}", f"{total / len(types):.1%}", said)
    if len(found) > MOST_SHOWN:
        rest = sum(answers[kind].total() for kind in found[MOST_SHOWN:])
        shown.add_row(f"{len(found) - MOST_SHOWN} more", f"{rest:,}", f"{rest / len(types):.1%}", "")
    console = Console()
    console.print()
    console.print(shown)
    right, wrong, unknown = (sum(answers[kind][answer] for kind in found) for answer in (True, False, None))
    print(
        f"the predicted type agrees with the extension for {right / max(right + wrong, 1):.1%} of {right + wrong:,} "
        f"files (text with any kind of text); of {unknown:,} the extension says nothing, or the file is too small"
    )
    print(f"all predictions: {output}")


if __name__ == "__main__":
    sys.exit(main())
