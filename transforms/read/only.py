"""The rows of a split that are wanted, where those between them are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.read.result import ReadFailure, ReadResult
from beamsplit.transforms.split import Split


def only_wanted(split: Split, results: Iterator[ReadResult]) -> Iterator[ReadResult]:
    """What was read of a split with rows `only`, without the rows between."""
    assert split.only is not None
    wanted = np.frombuffer(split.only, np.int64)
    numbers = frozenset(wanted.tolist())
    with closing(results):  # type: ignore[type-var]
        for block, failures, left_out in results:
            if block is not None:
                mask = np.isin(block.column(ORIGIN_ROW).to_numpy(), wanted)
                block = block.filter(pa.array(mask)) if mask.any() else None
            kept: list[ReadFailure] = [one for one in failures if one.row in numbers]
            if block is not None or kept or left_out:
                yield ReadResult(block, kept, left_out)
