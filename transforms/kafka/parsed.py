"""What came of the values of messages, whatever their format."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

EMPTY = "the message has no value"


class ParsedRows(NamedTuple):
    """What came of the values of some messages."""

    batch: pa.RecordBatch
    """The rows, in the order of the messages."""

    sources: np.ndarray | None
    """Which message each row came in; None where every message gave one row."""

    bad: dict[int, str]
    """Message -> why it gave none."""
