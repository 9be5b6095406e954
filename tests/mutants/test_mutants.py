from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import drawn
from tests.mutants.mutations import mutations
from tests.mutants.reach import concerned, imports, modules

ROOT = Path(__file__).parent.parent.parent


def faults(source: str) -> list[str]:
    """The source with each of its faults."""
    return [one.applied(source.encode()).decode() for one in mutations(source.encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("(a) is not (b)", ["(a) is (b)"]),
        ("a not in b", ["a in b"]),
        ("a + b", ["a - b"]),
        ("(a * b) / c", ["(a * b) * c", "(a // b) / c"]),
        ("a and b or c", ["((a and b) and (c))", "((a) or (b)) or c"]),
        ("not a", ["(a)"]),
        ("f(True, 2)", ["pass", "f(False, 2)", "f(True, (3))"]),
        ("if f(x):\n    n += a", ["if (not (f(x))):\n    n += a", "if f(x):\n    pass"]),
        ("é = [ü < ä]", ["é = [ü <= ä]"]),
    ],
)
def test_faults(source: str, expected: list[str]):
    found = faults(source)
    assert sorted(found) == sorted(expected)
    for one in found:
        ast.parse(one)


@pytest.mark.parametrize(
    "source",
    ['"""Of 2."""', "raise Error(1 + 1)", "x: Literal[1]", '"a" + b', 'f"{1 + 1}"', "@once(1)\ndef f() -> x[1]: ..."],
)
def test_words_and_types_have_none(source: str):
    assert faults(source) == []


def test_every_fault_of_our_own_sources_is_python():
    path = ROOT / "models" / "split" / "balance.py"
    source = path.read_bytes()
    assert len(mutations(source)) > 20
    for one in mutations(source):
        ast.parse(one.applied(source))


def test_imports_in_functions_and_by_name():
    names = {"beamsplit.models", "beamsplit.models.graph", "beamsplit.pipelines.score", "beamsplit.runners"}
    source = 'from beamsplit.models import graph\ndef f():\n    import beamsplit.runners\n    run("pipelines.score")'
    assert imports(f"{source}\n    import os", dict.fromkeys(names, 0)) == names


def test_the_nearest_tests_come_first():
    found = concerned(ROOT)
    reached = found["beamsplit.models.split.balance"]
    assert ROOT / "tests" / "models" / "split" / "test_balance.py" in [path for count, path in reached if count == 1]
    assert [count for count, _ in reached] == sorted(count for count, _ in reached)
    assert not any("services" in path.parts for _, path in reached)
    assert set(found) == set(modules(ROOT))


def test_a_sample_is_the_same_each_time():
    sample = drawn(5, 7, "models/split/solver/")
    assert sample == drawn(5, 7, "models/split/solver/") != drawn(5, 8, "models/split/solver/")
    assert len(sample) == 5 and all(name.startswith("beamsplit.models.split.solver.") for name, _, _ in sample)
