"""Which columns of `--keep` pass through untouched."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.pipelines.sources.kept import only_kept
from beamsplit.transforms.prepare import parse_prepare

SCHEMA = pa.schema([("id", pa.int64()), ("a", pa.float32()), ("b", pa.float32()), ("x", pa.float32())])
SIGNATURE = Signature((TensorSpec("x", "float32", ("n",)), TensorSpec("v", "float32", ("n", 2))), ())


@pytest.mark.parametrize(
    ("keep", "prepare", "expected"),
    [
        (("id", "a"), [], ("id",)),
        (("x", "b", "id", "none"), [], ("id",)),
        # Read by a step too: it is what the step needs.
        (("id",), ["scale:column=b,std=2"], ("id",)),
        (("id", "b"), ["scale:column=b,std=2"], ("id",)),
        (("id",), ["scale:column=id,std=2"], ()),
    ],
)
def test_what_neither_the_model_nor_a_step_reads(keep: tuple[str, ...], prepare: list[str], expected: tuple[str, ...]):
    binding = BindingOptions("m.onnx", columns={"v": ("a", "b")}, keep=keep)
    assert only_kept(binding, SIGNATURE, SCHEMA, [parse_prepare(one) for one in prepare]) == expected
