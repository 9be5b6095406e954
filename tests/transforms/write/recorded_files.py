"""How columns are written, in files.txt: `python -m tests.transforms.write.recorded_files` records it.

A case is a format of text and columns of the table of `tests/transforms/recorded_steps.py`, or of `MORE`: of it comes
what the file holds, with `\\n` for a new line, or why a column cannot be written.
"""

from __future__ import annotations

import datetime
import decimal
import io
from pathlib import Path
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats import FORMATS
from tests.recorded import Recorded
from tests.transforms.recorded_steps import TABLE, tensor

DAY = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901)
FEW = [1, None, 3, 4]

MORE: dict[str, Any] = {
    "quoted": pa.array(['a"b', "c,d", "e\nf", ""]),
    "marks": pa.array(["é\U0001f600", "\\t\t", "\x00\x1f", "\u2028"]),
    "large": pa.array([2**63 - 1, -(2**63), 2**53 + 1, None], pa.int64()),
    "small": pa.array([1e-7, 1e16, 123456789.125, -0.0]),
    "single": pa.array([0.1, 1e-7, 16777216.0, 3.4e38], pa.float32()),
    "half": pa.array([0.1, 65504.0, None, float("nan")], pa.float16()),
    "day": pa.array([DAY.date(), None, datetime.date(1969, 12, 31), datetime.date(1, 1, 1)]),
    "second": pa.array([DAY, None, DAY, DAY], pa.timestamp("s")),
    "micro": pa.array([DAY, None, DAY, DAY], pa.timestamp("us", "UTC")),
    "clock": pa.array([DAY.time(), None, DAY.time(), DAY.time()], pa.time64("us")),
    "span": pa.array([1, None, 3, 4], pa.duration("ms")),
    "money": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-0.01"), decimal.Decimal("99999999.99")]),
    "none": pa.nulls(4),
    "texts": pa.array([["a", 'b"'], [], None, [None, "c,d"]]),
    "deep": pa.array([[[1, 2], []], [], None, [None, [3]]]),
    "record": pa.array([{"a": 1, "b": "x"}, {"a": None, "b": 'y"'}, None, {"a": 3, "b": ""}]),
    "empty": pa.array([{}, {}, None, {}], pa.struct([])),
    "records": pa.array([[{"a": 1}], [], None, [{"a": None}, None]]),
    "pairs": pa.array([[("k", 1)], [], None, [("a", None), ("b", 2)]], pa.map_(pa.string(), pa.int64())),
    "fixed": pa.array([b"ab", None, b"\xff\x00", b"cd"], pa.binary(2)),
    "bits": tensor([[True, False], [False, False], [True, True], [False, True]], "bool"),
}


def said(line: str) -> str:
    """What a file of these columns holds."""
    format, _, names = line.partition(" | ")
    columns = {name: (TABLE | MORE)[name] for name in names.split()}
    block = pa.record_batch(columns)
    writer: Any = FORMATS[format].writer
    out = Kept()
    try:
        for field in block.schema:
            writer.check_field(field)
        file = writer.open_file(out, block.schema)
        for first in (0, 3, 4):
            file.write(block.slice(first, 3 if first == 0 else 1))
        file.close()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return out.held.decode().encode("unicode_escape").decode()


class Kept(io.BytesIO):
    """A file whose content stays when it is closed."""

    held = b""

    def close(self) -> None:
        if not self.closed:
            self.held = self.getvalue()
        super().close()


RECORDED = Recorded(Path(__file__).parent / "files.txt", said)

if __name__ == "__main__":
    RECORDED.main()
