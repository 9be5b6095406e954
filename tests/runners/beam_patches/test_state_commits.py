"""State is written as Beam writes it, and waited for when all is sent."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.runners.worker.bundle_processor import FnApiUserStateContext, SynchronousBagRuntimeState

from beamsplit.runners.beam_patches.state_commits import commit_of_beam, commit_together


class Answer:
    """To one request."""

    def __init__(self, told: list[str], of: str, error: str = "") -> None:
        self._told, self._of, self._error = told, of, error

    def get(self) -> None:
        self._told.append(f"wait for {self._of}")
        if self._error:
            raise RuntimeError(self._error)


class Runner:
    """What is asked of it, in order."""

    def __init__(self, failing: str = "") -> None:
        self.told: list[str] = []
        self._failing = failing

    def clear(self, key: str) -> Answer:
        return self._asked(f"clear {key}")

    def extend(self, key: str, coder: Any, elements: list[int]) -> Answer:
        return self._asked(f"extend {key} {elements}")

    def _asked(self, what: str) -> Answer:
        self.told.append(what)
        return Answer(self.told, what, "the runner cannot" if what == self._failing else "")


def context(runner: Runner) -> FnApiUserStateContext:
    """Of four keys: joined, new, untouched and cleared."""
    made = FnApiUserStateContext.__new__(FnApiUserStateContext)
    states = {key: SynchronousBagRuntimeState(runner, key, VarIntCoder()) for key in "abcd"}  # type: ignore[arg-type]
    states["a"].clear()
    states["a"].add(-1)
    states["b"].add(2)
    states["b"].add(3)
    states["d"].clear()
    made._all_states = states  # type: ignore[assignment]
    return made


ASKED = ["clear a", "extend a [-1]", "extend b [2, 3]", "clear d"]
WAITS = ["wait for extend a [-1]", "wait for extend b [2, 3]", "wait for clear d"]


def test_all_is_sent_before_anything_is_waited_for():
    runner = Runner()
    commit_together(context(runner))
    assert runner.told == [*ASKED, *WAITS]


def test_as_beam_asks():
    ours, beams = Runner(), Runner()
    commit_together(context(ours))
    commit_of_beam(context(beams))
    assert sorted(ours.told) == sorted(beams.told)
    assert [what for what in beams.told if "wait" not in what] == ASKED


@pytest.mark.parametrize("failing", [ASKED[1], ASKED[3]])
def test_what_the_runner_cannot_write_fails_the_bundle(failing: str):
    with pytest.raises(RuntimeError, match="the runner cannot"):
        commit_together(context(Runner(failing)))


def test_workers_where_parts_meet_have_it():
    import beamsplit.transforms.infer.gather  # noqa: F401

    assert FnApiUserStateContext.commit is commit_together
