from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import chosen, drawn
from tests.mutants.code import changed
from tests.mutants.lines import span
from tests.mutants.mutations import mutations

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
    [
        '"""Of 2."""',
        "raise Error(1 + 1)",
        "x: Literal[1]",
        '"a" + b',
        'f"{1 + 1}"',
        "a = zip(b, c, strict=True)",
        "@once(1)\ndef f() -> x[1]: ...",
    ],
)
def test_words_and_types_have_none(source: str):
    assert faults(source) == []


def test_every_fault_of_our_own_sources_is_python():
    path = ROOT / "models" / "split" / "balance.py"
    source = path.read_bytes()
    assert len(mutations(source)) > 20
    for one in mutations(source):
        ast.parse(one.applied(source))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (1, (1, 15)),  # what the import executes: all functions
        (4, (5, 12)),  # a default: all of the function
        (6, (5, 6)),
        (7, (7, 7)),
        (9, (8, 9)),
        (10, (10, 10)),
        (12, (12, 12)),
    ],
)
def test_the_statement_of_a_line(line: int, expected: tuple[int, int]):
    source = """\
N = 1


def f(a=1):
    if (a
            and N):
        return 1
    b = [
        a]
    for one in b:
        pass
    return (lambda: one)


class A: pass
"""
    assert span(source, line) == expected


def names(before: str, after: str) -> list[str]:
    codes = changed(compile(before, "a.py", "exec"), compile(after, "a.py", "exec"))
    return [one.co_name for one, _ in codes]


def test_functions_that_a_fault_changes():
    source = (
        "class A:\n    def f(self):\n        def g():\n            return 1\n        return g\n    def h(self): ...\n"
    )
    assert names(source, source.replace("1", "2")) == ["f", "g"]
    assert names(source, source) == []
    with pytest.raises(ValueError):
        names("N = 1", "N = 2")
    with pytest.raises(ValueError):
        names("def f(a=1): ...", "def f(a=2): ...")


def test_the_nearest_and_quickest_tests_are_chosen():
    seconds = {
        "tests/models/test_far.py::a": 1.0,
        "tests/models/split/test_other.py::a": 1.0,
        "tests/models/split/test_chain.py::slow": 9.0,
        "tests/models/split/test_chain.py::a": 1.0,
    }
    order = [*sorted(seconds, reverse=True)[2:], *list(seconds)[1::-1]]
    path = Path("models/split/chain.py")
    assert chosen(seconds, path, 100) == [
        "tests/models/split/test_chain.py::a", "tests/models/split/test_chain.py::slow", *order[2:]
    ]  # fmt: skip
    assert chosen(seconds, path, 2.5) == ["tests/models/split/test_chain.py::a", *order[2:]]
    seconds |= {"tests/models/split/test_chain.py::b": 0.01, "tests/models/test_far.py::b": 0.02}
    assert chosen(seconds, path, 0.5) == [
        *("tests/models/split/test_chain.py::b", "tests/models/split/test_chain.py::a", "tests/models/test_far.py::b")
    ]


def test_a_sample_is_the_same_each_time():
    sample = drawn(5, 7, "models/split/solver/")
    assert sample == drawn(5, 7, "models/split/solver/") != drawn(5, 8, "models/split/solver/")
    assert len(sample) == 5 and all(one.module.startswith("beamsplit.models.split.solver.") for one in sample)


SOURCE = """\
ONE = 1


def more(a):
    return a > 1


def unseen():
    return 5
"""
TESTS = """\
import models.m


def test_more():
    assert models.m.more(2) and not models.m.more(0)
"""


def test_the_command(tmp_path: Path):
    """A repository of one source and one test: its faults that are noticed, that are not, and that no test executes."""
    files = {"models/m.py": SOURCE, "tests/models/test_m.py": TESTS, "tests/__init__.py": "", ".gitignore": "build/"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "tests" / "mutants", tmp_path / "tests" / "mutants", ignore=lambda *_: ["__pycache__"])
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV", "BEAMSPLIT"))}
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "tests.mutants", "--record", "tests/models", "--unexecuted"],
        [sys.executable, "-m", "tests.mutants"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=env | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )
    assert done.returncode == 1, done.stderr
    said = [line.split(" ", 1)[1] for line in done.stdout.splitlines()[:4]]
    assert sorted(said) == [
        "UNNOTICED: models/m.py:1: constant: 1  ->  (2)",
        "UNNOTICED: models/m.py:5: comparison: >  ->  >=",
        "UNNOTICED: models/m.py:9: constant: 5  ->  (6)",
        "noticed by tests/models/test_m.py::test_more: models/m.py:5: constant: 1  ->  (2)",
    ]
    assert (tmp_path / "models" / "m.py").read_text() == SOURCE
