"""Predictions have a schema that Beam's rows travel with, as SqlTransform, BigQuery and WriteToParquet want it."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, NamedTuple, Optional

import apache_beam as beam
import numpy as np
import onnx
import pytest
from apache_beam import coders
from apache_beam.typehints.schemas import named_fields_from_element_type, schema_from_element_type
from onnx import TensorProto

import beamsplit as bs
from tests import onnx_models
from tests.api.collecting import keep
from tests.api.conftest import Mlp
from tests.onnx_models import save


class Wide(NamedTuple):
    id: int
    small: np.int16
    name: Optional[str]  # noqa: UP045
    raw: bytes
    tags: typing.Sequence[str]
    counts: typing.Mapping[str, int]
    ok: bool
    x: typing.Sequence[np.float32]


def travelled(rows: list[Any], transform: bs.Score, kind: Any = None) -> tuple[list[Any], list[Any], Any]:
    """(predictions encoded and decoded, errors, the type of predictions)."""
    with beam.Pipeline("FnApiRunner") as pipeline:
        created = pipeline | beam.Create(rows)
        if kind is not None:
            created = created | beam.Map(lambda row: row).with_output_types(kind)
        scored = created | transform
        found = scored.predictions.element_type
        good = keep(scored.predictions | beam.Reshuffle(), "good")
        bad = keep(scored.errors | "away" >> beam.Reshuffle(), "bad")
    return good.found, bad.found, found


def renamed(path: str, name: str, to: Path) -> str:
    """The model with its output called otherwise."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = [name if one == "y" else one for one in node.output]
    model.graph.output[0].name = name
    return save(model, to)


def test_rows_of_many_types_travel_as_rows(mlp: Mlp):
    kept = [name for name in Wide._fields if name != "x"]
    wide = Wide(1, np.int16(2), None, b"b", ["t"], {"c": 3}, True, mlp.x[0].tolist())
    (row,), bad, kind = travelled([wide], bs.Score(mlp.path, keep=kept), Wide)
    assert not bad
    assert isinstance(coders.registry.get_coder(kind), coders.RowCoder)
    names = [field.name for field in schema_from_element_type(kind).fields]
    assert names == [*kept, "y"]
    assert dict(named_fields_from_element_type(kind))["name"] == typing.Optional[str]  # noqa: UP045
    assert row._asdict() == {**{name: getattr(wide, name) for name in kept}, "y": row.y}
    np.testing.assert_allclose(row.y, mlp.y[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "field"),
    [("Identity:0", "Identity_0"), ("/head/Add", "head_Add"), ("12", "output_12"), ("class", "class_"), ("_y", "y")],
)
def test_outputs_whose_names_are_no_identifiers(mlp: Mlp, tmp_path: Path, name: str, field: str):
    model = renamed(mlp.path, name, tmp_path / "other.onnx")
    rows = [beam.Row(**row) for row in mlp.rows()]
    good, _, kind = travelled(rows, bs.Score(model, **mlp.options))
    assert [one for one, _ in named_fields_from_element_type(kind)] == ["id", field]
    assert len(good) == 20
    np.testing.assert_allclose(getattr(min(good), field), mlp.y[0], rtol=1e-5, atol=1e-6)
    (as_dict,), _, _ = travelled(mlp.rows()[:1], bs.Score(model, **mlp.options))
    assert list(as_dict) == ["id", name]


def test_two_names_that_would_be_one_field_are_refused(mlp: Mlp, tmp_path: Path):
    model = renamed(mlp.path, "a:b", tmp_path / "other.onnx")
    rows = [beam.Row(a_b=1, **row) for row in mlp.rows()]
    with pytest.raises(bs.UsageError, match="'a_b' and 'a:b' would both be the field 'a_b' of Beam's rows"):
        travelled(rows, bs.Score(model, columns=mlp.options["columns"], keep="a_b"))


def test_numbers_that_no_field_holds_are_errors(tmp_path: Path):
    nodes = [onnx.helper.make_node("Cast", ["x"], ["y"], to=TensorProto.UINT64)]
    given = [("x", TensorProto.DOUBLE, ["n", 2])]
    model = save(onnx_models.build(nodes, given, [("y", TensorProto.UINT64, ["n", 2])]), tmp_path / "m.onnx")
    rows = [beam.Row(x=[1.0, 2.0**63]), beam.Row(x=[1.0, 2.0])]
    good, bad, _ = travelled(rows, bs.Score(model))
    assert [list(row.y) for row in good] == [[1, 2]]
    assert bad[0].reason == (
        "column 'y' has a number above 9223372036854775807, the largest of Beam's rows; give dicts"
    )
