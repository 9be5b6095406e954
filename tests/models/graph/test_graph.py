from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.model_file import (
    DROP_ZIPMAP,
    DYNAMIC_ROWS,
    ModelFile,
    check_model_file,
    load_source,
    may_have_external_data,
    model_bytes,
    needed_rewrites,
    quantises_at_run,
    unknown_ranks,
)
from beamsplit.models.independence.rows_axis import verify_rows
from beamsplit.models.running.session import Session, SessionOptions
from tests import onnx_models


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def open_session(path: str, *rewrites: str) -> Session:
    return Session(ModelFile(path, rewrites), SessionOptions(threads=1))


def raw(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString())


def relocate(path: str, location: str) -> None:
    """Point the external data of the model at another place."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    Path(path).write_bytes(model.SerializeToString())


def external_model(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return onnx_models.save(onnx_models.mlp(), folder / "model.onnx", external="weights.bin")


# check_model_file


def test_a_good_model_passes(tmp_path: Path) -> None:
    check_model_file(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))


def test_sklearn_and_light_models_pass(tmp_path: Path) -> None:
    check_model_file(onnx_models.save(onnx_models.trees(), tmp_path / "m.onnx"))
    check_model_file(light_model_path("light_squeezenet"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"m\.onnx does not exist: give the path of an ONNX file"):
        check_model_file(str(tmp_path / "m.onnx"))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, but an ONNX file is wanted"):
        check_model_file(str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"hello world", b"PK\x03\x04zip", b"<html>", b'{"a": 1}', b"\x1c\x00\x00\x00TFL3", b"\x80\x02}q"]
)
def test_other_files_are_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not an ONNX file"):
        check_model_file(str(path))


def test_a_git_lfs_pointer_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(UsageError, match="git lfs pull"):
        check_model_file(str(path))


def test_external_data_beside_the_model_passes(tmp_path: Path) -> None:
    path = external_model(tmp_path / "a")
    check_model_file(path)
    relocate(path, "../a/weights.bin")
    check_model_file(path)


def test_a_model_linked_as_in_a_cache_passes(tmp_path: Path) -> None:
    external_model(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for name in ("model.onnx", "weights.bin"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / name)
    path = str(tmp_path / "snapshot" / "model.onnx")
    check_model_file(path)
    x = floats(3, 4)
    assert np.array_equal(open_session(path).run({"x": x})[0], raw(onnx_models.mlp()).run(None, {"x": x})[0])


@pytest.mark.parametrize("location", ["../b/weights.bin", "x/../../b/weights.bin", "link.bin", "linked/weights.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = external_model(tmp_path / "a")
    external_model(tmp_path / "b")
    (tmp_path / "a" / "link.bin").symlink_to(tmp_path / "b" / "weights.bin")
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "b")
    relocate(path, location)
    with pytest.raises(UsageError, match="outside the model's folder"):
        check_model_file(path)


def test_external_data_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    weights = tmp_path / "weights.bin"
    size = weights.stat().st_size
    os.truncate(weights, size - 1)
    with pytest.raises(UsageError, match=rf"external data 'weights.bin', which has {size - 1:,} bytes: copy or export"):
        check_model_file(path)


def test_absolute_external_data_is_refused_even_inside_the_folder(tmp_path: Path) -> None:
    path = external_model(tmp_path / "a")
    for location in (str(tmp_path / "a" / "weights.bin"), "C:\\weights.bin", "\\\\host\\weights.bin"):
        relocate(path, location)
        with pytest.raises(UsageError, match="a relative path is wanted"):
            check_model_file(path)


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = external_model(tmp_path / "a")
    os.remove(tmp_path / "a" / "weights.bin")
    with pytest.raises(UsageError, match=r"needs its external data 'weights\.bin'"):
        check_model_file(path)


def test_external_data_in_a_branch_of_an_if_is_found(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    branch = helper.make_graph([constant], "branch", [], [output])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = onnx_models.build([node], [("c", TensorProto.BOOL, [])], [("y", TensorProto.FLOAT, [1])])
    path = onnx_models.save(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"external data '\.\./secret' outside"):
        check_model_file(path)


def test_a_cut_short_model_with_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:-10])
    with pytest.raises(UsageError, match="cut short"):
        check_model_file(path)


def test_a_plain_model_is_checked_without_importing_onnx(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    code = (
        "import sys; from beamsplit.models.graph.model_file import *; from beamsplit.models.running.session import *; "
        f"check_model_file({path!r}); s = get_session(ModelFile({path!r}), SessionOptions()); "
        "needed_rewrites(s.raw); s.signature; s.model_bytes; "
        "assert 'onnx' not in sys.modules and 'onnx_ir' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_model_bytes_counts_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    assert model_bytes(path) == os.path.getsize(path) + os.path.getsize(tmp_path / "weights.bin")
    inside = onnx_models.save(onnx_models.mlp(), tmp_path / "inside.onnx")
    assert model_bytes(inside) == os.path.getsize(inside)
    assert (may_have_external_data(path), may_have_external_data(inside)) == (True, False)


def test_quantising_at_run_is_seen(tmp_path: Path) -> None:
    assert quantises_at_run(onnx_models.save(onnx_models.dynamic_quantised(), tmp_path / "q.onnx"))
    assert not quantises_at_run(onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx"))


def test_unknown_ranks_are_told_from_scalars(tmp_path: Path) -> None:
    scalar = onnx_models.save(onnx_models.constant_input(), tmp_path / "s.onnx")
    unknown = onnx_models.save(onnx_models.identity(shape=None), tmp_path / "u.onnx")
    assert unknown_ranks(ModelFile(scalar)) == frozenset()
    assert unknown_ranks(ModelFile(unknown)) == {"x", "y"}


# Rewrites


@pytest.mark.parametrize(
    ("model", "constants", "wanted"),
    [
        (onnx_models.mlp(), (), ()),
        (onnx_models.mlp(batch=1), (), (DYNAMIC_ROWS,)),
        (onnx_models.mlp(batch=2), (), ()),
        (onnx_models.fixed_batch(), (), (DYNAMIC_ROWS,)),
        (onnx_models.constant_input(), (), ()),
        (onnx_models.zipmap(), (), (DROP_ZIPMAP,)),
        (onnx_models.zipmap(zipmap=False), (), ()),
        (onnx_models.fixed_batch(), ("image",), ()),
    ],
)
def test_needed_rewrites(model: onnx.ModelProto, constants: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert needed_rewrites(raw(model), frozenset(constants)) == wanted


def test_without_rewrites_the_source_is_the_path() -> None:
    assert load_source(ModelFile("anything.onnx")) == "anything.onnx"


def test_the_same_model_file_gives_the_same_bytes(tmp_path: Path) -> None:
    model = ModelFile(onnx_models.save(onnx_models.fixed_batch(), tmp_path / "m.onnx"), (DYNAMIC_ROWS,))
    assert isinstance(load_source(model), bytes)
    assert load_source(model) == load_source(model)


def test_an_unknown_rewrite(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="rewrite 'fly' is not known: use drop_zipmap, dynamic_rows"):
        load_source(ModelFile(path, ("fly",)))


@pytest.mark.parametrize("labels", ["int", "string"])
def test_drop_zipmap_gives_the_probabilities_as_a_tensor(tmp_path: Path, labels: str) -> None:
    path = onnx_models.save(onnx_models.zipmap(labels=labels), tmp_path / "m.onnx")
    session = open_session(path, DROP_ZIPMAP)
    x = floats(5, 4)
    label, probabilities = session.run({"X": x})
    wanted_label, wanted = raw(onnx_models.zipmap(labels=labels, zipmap=False)).run(None, {"X": x})
    assert [str(spec) for spec in session.signature.outputs] == [
        f"output_label: {'int64' if labels == 'int' else 'string'}[?]",
        "output_probability: float32[?, 3]",
    ]
    assert label.tolist() == wanted_label.tolist()
    assert np.array_equal(probabilities, wanted)


def test_a_sequence_that_no_zipmap_made_is_refused(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.sequence_output(), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="output parts is a sequence, but a tensor is wanted"):
        load_source(ModelFile(path, (DROP_ZIPMAP,)))


def test_dynamic_rows_keeps_external_data(tmp_path: Path) -> None:
    model = onnx_models.mlp(batch=1)
    path = onnx_models.save(model, tmp_path / "model.onnx", external="weights.bin")
    session = open_session(path, DYNAMIC_ROWS)
    assert verify_rows(open_session(path).run, session.run, {"x": floats(3, 4)}) is None


def test_a_linked_model_with_linked_weights_is_rewritten(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    onnx_models.save(onnx_models.mlp(batch=1), tmp_path / "blobs" / "aa", external="bb")
    relocate(str(tmp_path / "blobs" / "aa"), "weights.bin")
    (tmp_path / "snapshot" / "model.onnx").symlink_to(tmp_path / "blobs" / "aa")
    (tmp_path / "snapshot" / "weights.bin").symlink_to(tmp_path / "blobs" / "bb")
    session = open_session(str(tmp_path / "snapshot" / "model.onnx"), DYNAMIC_ROWS)
    assert session.run({"x": floats(3, 4)})[0].shape == (3, 1)


def test_rewriting_refuses_external_data_outside_the_folder(tmp_path: Path) -> None:
    path = external_model(tmp_path / "a")
    external_model(tmp_path / "b")
    relocate(path, "../b/weights.bin")
    with pytest.raises(UsageError, match="outside the model's folder"):
        load_source(ModelFile(path, (DYNAMIC_ROWS,)))


def reshaping(target: list[int], shape: list[int], back: list[int], *, constant: bool = False) -> onnx.ModelProto:
    """`x` of `shape` is reshaped to `target`, goes through a Softmax, and is reshaped to `back`."""
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["a"]),
        helper.make_node("Softmax", ["a"], ["s"], axis=-1),
        helper.make_node("Reshape", ["s", "back"], ["y"]),
    ]
    weights = {"to": np.array(target, np.int64), "back": np.array(back, np.int64)}
    if constant:
        nodes[:0] = [helper.make_node("Constant", [], [name], value_ints=v.tolist()) for name, v in weights.items()]
        weights = {}
    given = [1, *np.empty(shape[1:]).reshape(back[1:] if 0 not in back else [4, 6]).shape]
    return onnx_models.build(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, given)], weights)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("target", "back"),
    [
        ([1, -1], [1, 4, 6]),  # Flatten and unflatten, as PyTorch exports them.
        ([1, 24], [1, 2, 2, 6]),
        ([4, 6], [1, 4, 6]),  # Heads folded into the batch, and back.
        ([-1, 6], [1, 4, 6]),
        ([2, -1, 3], [1, -1]),
        ([0, -1], [0, 4, 6]),
    ],
)
def test_reshapes_to_a_constant_are_mended(tmp_path: Path, target: list[int], back: list[int], constant: bool) -> None:
    path = onnx_models.save(reshaping(target, [1, 4, 6], back, constant=constant), tmp_path / "m.onnx")
    dynamic = open_session(path, DYNAMIC_ROWS)
    assert verify_rows(open_session(path).run, dynamic.run, {"x": floats(3, 4, 6)}) is None


def test_a_reshape_of_weights_is_left_alone(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["w", "to"], ["row"]), helper.make_node("Add", ["x", "row"], ["y"])]
    weights = {"w": np.arange(3, dtype=np.float32), "to": np.array([1, 3], np.int64)}
    model = onnx_models.build(nodes, [("x", TensorProto.FLOAT, [1, 3])], [("y", TensorProto.FLOAT, [1, 3])], weights)
    path = onnx_models.save(model, tmp_path / "m.onnx")
    assert verify_rows(open_session(path).run, open_session(path, DYNAMIC_ROWS).run, {"x": floats(3, 3)}) is None


def test_a_resize_to_constant_sizes_is_mended(tmp_path: Path) -> None:
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest")]
    weights = {"sizes": np.array([1, 2, 6, 6], np.int64)}
    shapes = [("x", TensorProto.FLOAT, [1, 2, 3, 3])], [("y", TensorProto.FLOAT, [1, 2, 6, 6])]
    path = onnx_models.save(onnx_models.build(nodes, *shapes, weights), tmp_path / "m.onnx")
    assert verify_rows(open_session(path).run, open_session(path, DYNAMIC_ROWS).run, {"x": floats(3, 2, 3, 3)}) is None


def test_a_list_of_one_is_made_dynamic_and_a_scalar_is_left_alone(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    ends = [("x", TensorProto.FLOAT, [1]), ("k", TensorProto.FLOAT, [])], [("y", TensorProto.FLOAT, [1])]
    path = onnx_models.save(onnx_models.build(nodes, *ends, {}), tmp_path / "m.onnx")
    session = open_session(path, DYNAMIC_ROWS)
    assert [(spec.name, spec.shape) for spec in session.signature.inputs] == [("x", ("rows",)), ("k", ())]
    assert session.run({"x": np.float32([1, 2, 3]), "k": np.array(2, np.float32)})[0].tolist() == [2.0, 4.0, 6.0]


def test_dynamic_rows_needs_a_first_dimension_of_one(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(batch=2), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="no input has a first dimension of 1"):
        load_source(ModelFile(path, (DYNAMIC_ROWS,)))


# The CNNs of the onnx package. The large ones differ in nothing but the size of their layers.


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet"])
def test_light_models_with_weights_score_each_row_by_itself(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / "m.onnx")
    materialise_weights(light_model_path(name), path)
    session = open_session(path)
    (spec,) = session.signature.inputs
    assert spec.shape == ("rows", 3, 224, 224)
    x = floats(2, 3, 224, 224)
    together = session.run({spec.name: x})[0].reshape(2, 1000)
    alone = [session.run({spec.name: x[i : i + 1]})[0].reshape(1000) for i in range(2)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3  # Unlike images, unlike scores.
    assert 0.01 < together.max() < 0.99


def test_the_same_weights_are_written_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        materialise_weights(light_model_path("light_squeezenet"), str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet"])
def test_a_light_model_as_shipped_is_made_dynamic(name: str) -> None:
    path = light_model_path(name)
    session = open_session(path, DYNAMIC_ROWS)
    assert needed_rewrites(open_session(path).raw) == (DYNAMIC_ROWS,)
    (spec,) = session.signature.inputs
    assert session.run({spec.name: floats(2, 3, 224, 224)})[0].shape[0] == 2
