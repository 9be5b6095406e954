"""What is read of texts that are written in many ways is what was recorded, in one piece and in many."""

from __future__ import annotations

from tests.transforms.read.recorded_texts import RECORDED


def test_each_text_is_read_as_recorded() -> None:
    assert RECORDED.changed() == []
