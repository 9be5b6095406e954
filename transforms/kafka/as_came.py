"""Fields of JSON messages that the model reads and `--keep` names too: they come out as they came in, 54 or [54].

parse   age: 54.0   _as_came: {age: "[54]"}          beside the other columns that rows of a topic carry
end     age: [54]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.block import AS_CAME
from beamsplit.transforms.read.json_slices import value_texts
from beamsplit.transforms.step import StepResult


def as_came_field(names: Sequence[str]) -> pa.Field:
    """The column with the texts of these fields."""
    return pa.field(AS_CAME, pa.struct([pa.field(name, pa.string()) for name in names]), nullable=False)


def as_came(texts: Sequence[bytes], names: Sequence[str]) -> pa.Array:
    """That column, of JSON objects that are valid, none with a line feed in it.

    >>> as_came([b'{"age": [54.0]}', b'{}'], ["age"]).to_pylist()
    [{'age': '[54.0]'}, {'age': None}]
    """
    if not texts:
        return pa.array([], as_came_field(names).type)
    found = value_texts(b"\n".join(texts), len(texts), names)
    return pa.StructArray.from_arrays(
        [in_one_line(found[name]) for name in names], fields=list(as_came_field(names).type)
    )


def in_one_line(texts: pa.Array) -> pa.Array:
    """Texts of JSON, in whose strings there is no carriage return, with a blank for each."""
    return pc.replace_substring(texts, "\r", " ")


@dataclass(frozen=True)
class GiveAsCame:
    """The step that puts the texts where the values were."""

    names: tuple[str, ...]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The fields as JSON text."""
        fields = [pa.field(f.name, pa.json_()) if f.name in self.names else f for f in schema]
        return pa.schema([f for f in fields if f.name != AS_CAME])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """No row fails."""
        schema = self.output_schema(block.schema)
        texts = block.column(AS_CAME)
        columns = []
        for field in schema:
            if field.name in self.names:
                text = texts.field(field.name)
                columns.append(pa.ExtensionArray.from_storage(field.type, text))
            else:
                columns.append(block.column(field.name))
        return StepResult(pa.RecordBatch.from_arrays(columns, schema=schema))
