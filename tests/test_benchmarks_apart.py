from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np

from benchmarks import apart
from benchmarks.apart import ApartResult, Case, Way, goals, measure
from benchmarks.apart_worker import Link, rate
from benchmarks.split_models import SplitCase
from tests import onnx_models


def test_tensors_go_over_a_link():
    ours, theirs = socket.socketpair()
    given = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([7], np.int64), "s": np.float32(2.0)}
    one, other = Link(ours.detach()), Link(theirs.detach())
    sender = threading.Thread(target=lambda: (one.send({k: np.asarray(v) for k, v in given.items()}), one.close()))
    sender.start()
    found = other.receive()
    sender.join()
    assert found is not None and list(found) == list(given)
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
    assert other.receive() is None


def test_the_second_half_counts():
    assert rate([0.0, 5.0, 6.0, 7.0, 8.0]) == 1.0


def test_goals():
    results = [
        ApartResult("mlp", "2 replicas", 2, 8, [100.0, 100.0, 50.0], [110.0, 90.0, 50.0]),
        ApartResult("mlp", "2 stages", 2, 8, [100.0], [80.0]),
        ApartResult("mlp", "4 replicas", 4, 8, [100.0], [110.0]),
    ]
    assert results[0].off == 0.0
    assert goals(results) == [
        "mlp, 2 processes: at most -20% off, goal 15 %: NOT met",
        "mlp, 4 processes: at most +10% off, goal 15 %: met",
    ]


def test_each_way_runs_in_processes(tmp_path: Path):
    """One of each kind, of a small model; how fast is left to the machine."""
    path = onnx_models.save(onnx_models.mlp(16, 64, 4, layers=4), tmp_path / "m.onnx")
    case = Case(SplitCase("small", Path(path), 8))
    ways = (Way(1, 1, 2), Way(2, 1), Way(1, 2), Way(2, 2))
    results = measure(case, ways, 1, 8, tmp_path)
    assert [(one.way, one.processes) for one in results] == [
        ("2 replicas", 2), ("2 stages", 2), ("2 shards", 2), ("2 stages x 2 shards", 4)
    ]  # fmt: skip
    assert all(one.measured[0] > 0 and one.simulated[0] > 0 for one in results)
    assert json.loads((tmp_path / "2x1" / "steps.json").read_text())[1]["depth"] == 1
    assert apart.HEADER[-1] == "off"
