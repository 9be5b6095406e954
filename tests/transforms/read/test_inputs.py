from __future__ import annotations

import os
from dataclasses import replace

import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import (
    InputFile,
    ReadOptions,
    check_unchanged,
    find_files,
    format_of,
    input_schema,
    make_splits,
    read_all,
    read_sample,
    total_rows,
)
from beamsplit.transforms.read.choice import left_out_notes
from beamsplit.transforms.read.inputs import InputChanged
from beamsplit.transforms.stores.schemes import SCHEMES
from tests.far_store import add_far_store


def names(folder, found):
    return [os.path.relpath(file.path, folder) for file in found]


@pytest.fixture
def folder(tmp_path):
    for name in (
        *("a.csv", "b.csv", "sub/c.csv", ".hidden.csv", ".git/d.csv", "sub/_e.csv", "x[1].csv"),
        *("_tmp/0/f.csv", "sub/_year=1/g.csv"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("a\n1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([""], ["a.csv", "b.csv", "sub/_year=1/g.csv", "sub/c.csv", "x[1].csv"]),
        (["a.csv"], ["a.csv"]),
        (["b.csv", "a.csv", "*.csv"], ["a.csv", "b.csv", "x[1].csv"]),
        (["**/c.csv"], ["sub/c.csv"]),
        (["x[1].csv"], ["x[1].csv"]),
        (["s*"], ["sub/_year=1/g.csv", "sub/c.csv"]),
        ([".hidden.csv"], [".hidden.csv"]),
        (["_tmp"], ["_tmp/0/f.csv"]),
        (["_tmp/**/*.csv"], ["_tmp/0/f.csv"]),
        (["_t*/0/*.csv"], ["_tmp/0/f.csv"]),
        (["sub/_*.csv", "sub/_e.csv"], ["sub/_e.csv"]),
        (["**/*.csv"], ["a.csv", "b.csv", "sub/_year=1/g.csv", "sub/c.csv", "x[1].csv"]),
    ],
)
def test_find_files(folder, patterns, found):
    files = find_files([os.path.join(folder, pattern) for pattern in patterns])
    assert names(folder, files) == found
    assert all(file.size == 4 for file in files)


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("", [".git/", ".hidden.csv", "_tmp/", "sub/_e.csv"]),
        ("*", [".git/", ".hidden.csv", "_tmp/"]),
        ("sub/*.csv", ["sub/_e.csv"]),
        ("**/*.csv", ["_tmp/", "sub/_e.csv"]),
        ("sub/_*.csv", []),
        ("_tmp", []),
    ],
)
def test_what_is_left_out_is_told(folder, pattern, left_out):
    told: list[str] = []
    find_files([os.path.join(folder, pattern)], left_out=told)
    names = {os.path.relpath(path, folder) + "/" * path.endswith("/") for path in told}
    assert names == {name for name in left_out if pattern != "*" or not name.startswith(".")}, "as a shell has it"


def test_a_pattern_that_matches_only_what_is_left_out(folder):
    with pytest.raises(UsageError, match=r"e\.csv' matches no file but .*sub/_e\.csv, which is left out, as its name"):
        find_files([str(folder / "sub" / "?e.csv")])
    other = next(file.path for file in find_files([str(folder)]))
    told: list[str] = []
    found = find_files([str(folder / "sub" / "?e.csv"), other], left_out=told)
    assert [file.path for file in found] == [other] and [os.path.basename(path) for path in told] == ["_e.csv"]


@pytest.mark.parametrize(
    ("pattern", "found", "left_out"),
    [
        ("d", ["a.csv", "s/_y=1/b.csv"], ["_SUCCESS", "_temporary/", "s/.c.crc"]),
        ("d/**", ["a.csv", "s/_y=1/b.csv"], ["_SUCCESS", "_temporary/", "s/.c.crc"]),
        ("d/*", ["a.csv"], ["_SUCCESS"]),
        ("d/_temporary/**", ["_temporary/0/x.csv"], []),
        ("d/_*", ["_SUCCESS"], []),
        ("d/s*", ["s/_y=1/b.csv"], ["s/.c.crc"]),
        ("?/", ["a.csv", "s/_y=1/b.csv"], ["_SUCCESS", "_temporary/", "s/.c.crc"]),
    ],
)
def test_the_same_of_remote_files(monkeypatch, tmp_path, pattern, found, left_out):
    add_far_store(monkeypatch)
    for name in ("a.csv", "_SUCCESS", "_temporary/0/x.csv", "s/_y=1/b.csv", "s/.c.crc"):
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234567")
    told: list[str] = []
    files = find_files([f"far:/{tmp_path}/{pattern}"], left_out=told)
    assert [file.path for file in files] == [f"far:/{tmp_path}/d/{name}" for name in sorted(found)]
    assert {file.size for file in files} == {7}
    assert told == [f"far:/{tmp_path}/d/{name}" for name in left_out]


@pytest.mark.parametrize("pattern", ["", "/*.csv", "/b.csv"])
@pytest.mark.parametrize("target", ["gone.csv", "b.csv"])
def test_a_link_that_leads_nowhere_is_told(tmp_path, pattern, target):
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").symlink_to(target)
    with pytest.raises(UsageError, match=rf"b.csv is a link that leads to no file .{target}.; mend it"):
        find_files([f"{tmp_path}{pattern}"])
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.csv").symlink_to("a.csv")
    assert find_files([f"{tmp_path}{pattern}"])[-1].path == f"{tmp_path}/b.csv"


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    def scandir(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(UsageError, match=r"cannot be looked into \(Permission denied\); check its permissions"):
        find_files([str(tmp_path)])


def test_the_log_of_a_table_is_told():
    assert left_out_notes([]) == ()
    first, second = left_out_notes(["t/_delta_log/", "t/_SUCCESS", "t/_delta_log/"])
    assert first == (
        "not read, since a name that begins with _ or . is no data: t/_SUCCESS, t/_delta_log/ "
        "(give the path itself to read it)"
    )
    assert second.startswith("t is a Delta table: all of its files are read, rows that were deleted")
    assert left_out_notes([f"_{at}" for at in range(9)])[0].count("_") == 4


@pytest.mark.parametrize("pattern", ["nothing*.csv", "gone.csv"])
def test_no_match(tmp_path, pattern):
    with pytest.raises(UsageError, match=r"matches no file: check the path"):
        find_files([str(tmp_path / pattern)])


def test_a_scheme_that_is_not_installed(monkeypatch):
    scheme = replace(SCHEMES["s3"], module="beamsplit.transforms.stores.none_such")
    monkeypatch.setitem(SCHEMES, "s3", scheme)
    with pytest.raises(UsageError, match=r"Amazon S3 needs a library .*: pip install 'beamsplit\[aws\]'"):
        find_files(["s3://bucket/x.csv"])


@pytest.mark.parametrize(
    ("paths", "format"),
    [
        (["a.parquet", "b.PARQUET", "c.pq"], "parquet"),
        (["a.csv", "b.csv.gz", "c.tsv"], "csv"),
        (["a.jsonl", "b.ndjson", "c.json.bz2"], "jsonl"),
        (["a.arrow", "b.feather", "c.ipc"], "arrow"),
        (["a.jpg", "b.py", "c", "d.parquet.gz"], "files"),
    ],
)
def test_format(paths, format):
    files = [InputFile(path, 1) for path in paths]
    assert format_of(files) == format
    assert format_of(files, "files") == "files"


def test_format_errors():
    with pytest.raises(UsageError, match=r"csv: a\.csv; files: b\.jpg.*--input_format files"):
        format_of([InputFile("a.csv", 1), InputFile("b.jpg", 1)])
    with pytest.raises(UsageError, match="'xml' is not known: use one of parquet, csv"):
        format_of([InputFile("a.csv", 1)], "xml")


def test_schema_comes_from_the_first_file_with_rows(tmp_path):
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x,y\n")
    (tmp_path / "c.csv").write_text("x,y\n1,\n2,\n")
    files = find_files([str(tmp_path)])
    assert input_schema(files, "csv") == pa.schema([("x", pa.int64()), ("y", pa.string())])
    assert input_schema(files[:2], "csv") == pa.schema([("x", pa.string()), ("y", pa.string())])
    with pytest.raises(UsageError, match="all empty"):
        input_schema(files[:1], "csv")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_file_of_another_format(tmp_path, format):
    (tmp_path / "a").write_text("this is no such file at all")
    with pytest.raises(UsageError, match=rf"cannot be read as {format}"):
        input_schema(find_files([str(tmp_path)]), format)


def test_csv_with_the_same_name_twice(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,x\n1,2,3\n")
    with pytest.raises(UsageError, match="several columns named 'x'"):
        input_schema(find_files([str(tmp_path)]), "csv")


def test_files_are_rows(tmp_path):
    for at in range(10):
        (tmp_path / f"{at}.bin").write_bytes(bytes([at]) * at)
    found = find_files([str(tmp_path)])
    schema = input_schema(found, format_of(found))
    splits = make_splits(found, "files", 4)
    assert 4 <= len(splits) <= 6
    assert [split.order for split in splits] == sorted(split.order for split in splits)
    os.remove(found[3].path)
    rows, failures = [], []
    for result in read_all(splits, ReadOptions(schema, block_rows=2)):
        failures += result.failures
        rows += [] if result.block is None else result.block.to_pylist()
    assert [(row["path"], row["bytes"]) for row in rows] == [
        (file.path, bytes([at]) * at) for at, file in enumerate(found) if at != 3
    ]
    assert all((row["_origin_file"], row["_origin_row"]) == (row["path"], 0) for row in rows)
    assert failures == [(found[3].path, 0, "cannot read the file: No such file or directory")]
    paths = [r.block.column("path").to_pylist() for r in read_all(splits, ReadOptions(schema, columns=("path",)))]
    assert [path for part in paths for path in part] == [file.path for file in found]


def test_files_fill_blocks_up_to_the_bytes_asked_for(tmp_path):
    for at in range(5):
        (tmp_path / f"{at}.bin").write_bytes(b"x" * 40)
    found = find_files([str(tmp_path)])
    options = ReadOptions(input_schema(found, "files"), block_bytes=100)
    results = read_all(make_splits(found, "files", 1), options)
    assert [result.block.num_rows for result in results] == [2, 2, 1]


def test_sample_and_total(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("x,s\n" + "1,a\nz,b\n" * 50)
        (tmp_path / f"{name}.jsonl").write_text('{"x":1,"s":"a"}\n' * 100)
    schema = pa.schema([("x", pa.int64()), ("s", pa.dictionary(pa.int32(), pa.string()))])
    files = find_files([str(tmp_path / "*.csv")])
    sample = read_sample(files, "csv", ReadOptions(schema), 80)
    assert sample.num_rows <= 80
    assert set(sample.column("x").to_pylist()) == {1}
    assert sample.schema == ReadOptions(schema).block_schema
    assert total_rows(files, "csv") == 200
    assert total_rows(find_files([str(tmp_path / "*.jsonl")]), "jsonl") == 200
    assert total_rows(files, "files") == 2


def test_files_that_changed_since_they_were_found(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n2\n")
    files = find_files([str(path)])
    check_unchanged(files)
    with open(path, "a") as file:
        file.write("3\n")
    check_unchanged(files)  # what was planned to be read is still there
    os.truncate(path, 4)
    with pytest.raises(InputChanged, match=r"a\.csv changed while it was read \(it had 6 bytes, now 4\): run the job"):
        check_unchanged(files)
    path.unlink()
    with pytest.raises(InputChanged, match="it is gone"):
        check_unchanged(files)
    path.write_text("a\n1\n2\n")
    files = find_files([str(path)])
    (tmp_path / "b.csv").write_text("a\n5\n6\n7\n8\n")
    os.replace(tmp_path / "b.csv", path)
    with pytest.raises(InputChanged, match="it had 6 bytes, now 10"):
        check_unchanged(files)


def test_a_file_written_again_with_as_many_bytes_has_changed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n2\n")
    os.utime(path, (1, 1))
    files = find_files([str(tmp_path)])
    path.write_text("a\n3\n4\n")
    with pytest.raises(InputChanged):
        check_unchanged(files)


def test_links_to_folders_are_entered_unless_they_lead_back(tmp_path):
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    for name in ("in/a/1.csv", "elsewhere/2.csv", "elsewhere/deep/3.csv"):
        (tmp_path / name).write_text("x\n1\n")
    (tmp_path / "in/more").symlink_to("../elsewhere")
    found = [os.path.relpath(file.path, tmp_path) for file in find_files([str(tmp_path / "in")])]
    assert found == ["in/a/1.csv", "in/more/2.csv", "in/more/deep/3.csv"]
    (tmp_path / "elsewhere/deep/back").symlink_to(tmp_path / "in")
    with pytest.raises(UsageError, match=r"is a link that leads back to .*, where it lies; take it away"):
        find_files([str(tmp_path / "in")])
