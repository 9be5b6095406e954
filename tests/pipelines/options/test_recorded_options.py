"""Command lines are taken for what was recorded, and refused in those words."""

from __future__ import annotations

from tests.pipelines.options.recorded_options import RECORDED


def test_each_command_line_is_taken_as_recorded() -> None:
    assert RECORDED.changed() == []
