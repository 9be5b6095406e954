from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from beamsplit.models.cost.cluster import (
    ClusterWorker,
    format_bytes,
    format_rate,
    limit_memory,
    option_bytes,
    parse_bandwidth,
    parse_bytes,
    read_cluster,
)
from beamsplit.models.errors import UsageError


def test_a_number_is_so_many_workers_of_this_machine():
    workers = read_cluster("3", memory_bytes=2e9, bandwidth=1e9)
    assert [worker.name for worker in workers] == ["worker-0", "worker-1", "worker-2"]
    assert all((worker.speed, worker.memory_bytes, worker.bandwidth) == (1, 2e9, 1e9) for worker in workers)
    assert all(worker.local for worker in workers)
    assert read_cluster("1") == (ClusterWorker("worker-0"),)
    assert read_cluster("1")[0].memory_bytes == math.inf


def write(tmp_path: Path, value: object) -> str:
    path = tmp_path / "cluster.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def test_unlike_workers_from_a_file(tmp_path: Path):
    path = write(
        tmp_path,
        [
            {"name": "gpu-box", "speed": {"cpu": 1, "cuda": 12}, "memory": "16GB", "bandwidth": "10Gbit"},
            {"speed": 0.5, "count": 2},
            {"name": "old", "count": 2, "memory": "500B"},
        ],
    )
    gpu, second, third, fourth, fifth = read_cluster(path, memory_bytes=1e9, bandwidth=5e8)
    assert (gpu.name, gpu.speed, gpu.memory_bytes, gpu.bandwidth) == ("gpu-box", 12, 16e9, 1.25e9)
    assert gpu.provider_speeds == {"CPUExecutionProvider": 1, "CUDAExecutionProvider": 12}
    assert (second.name, second.speed, second.memory_bytes, second.bandwidth) == ("worker-0", 0.5, 1e9, 5e8)
    assert (third.name, fourth.name, fifth.name) == ("worker-1", "old-0", "old-1")
    assert fourth.memory_bytes == 500
    assert not any(worker.local for worker in (gpu, second, third, fourth, fifth))


def test_links_are_those_of_all_workers(tmp_path: Path):
    workers = read_cluster(write(tmp_path, {"links": "direct", "workers": [{"count": 2}, {"name": "a"}]}))
    assert [worker.links for worker in workers] == ["direct"] * 3
    assert [worker.links for worker in read_cluster(write(tmp_path, [{}]))] == ["chain"]


def test_a_process_takes_its_part_of_a_workers_memory(tmp_path: Path):
    workers = read_cluster(write(tmp_path, [{"memory": "1GB"}, {"memory": "100MB"}, {}]))
    assert [one.memory_bytes for one in limit_memory(workers, None)] == [860e6, 0, math.inf]
    assert [one.memory_bytes for one in limit_memory(workers, 500e6)] == [500e6, 0, 500e6]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", r"is not JSON .*write e\.g\. \["),
        ([], r"a list of one object or more is wanted: write e\.g\. \["),
        ([{"name": "a", "ram": "2GB"}], r"worker a: 'ram' is not known: use name, speed, memory, bandwidth, count"),
        ([{"name": "a"}, {"name": "a"}], "two workers are called 'a': give each a name of its own"),
        ([{"name": 3}], 'its name is 3, but a text is wanted: e.g. "name": "gpu-box"'),
        ("[" * 100_000, r"is not JSON .*write e\.g\. \["),
        ([{"speed": 0}], "worker 0: speed is 0, but a number above 0, 1,000,000 at most, is wanted"),
        ([{"speed": "fast"}], "speed is 'fast', but a number above 0, 1,000,000 at most, is wanted"),
        ([{"speed": {"cpu": 1e308}}], "speed is 1e[+]308, but a number above 0, 1,000,000 at most, is wanted"),
        ([{"speed": {}}], "speed names no provider"),
        ([{"speed": {"gpux": 2}}], "'gpux' is no provider: use one of"),
        ([{"count": 0}], "count is 0, but a whole number from 1 is wanted"),
        ([{"memory": 500}], "memory 500 has no unit: write 500GB or 500MB, or 500B if you mean bytes"),
        ([{"memory": "2 apples"}], "memory 2 apples is no number of bytes: write e.g. 2GB"),
        ([{"memory": True}], 'memory is True, but a size is wanted: e.g. "memory": "2GB"'),
        ({"workers": [{}], "links": "ring"}, 'links is \'ring\', but "chain" or "direct" is wanted'),
        ({"workers": [{}], "link": "chain"}, "'link' is not known beside workers: use links, or leave it out"),
        ([{"bandwidth": "10"}], "bandwidth 10 is no bandwidth: write e.g. 10Gbit"),
    ],
)
def test_a_wrong_file_is_refused_with_the_fix(tmp_path: Path, value: object, message: str):
    with pytest.raises(UsageError, match=message):
        read_cluster(write(tmp_path, value))


@pytest.mark.parametrize("text", ["0", "-2"])
def test_too_few_workers(text: str):
    with pytest.raises(UsageError, match=f"--workers {text}: at least one worker is wanted: e.g. --workers 4"):
        read_cluster(text)


def test_no_such_file():
    with pytest.raises(UsageError, match=r"--workers four is neither a number nor a file .*e\.g\. --workers 4"):
        read_cluster("four")


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("2GB", 2e9),
        ("2G", 2e9),
        ("1.5 GiB", 1.5 * 2**30),
        ("512mb", 512e6),
        ("100B", 100),
        ("7 bytes", 7),
        (".5kB", 500),
        ("1KiB", 1024),
    ],
)
def test_bytes(text: str, nbytes: float):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["20", " 20 ", "1.5", ".5"])
def test_bytes_without_a_unit_are_refused(text: str):
    plain = text.strip()
    told = f"--stage_memory {plain} has no unit: write {plain}GB or {plain}MB, or {plain}B if you mean bytes"
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "2 Gbit", "1e9", "inf"])
def test_no_bytes(text: str):
    with pytest.raises(UsageError, match=r"--stage_memory .*is no number of bytes: write e\.g\. 2GB, 512MB or 1\.5GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [("10Gbit", 1.25e9), ("10Gb", 1.25e9), ("100 Mbit/s", 12.5e6), ("1.25GB/s", 1.25e9), ("1GB", 1e9), ("8bit", 1)],
)
def test_bandwidth(text: str, bytes_per_second: float):
    assert parse_bandwidth(text) == bytes_per_second


@pytest.mark.parametrize("text", ["", "10", "fast", "0Gbit", "-1Gbit", "10G"])
def test_no_bandwidth(text: str):
    with pytest.raises(UsageError, match=r"--bandwidth .*is no bandwidth: write e\.g\. 10Gbit, 100Mbit or 1\.25GB/s"):
        parse_bandwidth(text)


def test_bytes_are_shown_as_they_are_typed():
    assert format_bytes(3.1e9) == "3.1 GB"
    assert format_bytes(12_345) == "12.3 kB"
    assert format_bytes(7) == "7 bytes"


@pytest.mark.parametrize("nbytes", [1.0, 808, 999.9, 19_512.3, 1_073_741, 999_999_999.0, 3.1e9, 2.5e15])
def test_bytes_that_are_told_to_be_typed_are_enough(nbytes: float):
    typed = parse_bytes(option_bytes(nbytes))
    assert nbytes <= typed <= 1.001 * nbytes + 1


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(999.6e3, "1 MB"), (1_000, "1 kB"), (999, "999 bytes"), (123_456_789, "123 MB"), (2.5e15, "2,500 TB")],
)
def test_bytes_are_never_written_with_an_exponent(nbytes: float, text: str):
    assert format_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(2_590_123.0, "2,590,000"), (999.7, "1,000"), (41.26, "41.3"), (0.012345, "0.0123"), (10.0, "10"), (0.0, "0")],
)
def test_rates_have_three_digits_and_separators(rate: float, text: str):
    assert format_rate(rate) == text
