from __future__ import annotations

import pytest

from beamsplit.transforms.kafka.block_size import FIRST, MOST, MOST_BYTES, BlockSize


def drive(size: BlockSize, seconds, blocks: int = 30, nbytes: int = 100) -> list[int]:
    """The sizes of full blocks, each taking `seconds(rows)`."""
    sizes = []
    for _ in range(blocks):
        rows = size.rows
        sizes.append(rows)
        size.observe(rows, seconds(rows), rows * nbytes)
    return sizes


def test_the_size_grows_while_that_pays():
    # 5 ms a block and 1 us a message: larger blocks always pay, until the bound.
    assert drive(BlockSize(0.02), lambda rows: 0.005 + rows * 1e-6)[-1] == 8192


def test_the_size_stays_where_more_brings_nothing():
    assert drive(BlockSize(10.0), lambda rows: rows * 1e-5)[-1] <= 2 * FIRST


def test_the_bound_wins_over_throughput():
    sizes = drive(BlockSize(0.02), lambda rows: rows * 1e-3)
    assert sizes[0] == FIRST and max(sizes[8:]) * 1e-3 <= 0.02 and min(sizes) >= 1


def test_smaller_blocks_that_take_as_long_are_not_kept():
    # 50 ms a block whatever its size: no size holds the bound, and small ones would only do fewer messages a second.
    assert min(drive(BlockSize(0.02), lambda rows: 0.05 + rows * 1e-6, blocks=500)[100:]) >= FIRST // 2


def test_a_machine_that_others_use_for_a_while_leaves_no_small_blocks_behind():
    size = BlockSize(0.02)
    usual = lambda rows: 0.001 + rows * 8e-6  # noqa: E731
    before = drive(size, usual, blocks=100)[-1]
    assert min(drive(size, lambda rows: 0.1 + usual(rows), blocks=100)) >= FIRST // 2
    assert drive(size, usual, blocks=400)[-1] == before == 2048


def test_a_model_that_became_slower_gets_smaller_blocks():
    size = BlockSize(0.02)
    drive(size, lambda rows: 0.001 + rows * 8e-6, blocks=100)
    assert 100 * 1e-4 < drive(size, lambda rows: 0.001 + rows * 1e-4, blocks=100)[-1] * 1e-4 + 0.01 <= 0.03


def test_no_block_is_larger_than_memory_likes():
    assert max(drive(BlockSize(1e9), lambda rows: 1e-9 * rows**0.5)) == MOST
    assert drive(BlockSize(1e9), lambda rows: 1e-9 * rows**0.5, nbytes=MOST_BYTES // 10)[-1] == 10


def test_a_block_that_is_not_full_tells_nothing():
    size = BlockSize(0.02)
    for _ in range(10):
        size.observe(3, 5.0, 300)
    assert size.size == FIRST


def test_a_size_that_was_given_stays():
    assert set(drive(BlockSize(0.02, 64, fixed=True), lambda rows: 1.0)) == {64}


@pytest.mark.parametrize(
    ("seconds", "seconds_of_twice", "then"),
    [
        (0.005, 0.008, 512),
        (0.012, 0.019, 512),
        (0.012, 0.02, 512),
        # It would pay, and take longer than the bound.
        (0.013, 0.0215, 256),
        # It is in time, and brings next to nothing.
        (0.005, 0.0098, 256),
        (0.005, 0.012, 256),
    ],
)
def test_a_larger_block_that_was_tried_is_taken_where_it_paid_and_was_in_time(
    seconds: float, seconds_of_twice: float, then: int
):
    rates = {256: 256 / seconds, 512: 512 / seconds_of_twice}
    size = BlockSize(0.02, 256, rates=rates, _blocks=2, _used={256: 2, 512: 1})
    size.observe(256, seconds, 25_600)
    assert size.size == then
