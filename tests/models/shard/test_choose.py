"""`--shards auto`: what the numbers favour, and the line that says why."""

from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.shard.choose import Tried, choose

TRIED = [Tried(1, 900.0, 80_000_000), Tried(2, 1200.0, 41_000_000), Tried(4, 1100.0, 21_000_000)]


def test_the_most_rows_a_second():
    assert choose(TRIED) == (
        2,
        "2 shards, 1,200 rows/s measured here; the whole model 900 rows/s; 4 shards 1,100 rows/s",
    )


def test_among_equals_the_fewest():
    assert choose([Tried(1, 1180.0, 80), *TRIED[1:]])[0] == 1


def test_only_what_fits():
    shards, why = choose(TRIED, 30e6)
    assert shards == 4
    assert why.startswith(
        "4 shards, 1,100 rows/s measured here and at most 30 MB of weights a worker; the whole model "
    )


def test_nothing_fits():
    with pytest.raises(
        UsageError,
        match=r"--stage_memory is 20 MB, but of 4 shards a worker holds 21 MB of weights: give --stage_memory 21MB or",
    ):
        choose(TRIED, 20e6)
