from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.transforms.json_numbers import NumbersForJson, _rewritten, _texts_with_nan, holds_floats, without_number
from beamsplit.transforms.write.json_text import json_text
from tests.command import Command, lines

NAN, INF = math.nan, math.inf
TENSOR = pa.fixed_shape_tensor(pa.float32(), [2])


def tensors(*rows):
    storage = pa.array(rows, pa.list_(pa.float32(), 2))
    return pa.ExtensionArray.from_storage(TENSOR, storage)


COLUMNS = {
    "float16": (pa.array([1.5, NAN, None, -INF], pa.float16()), [False, True, False, True]),
    "float32": (pa.array([1.5, INF, None, 2], pa.float32()), [False, True, False, False]),
    "float64": (pa.array([NAN], pa.float64()), [True]),
    "lists": (pa.array([[1.0], [], None, [1, NAN], [INF, INF]]), [False, False, False, True, True]),
    "a null in a list": (pa.array([[None, 1.0], [None, NAN]]), [False, True]),
    "lists of lists": (pa.array([[[1.0], [NAN]], [], [[]], None, [None, [1.0]]]), [True, False, False, False, False]),
    "fixed lists": (pa.array([[1, 2], None, [3, NAN]], pa.list_(pa.float32(), 2)), [False, False, True]),
    "tensors": (tensors([1, 2], [NAN, 0]), [False, True]),
    "structs": (pa.array([{"a": 1.0, "b": "x"}, {"a": NAN}, None, {"a": None}]), [False, True, False, False]),
    "maps": (pa.array([[("a", 1.0)], [("b", NAN)], None], pa.map_(pa.string(), pa.float64())), [False, True, False]),
    "dictionaries": (pa.array([1.0, NAN, None]).dictionary_encode(), [False, True, False]),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("cut", [0, 1])
def test_rows_with_nan_or_infinity_are_found(name, cut):
    column, expected = COLUMNS[name]
    found = without_number(column.slice(cut))
    assert (found is None and not any(expected[cut:])) or found.tolist() == expected[cut:]
    assert holds_floats(column.type)


@pytest.mark.parametrize("column", [pa.array([1, None]), pa.array(["NaN"]), pa.array([[1]]), pa.array([{"a": "x"}])])
def test_other_columns_have_none(column):
    assert without_number(column) is None and not holds_floats(column.type)


def test_texts_stand_for_them():
    texts = json_text(pa.array([[1.5, NAN, INF, -INF, None], None]), nan_as_text=True)
    assert texts.to_pylist() == ['[1.5,"NaN","Infinity","-Infinity",null]', None]


def test_the_step():
    block = pa.record_batch({"id": pa.array(["NaN", "b"]), "x": pa.array([1.0, NAN]), "y": pa.array([[NAN], [1.0]])})
    failed = NumbersForJson("error")(block)
    assert failed.block.num_rows == 0 and [failure.row for failure in failed.failures] == [0, 1]
    assert failed.failures[1].reason == "NaN or infinity in column 'x', for which JSON has no number: see --json_nan"
    nested = NumbersForJson("error", nested_only=True)(block)
    assert nested.block["id"].to_pylist() == ["b"]
    step = NumbersForJson("string")
    made = step(block).block
    assert made.schema == step.output_schema(block.schema)
    assert made.column("x").storage.to_pylist() == ["1", '"NaN"'] and made["id"].type == pa.string()


@pytest.fixture
def command(tmp_path, capsys):
    """600 rows, of which row 1 gives NaN."""
    made = Command(tmp_path, capsys)
    a = made.table["a"].to_numpy().copy()
    a[1] = np.nan
    made.table = made.table.set_column(1, "a", pa.array(a))
    pa.parquet.write_table(made.table, made.data)
    return made


def test_rows_of_nan_fail_unless_told_otherwise(command: Command):
    errors = command.folder / "errors.jsonl"
    out = command.output.with_suffix(".jsonl")
    given = ["--keep", "id,a", "--num_shards", 1, "--workers", 1]
    assert command.run(*given, "--quiet", "--errors", errors, output=out)[0] == 0
    assert [row["id"] for row in lines(out)] == [0, *range(2, 600)]
    [error] = lines(errors)
    assert (error["row"], error["stage"]) == (1, "finish") and "'a', for which JSON has no number" in error["reason"]

    code, told, _ = command.run(*given, "--json_nan", "null", output=out)
    assert code == 0 and "1 rows with NaN or infinity, written as null" in told
    assert lines(out)[1] == {"id": 1, "a": None, "y": [None, None]}
    assert command.run(*given, "--quiet", "--json_nan", "string", output=out)[0] == 0
    assert lines(out)[1] == {"id": 1, "a": "NaN", "y": ["NaN", "NaN"]}
    assert len(lines(out)[2]["y"]) == 2


def test_csv_has_nan_but_not_in_its_lists(command: Command):
    out = command.output.with_suffix(".csv")
    given = ["--keep", "a", "--num_shards", 1, "--workers", 1, "--quiet"]
    assert command.run(*given, output=out)[0] == 3
    assert command.run(*given, "--json_nan", "string", output=out)[0] == 0
    assert out.read_text().splitlines()[2] == 'nan,"[""NaN"",""NaN""]"'


def test_parquet_has_nan(command: Command):
    assert command.run("--quiet")[0] == 0
    assert "--json_nan null is for JSON, and --output" in command_error(command)


def command_error(command: Command) -> str:
    code, _, err = command.run("--json_nan", "null")
    assert code == 2
    return err


@pytest.mark.parametrize(
    ("text", "null", "string"),
    [
        ('{"a": NaN}', '{"a": null}', '{"a": "NaN"}'),
        ("[Infinity, -Infinity, 1]", "[null, null, 1]", '["Infinity", "-Infinity", 1]'),
        ('{"NaN": "-Infinity", "b": [NaN, "NaN"]}', '{"NaN": "-Infinity", "b": [null, "NaN"]}', None),
        ('"Infinity"', '"Infinity"', '"Infinity"'),
        ('"a \\" NaN"', '"a \\" NaN"', '"a \\" NaN"'),
    ],
)
def test_texts_of_json_without_nan(text: str, null: str, string: str | None):
    column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", None, text, "{}"]))
    told = string if string is not None else text.replace("[NaN,", '["NaN",')
    for mode, expected in (("null", null), ("string", told)):
        made = _rewritten(column, mode)
        assert made.type == column.type and made.storage.to_pylist() == ["1", None, expected, "{}"]
    assert sorted(_texts_with_nan(column)) == ([] if null == text else [2])
