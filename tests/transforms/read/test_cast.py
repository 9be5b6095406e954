from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.values.exact import inexact
from beamsplit.transforms.read.cast import CannotCast, cast_exactly

D = Decimal
STAMP = pa.timestamp
HALVES = [np.float16(1.5), None, np.float16("nan"), np.float16("inf")]


@pytest.mark.parametrize(
    ("have", "wanted", "good", "bad"),
    [
        (pa.array([1, 300, None]), pa.int8(), {0: 1, 2: None}, [1]),
        (pa.array([1.0, 2.5, None, float("nan")]), pa.int64(), {0: 1, 2: None}, [1, 3]),
        (pa.array([2**53, 2**53 + 1, 2**53 + 2, None]), pa.float64(), {0: 2.0**53, 2: 2.0**53 + 2, 3: None}, [1]),
        (pa.array([2**64 - 1, 5], pa.uint64()), pa.float64(), {1: 5.0}, [0]),
        (pa.array([0.5, 0.1, float("nan"), float("inf")]), pa.float32(), {0: 0.5, 3: float("inf")}, [1]),
        (pa.array([1, 2]), pa.bool_(), {0: True}, [1]),
        (pa.array([True, None]), pa.float32(), {0: 1.0, 1: None}, []),
        (pa.array([True]), pa.decimal128(5, 2), {0: D("1.00")}, []),
        (pa.array([1, 10**6]), pa.decimal128(5, 2), {0: D("1.00")}, [1]),
        (pa.array([1.1, 1.234, None]), pa.decimal128(5, 2), {0: D("1.10"), 2: None}, [1]),
        (pa.array([D("1.25"), D("1.20")]), pa.decimal128(5, 1), {1: D("1.2")}, [0]),
        (pa.array([D("1.5"), D("2.0")]), pa.int64(), {1: 2}, [0]),
        (pa.array(["1", " 2 ", "x", None]), pa.int64(), {0: 1, 1: 2, 3: None}, [2]),
        (pa.array(["1.50", "1.555"]), pa.decimal128(5, 2), {0: D("1.50")}, [1]),
        (pa.array(["1.5", "9007199254740993", "1e400", "inf"]), pa.float64(), {0: 1.5, 3: float("inf")}, [1, 2]),
        (pa.array(["0.1", "1e39", None]), pa.float32(), {2: None}, [1]),
        (pa.array([7, None]), pa.string(), {0: "7", 1: None}, []),
        (pa.array([b"ok", b"\xff"]), pa.string(), {0: "ok"}, [1]),
        (pa.array([1500], STAMP("ms")), STAMP("s"), {}, [0]),
        (pa.array([2**62], STAMP("s")), STAMP("ns"), {}, [0]),
        (pa.array([0, 86_400], STAMP("s")).cast(STAMP("s")), pa.date32(), {}, []),
        (pa.array([0, 5], STAMP("s")), pa.date32(), {}, [1]),
        (pa.array([[1, 2], None, [3]]), pa.list_(pa.int8(), 2), {0: [1, 2], 1: None}, [2]),
        (pa.array([[1], [300], []]), pa.large_list(pa.int8()), {0: [1], 2: []}, [1]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), pa.list_(pa.int64()), {0: [1, 2], 1: None}, []),
        (pa.array([{"a": 1}, None]), pa.struct([("a", pa.int8()), ("b", pa.string())]), {0: {"a": 1, "b": None}}, []),
        (pa.array(["a", None]), pa.dictionary(pa.int32(), pa.string()), {0: "a", 1: None}, []),
        (pa.nulls(1), pa.list_(pa.int8()), {0: None}, []),
        (pa.array(HALVES), pa.float32(), {0: 1.5, 1: None, 3: float("inf")}, []),
        (pa.array(HALVES), pa.float64(), {0: 1.5, 1: None, 3: float("inf")}, []),
        (pa.array([1.5, 0.1, None, 1e6]), pa.float16(), {0: 1.5, 2: None}, [1, 3]),
        (pa.array(HALVES), pa.dictionary(pa.int32(), pa.float16()), {0: 1.5, 1: None, 3: float("inf")}, []),
        (pa.array([HALVES[:2], None, []]), pa.list_(pa.float32()), {0: [1.5, None], 1: None, 2: []}, []),
        (pa.array([[1], None, [], [2, 3]]), pa.list_view(pa.float16()), {0: [1.0], 1: None, 2: [], 3: [2.0, 3.0]}, []),
        (pa.array([[1], None], pa.large_list(pa.int8())), pa.large_list_view(pa.float16()), {0: [1.0], 1: None}, []),
    ],
)
@pytest.mark.parametrize("sliced", [False, True])
def test_values_are_the_same_or_bad(have, wanted, good, bad, sliced):
    before = 0
    if sliced and not pa.types.is_null(have.type):
        have, before = pa.concat_arrays([have, have]).slice(len(have)), 0
    values, wrong = cast_exactly(have, wanted)
    assert values.type == wanted and len(values) == len(have)
    assert wrong.tolist() == bad
    assert {at + before: values[at].as_py() for at in good} == good


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (pa.array([1]), STAMP("s")),
        (pa.array([1], STAMP("s", "UTC")), STAMP("s")),
        (pa.array([1], STAMP("s")), pa.time32("s")),
        (pa.array([b"1"]), pa.int64()),
        (pa.array([1]), pa.binary()),
        (pa.array([[1]]), pa.int64()),
        (pa.array([{"a": 1, "b": 2}]), pa.struct([("a", pa.int64())])),
    ],
)
def test_what_would_lose_its_meaning_is_not_cast(have, wanted):
    with pytest.raises(CannotCast):
        cast_exactly(have, wanted)


@pytest.mark.parametrize("source", ["int32", "int64", "uint64"])
@pytest.mark.parametrize("target", ["float16", "float32", "float64"])
def test_whole_numbers_that_floats_hold(source, target):
    info = np.iinfo(source)
    numbers = [0, 1, 2**11, 2**11 + 1, 2**24, 2**24 + 1, 2**24 + 2, 65504, 65520, 2**53 - 1, 2**53 + 1, 2**62, info.max]
    numbers += [-number for number in numbers] + [info.min]
    values = np.array(sorted({n for n in numbers if info.min <= n <= info.max}), dtype=source)
    with np.errstate(over="ignore"):
        expected = [at for at, n in enumerate(values.tolist()) if (f := float(values[at].astype(target))) != n]
    del f
    assert inexact(values, target).tolist() == expected
