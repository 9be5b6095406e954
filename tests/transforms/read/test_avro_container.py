"""The header and the blocks of Avro files, as any writer may lay them out; what is cut is told wherever it ends."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beamsplit.transforms.formats import avro
from beamsplit.transforms.formats.avro import MAGIC, AvroFile, container, merge, numbers_of, split
from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, read_all
from beamsplit.transforms.read.compression import DamagedFile

SCHEMA = b'{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}'
MARK = bytes(range(16))
PAIRS = [(b"avro.schema", SCHEMA), (b"a", b""), (b"", b"b" * 200)]


def text(data: bytes) -> bytes:
    return numbers_of(len(data)) + data


def pairs(some: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(text(key) + text(value) for key, value in some)


def block(*numbers: int) -> bytes:
    body = b"".join(map(numbers_of, numbers))
    return numbers_of(len(numbers)) + numbers_of(len(body)) + body + MARK


def header(layout: str = "one") -> bytes:
    """The metadata in one piece, or in several of which one tells its bytes."""
    if layout == "one":
        return MAGIC + numbers_of(3) + pairs(PAIRS) + b"\0" + MARK
    first, rest = pairs(PAIRS[:1]), pairs(PAIRS[1:])
    return MAGIC + numbers_of(1) + first + numbers_of(-2) + numbers_of(len(rest)) + rest + b"\0" + MARK


@pytest.mark.parametrize("layout", ["one", "several"])
def test_metadata_in_any_number_of_pieces(layout: str, tmp_path: Path):
    path = tmp_path / "a.avro"
    path.write_bytes(header(layout) + block(1, -70, 2**40) + block() + block(5))
    told = container(str(path))
    assert (told.codec, told.mark, list(told.types)) == ("null", MARK, ["n"])
    start = len(header(layout))
    assert told.blocks == ((3, start + 2, 9), (0, start + 29, 0), (1, start + 47, 1))
    assert rows(path) == [1, -70, 2**40, 5]
    meta, mark, at = avro._header("a", io.BytesIO(header(layout)))
    assert (meta, mark, at) == (dict(PAIRS), MARK, start)


@pytest.mark.parametrize("layout", ["one", "several"])
def test_a_header_is_cut_anywhere_and_read_piece_by_piece(layout: str):
    whole = header(layout)
    for length in range(len(MAGIC), len(whole)):
        with pytest.raises(DamagedFile, match=r"^a ends in the middle of its header: it was cut short$"):
            avro._header("a", io.BytesIO(whole[:length]))

    class Slow(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            return super().read(8 if count is None or count < 0 else min(8, count))

    assert avro._header("a", Slow(whole)) == (dict(PAIRS), MARK, len(whole))


def test_a_length_below_nothing_ends_the_header():
    with pytest.raises(DamagedFile, match="in the middle of its header"):
        avro._header("a", io.BytesIO(MAGIC + numbers_of(1) + numbers_of(-1) + b"\0" * 40))


def rows(path: Path, split_bytes: int = 1 << 30) -> list[int]:
    (file,) = find_files([str(path)])
    options = ReadOptions(infer_schema([file], "avro").schema)
    found = read_all(split(file, 0, split_bytes), options)
    return [one for result in found if result.block for one in result.block.column("n").to_pylist()]


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (numbers_of(-1) + numbers_of(1) + b"\2" + MARK, "no block begins at byte"),
        (numbers_of(1) + numbers_of(-1) + MARK, "no block begins at byte"),
        (numbers_of(avro.BLOCK_ROWS + 1) + b"\0" + MARK, "no block begins at byte"),
        (b"\xff" * 12 + MARK, "no block begins at byte"),
        (numbers_of(1) + numbers_of(1) + b"\2" + MARK[::-1], "does not end with the mark that ends blocks"),
        (b"\x80", "ends in the middle of the block at byte"),
        (b"\2", "ends in the middle of the block at byte"),
        (MAGIC + b"\0" * 20, "is several Avro files behind one another"),
    ],
)
def test_what_is_no_block_is_told_by_its_place(behind: bytes, told: str, tmp_path: Path):
    path = tmp_path / "a.avro"
    path.write_bytes(header() + block(1) + behind)
    with pytest.raises(DamagedFile, match=told) as error:
        container(str(path))
    assert f"byte {len(header() + block(1)):,}" in str(error.value)


def test_a_block_is_cut_anywhere(tmp_path: Path):
    whole = header() + block(1) + block(7, 300)
    for length in range(len(header() + block(1)) + 1, len(whole)):
        path = tmp_path / f"{length}.avro"
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile, match="ends in the middle of the block at byte"):
            container(str(path))


def test_rows_without_bytes_are_as_many_as_a_block_of_ours_has(tmp_path: Path):
    path = tmp_path / "a.avro"
    empty = SCHEMA.replace(b'{"name":"n","type":"long"}', b"")
    head = MAGIC + numbers_of(1) + pairs([(b"avro.schema", empty)]) + b"\0" + MARK
    path.write_bytes(head + numbers_of(avro.BLOCK_ROWS) + b"\0" + MARK)
    assert [one.rows for one in container(str(path)).blocks] == [avro.BLOCK_ROWS]


def test_splits_are_blocks_of_about_so_many_bytes(tmp_path: Path):
    path = tmp_path / "a.avro"
    path.write_bytes(header() + block(1, 2) + block(3) + block() + block(4, 5, 6) + block(7))
    (file,) = find_files([str(path)])
    cuts: dict[int, list[Any]] = {
        1: [(0, 1, 0, 2, 2), (1, 3, 2, 1, 1), (3, 4, 3, 3, 3), (4, 5, 6, 1, 1)],
        3: [(0, 3, 0, 3, 3), (3, 4, 3, 3, 3), (4, 5, 6, 1, 1)],
        4: [(0, 3, 0, 3, 3), (3, 5, 3, 4, 4)],
        7: [(0, 5, 0, 7, 7)],
    }
    for target, expected in cuts.items():
        found = split(file, 9, target)
        assert [(one.start, one.stop, one.first_row, one.rows, one.weight) for one in found] == expected
        assert [one.order for one in found] == [(9, at) for at in range(len(found))]
        assert rows(path, target) == [1, 2, 3, 4, 5, 6, 7]
    path.write_bytes(header() + block())
    assert split(find_files([str(path)])[0], 0, 1) == []


NUMBERS = pa.schema([("n", pa.int64())])


def test_blocks_of_what_is_written_are_of_so_many_rows_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(avro, "BLOCK_ROWS", 10)
    monkeypatch.setattr(avro, "BLOCK_BYTES", 48)
    for count, width, expected in [
        (25, pa.int64(), [6, 6, 6, 6, 1]),
        (25, pa.int16(), [10, 10, 5]),
        (0, pa.int64(), []),
    ]:
        path = tmp_path / f"{count}-{width}.avro"
        with open(path, "wb") as out:
            file = AvroFile(out, pa.schema([("n", width)]))
            file.write(pa.record_batch({"n": pa.array(range(count), width)}))
            file.close()
        assert [one.rows for one in container(str(path)).blocks] == expected
        with open(path, "rb") as written:
            assert [row["n"] for row in fastavro.reader(written)] == list(range(count))


def test_files_put_together_have_the_rows_that_are_wanted_of_each(tmp_path: Path):
    parts = []
    for name, blocks in (("a", [(0, 1, 2), (3, 4)]), ("b", [(5,), (6, 7, 8)])):
        parts.append(str(tmp_path / f"{name}.avro"))
        with open(parts[-1], "wb") as out:
            file = AvroFile(out, NUMBERS)
            for one in blocks:
                file.write(pa.record_batch({"n": pa.array(one, pa.int64())}))
            file.close()
    for cuts, expected, blocks in [
        (((0, 5), (0, 4)), list(range(9)), [3, 2, 1, 3]),
        (((1, 4), (2, 3)), [1, 2, 3, 7], [2, 1, 1]),
        (((3, 5), (0, 1)), [3, 4, 5], [2, 1]),
    ]:
        target = tmp_path / "out.avro"
        with open(target, "wb") as out:
            merge(out, NUMBERS, [(path, *cut, 0) for path, cut in zip(parts, cuts, strict=True)])  # type: ignore[misc]
        with open(target, "rb") as written:
            assert [row["n"] for row in fastavro.reader(written)] == expected
        assert [one.rows for one in container(str(target)).blocks] == blocks
        target.unlink()
