"""The demo's table: which extensions agree with which of Magika's types."""

from __future__ import annotations

import importlib.util

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.demo import agrees, find_magika, report

pytestmark = pytest.mark.skipif(importlib.util.find_spec("magika") is None, reason="make demo installs magika")


@pytest.mark.parametrize(
    ("extension", "kind", "expected"),
    [
        ("py", "python", True),
        ("py", "haskell", False),
        ("so", "elf", True),
        ("so", "python", False),
        ("o", "coff", True),
        ("rst", "rst", True),
        ("cfg", "ini", True),
        ("txt", "rst", True),
        ("txt", "ini", True),
        ("txt", "elf", False),
        ("rst", "txt", True),
        ("ini", "txt", True),
        ("zip", "txt", False),
        ("dectest", "sql", None),
        ("", "shell", None),
    ],
)
def test_an_extension_agrees_with_a_type_or_not_or_says_nothing(extension: str, kind: str, expected: bool | None):
    assert agrees(extension, kind, find_magika()) is expected


def test_every_extension_of_the_table_is_of_a_type_that_the_model_answers():
    magika = find_magika()
    assert set(magika.extensions) == set(magika.labels)


def test_table_counts_what_agrees_and_what_says_nothing(tmp_path, capsys):
    kinds = {"a.so": "elf", "b.so": "elf", "c.so": "zip", "d.dectest": "elf", "e.txt": "rst", "small.py": "elf"}
    for name in kinds:
        (tmp_path / name).write_bytes(b"x" * (1 if name == "small.py" else 100))
    paths = [str(tmp_path / name) for name in kinds]
    pq.write_table(pa.table({"path": paths, "label": list(kinds.values())}), tmp_path / "types.parquet")
    report(tmp_path / "types.parquet", find_magika())
    said = capsys.readouterr().out
    assert "100.0% of 2, 1 say nothing" in said
    assert "agrees with the extension for 75.0% of 4 files (text with any kind of text); of 2 the extension" in said
