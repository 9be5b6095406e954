from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.signature import TensorSpec
from beamsplit.models.running import providers, session
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions, get_session
from tests import onnx_models
from tests.waiting import DEADLINE

ONE_THREAD = SessionOptions(threads=1)


def load(model: onnx.ModelProto, folder: Path) -> Session:
    return Session(ModelFile(onnx_models.save(model, folder / "m.onnx")), ONE_THREAD)


@pytest.mark.parametrize("threads", [1, 3, None, 0])
def test_threads_are_as_many_as_given_and_all_cores_unless_told(tmp_path: Path, threads: int | None) -> None:
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    settings = Session(ModelFile(path), SessionOptions(threads=threads)).raw.get_session_options()
    assert settings.intra_op_num_threads == (threads or os.cpu_count())
    assert settings.inter_op_num_threads == 1


# Signatures


@pytest.mark.parametrize(
    ("onnx_type", "dtype"),
    [
        (TensorProto.FLOAT, "float32"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.BFLOAT16, "bfloat16"),
        (TensorProto.STRING, "string"),
        (TensorProto.BOOL, "bool"),
        (TensorProto.INT8, "int8"),
        (TensorProto.INT16, "int16"),
        (TensorProto.INT32, "int32"),
        (TensorProto.INT64, "int64"),
        (TensorProto.UINT8, "uint8"),
        (TensorProto.UINT16, "uint16"),
        (TensorProto.UINT32, "uint32"),
        (TensorProto.UINT64, "uint64"),
    ],
)
def test_types_have_numpy_names(tmp_path: Path, onnx_type: int, dtype: str) -> None:
    found = load(onnx_models.identity(onnx_type), tmp_path).signature
    assert found.inputs == (TensorSpec("x", dtype, ("batch", 3)),)
    assert found.outputs == (TensorSpec("y", dtype, ("batch", 3)),)


@pytest.mark.parametrize(
    "shape", [(), (2, 3), ("N", None, 4), (None,), None], ids=["scalar", "fixed", "mixed", "unnamed", "no rank"]
)
def test_shapes(tmp_path: Path, shape: tuple[int | str | None, ...] | None) -> None:
    assert load(onnx_models.identity(shape=shape), tmp_path).signature.inputs[0].shape == shape


def test_inputs_with_a_default_are_left_out(tmp_path: Path) -> None:
    assert [spec.name for spec in load(onnx_models.default_input(), tmp_path).signature.inputs] == ["x"]


def test_a_sequence_output_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"output parts is seq\(tensor\(float\)\), but beamsplit handles tensors only"):
        _ = load(onnx_models.sequence_output(), tmp_path).signature
    with pytest.raises(UsageError, match=r"output_probability is seq\(map\(.*'zipmap': False"):
        _ = load(onnx_models.zipmap(), tmp_path).signature


def test_a_sequence_input_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("ConcatFromSequence", ["parts"], ["y"], axis=0)
    graph = helper.make_graph([node], "test", [value], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(UsageError, match=r"input parts is seq\(tensor\(float\)\)"):
        _ = load(model, tmp_path).signature


# Runs


def test_run_gives_all_outputs_in_order(tmp_path: Path) -> None:
    total, doubled = load(onnx_models.two_outputs(), tmp_path).run({"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    assert total.tolist() == [3, 12]
    assert doubled.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_float16(tmp_path: Path) -> None:
    (y,) = load(onnx_models.float16_mlp(), tmp_path).run({"x": np.ones((3, 4), np.float16)})
    assert (y.dtype, y.shape) == (np.float16, (3, 2))


def test_strings_in_and_out(tmp_path: Path) -> None:
    words = np.array(["red", "blue", "grün"], dtype=object)
    assert load(onnx_models.string_input(), tmp_path).run({"word": words})[0].tolist() == [1, 3, -1]
    assert load(onnx_models.string_output(), tmp_path).run({"code": np.array([2, 9])})[0].tolist() == ["green", "?"]


def test_bfloat16_in_is_rounded_float32(tmp_path: Path) -> None:
    tie_down, tie_up = 1 + 2**-8, 1 + 3 * 2**-8
    x = np.array([[1.5, tie_down], [tie_up, -2.0], [np.inf, np.nan]], np.float32)
    (y,) = load(onnx_models.bfloat16_model(), tmp_path).run({"x": x})
    np.testing.assert_array_equal(y, np.array([[1.5, 1.0], [1 + 2**-6, -2.0], [np.inf, np.nan]], np.float32))


def test_bfloat16_out_is_float32(tmp_path: Path) -> None:
    session = load(onnx_models.identity(TensorProto.BFLOAT16, ("batch", 2)), tmp_path)
    (y,) = session.run({"x": np.array([[1.5, -2.0]], np.float32)})
    assert (y.dtype, y.tolist()) == (np.float32, [[1.5, -2.0]])
    assert session.run({"x": np.empty((0, 2), np.float32)})[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({"i": np.array([12])}, "Gather node. indices element out of data bounds, idx=12 must be within"),
        (
            {"i": np.array([1], np.int32)},
            "Unexpected input data type. Actual: (tensor(int32)) , expected: (tensor(int64))",
        ),
        ({"i": np.array([[1]])}, "Invalid rank for input: i Got: 2 Expected: 1"),
        ({}, "Required inputs (['i']) are missing"),
    ],
)
def test_a_failed_run_says_why_in_one_line(tmp_path: Path, feeds: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelRunError) as caught:
        load(onnx_models.picky(), tmp_path).run(feeds)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_failed_run_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelRunError):
        load(onnx_models.picky(), tmp_path).run({"i": np.array([12])})
    assert capfd.readouterr() == ("", "")


# Loading


def opset_99() -> onnx.ModelProto:
    model = onnx_models.mlp()
    model.opset_import[0].version = 99
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (onnx_models.unknown_operator(), "com.example:FlyToTheMoon(-1) is not a registered function/op"),
        (opset_99(), "Opset 99 is under development"),
    ],
)
def test_a_model_that_cannot_be_loaded(tmp_path: Path, model: onnx.ModelProto, reason: str) -> None:
    path = onnx_models.save(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError) as caught:
        get_session(ModelFile(path), ONE_THREAD)
    message = str(caught.value)
    assert message.startswith(f"--model {path}: ONNX Runtime cannot load it: ")
    assert reason in message
    assert "\n" not in message
    assert "onnxruntime_src" not in message


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.onnx cannot be read \(No such file or directory\)"):
        get_session(ModelFile(str(tmp_path / "gone.onnx")), ONE_THREAD)


def test_threads_that_ask_at_once_share_one_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelFile(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))
    loads: list[object] = []
    started = threading.Event()

    def slow(*args: Any) -> ort.InferenceSession:
        loads.append(args)
        assert started.wait(DEADLINE)
        return make(*args)

    make = session._make_session
    monkeypatch.setattr(session, "_make_session", slow)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(get_session, model, ONE_THREAD) for _ in range(4)]
        started.set()
        sessions = {id(future.result()) for future in asked}
    assert (len(loads), len(sessions)) == (1, 1)


def test_other_options_or_a_changed_file_are_another_session(tmp_path: Path) -> None:
    model = ModelFile(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))
    first = get_session(model, ONE_THREAD)
    assert get_session(model, ONE_THREAD) is first
    assert get_session(model, SessionOptions(threads=2)) is not first
    onnx_models.save(onnx_models.mlp(hidden=9), model.path)
    assert get_session(model, ONE_THREAD) is not first


def test_a_failed_load_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08junk")
    with pytest.raises(UsageError, match="cannot load it: Protobuf parsing failed"):
        get_session(ModelFile(str(path)), ONE_THREAD)
    onnx_models.save(onnx_models.mlp(), path)
    assert get_session(ModelFile(str(path)), ONE_THREAD).load_seconds > 0


def _score_in_child(path: str) -> list[float]:
    session = get_session(ModelFile(path), SessionOptions(threads=2))
    scores: list[float] = session.run({"x": np.ones((2, 4), np.float32)})[0].tolist()
    return scores


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_loads_its_own(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    code = (
        "import os, signal, sys; from tests.models.running.test_session import _score_in_child as score\n"
        f"mine = score({path!r}); pid = os.fork()\n"
        "signal.alarm(300)\n"  # Ends both should one wait for ever.
        f"if pid == 0: os._exit(0 if score({path!r}) == mine else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=2 * DEADLINE, check=False).returncode == 0


def test_many_threads_share_a_session(tmp_path: Path) -> None:
    shared = load(onnx_models.mlp(), tmp_path)
    blocks = [np.full((i + 1, 4), i, np.float32) for i in range(20)]
    alone = [shared.run({"x": block})[0] for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda block: shared.run({"x": block})[0], blocks))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


# Providers


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that ONNX Runtime has these providers and the machine that many GPUs."""

    def pretend(names: list[str], gpus: int, starts: bool = True) -> None:
        monkeypatch.setattr(providers.ort, "get_available_providers", lambda: [f"{n}ExecutionProvider" for n in names])
        monkeypatch.setattr(providers, "gpu_count", lambda: gpus)
        monkeypatch.setattr(providers, "_starts_on_gpu", lambda: starts)

    return pretend


@pytest.mark.parametrize(
    ("names", "gpus", "starts", "spec", "wanted"),
    [
        (["CUDA", "CPU"], 1, True, "auto", ["CUDA", "CPU"]),
        (["CUDA", "CPU"], 1, True, "AUTO", ["CUDA", "CPU"]),
        (["CUDA", "CPU"], 1, False, "auto", ["CPU"]),
        (["Tensorrt", "CUDA", "CPU"], 0, True, "auto", ["CPU"]),
        (["CPU"], 2, True, "auto", ["CPU"]),
        (["Tensorrt", "CUDA", "CPU"], 1, True, "TensorRT, cuda", ["Tensorrt", "CUDA"]),
        (["CUDA", "CPU"], 1, True, "CUDAExecutionProvider", ["CUDA"]),
        (["OpenVINO", "CPU"], 0, True, "openvino,cpu,CPU", ["OpenVINO", "CPU"]),
        (["CoreML", "CPU"], 0, True, "coreml", ["CoreML"]),
        (["Dml", "CPU"], 0, True, "dml", ["Dml"]),
        (["ROCM", "CPU"], 0, True, "rocm", ["ROCM"]),
    ],
)
def test_resolve_providers(
    machine: Any, names: list[str], gpus: int, starts: bool, spec: str, wanted: list[str]
) -> None:
    machine(names, gpus, starts)
    assert providers.resolve_providers(spec) == tuple(f"{name}ExecutionProvider" for name in wanted)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("cuda", r"--providers cuda: no NVIDIA GPU is here; present are cpu: use one of them or auto"),
        ("cpu,openvino", r"--providers openvino: ONNX Runtime .* here lacks it; present are cpu"),
        ("", r"names no provider: use auto or any of cpu"),
    ],
)
def test_a_missing_provider_lists_those_present(machine: Any, spec: str, reason: str) -> None:
    machine(["Tensorrt", "CUDA", "CPU"], 0)
    with pytest.raises(UsageError, match=reason):
        providers.resolve_providers(spec)


def test_auto_prints_nothing_and_works_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = SessionOptions(providers.resolve_providers("auto"), threads=1)
    model = ModelFile(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))
    get_session(model, options).run({"x": np.ones((2, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_does_not_start_is_no_silent_cpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if providers.CUDA not in ort.get_available_providers() or providers.gpu_count() > 0:
        pytest.skip("needs ONNX Runtime for GPUs where there is none")
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="--providers cuda: it is installed but did not start"):
        get_session(ModelFile(path), SessionOptions((providers.CUDA,), threads=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("0", 1), ("0,1", 2), ("-1", 0), ("1,-1,0", 1), ("GPU-1a2b,GPU-3c", 2)]
)
def test_visible_devices_count(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setattr(providers, "_nvml_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert providers.gpu_count.__wrapped__() == count


def test_all_devices_count_where_none_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_nvml_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert providers.gpu_count.__wrapped__() == 4


def test_the_smallest_model_loads() -> None:
    loaded = ort.InferenceSession(providers._SMALLEST_MODEL, providers=[providers.CPU])
    assert loaded.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_add_and_normalisation_stay_apart_on_the_cpu(tmp_path: Path) -> None:
    weights = {name: np.linspace(1, 2, 8).astype(np.float32) for name in ("scale", "bias")}
    nodes = [
        helper.make_node("Add", ["x", "skip"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"]),
    ]
    ends = [(name, TensorProto.FLOAT, ["n", 4, 8]) for name in ("x", "skip", "y")]
    model = onnx_models.build(nodes, ends[:2], ends[2:], weights)
    optimised = tmp_path / "optimised.onnx"

    def write(settings: ort.SessionOptions) -> None:
        settings.optimized_model_filepath = str(optimised)

    Session(ModelFile(onnx_models.save(model, tmp_path / "m.onnx")), ONE_THREAD, configure=write)
    assert [node.op_type for node in onnx.load(optimised).graph.node] == ["Add", "LayerNormalization"]


def test_symbols_that_name_no_dimension_are_open(tmp_path: Path):
    names = ["N", "?", "*", "-1", "None", " null ", "UNKNOWN", "", "batch"]
    dims = [*names, 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, dims)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    signature = Session(ModelFile(str(tmp_path / "m.onnx")), SessionOptions(threads=1)).signature
    assert signature.inputs[0].shape == ("N", None, None, None, None, None, None, None, "batch", 3)


@pytest.mark.parametrize(("given", "expected"), [(1, 1), (3, 3), (0, os.cpu_count())])
def test_threads_of_a_session(given: int, expected: int, tmp_path: Path):
    made = []
    path = onnx_models.save(onnx_models.mlp(4), tmp_path / "m.onnx")
    session._make_session(
        ModelFile(path), SessionOptions(threads=given), configure=lambda each: made.append(each.intra_op_num_threads)
    )
    assert made == [expected]
