"""Files of text hold what was recorded."""

from __future__ import annotations

from tests.transforms.write.recorded_files import RECORDED


def test_columns_are_written_as_recorded() -> None:
    assert RECORDED.changed() == []
