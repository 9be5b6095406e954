"""Scores, classes and their names, as the command deals with them before and while it runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.options.values import WorkerOptions
from beamsplit.pipelines.sources.messages import open_messages
from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.onnx_models import save


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def scores_of_images(classes: int = 3) -> onnx.ModelProto:
    """`x: [batch, 3]` -> `y: [batch, classes, 1, 1]`, as CNNs that end in a pooling give."""
    node = helper.make_node("Unsqueeze", ["x", "axes"], ["y"])
    outputs = [("y", TensorProto.FLOAT, ["batch", classes, 1, 1])]
    return onnx_models.build(
        [node], [("x", TensorProto.FLOAT, ["batch", classes])], outputs, {"axes": np.array([2, 3])}
    )


ROWS = np.array([[0.0, 1.0, 3.0], [2.0, -1.0, 0.5], [5.0, 5.0, 5.5]], np.float32)


def table(folder: Path, rows: np.ndarray = ROWS) -> Path:
    return write_table(folder / "x.parquet", id=list(range(len(rows))), x=rows.tolist())


def test_scores_of_a_cnn_with_axes_of_size_one(command: Command):
    model = save(scores_of_images(), command.folder / "cnn.onnx")
    given = {"model": model, "input": table(command.folder), "columns": None}
    options = ("--narrow", "--keep", "id", "--num_shards", "1", "--quiet", "--finish", "softmax", "--finish", "top_k:2")
    assert command.run(*options, **given)[0] == 0
    made = command.rows().to_pylist()
    wide = np.exp(ROWS) / np.exp(ROWS).sum(axis=1, keepdims=True)
    for row, expected in zip(made, wide, strict=True):
        order = np.argsort(-expected, kind="stable")[:2]
        assert row["y_top_k"] == order.tolist()
        np.testing.assert_allclose(row["y_top_k_values"], expected[order], rtol=1e-6)


def test_softmax_of_probabilities_is_refused_before_the_job(command: Command):
    data = write_table(command.folder / "X.parquet", X=np.zeros((5, 4), np.float32).tolist())
    model = save(onnx_models.zipmap(), command.folder / "z.onnx")
    given = {"model": model, "input": data, "columns": None}
    message = command.error("--narrow", "--finish", "softmax", **given)
    assert message.startswith("softmax wants scores, and column 'output_probability' already sums to 1 in each of 5")
    message = command.error("--finish", "softmax", "--finish", "softmax")
    assert "column 'y' already sums to 1" in message


def test_scores_that_are_no_numbers_fail_their_rows(command: Command):
    rows = ROWS.copy()
    rows[1, 2] = np.nan
    errors = command.folder / "e.jsonl"
    given = {"model": save(scores_of_images(), command.folder / "cnn.onnx"), "input": table(command.folder, rows)}
    for step in ("softmax", "argmax", "top_k:2", "threshold:0.5"):
        options = ("--narrow", "--errors", errors, "--finish", step, "--quiet", "--num_shards", "1", "--workers", "1")
        assert command.run(*options, "--keep", "id", columns=None, **given)[0] == 0
        assert command.rows()["id"].to_pylist() == [0, 2]
        assert [(line["row"], line["stage"], line["reason"]) for line in lines(errors)] == [
            (1, "finish", "nan in column 'y'")
        ]


@pytest.mark.parametrize("labels", ["int", "string"])
def test_a_classifier_to_csv(command: Command, labels: str):
    rng = np.random.default_rng(1)
    data = write_table(command.folder / "X.parquet", X=rng.standard_normal((6, 4)).astype(np.float32).tolist())
    given = {
        "model": save(onnx_models.zipmap(labels=labels), command.folder / "z.onnx"),
        "input": data,
        "columns": None,
        "output": command.folder / "out" / "p.csv",
    }
    code, _, err = command.run("--narrow", "--num_shards", "1", **given)
    names = ["high", "low", "mid"] if labels == "string" else ["0", "1", "2"]
    assert code == 0
    assert f"is one list a row, for the classes {', '.join(names)}" in err
    assert "each cell of output_probability is a list; --finish expand gives a column a value" in err
    code, _, err = command.run("--narrow", "--num_shards", "1", "--finish", "expand", **given)
    assert code == 0 and "is a list" not in err
    with open(command.folder / "out" / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [f"p_{name}" for name in names]
    assert list(rows[0]) == ["output_label", *columns]
    for row in rows:
        assert row["output_label"] == max(names, key=lambda name: float(row[f"p_{name}"]))
        assert sum(float(row[column]) for column in columns) == pytest.approx(1)
    code, _, err = command.run("--narrow", "--num_shards", "1", "--quiet", "--finish", "argmax", **given)
    with open(command.folder / "out" / "p.csv", newline="") as file:
        assert all(row["output_probability_argmax"] == row["output_label"] for row in csv.DictReader(file))


def test_labels_in_the_models_metadata(command: Command):
    model = onnx_models.mlp(4, outputs=2)
    helper.set_model_props(model, {"labels": json.dumps(["no", "yes"])})
    given = {"model": save(model, command.folder / "l.onnx")}
    options = ("--keep", "id", "--quiet", "--num_shards", "1")
    assert command.run(*options, "--finish", "argmax:keep", **given)[0] == 0
    for row in command.rows().to_pylist():
        assert row["y_argmax"] == ("yes" if row["y"][1] > row["y"][0] else "no")
    names = command.folder / "names.txt"
    names.write_text("nein\nja\n")
    assert command.run(*options, "--finish", "argmax", "--finish", f"labels:{names}", **given)[0] == 0
    assert set(command.rows()["y_argmax"].to_pylist()) == {"nein", "ja"}


def test_a_stream_leaves_the_zipmap_out_too(tmp_path: Path):
    model = save(onnx_models.zipmap(labels="string"), tmp_path / "z.onnx")
    argv = ["--model", model, "--input", "kafka://h:1/in", "--output", "kafka://h:1/out", "--finish", "expand"]
    options, _ = parse(argv)
    session = count_workers(WorkerOptions(1, threads=1, providers="cpu"), True).session
    made = open_messages(options.binding, options.stream, "in", session, few_runs=False, to_json=True).fit
    assert pa.types.is_string(made.plan.fields[0].type)
    assert pa.types.is_float32(made.plan.fields[1].type.value_type)
    assert any("for the classes high, low, mid" in note for note in made.notes)
    from beamsplit.pipelines.job.finishing import finish_steps

    (expand,) = finish_steps(options.binding, pa.schema(made.plan.fields), made)
    assert expand.output_schema(pa.schema(made.plan.fields)).names == ["output_label", "p_high", "p_low", "p_mid"]


def test_a_kept_column_is_no_score(command: Command):
    tables = pq.read_table(command.data)
    pq.write_table(tables.append_column("p_0", tables["a"]), command.data)
    message = command.error("--keep", "p_0", "--finish", "expand")
    assert (
        "expand makes a column 'p_0', and the data has one of that name already; type --finish expand:y,prefix="
        in message
    )


def test_names_that_are_not_in_the_order_of_the_scores_are_refused(command: Command):
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 4)).astype(np.float32)
    trained = SVC().fit(x, np.array(["no", "yes"])[(x[:, 0] > 0).astype(int)])
    # ONNX Runtime gives the two decision values with their signs the other way round.
    given = {
        "model": save(onnx_models._from_sklearn(trained, 4, {"zipmap": False}), command.folder / "svc.onnx"),
        "input": write_table(command.folder / "X.parquet", X=x.tolist()),
        "columns": None,
    }
    for step in ("expand", "argmax", "top_k:1"):
        message = command.error("--narrow", "--finish", step, **given)
        assert (
            "the model's 'label' is the class with the greatest of 'probabilities' in 0 of 64 sample rows only"
            in message
        )
    assert command.run("--narrow", "--quiet", "--finish", "expand:numbers", **given)[0] == 0
