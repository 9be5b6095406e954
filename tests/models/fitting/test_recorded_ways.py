"""Ways to fill inputs, axes of inputs that are set and rows at once are those that were recorded."""

from __future__ import annotations

from tests.models.fitting.recorded_ways import RECORDED


def test_each_case_comes_out_as_recorded():
    assert RECORDED.changed() == []
