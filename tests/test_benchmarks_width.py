from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("psutil")
pytest.importorskip("matplotlib")

from benchmarks import width, width_measure, width_models, width_worker
from benchmarks.width_measure import BASE, WHOLE, WidthResult

RESULT = WidthResult(
    model="vgg19", rows=2,
    block_seconds={1: [0.8, 0.9, 0.7], 2: [0.88], 4: [1.0]}, predicted_block={1: 0.8, 2: 0.8, 4: 0.9},
    rows_per_second={1: [2.0, 1.0, 3.0], 2: [2.2], 4: [1.9]}, predicted_rows={1: 2.1, 2: 2.0, 4: 1.8},
    planned_rows={1: 2.1, 2: 1.9}, chosen=1,
    memory={BASE: 100_000_000, WHOLE: 700_000_000, **{f"{n} {part}": held for n in (2, 4) for part, held in (
        ("inline", 710_000_000), ("shard", 400_000_000 if n == 2 else 250_000_000), ("steps", 120_000_000))}},
    predicted_memory={"2 shard": 400_000_000.0, "4 shard": 200_000_000.0}, meetings={2: 5, 4: 5},
    differences={2: 1e-7, 4: 2e-7},
)  # fmt: skip


def test_goals():
    assert width.goals(RESULT) == [
        "vgg19: rows/s planned at most +16% off, goal 15 %: NOT met",
        "vgg19: rows/s at most +10% off, goal 15 %: met",
        "vgg19: seconds of a block at most +11% off, goal 15 %: met",
        "vgg19: memory a worker at most +25% off, goal 15 %: NOT met",
        "vgg19: choice 1 shard (the whole model), fastest 2 shards, 0.91 of its rows/s, goal 0.95: NOT met",
    ]


def test_how_often_the_choice_is_right():
    right = replace(RESULT, chosen=2)
    assert width.choices([RESULT, right, right]).endswith("best of those measured for 2 of 3 models")


def test_table_rows():
    whole, two, four = width.table_rows(RESULT)
    assert whole == [
        "vgg19",
        "1",
        "2.0",
        "2.1",
        "-5%",
        "2.1",
        "-5%",
        "800",
        "800",
        "+0%",
        "0",
        "700",
        "",
        "",
        "",
        "",
        "",
    ]
    assert two == [
        "vgg19", "2", "2.2", "1.9", "+16%", "2.0", "+10%", "880", "800", "+10%", "5", "710", "400", "400", "+0%", "120",
        "1e-07",
    ]  # fmt: skip
    assert len(whole) == len(two) == len(four) == len(width.HEADER)


def test_a_small_model_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(width_models, "QUICK_WIDTH", 32)
    commands = []

    def run_here(command: list[str]) -> int:
        # In a process of its own each would import Beam.
        commands.append(command[4:])
        width_worker.main(*command[3:])
        return 10_000_000 * len(commands)

    monkeypatch.setattr(width_measure, "peak_private_bytes", run_here)
    out = tmp_path / "out"
    options = ["--quick", "--models", "mlp", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert width.main(options) == 0
    report = json.loads((out / "width.json").read_text())
    (result,) = report["results"]
    assert set(result["rows_per_second"]) == set(result["predicted_rows"]) == {"1", "2", "4"}
    assert max(result["differences"].values()) < 1e-5
    models = [Path(path).name for path, *_ in commands[1:]]
    assert models == ["large-32x4.onnx", "model.onnx", "2", "2", "2", "4", "4", "4"]
    assert [parts[1:] for parts in commands] == [[], [], [], *2 * (["all"], ["0"], ["whole"])]
    assert len(report["goals"]) == 6
    assert (out / "width.png").read_bytes().startswith(b"\x89PNG")
    assert "| mlp   | 4 " in capsys.readouterr().out
