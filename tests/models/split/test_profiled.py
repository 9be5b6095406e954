"""Profiles that are measured, known from before, or estimated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.split import profiled
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.profiled import profile_model, quick_profile
from tests import onnx_models
from tests.models.split.cutting import file_of, graph_of


@pytest.fixture
def graph(tmp_path: Path) -> SplitGraph:
    """Two products, of which the second has a tenth of the work."""
    weights = {"a": np.ones((40, 40), np.float32), "b": np.ones((40, 4), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "b"], ["y"], name="second"),
    ]
    given, made = [("x", TensorProto.FLOAT, ["n", 40])], [("y", TensorProto.FLOAT, ["n", 4])]
    return graph_of(onnx_models.build(nodes, given, made, weights), tmp_path)


@pytest.fixture
def run(graph: SplitGraph, tmp_path: Path) -> SampleRun:
    file = file_of(tmp_path / "model.onnx", tmp_path)
    return SampleRun(file, {"x": np.zeros((8, 40), np.float32)}, SessionOptions(threads=2), 8, str(tmp_path / "cache"))


def test_seconds_of_the_whole_are_dealt_by_estimate(graph: SplitGraph, run: SampleRun):
    made = quick_profile(graph, run, 6.0)
    assert made.total_seconds == 6.0 and sum(made.node_seconds.values()) == pytest.approx(6.0)
    assert made.node_seconds["first"] > made.node_seconds["second"] > 0
    assert (made.rows, made.threads, made.provider, made.source) == (8, 2, "CPUExecutionProvider", "estimate")
    # Of rows as many as there are.
    assert made.value_bytes["h"] == 8 * 40 * 4


def test_where_nothing_is_estimated_nothing_is_dealt(
    graph: SplitGraph, run: SampleRun, monkeypatch: pytest.MonkeyPatch
):
    free = Profile(8, {"first": 0.0, "second": 0.0}, {}, 0.0)
    monkeypatch.setattr(profiled, "estimate_profile", lambda *_, **__: free)
    assert quick_profile(graph, run, 6.0) == dataclasses.replace(free, total_seconds=6.0)


def test_what_was_measured_before_is_taken_as_it_is(graph: SplitGraph, run: SampleRun):
    measured = profile_model(graph, run)
    assert measured.source == "measured" and measured.notes == ()
    assert quick_profile(graph, run, 1e6) == measured


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_a_model_that_has_no_room_is_estimated(
    graph: SplitGraph, run: SampleRun, monkeypatch: pytest.MonkeyPatch, spare: int, fits: bool
):
    weights = 4 * (40 * 40 + 40 * 4)
    monkeypatch.setattr(profiled, "free_memory", lambda: weights + spare)
    made = profile_model(graph, run)
    assert (made.source == "measured") == fits
    if not fits:
        assert made.notes[-1] == (
            "because the model cannot be run here: its weights take 7.04 kB, and this machine has 7.04 kB free"
        )


def test_a_model_that_does_not_run_here_is_estimated(
    graph: SplitGraph, run: SampleRun, monkeypatch: pytest.MonkeyPatch
):
    def refuses(*_: object) -> Profile:
        raise UsageError("no such provider")

    monkeypatch.setattr(profiled, "measure_profile", refuses)
    assert profile_model(graph, run).notes[-1] == "because the model cannot be run here: no such provider"
