"""Models that are hard to cut, cut 2, 3 and 5 ways: the chain gives what the whole gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from tests.models.split.cutting import check_cuts
from tests.models.split.graphs import CASES, typed

TYPES = {
    name: getattr(TensorProto, name)
    for name in [
        *("DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "UINT8", "UINT16", "BOOL", "STRING"),
        *("INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2"),
    ]
}


@pytest.mark.parametrize("name", CASES)
def test_chain_is_whole(name: str, tmp_path: Path):
    model, feeds = CASES[name]()
    check_cuts(model, feeds, tmp_path, seeds=(0, 1, 2))


@pytest.mark.parametrize("name", TYPES)
def test_every_type_crosses(name: str, tmp_path: Path):
    model, feeds = typed(TYPES[name])
    # 12 nodes into 8 stages: each type crosses after the Cast to it, in one cut or another.
    check_cuts(model, feeds, tmp_path, ways=(2, 5, 8), seeds=range(3), tolerance=1e-6)
