from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("psutil")
pytest.importorskip("matplotlib")

from beamsplit.models.split.plan import Alternative, Plan
from benchmarks import split, split_measure, split_models, split_worker
from benchmarks.split_measure import REPLICAS, STAGES, WHOLE, SplitResult, foretold

RESULT = SplitResult(
    model="resnet50", stages=2, rows=8, micro_batches=24,
    seconds={STAGES: [2.0, 1.9, 4.0], WHOLE: [2.0, 2.0, 2.0], REPLICAS: [1.6, 1.7, 1.5]},
    predicted_period=0.08, measured_period=0.084, bubble_share=0.06, solver_seconds=0.12, gap=0.01, method="ideals",
    weight_bytes_ratio=1.6, node_count_ratio=None, base_bytes=100_000_000, whole_bytes=300_000_000,
    stage_bytes=[140_000_000, 260_000_000], verdict="Do not split.", foretold=REPLICAS, largest_difference=1e-7,
)  # fmt: skip


def test_goals():
    assert split.goals(RESULT) == [
        "resnet50: period measured +5% of predicted, goal within 15 %: met",
        "resnet50: 2 stages inline 1.00x the whole model, goal 0.95x: met",
        "resnet50: largest stage 0.53 of the whole model's memory beside the base, goal 0.60: met",
        "resnet50: bubbles 6.0%, goal 9.0%: met",
        "resnet50: verdict for replicas, fastest replicas: met",
    ]


def test_a_wrong_verdict_is_told():
    assert split.goals(replace(RESULT, foretold=STAGES))[-1].endswith("fastest replicas: NOT met")


def test_table_row():
    assert split.table_row(RESULT) == [
        "resnet50", "80", "84", "96.0", "96.0", "120.0", "6.0%", "4.0%", "0.120", "1.0%", "1.60", "", "100", "300",
        "140, 260",
    ]  # fmt: skip
    assert len(split.HEADER) == len(split.table_row(RESULT))


@pytest.mark.parametrize(
    ("names", "way"),
    [
        (["2 replicas of the whole model (1 thread each)", "2 stages"], REPLICAS),
        (["the whole model with 2 threads"], WHOLE),
        (["2 stages", "the whole model with 2 threads"], STAGES),
        ([], STAGES),
    ],
)
def test_what_a_plan_foretells(names: list[str], way: str):
    plan = Plan("m.onnx", "0" * 64, 1, (), alternatives=tuple(Alternative(name, 1.0, 1.0) for name in names))
    assert foretold(plan) == way


def test_large_model_is_made_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(split_models, "CHUNK", 1_000)
    path = split_models.large(tmp_path, width=16, layers=3)
    assert path.stat().st_size < 2_000
    weights = np.fromfile(path.with_suffix(".weights"), np.float32).reshape(3, 16, 16)
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    value = x
    for matrix in weights:
        value = np.maximum(value @ matrix, 0)
    found = ort.InferenceSession(path).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)
    assert found.std() > 0.1
    assert split_models.large(tmp_path, width=16, layers=3) == path
    assert sorted(one.name for one in tmp_path.iterdir()) == ["large-16x3.onnx", "large-16x3.weights"]


def test_a_small_model_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(split_models, "QUICK_WIDTH", 32)
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    commands = []

    def run_here(command: list[str]) -> int:
        # In a process of its own each would import Beam.
        commands.append(command)
        split_worker.main(*command[3:])
        return 10_000_000 * len(commands)

    monkeypatch.setattr(split_measure, "peak_private_bytes", run_here)
    out = tmp_path / "out"
    options = ["--quick", "--models", "large", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert split.main(options) == 0
    report = json.loads((out / "split.json").read_text())
    (result,) = report["results"]
    assert set(result["seconds"]) == {STAGES, WHOLE, REPLICAS}
    assert result["largest_difference"] < 1e-5
    assert result["stage_bytes"] == [30_000_000, 40_000_000]
    assert [len(command) for command in commands] == [4, 5, 5, 5]
    assert len(report["goals"]) == 5
    assert (out / "split.png").read_bytes().startswith(b"\x89PNG")
    assert "| large |" in capsys.readouterr().out
