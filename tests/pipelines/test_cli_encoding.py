from __future__ import annotations

import bz2
import json

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import (
    InputFile,
    ReadOptions,
    find_files,
    input_schema,
    make_splits,
    read_all,
    with_encoding,
)
from beamsplit.transforms.read.encoding import check_encoding, is_utf8, is_wide
from tests.command import Command, lines

CITIES = {
    "latin-1": ["München", "Ålesund, sentrum", 'der "Fluß"'],
    "cp1252": ["München", "€ 5", "“quoted”"],
    "koi8-r": ["Москва", "Тверь"],
    "shift_jis": ["東京", "表示ソ"],
    "gb18030": ["北京", "𠀀"],
    "utf-16": ["München", "東京, ü", "\U0001f600"],
    "utf-16-le": ["ਊ∢", "x"],
    "utf-32": ["München"],
    "cp037": ["Muenchen", "Zürich"],
    "utf-8-sig": ["München"],
}


def text_of(format: str, cities: list[str]) -> str:
    if format == "jsonl":
        return "".join(
            json.dumps({"größe": at, "c": city}, ensure_ascii=False) + "\n" for at, city in enumerate(cities)
        )
    quoted = (city.replace('"', '""') for city in cities)
    return "größe,c\n" + "".join(f'{at},"{city}"\n' for at, city in enumerate(quoted))


@pytest.mark.parametrize("format", ["csv", "jsonl"])
@pytest.mark.parametrize("encoding", CITIES)
@pytest.mark.parametrize("packed", [False, True])
def test_text_of_any_encoding(tmp_path, encoding, format, packed):
    cities = CITIES[encoding] * 50
    path = tmp_path / f"t.{format}{'.bz2' if packed else ''}"
    try:
        data = text_of(format, cities).encode(encoding)
    except UnicodeEncodeError:
        data = text_of(format, cities).replace("größe", "size").encode(encoding)
    path.write_bytes(bz2.compress(data) if packed else data)
    files = with_encoding(find_files([str(path)]), format, check_encoding(encoding))
    schema = input_schema(files, format)
    for wanted in (1, 3):
        splits = make_splits(files, format, wanted)
        found = [row for result in read_all(splits, ReadOptions(schema)) for row in result.block.to_pylist()]
        assert [row["c"] for row in found] == cities
    assert schema.names[0] in ("größe", "size")


def test_bytes_that_the_encoding_does_not_have_fail_their_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,c\n1,\x80\n2,\x81\n3,x\n")
    files = with_encoding([InputFile(str(path), path.stat().st_size)], "csv", "cp1252")
    results = list(read_all(make_splits(files, "csv", 1), ReadOptions(input_schema(files, "csv"))))
    assert [row["c"] for r in results if r.block for row in r.block.to_pylist()] == ["€", "x"]
    [failure] = [failure for result in results for failure in result.failures]
    assert failure.row == 1 and "column 'c'" in failure.reason


def test_codecs():
    assert check_encoding("UTF8") is None and check_encoding("L1") == "iso8859-1"
    assert [is_wide(name) for name in ("utf-16", "cp037", "utf-7", "iso2022_jp")] == [True] * 4
    assert [is_wide(name) for name in ("latin-1", "shift_jis", "euc_kr", "gb18030", "big5")] == [False] * 5
    for name in ("nope", "base64", "rot13", "idna", "punycode", "unicode_escape", "a\0b"):
        with pytest.raises(UsageError, match="is no encoding of text: type"):
            check_encoding(name)


def test_from_the_command_line(command: Command):
    data = command.folder / "data.csv"
    data.write_bytes("id,a,b,c,d,größe\n0,1,2,3,4,ü\n".encode("latin-1"))
    assert "is not UTF-8 in its first line" in command.error(input=data)
    out = command.output.with_suffix(".jsonl")
    given = ["--keep", "größe", "--num_shards", 1, "--quiet", "--workers", 1]
    assert command.run("--encoding", "latin-1", *given, input=data, output=out)[0] == 0
    assert [row["größe"] for row in lines(out)] == ["ü"]
    data.write_bytes("id,a,b,c,d,größe\n0,1,2,3,4,ü\n".encode("utf-16"))
    assert command.run("--encoding", "utf-16", *given, input=data, output=out)[0] == 0
    assert [row["größe"] for row in lines(out)] == ["ü"]


def test_what_cannot_be(command: Command):
    assert "--encoding 'nope' is no encoding of text" in command.error("--encoding", "nope")
    assert "--encoding is for CSV and JSON Lines, and the input is parquet" in command.error("--encoding", "latin-1")


def test_an_array_of_objects(tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(json.dumps([{"c": "表"}, {"c": "ソ"}], ensure_ascii=False).encode("shift_jis"))
    files = with_encoding([InputFile(str(path), path.stat().st_size)], "jsonl", "shift_jis")
    results = read_all(make_splits(files, "jsonl", 1), ReadOptions(input_schema(files, "jsonl")))
    assert [row["c"] for result in results for row in result.block.to_pylist()] == ["表", "ソ"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a",
        "é€😀".encode(),
        b"\x80",
        b"\x80abc",
        b"abc\xc3",
        b"\xff\xfea\0",
        b"\xed\xa0\x80",
        "é".encode("latin-1"),
    ],
)
def test_what_is_utf8_is_what_python_decodes(text: bytes):
    try:
        text.decode()
    except UnicodeDecodeError:
        assert not is_utf8(text)
    else:
        assert is_utf8(text)
