"""A model file: what may be loaded from it, and what must be changed in its graph before it can be scored."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.functions import check_functions
from beamsplit.models.graph.skeleton import holds

if TYPE_CHECKING:
    import onnx

DROP_ZIPMAP = "drop_zipmap"
"""Give the probabilities that skl2onnx wraps in a sequence of maps as the tensor they were, under the same name."""

DYNAMIC_ROWS = "dynamic_rows"
"""Let a model whose first dimensions are fixed at 1 take any number of rows.

Before a colon and the axis of each input as JSON: let these take any number of rows, whatever is fixed there."""

BLOCKS = "blocks"
"""Before a colon and `batch.blocks.Blocks` as JSON: no change of the graph, but how `Session.run` runs it."""

WHOLE = "whole"
"""Before a colon and a JSON list of inputs: put an axis of 1 in front of them, since each run is one row."""


STILL = "still"
"""Give what a model draws at random a fixed result, to check the model by (`models.graph.still`)."""


@dataclass(frozen=True)
class ModelFile:
    """What travels to workers: the same value gives the same graph on every machine that has the file."""

    path: str
    """A local file, e.g. `"model.onnx"`."""

    rewrites: tuple[str, ...] = ()
    """Changes made at load, in this order: `DROP_ZIPMAP`, `WHOLE`, `DYNAMIC_ROWS`, `BLOCKS`, `STILL`."""


class _Argument(Protocol):
    """What `InferenceSession.get_inputs()` and `get_outputs()` list."""

    name: str
    type: str
    shape: list[int | str | None]


class _Graph(Protocol):
    """The part of an `InferenceSession` that tells which rewrites a model needs."""

    def get_inputs(self) -> Sequence[_Argument]: ...

    def get_outputs(self) -> Sequence[_Argument]: ...


def needed_rewrites(session: _Graph, constants: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The rewrites that the model of an `InferenceSession` calls for; nothing is parsed.

    `DROP_ZIPMAP` where an output is a sequence of maps; `DYNAMIC_ROWS` where the first dimension of every
    input not in `constants` is fixed at 1. Whether the dynamic model is right is for `rows_axis.verify_rows`.
    """
    rewrites = []
    if any(output.type.startswith("seq(map(") for output in session.get_outputs()):
        rewrites.append(DROP_ZIPMAP)
    shapes = [i.shape for i in session.get_inputs() if i.name not in constants and i.type.startswith("tensor")]
    if shapes and all(shape and shape[0] == 1 for shape in shapes):
        rewrites.append(DYNAMIC_ROWS)
    return tuple(rewrites)


def check_model_file(path: str) -> None:
    """Raise unless `path` is a readable file that starts like ONNX and keeps its weights in its own folder.

    Whether ONNX Runtime has its operators shows when a session is made.

    Raises:
        UsageError: the file is missing, cannot be read, is no ONNX model, names external data outside its folder, or
            has functions that cannot be inlined.
    """
    if os.path.isdir(path):
        raise UsageError(f"--model {path} is a folder, but an ONNX file is wanted: name the .onnx file in it")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise UsageError(f"--model {' '.join(path.split())} does not exist: give the path of an ONNX file") from None
    except OSError as error:
        raise UsageError(f"--model {path} cannot be read ({error.strerror}): check its permissions") from None
    if head.startswith(b"version https://git-lfs"):
        raise UsageError(f"--model {path} is a Git LFS pointer, not the model itself: fetch it with `git lfs pull`")
    if not _starts_like_onnx(head):
        raise UsageError(f"--model {path} is not an ONNX file (it starts with {head[:8]!r}): export the model to ONNX")
    check_functions(path)
    if may_have_external_data(path):
        model = _parse(path)
        for tensor in _external_tensors(model):
            _check_whole(path, tensor, _inside_folder(path, _location(tensor)))


def _check_whole(path: str, tensor: onnx.TensorProto, file: str) -> None:
    """Raise where a file of external data ends before a tensor does."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    for key in ("offset", "length"):
        text = entries.get(key) or "0"
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise UsageError(
                f"--model {path}: the weight {tensor.name!r} has the {key} {text[:30]!r} in its external data "
                f"{_location(tensor)!r}, which is no number of bytes: export the model again"
            )
    end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
    size = os.path.getsize(file)
    if end > size:
        raise UsageError(
            f"--model {path}: the weight {tensor.name!r} ends at byte {end:,} of its external data "
            f"{_location(tensor)!r}, which has {size:,} bytes: copy or export both files again"
        )


def may_have_external_data(path: str) -> bool:
    """False only if no tensor of the model keeps its values in another file.

    Each such tensor carries an entry with the key `location`, so a file without these bytes has none. Looking
    for them saves importing onnx and parsing every model that keeps its weights inside. ONNX Runtime 1.31
    refuses locations outside the model's folder by itself; the check is ours because older versions do not.
    """
    return holds(path, "location")


def quantises_at_run(path: str) -> bool:
    """True if the model sets scales from the values of the whole run, so that rows change one another slightly."""
    return holds(path, "DynamicQuantize")


def load_source(model: ModelFile) -> str | bytes:
    """What to make a session of: the path itself, or the rewritten model serialised.

    External data of a rewritten model is then looked for in `external_folder(model.path)`.

    Raises:
        UsageError: a rewrite does not fit the model.
    """
    model = replace(model, rewrites=tuple(name for name in model.rewrites if not name.startswith(BLOCKS)))
    if not model.rewrites:
        return model.path
    serialised: bytes = parse_model(model).SerializeToString(deterministic=True)
    return serialised


def parse_model(model: ModelFile) -> onnx.ModelProto:
    """The rewritten model without the values of its external data, which lies relative to `external_folder`.

    Raises:
        UsageError: the file is no ONNX model, or a rewrite does not fit it.
    """
    from beamsplit.models.graph import rewrites

    changes = [_change(model, name) for name in model.rewrites]
    proto = _parse(model.path)
    # Weights that are links (as in a Hugging Face cache) are named by where they lie, else ONNX Runtime refuses
    # them: it holds a model given as bytes to the one folder it is told.
    folder = external_folder(model.path)
    for tensor in _external_tensors(proto):
        real = _inside_folder(model.path, _location(tensor))
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = os.path.relpath(real, folder)
    for change in changes:
        try:
            change(proto)
        except rewrites.RewriteError as error:
            raise UsageError(f"--model {model.path}: {error}") from None
    return proto


def rewrite(name: str, arguments: object) -> str:
    """The text of a rewrite that takes arguments, the same for the same ones."""
    return f"{name}:{json.dumps(arguments, sort_keys=True)}"


def _change(model: ModelFile, text: str) -> Callable[[onnx.ModelProto], None]:
    """What a rewrite does to a graph."""
    from beamsplit.models.graph import rewrites

    name, _, arguments = text.partition(":")
    if name == BLOCKS:
        # The graph is as it was: who runs it fills blocks up.
        return lambda proto: None
    if arguments and name == DYNAMIC_ROWS:
        from beamsplit.models.batch.dynamic import rows_dynamic

        return partial(rows_dynamic, axes=json.loads(arguments))
    if arguments and name == WHOLE:
        from beamsplit.models.batch.whole import put_axis_before

        return partial(put_axis_before, names=json.loads(arguments))
    known = {DROP_ZIPMAP: rewrites.drop_zipmap, DYNAMIC_ROWS: rewrites.dynamic_rows, STILL: _make_still}
    if name not in known:
        raise UsageError(f"rewrite {name!r} is not known: use {', '.join(known)}")
    return known[name]


def _make_still(proto: onnx.ModelProto) -> None:
    from beamsplit.models.graph.still import make_still

    make_still(proto)


def parse_file(path: str) -> onnx.ModelProto:
    """The model as it is, without the values of its external data.

    Raises:
        UsageError: the file is no ONNX model, or is cut short.
    """
    return _parse(path)


def external_folder(path: str) -> str:
    """The folder that the external data of a rewritten model lies in."""
    return os.path.dirname(os.path.realpath(path))


def model_bytes(path: str) -> int:
    """Size in bytes of the model with its external data."""
    return os.path.getsize(path) + external_bytes(path)


def external_bytes(path: str) -> int:
    """Size in bytes of the model's external data."""
    folder = os.path.dirname(os.path.abspath(path))
    return sum(os.path.getsize(os.path.join(folder, name)) for name in external_locations(path))


def external_locations(path: str) -> tuple[str, ...]:
    """The files of the model's external data as the model names them, in order; they need not be there.

    Raises:
        UsageError: the file is no ONNX model, or is cut short.
    """
    if not may_have_external_data(path):
        return ()
    return tuple(sorted({_location(tensor) for tensor in _external_tensors(_parse(path))}))


def external_file(path: str, location: str) -> str:
    """Where a file of external data really lies.

    Raises:
        UsageError: that is outside the model's folder, or not there.
    """
    return _inside_folder(path, location)


def unknown_ranks(model: ModelFile) -> frozenset[str]:
    """The inputs and outputs for which the graph gives no shape at all; parses the model."""
    import onnx

    source = load_source(model)
    graph = (_parse(source) if isinstance(source, str) else onnx.load_from_string(source)).graph
    values = [*graph.input, *graph.output]
    return frozenset(value.name for value in values if not value.type.tensor_type.HasField("shape"))


def _starts_like_onnx(head: bytes) -> bool:
    """Whether the first byte is the tag of a field of ModelProto (or the file is in ONNX Runtime's own format)."""
    if head[4:8] == b"ORTM":
        return True
    # Field numbers of onnx.proto's ModelProto with their wire types: 0 a varint, 2 a length.
    tags = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2}
    return bool(head) and tags.get(head[0] >> 3) == head[0] & 7


def _parse(path: str) -> onnx.ModelProto:
    """The model without the values of its external data.

    Raises:
        UsageError: the file is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError:
        raise UsageError(f"--model {path} is not an ONNX file, or is cut short: export or copy it again") from None


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model with values in another file, in bodies of If and Loop and in functions too."""
    from onnx import TensorProto

    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes.extend(graph.node)
            sparse = [part for s in graph.sparse_initializer for part in (s.values, s.indices)]
            yield from (t for t in [*graph.initializer, *sparse] if t.data_location == TensorProto.EXTERNAL)
        else:
            for attribute in nodes.pop().attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else [])
                graphs.extend(attribute.graphs)
                sparse_tensors = [attribute.sparse_tensor, *attribute.sparse_tensors]
                tensors = [attribute.t, *attribute.tensors, *(p for s in sparse_tensors for p in (s.values, s.indices))]
                yield from (t for t in tensors if t.data_location == TensorProto.EXTERNAL)


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _inside_folder(path: str, location: str) -> str:
    """Where the external data really lies.

    A model that is itself a link may have its data beside the link or beside the file that the link leads to.

    Raises:
        UsageError: that is outside the model's folder, or not there.
    """
    wanted = "keep the weights in the model's own folder and export it with a relative location"
    if "\0" in location:
        raise UsageError(f"--model {path} names external data {location!r}, which is no file name: {wanted}")
    if not location or os.path.isabs(location) or location.startswith(("/", "\\")) or location[1:2] == ":":
        raise UsageError(f"--model {path} names external data {location!r}, but a relative path is wanted: {wanted}")
    folder = os.path.dirname(os.path.abspath(path))
    real = os.path.realpath(os.path.join(folder, location.replace("\\", "/")))
    if not any(_is_under(real, root) for root in (os.path.realpath(folder), external_folder(path))):
        raise UsageError(f"--model {path} names external data {location!r} outside the model's folder: {wanted}")
    if not os.path.isfile(real):
        raise UsageError(f"--model {path} needs its external data {location!r}: put that file beside the model")
    return real


def _is_under(path: str, folder: str) -> bool:
    try:
        return os.path.commonpath([path, folder]) == folder
    except ValueError:  # On another drive.
        return False


DATA_DEPENDENT = (
    "NonZero",
    "NonMaxSuppression",
    "Unique",
    "Compress",
    "Loop",
    "Range",
    "TfIdfVectorizer",
    "StringSplit",
)
"""Operators whose output's size follows the values that go in, not their shapes alone."""


def varies_with_data(path: str) -> bool:
    """False only if inputs of one shape always give outputs of one shape."""
    return any(holds(path, name) for name in DATA_DEPENDENT)
