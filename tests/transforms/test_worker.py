from __future__ import annotations

import threading

from beamsplit.transforms.worker import (
    MOST_STEPS,
    StepsFile,
    WorkerFile,
    read_counts,
    read_steps,
    these_steps,
    this_worker,
)


def test_a_thread_has_one_file_and_threads_have_unlike_ones(tmp_path):
    folder = str(tmp_path)
    numbers = []
    ready = threading.Barrier(8)

    def work(rows: int) -> None:
        ready.wait()
        assert this_worker(folder) is this_worker(folder)
        numbers.append(this_worker(folder).number)
        for _ in range(rows):
            this_worker(folder).add(1, 2)

    threads = [threading.Thread(target=work, args=(rows,)) for rows in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(8))
    assert sorted(read_counts(folder)) == [(rows, 2 * rows) for rows in range(8)]


def test_counts_are_in_the_order_of_the_workers(tmp_path):
    for rows in range(12):
        WorkerFile(str(tmp_path)).add(rows, 0)
    assert read_counts(str(tmp_path)) == [(rows, 0) for rows in range(12)]


def test_a_file_that_is_just_being_made_does_not_count(tmp_path):
    WorkerFile(str(tmp_path)).add(5, 1)
    (tmp_path / "worker-1").write_bytes(b"")
    assert read_counts(str(tmp_path)) == [(5, 1)]


def test_jobs_are_kept_apart(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        this_worker(str(tmp_path / name)).add(1, 0)
    assert read_counts(str(tmp_path / "a")) == read_counts(str(tmp_path / "b")) == [(1, 0)]


def test_rows_through_steps_are_added_up(tmp_path):
    assert set(read_steps(str(tmp_path))) == {0}
    for step, rows in ((0, 5), (1, 3), (0, 2), (99, 1)):
        StepsFile(str(tmp_path)).add(step, rows)
    assert read_steps(str(tmp_path)) == [7, 3, *[0] * (MOST_STEPS - 3), 1]
    assert these_steps(str(tmp_path)) is these_steps(str(tmp_path))
    assert read_counts(str(tmp_path)) == []
