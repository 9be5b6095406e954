from __future__ import annotations

import io
import tarfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from beamsplit.transforms.formats.webdataset import SAMPLED_ROWS
from beamsplit.transforms.read import (
    ReadOptions,
    count_rows,
    find_files,
    input_schema,
    read_split,
    slice_split,
    split_file,
)
from tests import onnx_models
from tests.command import Command, lines
from tests.onnx_models import save
from tests.transforms.reading import read_file

FEW = [("a/1.jpg", b"one"), ("a/1.cls", b"7"), ("a/2.JPG", b"two"), ("a/3.jpg", b""), ("a/3.Note.txt", "é".encode())]
KEYS = ["a/1", "a/2", "a/3"]


def write(path: Path, files: list[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def numbered(path: Path, rows: int, **changed: bytes) -> Path:
    named = [(f"{k:04d}.{e}", changed.get(f"{e}{k}", b"%d" % k)) for k in range(rows) for e in ("id", "txt", "x")]
    return write(path, named)


read = partial(read_file, format="webdataset")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_one_name_are_a_row(tmp_path: Path, format: int):
    path = write(tmp_path / "d.tar", [("a/.hidden", b"no"), ("a/LICENSE", b"no"), *FEW], format)
    schema = input_schema(find_files([str(path)]), "webdataset")
    assert schema == pa.schema(
        [("__key__", pa.string()), ("jpg", pa.binary()), ("cls", pa.int64()), ("note.txt", pa.string())]
    )
    rows, failed = read(path)
    assert failed == []
    assert rows == [
        {"__key__": "a/1", "jpg": b"one", "cls": 7, "note.txt": None, "_origin_row": 0},
        {"__key__": "a/2", "jpg": b"two", "cls": None, "note.txt": None, "_origin_row": 1},
        {"__key__": "a/3", "jpg": b"", "cls": None, "note.txt": "é", "_origin_row": 2},
    ]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("target", [1, 20_000, 1 << 30])
def test_splits_hold_every_row_once(tmp_path: Path, format: int, target: int):
    long = "é" * 80
    files = [(f"{long}/{k:03d}.{name}", b"%d" % k) for k in range(150) for name in ("txt", "x")]
    path = write(tmp_path / "d.tar", files, format)
    rows, failed = read(path, target, columns=("txt",), block_rows=40)
    assert failed == []
    assert rows == [{"txt": str(k), "_origin_row": k} for k in range(150)]
    (found,) = find_files([str(path)])
    splits = split_file(found, 0, "webdataset", target)
    assert len(splits) == {1: 150, 20_000: len(splits), 1 << 30: 1}[target] and (target != 20_000 or len(splits) > 5)
    assert sum(count_rows(split) for split in splits) == 150
    assert sum(split.weight for split in splits) <= found.size


def test_rows_of_a_split(tmp_path: Path):
    (found,) = find_files([str(numbered(tmp_path / "d.tar", 50))])
    (split,) = split_file(found, 0, "webdataset", 1 << 30)
    asked = ReadOptions(input_schema([found], "webdataset"), columns=("id",), block_rows=7)
    for cuts in ([0, 50], [0, 1, 20, 49, 50], [10, 30]):
        parts = [slice_split(split, *pair) for pair in pairwise(cuts)]
        assert [count_rows(part) for part in parts] == [end - begin for begin, end in pairwise(cuts)]
        rows = [row for part in parts for result in read_split(part, asked) for row in result.block.to_pylist()]
        assert [(row["id"], row["_origin_row"]) for row in rows] == [(k, k) for k in range(cuts[0], cuts[-1])]


def test_what_is_no_value_fails_its_row(tmp_path: Path):
    bad = {"id3": b"x", "txt5": b"\xff", "id7": b"9" * 30, "id8": b" -8\n"}
    for target in (1, 1 << 30):
        rows, failed = read(numbered(tmp_path / "d.tar", 10, **bad), target, block_rows=4)
        assert [row["_origin_row"] for row in rows] == [0, 1, 2, 4, 6, 8, 9]
        assert [row["id"] for row in rows] == [0, 1, 2, 4, 6, -8, 9]
        assert [(row, why.split(":")[1].strip()) for row, why in failed] == [
            (3, "'id' is 'x', and no whole number of 64 bits"),
            (5, "'txt' is not UTF-8, at byte 0"),
            (7, f"'id' is '{'9' * 30}', and no whole number of 64 bits"),
        ]
    # What nobody reads fails nothing.
    assert len(read(numbered(tmp_path / "d.tar", 10, **bad), columns=("x",))[0]) == 10


def test_declared_types_and_rows_of_no_columns(tmp_path: Path):
    path = numbered(tmp_path / "d.tar", 300)
    schema = pa.schema([("id", pa.int8())])
    (found,) = find_files([str(path)])
    (split,) = split_file(found, 0, "webdataset", 1 << 30)
    results = list(read_split(split, ReadOptions(schema)))
    assert sum(len(result.failures) for result in results) == 300 - 128
    none = list(read_split(split, ReadOptions(schema, columns=())))
    assert sum(result.block.num_rows for result in none) == 300


def test_columns_are_those_of_the_first_rows(tmp_path: Path):
    files = [(f"{k:04d}.x", b"") for k in range(SAMPLED_ROWS)] + [("z.late", b"1"), ("z.x", b"2")]
    rows, _ = read(write(tmp_path / "d.tar", files))
    assert rows[-1] == {"__key__": "z", "x": b"2", "_origin_row": SAMPLED_ROWS}


def damaged(whole: bytes) -> list[tuple[bytes, str]]:
    return [
        (whole[:1300], "ends in the middle|cut short"),
        (whole[:1024], "cut short"),
        (whole[:1700], "cut short"),
        (whole.rstrip(b"\0"), "cut short"),
        (whole * 2, "several tar files behind one another"),
        (whole[:1024] + b"x" * 512 + whole[1536:], "no file begins at byte 1,024"),
        (b"x" * 2048, "is no tar file"),
        (b"", "0 bytes"),
        (b"x", "is no tar file|cut short"),
    ]


@pytest.mark.parametrize("at", range(9))
def test_a_damaged_tar_is_told_by_its_name(tmp_path: Path, at: int):
    whole = write(tmp_path / "w.tar", [("1.x", b"1" * 300), ("2.x", b"2" * 300), ("3.x", b"3" * 300)]).read_bytes()
    content, words = damaged(whole)[at]
    path = tmp_path / "d.tar"
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError), match=rf"d\.tar.*({words})"):
        read(path)


def test_a_file_twice_and_what_is_no_plain_file(tmp_path: Path):
    with pytest.raises(OSError, match=r"d\.tar has '1\.X' twice in the row '1'"):
        read(write(tmp_path / "d.tar", [("1.x", b"1"), ("1.X", b"2")]))
    with tarfile.open(tmp_path / "l.tar", "w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("1.x")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert read(tmp_path / "l.tar") == ([], [])


def test_the_command_scores_images_of_a_tar(command: Command):
    rng = np.random.default_rng(0)
    images = []
    for _ in range(40):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(image := io.BytesIO(), "png")
        images.append(image.getvalue())
    files = [(f"{k:03d}.{name}", part) for k, one in enumerate(images) for name, part in (("png", one), ("cls", b"7"))]
    for at, some in enumerate((files[:30], [*files[30:], ("broken.png", b"no image"), ("broken.cls", b"1")])):
        write(command.folder / f"d{at}.tar", some)
    model = save(onnx_models.image_cnn(), command.folder / "cnn.onnx")
    steps = ("--prepare", "image:column=png,size=16", "--finish", "argmax", "--keep", "__key__,cls")
    errors = command.folder / "errors.jsonl"
    options = (*steps, "--num_shards", 1, "--workers", 2, "--errors", errors)
    code, _, err = command.run(*options, model=model, input=command.folder / "d*.tar", columns=None)
    assert code == 0, err
    written = pq.read_table(command.output)
    assert written["__key__"].to_pylist() == [f"{k:03d}" for k in range(40)]
    assert written["cls"].to_pylist() == [7] * 40
    (failed,) = lines(errors)
    assert (failed["file"], failed["row"], failed["stage"]) == (str(command.folder / "d1.tar"), 25, "prepare")
