"""`score` with a model that takes exactly four rows a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.score import main
from tests.pipelines.job.declared import as_arrays, floats, tensors, written


def given(folder: Path, body: str) -> tuple[list[str], np.ndarray]:
    x = floats(11, 3)
    weights = {
        "i": np.arange(4),
        "w": floats(3, 64),
        "v": floats(64, 5),
        "s": np.array([4, 1, 64]),
        "t": np.array([4, 64]),
    }
    path = written(
        folder / "m.onnx", f"g (float[4,3] x) => (float y) {{ a = MatMul(x, w) {body} y = MatMul(d, v) }}", weights
    )
    pq.write_table(pa.Table.from_batches([tensors(x=x)]), folder / "d.parquet")
    argv = ["--model", path, "--input", str(folder / "d.parquet"), "--output", str(folder / "o.parquet"), "--quiet"]
    return [*argv, "--num_shards", "1"], np.maximum(x @ weights["w"], 0) @ weights["v"]


BLOCKS = "b = Gather(a, i) d = Relu(b)"
DYNAMIC = "b = Reshape(a, s) c = Relu(b) d = Reshape(c, t)"


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (BLOCKS, ["--workers", "2"]),
        (BLOCKS, ["--batch_size", "3"]),
        (BLOCKS, ["--worker_type", "process", "--workers", "2"]),
        (BLOCKS, ["--strategy", "auto"]),
        (BLOCKS, ["--shards", "auto"]),
        (BLOCKS, ["--stages", "2"]),
        (BLOCKS, ["--shards", "2"]),
        (BLOCKS, ["--stages", "2", "--shards", "2"]),
        (BLOCKS, ["--stages", "2", "--micro_batch", "3"]),
        (DYNAMIC, ["--stages", "2"]),
        (DYNAMIC, ["--shards", "2"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "blocks" if value == BLOCKS else "dynamic",
)
def test_every_row_is_scored_as_alone(tmp_path: Path, body: str, options: list[str]) -> None:
    argv, expected = given(tmp_path, body)
    assert main([*argv, *options]) == 0
    made = pq.read_table(tmp_path / "o.parquet")["y"].combine_chunks()
    np.testing.assert_allclose(as_arrays(made), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [["--stages", "2"], ["--shards", "2"]], ids=" ".join)
def test_blocks_are_not_filled_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    argv, _ = given(tmp_path, BLOCKS)
    assert main([*argv, *options, "--placement", "distributed"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the model's batch is fixed at 4" in error and "--placement inline" in error


def test_a_saved_plan_of_blocks(tmp_path: Path) -> None:
    from beamsplit.pipelines.__main__ import main as command

    argv, expected = given(tmp_path, BLOCKS)
    folder = tmp_path / "stages"
    planned = ["plan", "--model", argv[1], "--sample", argv[3], "--stages", "2", "--save_stages", str(folder)]
    assert command(planned) == 0
    assert main([*argv, "--plan", str(folder / "plan.json")]) == 0
    made = pq.read_table(tmp_path / "o.parquet")["y"].combine_chunks()
    np.testing.assert_allclose(as_arrays(made), expected, rtol=1e-3, atol=1e-4)
