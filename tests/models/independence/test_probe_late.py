"""Made-up rows on which the model does not return are not tried again and again."""

from __future__ import annotations

import numpy as np

from beamsplit.models.independence.probe import probe
from beamsplit.models.running.session import RunTimeoutError


def test_a_kind_of_rows_that_does_not_return_is_tried_once():
    late: list[float] = []

    def run(feeds):
        x = feeds["x"]
        if np.isnan(x).any():
            late.append(1)
            raise RunTimeoutError("it did not return")
        return [x * 2]

    feeds = {"x": np.arange(12, dtype=np.float32).reshape(6, 2)}
    why, done = probe(run, feeds, {"x": 0}, [("y", 0)])
    assert why is None and done > 0
    assert len(late) <= 2, "of NaN alone, and among other values"
