from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib

import pytest
import zstandard

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import ReadOptions, find_files, format_of, input_schema, read_all, split_file, total_rows
from beamsplit.transforms.read.compression import _KINDS, DamagedFile, kind_by_name, kind_of_head, unpack
from beamsplit.transforms.read.lines import line_end, whole_runs
from tests.command import Command, lines

TEXT = b"id,v\n" + b"".join(b"%d,%d.789\n" % (row, 123456 + row) for row in range(200))

PACKED = {
    "gzip": gzip.compress(TEXT),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "Zstandard": zstandard.ZstdCompressor(write_checksum=True).compress(TEXT),
}

KINDS = pytest.mark.parametrize("kind", PACKED)


def text_of(packed: bytes, kind: str, size: int | None = None) -> bytes:
    with unpack(io.BytesIO(packed), kind, "a.csv", size) as stream:
        return stream.read()


def test_names():
    named = {name: kind_by_name(name) for name in ("a.csv.gz", "A.CSV.GZ", "a.bz2", "a.zst", "a.zstd", "a.XZ", "a.csv")}
    assert list(named.values()) == ["gzip", "gzip", "bzip2", "Zstandard", "Zstandard", "xz", None]


@KINDS
def test_the_first_bytes_tell(kind: str):
    assert kind_of_head(PACKED[kind][:10]) == kind
    assert kind_of_head(b"BZh9,name\n"[:10]) is None, "the header of a CSV file may begin so"
    assert kind_of_head(b"") is None


@KINDS
def test_members_behind_one_another_are_read_whole(kind: str):
    assert text_of(PACKED[kind] * 3, kind) == TEXT * 3
    empty = {"gzip": gzip.compress(b""), "bzip2": bz2.compress(b""), "xz": lzma.compress(b"")}
    nothing = empty.get(kind) or zstandard.ZstdCompressor().compress(b"")
    assert text_of(nothing, kind) == b""
    assert text_of(nothing + PACKED[kind] + nothing, kind) == TEXT


@KINDS
def test_a_file_cut_anywhere_is_an_error(kind: str):
    packed = PACKED[kind]
    for length in range(len(packed)):
        with pytest.raises(DamagedFile, match=r"^a\.csv ends in the middle of its|^a\.csv does not begin as"):
            text_of(packed[:length], kind)
        if length:
            with pytest.raises(DamagedFile, match=rf"^a\.csv ends in the middle of its {kind} data, after"):
                text_of(packed + packed[:length], kind)


def test_a_gzip_file_cut_where_it_was_flushed():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    cut = packer.compress(TEXT[:-8]) + packer.flush(zlib.Z_FULL_FLUSH)
    with pytest.raises(DamagedFile, match="ends in the middle of its gzip data"):
        text_of(cut, "gzip")


@KINDS
def test_a_bit_that_turned_is_an_error(kind: str):
    packed = PACKED[kind]
    unseen = {"gzip": range(3, 10)}.get(kind, ())  # its time and the like
    for at in range(0, len(packed), 3):
        turned = bytearray(packed)
        turned[at] ^= 0x10
        if at in unseen:
            continue
        try:
            text = text_of(bytes(turned), kind)
        except DamagedFile as error:
            assert str(error).startswith("a.csv ") and "\n" not in str(error)
        else:
            assert text == TEXT, f"{at}: what is not covered by the checksum changes nothing"


@KINDS
def test_other_bytes_behind_the_data_are_an_error(kind: str):
    for behind in (b"x", b"garbage" * 20, b"\0\0garbage"):
        with pytest.raises(DamagedFile, match=rf"a\.csv goes on with other bytes behind its {kind} data, from byte "):
            text_of(PACKED[kind] + behind, kind)


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_zeros_may_pad(kind: str):
    assert text_of(PACKED[kind] + bytes(512), kind) == TEXT
    assert text_of(PACKED[kind] + bytes(200_000) + PACKED[kind], kind) == TEXT * 2


def test_zstandard_as_its_tools_write_it():
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"meta"
    assert kind_of_head(skipped + b"..") == "Zstandard"
    assert text_of(skipped + PACKED["Zstandard"], "Zstandard") == TEXT
    zeros = bytes(50_000_000)
    long = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    assert text_of(zstandard.ZstdCompressor(compression_params=long).compress(zeros), "Zstandard") == zeros


@KINDS
def test_a_wrong_checksum_is_said(kind: str):
    packed = PACKED[kind]
    if kind == "gzip":
        wrong, said = packed[:-8] + b"\0\0\0\0" + packed[-4:], "its checksum does not match"
    elif kind == "Zstandard":
        wrong, said = packed[:-1] + bytes([packed[-1] ^ 1]), "its checksum does not match"
    else:
        wrong, said = packed[:-12] + bytes(8) + packed[-4:], "data is wrong before byte"
    with pytest.raises(DamagedFile, match=said):
        text_of(wrong, kind)


def test_a_stream_that_ends_with_a_member_but_too_early():
    with pytest.raises(DamagedFile, match="it changed"):
        text_of(PACKED["gzip"], "gzip", 2 * len(PACKED["gzip"]))
    assert text_of(PACKED["gzip"], "gzip", len(PACKED["gzip"])) == TEXT


@pytest.mark.parametrize("name", ["a.csv{}", "A.CSV{}", "a.csv", "part-0"])
@pytest.mark.parametrize(
    ("kind", "ending"), [("gzip", ".gz"), ("gzip", ".GZ"), ("bzip2", ".bz2"), ("xz", ".xz"), ("Zstandard", ".zst")]
)
def test_files_are_read(tmp_path, name: str, kind: str, ending: str):
    (tmp_path / name.format(ending)).write_bytes({**PACKED, "none": TEXT}[kind])
    files = find_files([str(tmp_path)])
    assert format_of(files) == ("files" if name == "part-0" else "csv")
    schema = input_schema(files, "csv")
    assert schema.names == ["id", "v"]
    splits = split_file(files[0], 0, "csv", 100)
    assert len(splits) == 1, "it is read from its beginning"
    blocks = [result.block for result in read_all(splits, ReadOptions(schema))]
    assert sum(block.num_rows for block in blocks) == 200
    assert blocks[-1].column(1)[-1].as_py() == 123655.789
    assert total_rows(files, "csv") is None


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.zst", "a.parquet", "a.arrow"])
def test_a_file_of_no_bytes_is_no_file_of_its_kind(tmp_path, name: str):
    (tmp_path / name).write_bytes(b"")
    files = find_files([str(tmp_path)])
    with pytest.raises(UsageError, match=rf"{name} has 0 bytes, and a .* file has some even without rows"):
        input_schema(files, format_of(files))


def test_a_name_that_is_wrong(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(TEXT)
    with pytest.raises(DamagedFile, match=r"a\.csv\.gz is named as gzip and does not begin so"):
        input_schema(find_files([str(tmp_path)]), "csv")


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (b"1\n2\n", "changed while it was read: it ends 3 bytes too early"),
        (b"1\n2\n3.567\n", "changed while it was read: its last row was not written to its end yet"),
    ],
)
def test_a_range_that_changed(now: bytes, message: str):
    before = b"1\n2\n3.5"
    found = [
        b"".join(whole_runs(io.BytesIO(data), len(before), line_end, 4, "a")) for data in (before, before + b"\n4")
    ]
    assert found == [before, before]
    with pytest.raises(DamagedFile, match=message):
        list(whole_runs(io.BytesIO(now), len(before), line_end, 4, "a"))


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_a_job_with_a_cut_file_fails_with_its_name(command: Command, extension: str):
    if extension == "csv":
        text = "id,a,b,c,d\n" + "".join(f"{row},{row}.5,2,3,4\n" for row in range(100_000))
    else:
        text = "".join(f'{{"id":{row},"a":{row}.5,"b":2,"c":3,"d":4}}\n' for row in range(100_000))
    path = command.folder / f"data.{extension}.gz"
    for packed in (gzip.compress(text.encode(), 1)[:-1000], gzip.compress(text[:999].encode())[:-2]):
        path.write_bytes(packed)
        code, _, err = command.run("--quiet", "--workers", "1", "--errors", command.folder / "e.jsonl", input=path)
        assert code == 1 and f"{path} ends in the middle of its gzip data, after {len(packed):,} bytes" in err
        assert err.count("\n") == 1 and not list(command.folder.glob("out/pred*"))
    path.write_bytes(b"".join(gzip.compress(part) for part in text.encode().splitlines(True)[:3]))
    code, _, err = command.run("--quiet", "--num_shards", "1", input=path, output=command.folder / "p.jsonl")
    assert (code, err) == (0, "")
    assert len(lines(command.folder / "p.jsonl")) == (2 if extension == "csv" else 3)


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("gzip", [b"\x1f\x8b\x08"]),
        ("bzip2", [b"BZh1", b"BZh9"]),
        ("xz", [b"\xfd7zXZ\x00"]),
        ("Zstandard", [b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\x5f\x2a\x4d\x18"]),
    ],
)
def test_how_members_begin(kind, heads):
    begins = _KINDS[kind].begins
    for head in heads:
        assert begins(head) and begins(head + b"x") and begins(head[:1])
    others = [b"\x1f\x8b\x09", b"\x1f\x8c", b"BZh0", b"BZh:", b"\xfd7zXZ\x01", b"\x4f\x2a\x4d\x18", b"\x60\x2a\x4d\x18"]
    assert not any(map(begins, others))
