from __future__ import annotations

import gc
import threading

import pytest

from beamsplit.transforms.write.behind import WriteBehind
from tests.waiting import DEADLINE


def test_writes_everything_in_order_before_close_returns():
    done: list[int] = []
    behind = WriteBehind(done.append)
    for item in range(100):
        behind.put(item)
    behind.close()
    assert done == list(range(100))
    assert not behind.alive


def test_writes_on_another_thread_at_most_depth_items_behind():
    free, seen, begun = threading.Event(), [], threading.Event()

    def write(item: int) -> None:
        begun.set()
        assert free.wait(DEADLINE)
        seen.append((item, threading.current_thread()))

    behind = WriteBehind(write, depth=2)
    behind.put(0)
    assert begun.wait(DEADLINE)
    behind.put(1)
    behind.put(2)
    late = threading.Thread(target=behind.put, args=(3,))
    late.start()
    late.join(0.02)
    assert late.is_alive()
    free.set()
    late.join(DEADLINE)
    behind.close()
    assert [item for item, _ in seen] == [0, 1, 2, 3]
    assert threading.current_thread() not in {thread for _, thread in seen}


def test_the_first_error_comes_out_and_the_thread_ends():
    done: list[int] = []

    def write(item: int) -> None:
        if item >= 2:
            raise OSError(f"disk full at {item}")
        done.append(item)

    behind = WriteBehind(write)
    with pytest.raises(OSError, match="disk full at 2"):
        for item in range(1000):
            behind.put(item)
    with pytest.raises(OSError, match="disk full at 2"):
        behind.close()
    assert done == [0, 1]
    assert not behind.alive


def test_cancel_drops_what_waits():
    free, begun, done = threading.Event(), threading.Event(), []

    def write(item: int) -> None:
        begun.set()
        assert free.wait(DEADLINE)
        done.append(item)

    behind = WriteBehind(write)
    for item in range(2):
        behind.put(item)
    assert begun.wait(DEADLINE)
    behind._cancelled.set()
    free.set()
    behind.cancel()
    assert done == [0]
    assert not behind.alive


def test_the_thread_of_a_forgotten_writer_ends():
    behind = WriteBehind(lambda item: None)
    behind.put(1)
    thread = behind._thread
    del behind
    gc.collect()
    thread.join(DEADLINE)
    assert not thread.is_alive()
