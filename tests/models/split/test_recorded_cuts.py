"""Units and stages are those that were recorded; that their chains give what the whole gives is in test_cuts.py."""

from __future__ import annotations

from tests.models.split.recorded_cuts import RECORDED


def test_units_and_stages_are_those_that_were_recorded():
    assert RECORDED.changed() == []
