"""What the loops share: how images become tensors, how token vectors become one vector, where a job's files are."""

from __future__ import annotations

import io
import itertools
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SIDE, RESIZED = 224, 256


@dataclass(frozen=True)
class Job:
    """What one program is asked to do."""

    kind: str
    """`table`, `files`, `images`, `small` (images) or `texts`."""

    source: Path
    model: Path
    output: Path
    tokenizer: Path | None = None


def features(columns: Iterable[str]) -> list[str]:
    """The columns that the model takes: `f0`, `f1` and so on; others are names and days beside them."""
    return sorted((name for name in columns if re.fullmatch(r"f\d+", name)), key=lambda name: int(name[1:]))


def text_batches(source: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """The features of CSV or JSON Lines, perhaps compressed, as pyarrow reads them with its defaults."""
    from pyarrow import csv, json

    if ".csv" in source.suffixes:
        for batch in csv.open_csv(source):
            yield batch.select(features(batch.schema.names))
    else:
        table = json.read_json(source)
        yield from table.select(features(table.column_names)).to_batches(rows)


def parse() -> Job:
    """The job of the command line: KIND SOURCE MODEL OUTPUT [TOKENIZER]."""
    import sys

    kind, source, model, output, *tokenizer = sys.argv[1:]
    return Job(kind, Path(source), Path(model), Path(output), Path(tokenizer[0]) if tokenizer else None)


def decode(data: bytes) -> np.ndarray:
    """A JPEG as float32 [3, 224, 224]: short side to 256, the centre of 224, normalised."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = (max(RESIZED, RESIZED * side // min(image.size)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)


def decode_small(data: bytes) -> np.ndarray:
    """A JPEG of 64 pixels a side as float32 [3, 64, 64], 0 to 1."""
    from PIL import Image

    return (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32) / 255).transpose(2, 0, 1)


def pictures(source: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the images of a folder or a tar, in the order of their names."""
    if source.is_dir():
        yield from ((str(path), path.read_bytes()) for path in sorted(source.iterdir()))
        return
    with tarfile.open(source) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            yield member.name.removesuffix(".jpg"), stream.read()


def some_at_a_time(pieces: Iterable[Any], count: int) -> Iterator[list[Any]]:
    """So many of them together."""
    left = iter(pieces)
    while part := list(itertools.islice(left, count)):
        yield part


def column_of(scores: np.ndarray) -> pa.Array:
    """Outputs [rows, width] as a column: numbers where the width is 1, else tensors."""
    return pa.array(scores[:, 0]) if scores.shape[1] == 1 else pa.FixedShapeTensorArray.from_numpy_ndarray(scores)


def mean_of_tokens(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[rows, tokens, width] and [rows, tokens] -> [rows, width], the mean over tokens that are no padding."""
    weights = mask[..., None].astype(np.float32)
    return (hidden * weights).sum(1) / weights.sum(1)
