"""Steps of --prepare and --finish make of a small table what was recorded."""

from __future__ import annotations

from tests.transforms.recorded_steps import RECORDED


def test_each_step_makes_what_was_recorded() -> None:
    assert RECORDED.changed() == []
