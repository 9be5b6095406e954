from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beamsplit.models.per_process import PerProcess
from tests.waiting import DEADLINE

ROOT = Path(__file__).parents[2]


def test_one_value_for_all_threads():
    made: list[str] = []
    values = PerProcess[str, list[str]](lambda key: made.append(key) or [key])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(values.get, ["a", "b"] * 50))
    assert sorted(made) == ["a", "b"] and len({id(one) for one in found}) == 2
    assert values.known("a") is found[0] and values.known("c") is None


def test_only_the_value_that_is_kept_is_dropped():
    values = PerProcess[str, list[str]](lambda key: [key])
    first = values.get("a")
    values.drop(["a"])
    assert values.get("a") is first
    values.drop(first)
    assert values.known("a") is None and values.get("a") is not first


def test_what_could_not_be_made_is_tried_again():
    answers = iter([ValueError("no"), "yes"])

    def make(key: str) -> str:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    values = PerProcess(make)
    with pytest.raises(ValueError, match="no"):
        values.get("a")
    assert values.get("a") == "yes"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_with_none():
    # In a process of its own: threads of libraries that other tests have used may not survive a fork.
    code = (
        "import os, signal, sys; from beamsplit.models.per_process import PerProcess\n"
        "values = PerProcess(lambda key: [key]); values.get('a')\n"
        "with values._lock:\n"
        "    child = os.fork()\n"
        "    signal.alarm(300)\n"  # ends both should one wait for the lock
        "    if child == 0: os._exit(0 if values.known('a') is None else 1)\n"
        "assert values.known('a') == ['a']\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=2 * DEADLINE, check=False)
    assert ran.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_end_what_its_parent_made():
    code = (
        "import os, signal, sys; from beamsplit.models.per_process import PerProcess\n"
        "class Made:\n"
        "    def __del__(self):\n"
        "        if os.getpid() != parent: os._exit(1)\n"  # as a session, which waits for threads that the child lacks
        "parent = os.getpid(); values = PerProcess(lambda key: Made()); values.get('a')\n"
        "signal.alarm(300); child = os.fork()\n"
        "if child == 0: values.get('b'); os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=2 * DEADLINE, check=False)
    assert ran.returncode == 0
