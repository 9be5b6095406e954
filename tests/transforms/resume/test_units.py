"""Units: the same whenever the files are, dealt as ranges of the input."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.resume import units as module
from beamsplit.transforms.resume.units import Unit, at_random, deal_units, make_units, unit_bytes
from beamsplit.transforms.split import Split


def unit(number: int, rows: int | None, weight: int = 1) -> Unit:
    split = Split("jsonl", ("a",), (0, number), 0, 1, None, rows, weight)
    return Unit(number, (split,))


def numbers(dealt: list[list[Unit]]) -> list[list[int]]:
    return [[one.number for one in units] for units in dealt]


@pytest.mark.parametrize(
    ("rows", "workers", "bounds", "expected"),
    [
        ([10] * 4, 2, None, [[0, 1], [2, 3]]),
        ([10] * 5, 2, None, [[0, 1, 2], [3, 4]]),
        ([100, 1, 1, 1], 2, None, [[0], [1, 2, 3]]),
        ([10] * 4, 2, [0, 10, 40], [[0], [1, 2, 3]]),
        ([10], 3, None, [[], [0], []]),
        ([], 2, None, [[], []]),
        ([0, 0], 2, None, [[0], [1]]),
    ],
)
def test_each_worker_has_one_range(rows: list[int], workers: int, bounds: list[int] | None, expected: list[list[int]]):
    units = [unit(number, count) for number, count in enumerate(rows)]
    assert numbers(deal_units(units, workers, bounds)) == expected


def test_where_rows_are_not_counted_bytes_tell():
    units = [unit(0, None, 100), unit(1, 5, 100), unit(2, None, 200)]
    assert numbers(deal_units(units, 2)) == [[0, 1], [2]]


def test_rows_dealt_at_random_are_units_of_their_own_for_each_worker():
    units = at_random([unit(0, 5), unit(1, 5)], 3, 7)
    assert [(one.number, one.deal and one.deal.worker) for one in units] == [(k, k % 3) for k in range(6)]
    assert numbers(deal_units(units[1:], 3)) == [[3], [1, 4], [2, 5]]


def files(folder: Path, count: int, lines: int) -> list[InputFile]:
    made = []
    for number in range(count):
        path = folder / f"{number:03}.jsonl"
        path.write_text('{"a": 1}\n' * lines)
        made.append(InputFile(str(path), path.stat().st_size))
    return made


def test_a_few_small_files_are_a_unit_each_and_many_share_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inputs = files(tmp_path, 10, 3)
    assert len(make_units(inputs, "jsonl", unit_bytes(inputs, 2))) == 10
    monkeypatch.setattr(module, "UNITS", 4)
    size = 3 * inputs[0].size
    made = make_units(inputs, "jsonl", size)
    assert [len(one.splits) for one in made] == [3, 3, 3, 1]
    assert [path for one in made for split in one.splits for path in split.paths] == [file.path for file in inputs]
    assert make_units(inputs, "jsonl", size) == made


def test_a_large_file_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEAST_BYTES", 90)
    inputs = files(tmp_path, 1, 1000)
    made = make_units(inputs, "jsonl", unit_bytes(inputs, 2))
    assert 32 <= len(made) <= 64
    assert [one.number for one in made] == list(range(len(made)))


def test_images_are_lists_of_files(tmp_path: Path):
    inputs = files(tmp_path, 200, 1)
    made = make_units(inputs, "files", unit_bytes(inputs, 2))
    assert 32 <= len(made) <= 64
    assert sum(len(one.splits[0].paths) for one in made) == 200
