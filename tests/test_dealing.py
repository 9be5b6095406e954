from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.dealing import deal, first_cases


def order(names: str, workers: int, cores: int | None = None) -> list[str]:
    """Tests as they are dealt: capitals start services, the first letter is the file."""
    tests = names.split()
    return deal(tests, workers, lambda test: test[0], lambda test: test[0].isupper(), cores)


def shares(names: str, workers: int, cores: int | None = None) -> list[list[str]]:
    """What `--dist worksteal` gives to each worker at first."""
    left, given = order(names, workers, cores), []
    for done in range(workers):
        given.append(left[: len(left) // (workers - done)])
        del left[: len(left) // (workers - done)]
    return given


def test_each_worker_begins_with_services_and_ends_with_short_tests():
    assert shares("a1 a2 A1 A2 B1 b1 b2 b3 C1", 2) == [["A1", "A2", "a1", "a2"], ["B1", "C1", "b1", "b2", "b3"]]
    assert shares("a1 A1 B1 B2 C1 b1", 3) == [["B1", "B2"], ["A1", "a1"], ["C1", "b1"]]


def test_workers_beyond_the_cores_compute_while_the_others_wait():
    names = "a1 a2 A1 A2 B1 b1 b2 b3 C1"
    assert shares(names, 3, 2) == [["A1", "A2", "a1"], ["B1", "C1", "a2"], ["b1", "b2", "b3"]]
    assert shares(names, 2, 8) == shares(names, 2) and shares("A1 B1", 3, 1) == [[], ["A1"], ["B1"]]


def test_of_each_function_the_first_case():
    tests = ["a", "b[1]", "b[2]", "c[x]", "b[3]", "d"]
    assert first_cases(tests, lambda test: test.split("[")[0]) == ["a", "b[1]", "c[x]", "d"]


def test_none_is_lost_where_one_kind_is_all():
    assert order("a1 a2 a3", 2) == ["a1", "a2", "a3"]
    assert order("A1 A2 A3 B1", 2) == ["A1", "A2", "A3", "B1"]
    assert order("A1 A2 A3 a1", 2) == ["A1", "A2", "A3", "a1"]
    assert order("", 2) == []


def test_one_worker_begins_with_services():
    assert order("a1 A1 a2 B1", 1) == ["A1", "B1", "a1", "a2"]


@pytest.mark.parametrize(
    ("asked", "gigabytes", "workers"),
    [
        (["tests"], 64, 4 + 1),
        (["tests/services", "tests/api"], 64, 4 + 1),
        (["tests/api", "tests/models/shard/test_rules.py::test_x"], 64, 4),
        (["tests"], 10, 3),
        (["tests"], 1, 2),
    ],
)
def test_with_services_there_is_a_worker_more_if_memory_has_room(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], gigabytes: float, workers: int
):
    monkeypatch.chdir(conftest.SERVICES.parents[1])
    monkeypatch.setattr(conftest.psutil, "virtual_memory", lambda: SimpleNamespace(available=gigabytes * 1e9))
    config: Any = SimpleNamespace(args=asked)
    hook = conftest.pytest_xdist_auto_num_workers(config)
    next(hook)
    with pytest.raises(StopIteration) as told:
        hook.send(4)  # cores
    assert told.value.value == workers
