"""Random schemas of Avro with values, and messages of them by fastavro."""

from __future__ import annotations

import datetime
import decimal
import io
import random
from collections.abc import Sequence
from typing import Any

import fastavro
import numpy as np

from beamsplit.transforms.kafka.registry.framing import Bodies

UTC = datetime.timezone.utc
SINGLE = ("boolean", "int", "long", "float", "double", "bytes", "string")


class Samples:
    """Draws types and values of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._names = 0

    def _name(self) -> str:
        self._names += 1
        return f"N{self._names}"

    def type(self, depth: int = 2) -> Any:
        kinds = ["single", "single", "nullable", "enum", "fixed", "logical", "numbers"]
        kind = self.random.choice(kinds + (["array", "array", "map", "record"] if depth else []))
        if kind == "single":
            return self.random.choice(SINGLE)
        if kind == "nullable":
            inner = self.type(depth)
            while isinstance(inner, list):
                inner = self.type(depth)
            return self.random.choice([["null", inner], [inner, "null"]])
        if kind == "numbers":
            return self.random.choice([["int", "long"], ["null", "float", "double"], ["int", "null", "double"]])
        if kind == "enum":
            return {"type": "enum", "name": self._name(), "symbols": ["A", "B", "C"]}
        if kind == "fixed":
            return {"type": "fixed", "name": self._name(), "size": self.random.choice([1, 3, 16])}
        if kind == "logical":
            logical = [
                ("int", "date"),
                ("long", "timestamp-millis"),
                ("long", "timestamp-micros"),
                ("bytes", "decimal"),
            ]
            base, name = self.random.choice(logical)
            more = {"precision": 9, "scale": 3} if name == "decimal" else {}
            return {"type": base, "logicalType": name, **more}
        if kind == "array":
            return {"type": "array", "items": self.type(depth - 1)}
        if kind == "map":
            return {"type": "map", "values": self.type(depth - 1)}
        return self.record(self.random.randrange(1, 4), depth - 1)

    def record(self, fields: int, depth: int = 2) -> dict[str, Any]:
        made = [{"name": f"f{at}", "type": self.type(depth)} for at in range(fields)]
        return {"type": "record", "name": self._name(), "fields": made}

    def value(self, tree: Any) -> Any:
        rng = self.random
        if isinstance(tree, list):
            return self.value(rng.choice(tree))
        kind = tree["type"] if isinstance(tree, dict) else tree
        logical = tree.get("logicalType") if isinstance(tree, dict) else None
        if logical == "date":
            return datetime.date(2000, 1, 1) + datetime.timedelta(rng.randrange(-9999, 9999))
        if logical:
            if logical == "decimal":
                return decimal.Decimal(rng.randrange(-(10**9) + 1, 10**9)).scaleb(-3)
            step = 1000 if logical.endswith("millis") else 1
            return datetime.datetime(2000, 1, 1, tzinfo=UTC) + datetime.timedelta(
                microseconds=step * rng.randrange(-(10**12), 10**12)
            )
        if kind == "record":
            return {field["name"]: self.value(field["type"]) for field in tree["fields"]}
        if kind == "enum":
            return rng.choice(tree["symbols"])
        if kind == "fixed":
            return rng.randbytes(tree["size"])
        if kind == "array":
            return [self.value(tree["items"]) for _ in range(rng.choice([0, 1, 3]))]
        if kind == "map":
            return {str(at): self.value(tree["values"]) for at in range(rng.choice([0, 1, 2]))}
        values = {
            "null": lambda: None,
            "boolean": lambda: rng.random() < 0.5,
            "int": lambda: rng.choice([0, -1, 63, 64, -(2**31), 2**31 - 1, rng.randrange(10**6)]),
            "long": lambda: rng.choice([0, -1, -(2**63), 2**63 - 1, rng.randrange(10**12)]),
            "float": lambda: float(np.float32(rng.gauss(0, 1))),
            "double": lambda: rng.gauss(0, 1),
            "bytes": lambda: rng.randbytes(rng.choice([0, 1, 70])),
            "string": lambda: "é" * rng.choice([0, 1, 70]),
        }
        return values[kind]()


def messages(schema: Any, rows: Sequence[Any]) -> list[bytes]:
    """Each row as fastavro writes it."""
    parsed, made = fastavro.parse_schema(schema), []
    for row in rows:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, row)
        made.append(out.getvalue())
    return made


def laid_out(bodies: Sequence[bytes]) -> Bodies:
    """Messages, with something in between."""
    ends = np.cumsum([len(body) + 3 for body in bodies]).astype(np.int64)
    data = np.frombuffer(b"".join(b"\7\7\7" + body for body in bodies), np.uint8)
    return Bodies(data, ends - np.array([len(body) for body in bodies], np.int64), ends)


def plain(value: Any) -> Any:
    """As Python's own values: maps of Arrow are lists of pairs."""
    if isinstance(value, list) and value and all(isinstance(one, tuple) for one in value):
        return {key: plain(one) for key, one in value}
    if isinstance(value, list):
        return [plain(one) for one in value] or {}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()} or {}
    return value
