from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.pipelines.report.notebook import as_html, draw_in_notebook
from tests.api.conftest import Mlp


@pytest.fixture
def data(mlp: Mlp, tmp_path: Path) -> str:
    path = tmp_path / "in.parquet"
    pq.write_table(mlp.table, path, row_group_size=5)
    return str(path)


def test_a_job_to_a_file(mlp: Mlp, data: str, tmp_path: Path):
    out = tmp_path / "out" / "preds.parquet"
    result = bs.score(data, mlp.path, output=out, num_shards=1, workers=1, **mlp.options)
    assert (result.rows, result.failed, result.errors) == (20, 0, [])
    assert result.files == [str(out)]
    made = result.to_arrow()
    assert made["id"].to_pylist() == list(range(20))
    np.testing.assert_allclose(made["y"].combine_chunks().to_numpy_ndarray(), mlp.y, rtol=1e-5, atol=1e-6)
    assert "JobResult(rows=20, failed=0" in repr(result)
    assert result.summary.rows_in == 20


def test_without_an_output_it_goes_with_the_result(mlp: Mlp, data: str):
    result = bs.score(data, mlp.path, workers=1, **mlp.options)
    folder = Path(result.files[0]).parent
    assert result.to_arrow().num_rows == 20 and folder.is_dir()
    del result
    assert not folder.exists()


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv", "e.parquet", None])
def test_rows_that_fail_are_told(mlp: Mlp, tmp_path: Path, name: str | None, capsys: pytest.CaptureFixture[str]):
    rows = mlp.rows()
    rows[3]["a"] = None
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = {} if name is None else {"errors": str(tmp_path / name)}
    result = bs.score(str(data), mlp.path, workers=1, **mlp.options, **more)
    assert (result.rows, result.failed) == (19, 1)
    (error,) = result.errors
    assert (error.file, error.row, error.stage) == (str(data), 3, "infer")
    assert "<table>" in result._repr_html_() and "null" in result._repr_html_()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.avro", "p.orc", "p.parquet"])
def test_predictions_of_each_format(mlp: Mlp, data: str, tmp_path: Path, name: str):
    result = bs.score(data, mlp.path, output=tmp_path / name, finish="argmax", workers=1, num_shards=1, **mlp.options)
    made = result.to_arrow()
    assert made["y_argmax"].to_pylist() == mlp.y.argmax(axis=1).tolist()


def test_wrong_use_and_failures(mlp: Mlp, data: str, tmp_path: Path):
    for options, message in [
        ({"stages": 0}, "--stages: '0'"),
        ({"stage": 2}, "'stage' is no option"),
        ({"keep": "nix"}, "--keep names nix"),
        ({"dry_run_plan": True}, "use the command"),
    ]:
        with pytest.raises((bs.UsageError, bs.JobFailed), match=message):
            bs.score(data, mlp.path, **{**mlp.options, **options})
    with pytest.raises(bs.JobFailed, match="--max_failed"):
        broken = tmp_path / "broken.jsonl"
        broken.write_text('{"id": 1, "a": null, "b": 1, "c": 1, "d": 1}\n' * 20)
        bs.score(str(broken), mlp.path, max_failed=1, workers=1, **mlp.options)


def test_a_plan(mlp: Mlp, data: str, tmp_path: Path):
    made = bs.plan(mlp.path, sample=data, columns=mlp.options["columns"], stages=2, workers=2, threads=1)
    assert len(made.plan.stages) == 2 and "stages=2" in repr(made)
    assert "stage" in str(made)
    assert "<html" in Path(made.report(tmp_path / "plan.html")).read_text()
    assert made._repr_html_().startswith("<iframe srcdoc=")
    path = made.save(tmp_path / "plan.json")
    result = bs.score(data, mlp.path, plan=path, workers=1, **mlp.options)
    np.testing.assert_allclose(result.to_arrow()["y"].combine_chunks().to_numpy_ndarray(), mlp.y, rtol=1e-4, atol=1e-5)
    again = bs.plan(mlp.path, sample=data, columns=mlp.options["columns"], plan=path)
    assert again.plan.stages == made.plan.stages


def test_stages_are_saved_and_scored(mlp: Mlp, data: str, tmp_path: Path):
    asked = {"sample": data, "columns": mlp.options["columns"], "stages": 2, "workers": 2, "threads": 1}
    for name, more in (("stages", {}), ("both", {"shards": 2})):
        path = bs.plan(mlp.path, **asked, **more).save_stages(tmp_path / name)
        assert path == f"{tmp_path / name}/plan.json" and len(list((tmp_path / name).glob("*.onnx"))) > 1
        result = bs.score(data, mlp.path, plan=path, workers=1, **mlp.options)
        made = result.to_arrow()["y"].combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(made, mlp.y, rtol=1e-4, atol=1e-5)


def test_shards(mlp: Mlp, data: str, tmp_path: Path):
    made = bs.plan(mlp.path, sample=data, columns=mlp.options["columns"], shards=2)
    assert (made.shards, made.verdict) == (2, "") and made.plan is not None and len(made.plan.layers) >= 1
    assert repr(made) == f"ModelShards({mlp.path!r}, shards=2)" and "divided by" in str(made)
    assert "<html" in Path(made.report(tmp_path / "shards.html")).read_text()
    assert made._repr_html_().startswith("<iframe srcdoc=")
    path = made.save(tmp_path / "shards")
    result = bs.score(data, mlp.path, plan=path, workers=1, **mlp.options)
    np.testing.assert_allclose(result.to_arrow()["y"].combine_chunks().to_numpy_ndarray(), mlp.y, rtol=1e-4, atol=1e-5)


def test_shards_that_do_not_pay(mlp: Mlp, data: str, tmp_path: Path):
    made = bs.plan(mlp.path, sample=data, columns=mlp.options["columns"], shards="auto")
    assert (made.shards, made.plan) == (1, None) and made.verdict
    assert str(made) == f"whole: {made.verdict}" and made._repr_html_().startswith("<pre>whole: ")
    for write in (made.save, made.report):
        with pytest.raises(bs.UsageError, match="there are no shards to show or to write"):
            write(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_strategy(mlp: Mlp, data: str, tmp_path: Path):
    made = bs.plan(mlp.path, sample=data, columns=mlp.options["columns"], strategy="auto", workers=2)
    assert made.strategy.workers == 2 and made.verdict == made.strategy.verdict
    assert made.verdict in str(made) and made._repr_html_().startswith("<pre>way ")
    assert repr(made) == f"ModelStrategy({mlp.path!r}, {made.strategy.chosen.name!r})"
    assert json.loads(Path(made.save(tmp_path / "strategy.json")).read_text())["workers"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output": "p.json"}, r"plan takes no 'output': what it gives writes, by its method save\(...\)"),
        ({"save_stages": "d"}, r"by its method save_stages\(...\)"),
        ({"shards": 2, "save_shards": "d"}, r"by its method save\(...\)"),
        ({"write_model": "a.onnx"}, "plan takes no 'write_model'; use the command, beamsplit plan --model"),
        ({"shards": 0}, "--shards"),
        ({"stages": 2, "shards": "auto"}, "--shards auto is settled for a whole model"),
        ({"strategy": "best"}, "--strategy"),
        ({"strategy": "auto", "shards": 2}, "--shards"),
        ({"columns": {"x": ["a"]}}, "--columns is for sample rows"),
    ],
)
def test_a_plan_that_cannot_be(mlp: Mlp, options: dict[str, Any], words: str):
    with pytest.raises(bs.UsageError, match=words):
        bs.plan(mlp.path, **options)


def test_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []

    class Display:
        def HTML(self, text: str) -> str:
            return text

        def display(self, text: str, display_id: bool) -> Display:
            shown.append(text)
            return self

        def update(self, text: str) -> None:
            shown.append(text)

    monkeypatch.setitem(__import__("sys").modules, "IPython.display", Display())
    waits = iter([False, True])
    draw_in_notebook(lambda: "5 of 10 rows", lambda: 0.5, lambda seconds: next(waits))
    assert shown == ['<progress max="1" value="0.500"></progress> 5 of 10 rows'] * 3
    assert as_html("a < b", None) == "a &lt; b"


def test_a_plan_travels_and_shards_are_to_be_saved(mlp: Mlp, data: str, tmp_path: Path):
    asked = {"sample": data, "columns": mlp.options["columns"]}
    made = bs.plan(mlp.path, **asked, stages=2, workers=2, threads=1)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert again.plan == made.plan and copy.deepcopy(made).plan == made.plan
    assert again.to_html().count("stage") == made.to_html().count("stage")
    result = bs.score(data, mlp.path, **mlp.options, plan=again.save_stages(tmp_path / "stages"))
    assert result.rows == 20
    with pytest.raises(TypeError, match="holds the loaded model, which does not travel between processes: save it"):
        pickle.dumps(bs.plan(mlp.path, **asked, shards=2))
