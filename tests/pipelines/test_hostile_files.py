"""Files whose numbers cannot be: one line at once, whatever they say."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from beamsplit.models.binding.constants import constant
from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.errors import UsageError
from beamsplit.models.free_memory import check_room
from beamsplit.models.graph.feeds import make_feeds
from beamsplit.models.graph.model_file import check_model_file
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.shard.plan import Join, ShardPlan, ShardStepPlan, check_shards
from beamsplit.models.shard.plan import from_json as shards_from_json
from beamsplit.models.shard.plan import to_json as shards_to_json
from beamsplit.models.split.plan import BoundaryTensor, Plan, StagePlan, check_runnable, from_json, read_plan, to_json
from beamsplit.models.values.npy_file import read_npy
from beamsplit.pipelines.report.html import read_measured
from beamsplit.transforms.finish.labels import load_labels
from tests.command import Command

DEEP = ["[" * 100_000, '{"a":' * 100_000]

PLAN = Plan(
    "m.onnx",
    "0" * 64,
    8,
    (StagePlan(0, ("a",), ("x",), ("t",)), StagePlan(1, ("b",), ("t",), ("y",))),
    (BoundaryTensor("t", "float32", ("rows", 2)),),
    period=1.0,
)
SHARDS = ShardPlan(
    "m.onnx",
    "0" * 64,
    2,
    (
        ShardStepPlan(True, ("x",), ("t",), (8, 8), ("a.onnx", "b.onnx"), sha256=("0" * 64,) * 2),
        ShardStepPlan(False, ("t@shard0", "t@shard1"), ("y",), (8,), ("c.onnx",), sha256=("0" * 64,)),
    ),
    ("y",),
    24,
    16,
    (Join("t", 0, "sum"),),
)


# JSON


@pytest.mark.parametrize("deep", DEEP)
def test_json_that_is_nested_too_deep(tmp_path: Path, deep: str, command: Command):
    path = tmp_path / "deep.json"
    path.write_text(deep)
    for read in (
        lambda: read_plan(str(path)),
        lambda: shards_from_json(deep),
        lambda: read_cluster(str(path)),
        lambda: read_measured(str(path), PLAN),
        lambda: load_labels(str(path)),
    ):
        with pytest.raises(UsageError, match=r"nested too deep|is not JSON"):
            read()
    assert "is not JSON (it is nested too deep)" in command.error("--plan", path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "true", '"1"', "null", "[]"])
def test_numbers_of_a_plan_that_are_none(number: str):
    for name in ("period", "micro_batch"):
        text = to_json(PLAN).replace(f'"{name}": {getattr(PLAN, name)}', f'"{name}": {number}')
        assert number in text
        with pytest.raises(UsageError, match="is no plan: "):
            from_json(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"micro_batch": 10**12},
            "its micro_batch is 1,000,000,000,000, and at most 1,000,000 rows",
        ),
        ({"micro_batch": -1}, "its micro_batch is -1, and at least 1 row is wanted"),
        ({"threads": 10**6}, "its threads are 1,000,000, and 0 to 10,000 can be"),
        ({"period": -1.0}, "period is -1, which is no time"),
        ({"lower_bound": 1e300}, "lower_bound is 1e+300, which is no time"),
        ({"stages": PLAN.stages * 600}, "it has 1,200 stages, and at most 1,000 are planned for"),
    ],
)
def test_numbers_of_a_plan_that_cannot_be(change: dict[str, object], said: str):
    with pytest.raises(UsageError) as error:
        check_runnable(replace(PLAN, **change), "--plan p.json")
    assert str(error.value).startswith(f"--plan p.json cannot be run: {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replicas": 10**6}, "stage 1 has 1,000,000 replicas, and at most 1,000 are planned for"),
        ({"replicas": 0}, "a stage has no replicas"),
        ({"seconds": -0.5}, "seconds of stage 1 is -0.5, which is no time"),
        ({"weight_bytes": -1}, "weight_bytes of stage 1 is -1, which is no number of bytes"),
        ({"bytes_in": 1e300}, "bytes_in of stage 1 is 1,000,"),
        ({"bytes_out": -math.pi}, "bytes_out of stage 1 is -3, which"),
        ({"shards": replace(SHARDS, shards=10**9)}, "of stage 1, its shards are 1,000,000,000, and 2 to 1,000 can be"),
    ],
)
def test_numbers_of_a_stage_that_cannot_be(change: dict[str, object], said: str):
    with pytest.raises(UsageError) as error:
        check_runnable(replace(PLAN, stages=(PLAN.stages[0], replace(PLAN.stages[1], **change))), "--plan p.json")
    assert str(error.value).startswith(f"--plan p.json cannot be run: {said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shards": 1}, "its shards are 1, and 2 to 1,000 can be"),
        ({"shards": 3}, "step 0 does not have a file and its bytes for each of 3 models"),
        ({"steps": SHARDS.steps[:1]}, "its last step is not a whole one"),
        ({"joins": (Join("t", 9, "sum"),)}, "the join of t is of step 9, which is no sharded one"),
        ({"joins": (Join("t", -1, "sum"),)}, "the join of t is of step -1, which is no sharded one"),
        ({"joins": (Join("t", 0, "max"),)}, "t is joined by 'max'"),
        ({"least_bytes": -1}, "least_bytes is -1, which is no number of bytes"),
        ({"steps": (SHARDS.steps[0], replace(SHARDS.steps[1], depth=-1))}, "step 1 is of stage -1"),
    ],
)
def test_numbers_of_shards_that_cannot_be(change: dict[str, object], said: str):
    check_shards(shards_from_json(shards_to_json(SHARDS)), "--plan p.json")
    with pytest.raises(UsageError) as error:
        check_shards(replace(SHARDS, **change), "--plan p.json")
    assert str(error.value).startswith(f"--plan p.json cannot be run: {said}")


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": math.nan},
        {"seconds": -1},
        {"workers": 10**30},
        {"workers": True},
        {"runs": -5},
        {"queue_depth": math.inf},
        {"seconds": "1"},
        {"busy_share": 10**400},
        {"workers": None},
    ],
)
def test_numbers_of_a_summary_that_cannot_be(tmp_path: Path, change: dict[str, object]):
    good = {"seconds": 0.1, "workers": 1, "busy_share": 0.5, "queue_depth": 0, "runs": 4}
    path = tmp_path / "s.json"
    for stages, share in (([good, {**good, **change}], 0.1), ([good, good], math.nan), ([good, good], True)):
        path.write_text(json.dumps({"split": {"bubble_share": share, "stages": stages}}))
        with pytest.raises(UsageError, match="lacks or has a wrong "):
            read_measured(str(path), PLAN)
    path.write_text(json.dumps({"split": {"bubble_share": 0.1, "stages": [good, good]}}))
    assert read_measured(str(path), PLAN).stages[1].runs == 4


def test_devices_that_never_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.models.small_file.MOST_BYTES", 1 << 20)
    for read in (read_plan, load_labels, read_cluster):
        with pytest.raises(UsageError, match="it has more than 1 MB"):
            read("/dev/zero")


def test_more_digits_than_a_number_has():
    with pytest.raises(UsageError, match=r"--workers 9{20}\.\.\.: at most 1,000 are planned for"):
        read_cluster("9" * 5000)


# arrays


def npy(path: Path, shape: str, descr: object = "<f4", data: bytes = b"") -> str:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return str(path)


@pytest.mark.parametrize(
    ("shape", "descr", "said"),
    [
        ("(100000000000000,)", "<f4", "its header says 400,000,000,000,000 bytes of values, and 16 are there"),
        ("(4294967296, 4294967296)", "<f4", "its header says 73,786,976,294,838,206,464 bytes"),
        ("(-4,)", "<f4", r"its shape is \(-4,\)"),
        ("(True, 4)", "<f4", r"its shape is \(True, 4\)"),
        ("(1e9,)", "<f4", "shape is not valid"),
        ("(4,)", "<U100000000", "its header says 1,600,000,000 bytes"),
        ("(2,)", "|O", "it holds Python objects"),
        ("(1,)", [("a", "<f4"), ("b", "|O")], "it holds Python objects"),
        ("(" * 400, "<f4", ""),
    ],
)
def test_headers_of_arrays_that_cannot_be(tmp_path: Path, shape: str, descr: object, said: str):
    path = npy(tmp_path / "a.npy", shape, descr, bytes(16))
    with pytest.raises(UsageError, match=rf"--set c=a.npy: not a readable .npy file of plain values \(.*{said}"):
        read_npy(path, "--set c=a.npy")


def test_a_header_that_is_no_header(tmp_path: Path):
    path = tmp_path / "a.npy"
    for content in (b"", b"PK\x03", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x02\x00\xff\xff\xff\xff((("):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"--set c=a.npy: (not a readable .npy file|holds several arrays)"):
            read_npy(str(path), "--set c=a.npy")
    np.save(path, np.arange(6, dtype=np.int16).reshape(2, 3).T)
    assert read_npy(str(path), "").tolist() == [[0, 3], [1, 4], [2, 5]]


# shapes


def test_what_would_not_fit_is_not_taken():
    check_room(1 << 29, "it", "no")
    with pytest.raises(UsageError, match=r"it would take 1,000,000,000.0 GB, and [\d,.]+ GB are free: take less"):
        check_room(1e18, "it", "take less")
    with pytest.raises(UsageError, match=r"1 rows made up for the model's input 'x: float32\[n, .* would take"):
        make_feeds(Signature((TensorSpec("x", "float32", ("n", 10**9, 10**9)),), ()), 1)
    with pytest.raises(UsageError, match=r"--set c=zeros: the model's input 'c: int64\[.* would take 8,000.0 GB"):
        constant(TensorSpec("c", "int64", (10**12,)), None, "zeros")


def test_a_micro_batch_that_does_not_fit(command: Command):
    for way in ("--stages", "--shards"):
        error = command.error(way, 2, "--micro_batch", 10**12)
        assert error.startswith("1,000,000,000,000 rows of the model's inputs at once would take 16,000.0 GB, and ")


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("text", ["-8", "abc", "1e3", "1_0", " 8 ", "9" * 5000, "٣"])
def test_external_data_at_places_that_cannot_be(tmp_path: Path, key: str, text: str):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for name, value in {"location": "w.bin", "offset": "0", "length": "16", key: text}.items():
        tensor.external_data.add(key=name, value=value)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    assert onnx.load(tmp_path / "m.onnx", load_external_data=False)
    with pytest.raises(UsageError, match=f"the weight 'w' has the {key} '.*, which is no number of bytes"):
        check_model_file(str(tmp_path / "m.onnx"))


def test_a_nul_in_the_name_of_external_data(tmp_path: Path):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="a\0b")
    graph = helper.make_graph([], "g", [], [], [tensor])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(UsageError, match=r"names external data 'a\\x00b', which is no file name"):
        check_model_file(str(tmp_path / "m.onnx"))
