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


def then(seconds: float, rates: dict[int, float], size: int = 256, bound: float = 1.0) -> int:
    """The size after a full block that took so long, where others have done so many messages a second."""
    made = BlockSize(bound, size, rates=dict(rates), _blocks=2, _used=dict.fromkeys(rates, 2))
    made.observe(size, seconds, 100 * size)
    return made.size


@pytest.mark.parametrize(
    ("seconds", "rates", "expected"),
    [
        # 256 messages in half of the bound: twice as many are tried, up to three quarters of it.
        (0.5, {}, 512),
        (0.75, {}, 512),
        (0.76, {}, 256),
        (1.0, {}, 256),
        # Where the larger one was tried it has to pay, and to be in time.
        (0.5, {512: 1.05 * 512}, 256),
        (0.5, {512: 538.0}, 512),
        (0.75, {512: 512.0}, 512),
        (0.75, {512: 511.0}, 256),
        # Where it was not: the step to this one has to have paid.
        (0.5, {128: 400.0}, 512),
        (0.5, {128: 512.0}, 256),
        (0.5, {128: 512.0, 512: 600.0}, 512),
        # Beyond the bound it is halved, unless half as many take nearly as long, or twice as many not much longer.
        (2.0, {}, 128),
        (2.0, {512: 1.33 * 128}, 128),
        (2.0, {512: 171.0}, 512),
        (2.0, {128: 97.0}, 128),
        (2.0, {128: 96.0}, 256),
    ],
)
def test_the_size_after_a_full_block(seconds: float, rates: dict[int, float], expected: int):
    assert then(seconds, rates) == expected


def test_what_brings_just_as_much_as_it_should_is_not_worth_it():
    assert 256 / (256 / 21) == 1.05 * 20 and then(256 / 21, {128: 20.0}, bound=100.0) == 256
    assert 256 / (256 / 133) == 1.33 * 100 and then(256 / 133, {128: 100.0}) == 256


def test_sizes_end_at_one_and_at_the_most():
    assert then(2.0, {}, size=1) == 1
    assert then(0.1, {}, size=10_000) == then(2.0, {20_000: 1e9}, size=10_000) == MOST == 16_384


def test_the_first_full_block_tells_nothing_of_time():
    size = BlockSize(1.0)
    size.observe(256, 5.0, 256)
    assert (size.size, size.rates) == (256, {})
    size.observe(256, 0.25, 256)
    assert (size.size, size.rates) == (512, {256: 1024.0})


def test_what_was_measured_before_counts_for_more():
    size = BlockSize(1.0, 256, rates={256: 1000.0}, _blocks=2)
    size.observe(256, 0.125, 256)
    assert size.rates == {256: pytest.approx(0.7 * 1000 + 0.3 * 2048)}


def test_a_size_that_was_not_used_for_fifty_blocks_is_tried_again():
    size = BlockSize(1.0, 256, rates={512: 100.0}, _blocks=51, _used={512: 2})
    size.observe(256, 0.5, 256)
    assert size.size == 256 and 512 in size.rates
    size.observe(256, 0.5, 256)
    assert size.size == 512 and list(size.rates) == [256]


def test_rows_are_so_many_that_their_bytes_fit():
    assert BlockSize(1.0, 1024).rows == 256 and BlockSize(1.0, 10).rows == 10
    size = BlockSize(1.0, 1024)
    for nbytes, rows in [(32 * 2**20 // 128, 128), (64 * 2**20, 1), (8, 1024)]:
        size.observe(1, 1.0, nbytes)
        assert size.rows == rows
    size.observe(0, 1.0, 100)
    assert size.row_bytes == 8
    size.observe(4, 1.0, 100)
    assert size.row_bytes == 25
