from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.per_process import PerProcess


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
    values.drop("a", ["a"])
    assert values.get("a") is first
    values.drop("a", first)
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
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_none():
    values = PerProcess[str, list[str]](lambda key: [key])
    values.get("a")
    with values._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends it if it waits for the lock
            os._exit(0 if values.known("a") is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert values.known("a") == ["a"]
