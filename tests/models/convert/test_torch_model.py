"""Programs that PyTorch exports, converted: skipped without PyTorch, which is no dependency (it takes gigabytes)."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch onnxscript")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install torch onnxscript")

from beamsplit.pipelines import convert, score  # noqa: E402


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Two(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(5, 3)

    def forward(self, ids, x):
        return {"sum": self.words(ids).sum(1) + x, "part": (self.words(ids) * 2).mean(-1)}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`any.pt2` and `eight.pt2` (of eight rows) of one network, and `two.pt2` of two inputs."""
    folder = tmp_path_factory.mktemp("programs")
    torch.manual_seed(0)
    net, rows = Net().eval(), {0: torch.export.Dim("rows")}
    torch.export.save(torch.export.export(net, (torch.randn(8, 4),)), folder / "eight.pt2")
    torch.export.save(torch.export.export(net, (torch.randn(2, 4),), dynamic_shapes=(rows,)), folder / "any.pt2")
    given = {"ids": torch.tensor([[0, 4], [1, 2]]), "x": torch.randn(2, 3)}
    two = torch.export.export(Two().eval(), (), given, dynamic_shapes={"ids": rows, "x": rows})
    torch.export.save(two, folder / "two.pt2")
    return folder


@pytest.mark.parametrize(("name", "rows"), [("any", 512), ("eight", 8), ("two", 512)])
def test_converted_and_compared_on_rows_made_up(programs: Path, name: str, rows: int, tmp_path: Path, capsys):
    assert convert.main([str(programs / f"{name}.pt2"), "-o", str(tmp_path / "m.onnx")]) == 0
    out, err = capsys.readouterr()
    assert f"on {rows} rows (rows made up" in out and err == ""


def test_a_sample_and_a_job(programs: Path, tmp_path: Path, capsys):
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    pq.write_table(pa.table({name: x[:, at] for at, name in enumerate("abcd")}), tmp_path / "columns.parquet")
    tensors = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x), "id": np.arange(50)})
    pq.write_table(tensors, tmp_path / "tensors.parquet")
    made, given = str(tmp_path / "m.onnx"), str(programs / "any.pt2")
    for sample in ("columns", "tensors"):
        assert convert.main([given, "-o", made, "--overwrite", "--sample", str(tmp_path / f"{sample}.parquet")]) == 0
        assert "on 50 rows (the sample)" in capsys.readouterr().out
    files = ["--input", str(tmp_path / "tensors.parquet"), "--output", str(tmp_path / "p.parquet"), "--quiet"]
    assert score.main(["--model", made, *files]) == 0
    (output,) = pq.read_table(tmp_path / "p.parquet").columns
    with torch.no_grad():
        expected = torch.export.load(given).module()(torch.from_numpy(x)).numpy()
    found = np.stack(output.combine_chunks().storage.flatten().to_numpy().reshape(50, 2))
    assert np.allclose(found, expected, atol=1e-5)


def test_a_sample_of_another_shape_is_refused(programs: Path, tmp_path: Path, capsys):
    for name, columns, said in (
        ("any", {"a": [1.0]}, "1 columns of numbers (a) and no x, and the model takes x [rows, 4]"),
        ("any", {"x": [[1.0, 2.0]]}, "[2] a row in the column 'x', and the model's example [4]"),
        ("two", {"x": [[1.0, 2.0, 3.0]]}, "the model takes ids, x: 'ids' is missing"),
        ("eight", {"x": [[1.0, 2.0, 3.0, 4.0]]}, "has 1 rows, and the model takes 8 at once"),
    ):
        pq.write_table(pa.table(columns), tmp_path / "s.parquet")
        argv = [str(programs / f"{name}.pt2"), "-o", str(tmp_path / "m.onnx"), "--sample", str(tmp_path / "s.parquet")]
        assert convert.main(argv) == 2
        assert said in capsys.readouterr().err


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_pickles_are_not_loaded_without_trust(programs: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(programs / "any.pt2") as source, zipfile.ZipFile("bomb.pt2", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("sample_inputs/model.pt"):
                torch.save((({"x": Bomb()},), {}), "inner.pt")
                data = Path("inner.pt").read_bytes()
            target.writestr(name, data)
    assert convert.main(["bomb.pt2", "-o", "m.onnx"]) == 2
    assert "error: bomb.pt2" in capsys.readouterr().err
    assert not Path("exploded").exists() and not Path("m.onnx").exists()


def test_calls_of_another_kind_are_refused_before_anything_is_loaded(programs: Path, tmp_path: Path, capsys):
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(programs / "any.pt2") as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("models/model.json"):
                model = json.loads(data)
                model["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"
                data = json.dumps(model).encode()
            target.writestr(name, data)
    assert convert.main([str(bad), "-o", str(tmp_path / "m.onnx")]) == 2
    assert (
        "(a call of torch.os.system), which may run code; if you know who made it, add --trust"
        in capsys.readouterr().err
    )
    shutil.copy(programs / "any.pt2", tmp_path / "cut.pt2")
    os.truncate(tmp_path / "cut.pt2", 500)
    assert convert.main([str(tmp_path / "cut.pt2"), "-o", str(tmp_path / "m.onnx")]) == 2
    assert "is no program of torch.export" in capsys.readouterr().err
